//! Backups: copies of all that was deployed, made while the node serves.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use super::caller::Caller;
use super::extract::Json as Body;
use super::problem::{NotMade, Problem, Refused};
use super::shapes::{Backup, NewBackup};
use crate::store::Scope;

/// A folder's name is no longer than this.
const LONGEST_NAME: usize = 100;

/// Copies all that was deployed, as it is at one moment, into a new folder in `backups` of node.toml.
#[utoipa::path(
    post, path = "/v1/backups", tag = "backups", operation_id = "make_backup", request_body = NewBackup,
    responses((status = 201, body = Backup), Refused, NotMade)
)]
pub(super) async fn make(
    State(shared): State<Shared>,
    caller: Caller,
    Body(NewBackup { name }): Body<NewBackup>,
) -> Result<(StatusCode, Json<Backup>), Problem> {
    caller.may(Scope::Admin)?;
    if !is_name(&name) {
        let what = "letters, digits, `-`, `_` and `.`, the first of them no `.`";
        return Err(Problem::invalid(format!("the name of a backup is 1 to {LONGEST_NAME} {what}")));
    }
    let nowhere = || Problem::invalid("this node keeps no backups: write `backups = \"FOLDER\"` in node.toml");
    let folder = shared.deployments.node().backups.as_ref().ok_or_else(nowhere)?.join(name);
    let made = shared.deployments.store()?.backup(&folder).await?;
    tracing::info!(folder = %folder.display(), bytes = made.bytes, "backed up");
    let folder = folder.display().to_string();
    Ok((StatusCode::CREATED, Json(Backup { folder, components: made.components, bytes: made.bytes })))
}

/// One folder, and never another one than that below `backups`.
fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_folder_and_leads_nowhere_else() {
        for good in ["before-upgrade", "2026-11-29T15-00-00Z", "a.b_c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "/etc", ".hidden", "a b", "ä", "a\0", &"x".repeat(101)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}

//! The account that this node has at an authority.

use std::io;
use std::path::Path;

use instant_acme::{Account, AccountCredentials, NewAccount};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authority::Authority;
use super::trouble::Trouble;
use crate::config::read_regular;
use crate::store::write_whole;

/// An account and its key take less than 500 bytes, contacts a few more.
const LARGEST: u64 = 64 << 10;

/// As it is kept.
#[derive(Deserialize, Serialize)]
struct Kept {
    contact: Vec<String>,
    credentials: AccountCredentials,
}

/// The account that is kept in this file, or a new one, which is there from then on.
pub(super) async fn open(authority: &Authority, file: &Path) -> Result<Account, Trouble> {
    let contact: Vec<&str> = authority.settings.contact.iter().map(String::as_str).collect();
    if let Some(kept) = read(file) {
        let account = authority.builder().from_credentials(kept.credentials).await?;
        if kept.contact != authority.settings.contact {
            account.update_contacts(&contact).await?;
            // They are held by nobody else, so they are read once more.
            if let Some(kept) = read(file) {
                write(file, Kept { contact: authority.settings.contact.clone(), ..kept }).await?;
            }
        }
        return Ok(account);
    }
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let directory = authority.settings.directory.to_string();
    let external = authority.external();
    let (account, credentials) = authority.builder().create(&new, directory, external.as_ref()).await?;
    write(file, Kept { contact: authority.settings.contact.clone(), credentials }).await?;
    tracing::info!(directory = %authority.settings.directory, account = account.id(), "an account was made");
    Ok(account)
}

/// The authority does not know it any more.
pub(super) fn forget(file: &Path) {
    if let Err(error) = std::fs::remove_file(file) {
        tracing::error!(file = %file.display(), %error, "an account that is gone cannot be removed");
    }
}

/// What is damaged is replaced: another account costs nothing.
fn read(file: &Path) -> Option<Kept> {
    let read = read_regular(file, LARGEST).map(Zeroizing::new);
    let kept = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
    };
    let log = |why: &String| {
        tracing::warn!(file = %file.display(), "the account cannot be read, and another one is made: {why}");
    };
    kept.inspect_err(log).ok()
}

async fn write(file: &Path, kept: Kept) -> Result<(), Trouble> {
    let text = serde_json::to_vec(&kept).map(Zeroizing::new).map_err(|error| Trouble::here(error.to_string()))?;
    write_aside(file, text).await
}

/// Writes on a thread that may wait for the disk.
pub(super) async fn write_aside(file: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<(), Trouble> {
    let path = file.to_owned();
    let written = tokio::task::spawn_blocking(move || write_whole(&path, &bytes)).await;
    let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
    written.map_err(|error| Trouble::here(format!("{} cannot be written: {error}", file.display())))
}

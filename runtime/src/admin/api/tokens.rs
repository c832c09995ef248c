//! Tokens of operators.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Shared;
use super::caller::Caller;
use super::extract::{Json as Body, Path};
use super::problem::{Missing, NotMade, Problem, Refused};
use super::shapes::{CreatedToken, NewToken, Token, Tokens};
use crate::auth::operator::{self, Grant};
use crate::store::{Scope, TokenId, TokenRow};

/// All tokens.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", operation_id = "list_tokens", responses((status = 200, body = Tokens), Refused))]
pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<Tokens>, Problem> {
    caller.may(Scope::Admin)?;
    let tokens = shared.deployments.store()?.tokens().await?;
    Ok(Json(Tokens { tokens: tokens.into_iter().map(shape).collect() }))
}

/// Makes a token, and shows it this once. It lets do no more than the token that asks for it.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "create_token", request_body = NewToken,
    responses((status = 201, body = CreatedToken), Refused, NotMade)
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    caller: Caller,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    caller.may(Scope::Admin)?;
    let grant = Grant::parse(new.scope.into(), &new.workers, &new.hosts)?;
    if caller.grant().is_some_and(|own| !own.includes(&grant)) {
        return Err(Problem::forbidden("the new token would let do more than yours; name fewer workers or hosts"));
    }
    let (token, kept) = operator::issue(&new.name, &grant, new.expires)?;
    // A token is never shown twice, so asking twice makes two.
    let kept = shared.deployments.store()?.add_token(caller.by_without_key(), kept).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: token.reveal().to_owned(), kept: shape(kept) })))
}

/// Revokes a token: it holds no longer.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens", operation_id = "revoke_token", params(("id", description = "The id of the token.")),
    responses((status = 200, body = Token), Refused, Missing, NotMade)
)]
pub(super) async fn revoke(
    State(shared): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Token>, Problem> {
    caller.may(Scope::Admin)?;
    let parsed = TokenId::parse(&id).ok_or_else(|| Problem::bad(format!("{id:?} is not the id of a token")))?;
    if caller.token() == Some(parsed) {
        let detail = "a token does not revoke itself, lest nobody be left who can make others; ask with another one";
        return Err(Problem::new(StatusCode::CONFLICT, "own_token", detail));
    }
    let revoked = shared.deployments.store()?.revoke_token(caller.by_without_key(), parsed).await?;
    Ok(Json(shape(revoked)))
}

fn shape(row: TokenRow) -> Token {
    let TokenRow { id, name, scope, workers, hosts, hint, created, created_by, expires, revoked } = row;
    let (id, scope) = (id.to_string(), scope.into());
    Token { id, name, scope, workers, hosts, hint, created, created_by, expires, revoked }
}

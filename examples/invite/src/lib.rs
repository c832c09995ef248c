//! Invites somebody: an account is made, and a letter sent. The answer needs the account; it need not wait for the letter.

use eyot_sdk::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Invitation {
    to: String,
}

/// As the mail service takes it, and as it waits in the queue.
#[derive(Serialize)]
struct Letter<'a> {
    to: &'a str,
    subject: &'a str,
    text: String,
}

/// The account, then the letter, then the answer.
async fn at_once(Json(invitation): Json<Invitation>) -> Result<(StatusCode, String)> {
    create_account(&invitation).await?;
    tell("mail", &letter(&invitation)).await?;
    Ok((StatusCode::CREATED, format!("{} has a letter\n", invitation.to)))
}

/// The account, then the answer. The letter is safe on the disk by then, and the worker `mailer` sends it.
async fn later(Json(invitation): Json<Invitation>) -> Result<(StatusCode, String)> {
    create_account(&invitation).await?;
    Queue::named("mailer/mail").send(NewMessage::json(&letter(&invitation))?)?;
    Ok((StatusCode::ACCEPTED, format!("{} will have a letter\n", invitation.to)))
}

async fn create_account(invitation: &Invitation) -> Result<()> {
    tell("accounts", &invitation.to).await
}

fn letter(invitation: &Invitation) -> Letter<'_> {
    let text = format!("Hello {},\n\nsomebody wants you to come.\n", invitation.to);
    Letter { to: &invitation.to, subject: "You are invited", text }
}

/// Sends JSON to an origin, at the path of the setting with the same name.
async fn tell(origin: &str, value: impl Serialize) -> Result<()> {
    let path = Config::get::<Uri>(origin)?.unwrap_or_default();
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Json(value).into_response().into_body()).map_err(FetchError::from)?;
    let status = Origin::named(origin).fetch(request).await?.status();
    if status.is_success() {
        return Ok(());
    }
    error!("{origin} answered {status}");
    Err(StatusCode::BAD_GATEWAY.into())
}

serve!(Router::new().route("/sync", post(at_once)).route("/async", post(later)));

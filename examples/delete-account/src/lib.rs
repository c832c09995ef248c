//! Deletes an account, which takes eight seconds: the answer comes at once, and says where to look how far it is.

use eyot_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// What there is of an account, in the order in which it goes.
const PARTS: [&str; 8] = ["sessions", "photos", "comments", "likes", "followers", "invoices", "settings", "profile"];

/// How far a deletion is.
#[derive(Default, Deserialize, Serialize)]
struct Progress {
    user: String,
    /// So many parts are gone.
    done: usize,
    of: usize,
}

async fn delete_account(Path(user): Path<String>) -> Result<Response> {
    let id = Queue::named("deletions").send(user.clone())?;
    note(&id, &Progress { user, done: 0, of: PARTS.len() })?;
    let place = format!("/deletions/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place.clone())], format!("look at {place}\n")).into_response())
}

async fn show(Path(id): Path<String>) -> Result<Json<Progress>> {
    Ok(Json(progress(&id)?.ok_or(StatusCode::NOT_FOUND)?))
}

fn progress(id: &str) -> Result<Option<Progress>, KvError> {
    let noted = Namespace::open("deletions")?.get(id)?;
    Ok(noted.and_then(|noted| serde_json::from_slice(&noted).ok()))
}

/// It may be forgotten after a day.
fn note(id: &str, progress: &Progress) -> Result<(), KvError> {
    let written = serde_json::to_vec(progress).unwrap_or_default();
    let a_day = PutOptions::new().ttl(std::time::Duration::from_secs(24 * 60 * 60));
    Namespace::open("deletions")?.put_with(id, written, &a_day).map(drop)
}

async fn work_off(batch: Batch) -> Result<(), KvError> {
    batch.each(delete_parts).await;
    Ok(())
}

/// Goes on where it was: it may have been begun before, by an isolate or a node that is gone.
async fn delete_parts(message: &Message) -> Result<(), String> {
    let (id, user) = (message.id(), message.text());
    let first = progress(&id).map_err(|error| error.to_string())?.map_or(0, |progress| progress.done);
    for (done, part) in PARTS.iter().enumerate().skip(first) {
        delete_part(part, &user).await?;
        let progress = Progress { user: user.clone(), done: done + 1, of: PARTS.len() };
        note(&id, &progress).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn delete_part(part: &str, user: &str) -> Result<(), String> {
    let wait = Config::get::<String>("wait").map_err(|error| error.to_string())?.unwrap_or_default();
    let request = Request::delete(format!("/{part}/{user}{wait}")).body(Body::empty());
    let response = Origin::named("data").fetch(request.map_err(|error| error.to_string())?).await;
    match response.map_err(|error| error.to_string())?.status() {
        // What is gone already is gone.
        status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
        status => Err(format!("{part}: the origin answered {status}")),
    }
}

serve!(Router::new().route("/account/{user}", delete(delete_account)).route("/deletions/{id}", get(show)));
consume!(work_off);

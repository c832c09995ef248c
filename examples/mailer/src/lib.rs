//! Sends letters that others have put into its queue. It answers no requests.

use eyot_sdk::prelude::*;

async fn work_off(batch: Batch) -> Result<(), QueueError> {
    batch.each(send).await;
    Ok(())
}

/// A letter may come twice, so the service gets a key by which it knows that. What it does not take comes again.
async fn send(letter: &Message) -> Result<(), String> {
    let path = Config::get::<Uri>("mail").map_err(|error| error.to_string())?.unwrap_or_default();
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", letter.id())
        .body(Body::from(letter.body()))
        .map_err(|error| error.to_string())?;
    let response = Origin::named("mail").fetch(request).await.map_err(|error| error.to_string())?;
    match response.status() {
        status if status.is_success() => {
            info!("letter {} is sent, at the {}. try", letter.id(), letter.attempts());
            Ok(())
        }
        status => Err(format!("the mail service answered {status}")),
    }
}

consume!(work_off);

//! Filters by method, header, path and client address, and divides visitors between two origins.

mod filter;
mod split;

use eyot_sdk::prelude::*;

async fn route(client: Client, jar: CookieJar, request: Request) -> Result {
    if let Some(refusal) = filter::refusal(&client, &request)? {
        return Ok(refusal);
    }
    let (origin, jar) = split::origin(jar, request.uri())?;
    let response = Origin::named(origin).fetch(request).await?;
    Ok((jar, response).into_response())
}
serve!(route);

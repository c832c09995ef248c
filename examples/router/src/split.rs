//! Divides visitors between origin `a` and origin `b`, and keeps each where it was.

use eyot_sdk::cookie::time::Duration;
use eyot_sdk::prelude::*;
use eyot_sdk::{ConfigError, rand};

const COOKIE: &str = "side";

/// The visitor's origin, and the cookie jar with the decision if it is a new one.
pub fn origin(jar: CookieJar, uri: &Uri) -> Result<(&'static str, CookieJar), ConfigError> {
    match jar.get(COOKIE).map(Cookie::value) {
        Some("a") => return Ok(("a", jar)),
        Some("b") => return Ok(("b", jar)),
        _ => {}
    }
    let percent: u8 = Config::get("percent_b")?.unwrap_or(0);
    let origin = if draw() < percent { "b" } else { "a" };
    let cookie = Cookie::build((COOKIE, origin))
        .path("/")
        .max_age(Duration::days(30))
        .same_site(SameSite::Lax)
        .http_only(true)
        .secure(uri.scheme_str() == Some("https"));
    Ok((origin, jar.add(cookie)))
}

/// A number below 100, each about as likely: 65,536 is not a multiple of 100, but an A/B test does not mind 0.2 %.
fn draw() -> u8 {
    let mut bytes = [0; 2];
    rand::get_random_bytes(&mut bytes);
    (u16::from_le_bytes(bytes) % 100) as u8
}

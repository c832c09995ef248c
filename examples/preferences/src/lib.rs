//! Keeps a visitor's theme, currency and language in one cookie, and shows them as a page or as JSON.

mod page;
mod preferences;

use eyot_sdk::cookie::time::Duration;
use eyot_sdk::prelude::*;
use preferences::{COOKIE, Change, Preferences};
use serde::Deserialize;

#[derive(Deserialize)]
struct Ask {
    set: Option<String>,
}

/// The whole form, as the page sends it.
#[derive(Deserialize)]
struct Choice {
    theme: String,
    currency: String,
    language: String,
}

/// `GET /` shows; `GET /?set=theme:dark` changes one and shows.
async fn show(uri: Uri, accept: Accept, jar: CookieJar, Query(ask): Query<Ask>) -> Response {
    let mut preferences = stored(&jar);
    let Some(change) = ask.set else { return view(&accept, preferences) };
    let changed = change.parse().map_err(str::to_owned).and_then(|Change(name, value)| preferences.set(&name, &value));
    match changed {
        Ok(()) => (jar.add(cookie(preferences, &uri)), view(&accept, preferences)).into_response(),
        Err(why) => refused(&why),
    }
}

/// `POST /` changes all, then leads back to the page: reloading it sends no form twice (RFC 9110 §15.4.4).
async fn change(uri: Uri, jar: CookieJar, Form(choice): Form<Choice>) -> Response {
    let mut preferences = Preferences::default();
    let fields = [("theme", choice.theme), ("currency", choice.currency), ("language", choice.language)];
    for (name, value) in fields {
        if let Err(why) = preferences.set(name, &value) {
            return refused(&why);
        }
    }
    (jar.add(cookie(preferences, &uri)), Redirect::to("/")).into_response()
}

fn stored(jar: &CookieJar) -> Preferences {
    jar.get(COOKIE).map(|cookie| Preferences::of_cookie(cookie.value())).unwrap_or_default()
}

/// For a year, for the whole site, out of reach of scripts and of other sites; over HTTPS, never in plain text again.
fn cookie(preferences: Preferences, uri: &Uri) -> Cookie<'static> {
    Cookie::build((COOKIE, preferences.to_string()))
        .path("/")
        .max_age(Duration::days(365))
        .same_site(SameSite::Lax)
        .http_only(true)
        .secure(uri.scheme_str() == Some("https"))
        .build()
}

/// A page for browsers, JSON for everybody else, also for who accepts neither: that is still better than nothing (RFC 9110 §12.1).
fn view(accept: &Accept, preferences: Preferences) -> Response {
    let caching = [(header::VARY, "Accept, Cookie"), (header::CACHE_CONTROL, "private")];
    if accept.negotiate(&["application/json", "text/html"]) == Some("text/html") {
        (caching, Html(page::of(preferences))).into_response()
    } else {
        (caching, Json(preferences)).into_response()
    }
}

fn refused(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

serve!(get(show).post(change));

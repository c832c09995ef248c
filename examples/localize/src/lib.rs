//! Answers in the visitor's language: the one chosen before (cookie `lang`), else the best of `Accept-Language`.

mod catalogue;

use catalogue::{Catalogue, DEFAULT, SUPPORTED};
use eyot_sdk::prelude::*;
use fluent_bundle::FluentArgs;
use serde::Deserialize;

#[derive(Deserialize)]
struct Visitor {
    name: Option<String>,
    #[serde(default)]
    unread: u32,
}

async fn page(languages: Languages, Query(visitor): Query<Visitor>) -> impl IntoResponse {
    let language = languages.negotiate(&SUPPORTED, DEFAULT);
    let catalogue = Catalogue::of(language);

    let mut args = FluentArgs::new();
    args.set("count", visitor.unread);
    let greeting = match visitor.name {
        Some(name) => {
            args.set("name", name);
            "greeting"
        }
        None => "greeting-stranger",
    };
    let lines = [greeting, "unread", "choose"].map(|name| catalogue.text(name, &args));

    let headers = [
        (header::CONTENT_LANGUAGE, language),
        // Caches must know that another visitor may get another page.
        (header::VARY, "Accept-Language, Cookie"),
    ];
    (headers, lines.join("\n") + "\n")
}

/// Remembers a choice for a year.
async fn choose(uri: Uri, jar: CookieJar, Path(language): Path<String>) -> Response {
    if !SUPPORTED.contains(&language.as_str()) {
        return (StatusCode::NOT_FOUND, "we do not speak this language\n").into_response();
    }
    let cookie = Cookie::build((eyot_sdk::LANGUAGE_COOKIE, language))
        .path("/")
        .max_age(eyot_sdk::cookie::time::Duration::days(365))
        .same_site(SameSite::Lax)
        .secure(uri.scheme_str() == Some("https"));
    (jar.add(cookie), Redirect::to("/")).into_response()
}

serve!(Router::new().route("/", get(page)).route("/language/{language}", get(choose)));

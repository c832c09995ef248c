//! Greets callers by their verified claims. Callers without a good token never get here: see eyot.toml.

use eyot_sdk::prelude::*;
use serde::{Deserialize, Serialize};

/// What our issuer writes into a token beside the registered claims.
#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    plan: Plan,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Plan {
    #[default]
    Free,
    Pro,
}

#[derive(Serialize)]
struct Profile {
    subject: Option<String>,
    issuer: Option<String>,
    scopes: Vec<String>,
    name: String,
    plan: Plan,
}

async fn greet(Claims(user): Claims<User>) -> String {
    match user.plan {
        Plan::Pro => format!("Welcome back, {}. You are on the pro plan.\n", user.name),
        Plan::Free => format!("Hello, {}.\n", user.name),
    }
}

/// The node demands the scope `greet` everywhere; what one path needs besides, the worker asks itself.
async fn profile(identity: Identity, Claims(user): Claims<User>) -> Result {
    if !identity.has_scope("profile") {
        return Ok((StatusCode::FORBIDDEN, "this needs the scope profile\n").into_response());
    }
    let Identity { subject, issuer, scopes, .. } = identity;
    Ok(Json(Profile { subject, issuer, scopes, name: user.name, plan: user.plan }).into_response())
}

serve!(Router::new().route("/", get(greet)).route("/profile", get(profile)));

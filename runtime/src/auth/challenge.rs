//! What a client is told when it is not let in (RFC 6750 §3).

use crate::config;
use crate::failure::Failure;

/// Why a request has no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// There is no token where one is looked for.
    Missing,
    /// There are several, and choosing one would be a second meaning of the request.
    Several(&'static str),
    /// There is one, and it is not good. The reason is shown to the client, so it says nothing that the token does not.
    Invalid(&'static str),
    /// A good token that lacks a scope.
    Scope,
}

/// The challenges of one way to authenticate, made once.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    /// `Bearer realm="…"`: all that is said when no token came (RFC 6750 §3.1, last paragraph).
    bare: String,
    /// The same with `error="insufficient_scope"` and the scopes that are needed.
    scope: String,
}

impl Challenge {
    pub(super) fn new(auth: &config::Auth) -> Self {
        let bare = format!("Bearer realm=\"{}\"", quoted(&auth.realm));
        let scope = format!(
            "{bare}, error=\"insufficient_scope\", error_description=\"a scope is missing\", scope=\"{}\"",
            quoted(&auth.scopes.join(" "))
        );
        Self { bare, scope }
    }

    pub(super) fn failure(&self, rejection: Rejection) -> Failure {
        match rejection {
            Rejection::Missing => {
                Failure::Unauthorized { reason: "the request has no token", challenge: self.bare.clone() }
            }
            Rejection::Several(reason) => Failure::BadRequest(reason),
            Rejection::Invalid(reason) => {
                let bare = &self.bare;
                let challenge = format!("{bare}, error=\"invalid_token\", error_description=\"{reason}\"");
                Failure::Unauthorized { reason, challenge }
            }
            Rejection::Scope => Failure::InsufficientScope { challenge: self.scope.clone() },
        }
    }
}

/// The inside of a quoted-string (RFC 9110 §5.6.4). What cannot stand in a header value at all becomes a question mark; the
/// keys' loader has refused it before.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(realm: &str, scopes: &[&str]) -> Challenge {
        Challenge::new(&config::Auth {
            realm: realm.into(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            ..super::super::fixtures::auth(&[])
        })
    }

    #[test]
    fn a_request_without_a_token_is_told_the_realm_alone() {
        let Failure::Unauthorized { challenge, .. } = challenge("shop", &[]).failure(Rejection::Missing) else {
            panic!()
        };
        assert_eq!(challenge, "Bearer realm=\"shop\"");
    }

    #[test]
    fn a_bad_token_is_told_why() {
        let failure = challenge("shop", &[]).failure(Rejection::Invalid("the token has expired"));
        let Failure::Unauthorized { challenge, .. } = failure else { panic!() };
        let expected = "Bearer realm=\"shop\", error=\"invalid_token\", error_description=\"the token has expired\"";
        assert_eq!(challenge, expected);
    }

    #[test]
    fn a_missing_scope_is_named() {
        let failure = challenge("shop", &["read", "write"]).failure(Rejection::Scope);
        assert_eq!(failure.status(), 403);
        let Failure::InsufficientScope { challenge } = failure else { panic!() };
        assert!(challenge.starts_with("Bearer realm=\"shop\", error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.ends_with("scope=\"read write\""), "{challenge}");
    }

    #[test]
    fn a_realm_cannot_leave_its_quotes() {
        assert_eq!(quoted("a\"b\\c"), "a\\\"b\\\\c");
        assert_eq!(quoted("a\r\nb\u{e9}"), "a??b?");
    }
}

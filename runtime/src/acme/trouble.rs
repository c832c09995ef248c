//! Why there is no certificate.

use instant_acme::{Error, Problem};

/// What went wrong with an order.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    why: String,
}

/// What it means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody has refused anything: it may be well in a moment.
    Unreachable,
    /// The authority has said no.
    Refused,
    /// It does not know our account any more.
    NoAccount,
}

/// What the types of problems begin with (RFC 8555 §6.7).
const ERROR: &str = "urn:ietf:params:acme:error:";

impl Trouble {
    /// What the authority is not to be blamed for.
    pub(super) fn here(why: impl Into<String>) -> Self {
        Self { kind: Kind::Unreachable, why: why.into() }
    }

    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self { kind: Kind::Refused, why: why.into() }
    }
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        let kind = match problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(ERROR)) {
            Some("accountDoesNotExist") => Kind::NoAccount,
            // The library has tried it again, and was unlucky each time.
            Some("badNonce" | "serverInternal") => Kind::Unreachable,
            _ => Kind::Refused,
        };
        Self { kind, why: told(&problem) }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => problem.into(),
            other => Self { kind: Kind::Unreachable, why: other.to_string() },
        }
    }
}

/// A problem document (RFC 9457), with those about single names (RFC 8555 §6.7.1).
pub(super) fn told(problem: &Problem) -> String {
    let one = |kind: &Option<String>, detail: &Option<String>| {
        let kind = kind.as_deref().unwrap_or("about:blank");
        let kind = kind.strip_prefix(ERROR).unwrap_or(kind);
        match detail {
            Some(detail) => format!("{detail} ({kind})"),
            None => kind.to_owned(),
        }
    };
    let parts = problem.subproblems.iter().map(|part| one(&part.r#type, &part.detail));
    std::iter::once(one(&problem.r#type, &problem.detail)).chain(parts).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_problem_is_told_by_its_details_and_its_type() {
        let text = r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"two of them are bad","subproblems":[
            {"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"policy forbids a.test"}]}"#;
        let trouble = Trouble::from(problem(text));
        assert_eq!(trouble.kind, Kind::Refused);
        assert_eq!(trouble.to_string(), "two of them are bad (malformed); policy forbids a.test (rejectedIdentifier)");
        assert_eq!(Trouble::from(problem("{}")).to_string(), "about:blank");
    }

    #[test]
    fn what_passes_and_an_account_that_is_gone_are_told_from_other_refusals() {
        let of = |kind: &str| Trouble::from(Error::Api(problem(&format!(r#"{{"type":"{ERROR}{kind}"}}"#)))).kind;
        assert_eq!(of("accountDoesNotExist"), Kind::NoAccount);
        assert_eq!(of("badNonce"), Kind::Unreachable);
        assert_eq!(of("rateLimited"), Kind::Refused);
        assert_eq!(Trouble::from(Error::Str("no nonce")).kind, Kind::Unreachable);
    }
}

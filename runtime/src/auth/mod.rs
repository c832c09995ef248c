//! Who is asking: JSON Web Tokens of a request, verified before any isolate starts; and tokens of operators, who say what runs.
//!
//! May import: `failure`, `http`, `config`, `observe`, `store`, `egress`. The way in: [`Verifier::load`] when the configuration is read,
//! [`Verifier::verify`] for each request; what comes out is an [`Identity`], or the [`crate::failure::Failure`] to answer with. For
//! operators, [`operator::authenticate`], and [`operator::issue`] for a new token.
//! Invariants: the key decides the algorithm, never the token (RFC 8725 §3.1); nothing is believed, and no claim is looked at,
//! before the signature is good; nothing that a token says makes us read a file or open a connection; what a token says in
//! a header that we do not understand is refused; a token and its claims are never logged.

mod challenge;
mod claims;
mod credential;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod identity;
mod json;
mod keys;
pub mod operator;
mod token;
mod verifier;

#[cfg(test)]
mod attacks;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), allow(dead_code, reason = "the fuzz target uses its part"))]
#[allow(clippy::unwrap_used, reason = "only tests and fuzz targets fail by it")]
mod fixtures;
#[cfg(test)]
mod standards;

pub use credential::cookie;
pub use identity::{CLAIMS_HEADER, Identity};
pub use verifier::Verifier;

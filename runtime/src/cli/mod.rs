//! Room cli.
pub mod limits;

//! Room auth.

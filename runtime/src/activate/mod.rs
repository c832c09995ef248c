//! Room activate.

//! Room egress.

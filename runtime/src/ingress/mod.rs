//! Room ingress.

//! Room deploy.

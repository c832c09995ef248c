//! Room dispatch.

//! Room bindings.

//! The label `status`: registered codes exactly, all others by their class, so that a guest cannot make labels up.

use std::sync::LazyLock;

use http::StatusCode;

/// One for what is not a status, and one for each class.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The codes that the http crate knows from the IANA registry, and 499: the client went away (nginx's number). In ascending order.
static REGISTERED: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let has_name = |code: &u16| StatusCode::from_u16(*code).is_ok_and(|status| status.canonical_reason().is_some());
    (100..600).filter(|code| *code == 499 || has_name(code)).collect()
});

/// How many different labels there are.
#[cfg(test)]
pub(super) fn slots() -> usize {
    CLASSES.len() + REGISTERED.len()
}

/// Which counter a status goes to.
pub(super) fn slot(status: u16) -> usize {
    match REGISTERED.binary_search(&status) {
        Ok(index) => CLASSES.len() + index,
        Err(_) => Some(usize::from(status / 100)).filter(|class| (1..CLASSES.len()).contains(class)).unwrap_or(0),
    }
}

/// The label of a counter.
pub(super) fn label(slot: usize) -> String {
    match slot.checked_sub(CLASSES.len()) {
        Some(index) => REGISTERED.get(index).map_or_else(String::new, u16::to_string),
        None => CLASSES[slot].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_codes_are_told_exactly_and_others_by_class() {
        let named = |status| label(slot(status));
        assert_eq!([named(200), named(404), named(499), named(511)], ["200", "404", "499", "511"]);
        assert_eq!([named(199), named(299), named(420), named(599)], ["1xx", "2xx", "4xx", "5xx"]);
        assert_eq!([named(0), named(99), named(600), named(u16::MAX)], ["other", "other", "other", "other"]);
    }
}

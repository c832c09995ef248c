//! The label `status`: codes of the IANA registry exactly, all others by their class, so that a guest cannot make labels up.

/// The registry of HTTP status codes, and 499: the client went away (nginx's number).
const REGISTERED: [u16; 63] = [
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425,
    426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// One for what is not a status, and one for each class.
const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// How many different labels there are.
pub(super) const SLOTS: usize = CLASSES.len() + REGISTERED.len();

/// The place of each status among the labels.
static SLOT: [u8; 600] = slots();

const fn slots() -> [u8; 600] {
    let mut slots = [0; 600];
    let mut status = 100;
    while status < slots.len() {
        slots[status] = (status / 100) as u8;
        status += 1;
    }
    let mut index = 0;
    while index < REGISTERED.len() {
        slots[REGISTERED[index] as usize] = (CLASSES.len() + index) as u8;
        index += 1;
    }
    slots
}

/// Which counter a status goes to.
pub(super) fn slot(status: u16) -> usize {
    SLOT.get(usize::from(status)).map_or(0, |slot| usize::from(*slot))
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
        assert_eq!([named(199), named(299), named(418), named(599)], ["1xx", "2xx", "4xx", "5xx"]);
        assert_eq!([named(0), named(99), named(600), named(u16::MAX)], ["other", "other", "other", "other"]);
    }
}

//! The time of a response (RFC 9110 §6.6.1), written out once a second for each core.

use std::cell::RefCell;

use hyper::header::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

thread_local! {
    static WRITTEN: RefCell<(i64, HeaderValue)> = const { RefCell::new((i64::MIN, HeaderValue::from_static(""))) };
}

/// Now, as `Date` has it.
pub(super) fn now() -> HeaderValue {
    let now = Timestamp::now();
    WRITTEN.with_borrow_mut(|(second, value)| {
        if *second != now.as_second() {
            // Neither fails: it is a time of this century, and it is written in letters and digits.
            let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).unwrap_or_default();
            *value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
            *second = now.as_second();
        }
        value.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_one_of_http() {
        let date = now();
        let date = date.to_str().unwrap();
        assert!(date.len() == 29 && date.ends_with(" GMT") && date.as_bytes()[3] == b',', "{date}");
        assert_eq!(now().len(), 29);
    }
}

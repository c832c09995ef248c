//! Telling clients of TCP that there is HTTP/3 (RFC 7838).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use hyper::HeaderMap;
use hyper::header::{ALT_SVC, Entry, HeaderValue};

/// For so many seconds a client may remember it: a day, the default of RFC 7838 §3.1.
const MAX_AGE: u32 = 86_400;

/// What a listener with HTTP/3 says of it, for as long as it is there.
#[derive(Debug)]
pub(super) struct AltSvc {
    /// Made once; a clone is a reference count.
    value: Option<HeaderValue>,
    serves: AtomicBool,
}

impl AltSvc {
    pub(super) fn of(port: u16) -> Self {
        let text = format!("h3=\":{port}\"; ma={MAX_AGE}");
        Self { value: HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok(), serves: AtomicBool::new(false) }
    }

    /// From now on it is there, or is not.
    pub(super) fn serves(&self, serves: bool) {
        self.serves.store(serves, Relaxed);
    }

    /// Says so in a response, unless whoever made it says something else.
    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.value.as_ref().filter(|_| self.serves.load(Relaxed))
            && let Entry::Vacant(vacant) = headers.entry(ALT_SVC)
        {
            vacant.insert(value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_while_it_is_there_and_never_over_what_a_response_says_itself() {
        let (alt, mut headers) = (AltSvc::of(8443), HeaderMap::new());
        alt.announce(&mut headers);
        assert!(headers.is_empty());
        alt.serves(true);
        alt.announce(&mut headers);
        assert_eq!(headers[ALT_SVC], "h3=\":8443\"; ma=86400");
        headers.insert(ALT_SVC, HeaderValue::from_static("clear"));
        alt.announce(&mut headers);
        assert_eq!(headers[ALT_SVC], "clear");
    }
}

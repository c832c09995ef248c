//! Loops: a request that comes back to this node again and again, through an origin or a worker that asks the node's public name.
//!
//! Each request that leaves carries `CDN-Loop` (RFC 8586) with this process in it, whoever made it, and one that arrives with
//! this process in it too often goes no further.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::failure::Failure;
use crate::observe::Trace;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// This process, as it signs what it sends.
#[derive(Clone, Debug)]
pub(super) struct Signature(Arc<HeaderValue>);

impl Signature {
    /// One that no other process has. It says nothing about this one.
    pub(super) fn new() -> Self {
        let value = HeaderValue::try_from(format!("eyot;node={}", Trace::root().id()));
        // Ours are ASCII, so there always is a value; without the node's own part, loops of any two nodes look alike.
        Self(Arc::new(value.unwrap_or(HeaderValue::from_static("eyot"))))
    }

    /// What a request that arrived with these fields passes on.
    ///
    /// # Errors
    /// When it has left this process `limit` times already.
    pub(super) fn sign(&self, headers: &HeaderMap, limit: u64) -> Result<Passed, Failure> {
        let mut list = Vec::new();
        let mut times = 0;
        for line in headers.get_all(CDN_LOOP) {
            times += line.as_bytes().split(|byte| *byte == b',').filter(|element| self.is(element)).count() as u64;
            list.extend_from_slice(line.as_bytes());
            list.extend_from_slice(b", ");
        }
        if times >= limit {
            return Err(Failure::LoopDetected { limit });
        }
        if list.is_empty() {
            return Ok(Passed(HeaderValue::clone(&self.0)));
        }
        list.extend_from_slice(self.0.as_bytes());
        // Every part is a value already.
        Ok(Passed(HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or_else(|_| (*self.0).clone())))
    }

    /// Whether a list element is this process. RFC 8586 §2 lets spaces stand around the semicolon.
    fn is(&self, element: &[u8]) -> bool {
        let element = element.iter().filter(|byte| !matches!(byte, b' ' | b'\t'));
        element.eq(self.0.as_bytes())
    }
}

/// The nodes that a request has passed, with this one at the end.
#[derive(Clone, Debug)]
pub struct Passed(HeaderValue);

impl Passed {
    /// Says so in a request that leaves, whatever its maker wrote: nobody may take an entry away (RFC 8586 §2).
    pub(super) fn set(&self, headers: &mut HeaderMap) {
        headers.insert(CDN_LOOP, self.0.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(from: &Signature, headers: &HeaderMap) -> HeaderMap {
        let mut next = HeaderMap::new();
        from.sign(headers, 2).unwrap().set(&mut next);
        next
    }

    #[test]
    fn a_request_passes_a_node_as_often_as_the_limit_says_also_by_way_of_another() {
        let (here, there) = (Signature::new(), Signature::new());
        let mut headers = HeaderMap::new();
        headers.insert(CDN_LOOP, HeaderValue::from_bytes(b"example.com; a=\"\xff\", eyot").unwrap());
        for _ in 0..2 {
            headers = pass(&there, &pass(&here, &headers));
        }
        for node in [&here, &there] {
            assert_eq!(node.sign(&headers, 2).unwrap_err(), Failure::LoopDetected { limit: 2 });
        }
        pass(&Signature::new(), &headers);
        assert!(headers[CDN_LOOP].as_bytes().starts_with(b"example.com; a=\"\xff\", eyot, eyot;node="));
    }

    #[test]
    fn spaces_and_further_lines_hide_nothing() {
        let here = Signature::new();
        let own = here.0.to_str().unwrap().replace(';', " ;\t");
        let mut headers = HeaderMap::new();
        headers.append(CDN_LOOP, own.parse().unwrap());
        headers.append(CDN_LOOP, format!("other,{own}").parse().unwrap());
        here.sign(&headers, 3).unwrap();
        here.sign(&headers, 2).unwrap_err();
    }
}

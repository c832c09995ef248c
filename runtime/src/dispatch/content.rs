//! The content of a response as HTTP frames it: a final status, a declared length that is kept, no content where there is none.
//!
//! hyper trusts what it is given: a 101 would end HTTP on the connection, and a length that is not the content's would let the
//! rest of the content be read as the next response.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::http::Body;

/// The length that the content will have, as far as it is known.
///
/// # Errors
/// What is wrong with the response.
pub(super) fn length(response: &Response<Body>, method: &Method) -> Result<Option<u64>, String> {
    let status = response.status();
    if status.is_informational() {
        return Err(format!("{} is not the status of a final response", status.as_u16()));
    }
    let declared = declared(response.headers())?;
    let here = response.body().in_memory();
    if has_none(method, status) {
        return Ok(here.or(declared));
    }
    match (here, declared) {
        (Some(here), Some(declared)) if here != declared => {
            Err(format!("content-length is {declared}, and the content has {here} bytes"))
        }
        _ => Ok(here.or(declared)),
    }
}

/// The value of `Content-Length`. Several fields are one value if they agree (RFC 9110 §8.6).
fn declared(headers: &HeaderMap) -> Result<Option<u64>, String> {
    let mut declared = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        if number.is_none() || declared.is_some_and(|declared| Some(declared) != number) {
            return Err("content-length is not one number".to_owned());
        }
        declared = number;
    }
    Ok(declared)
}

/// Whether a response has no content whatever its header says (RFC 9110 §6.4.1, §15.3.6).
fn has_none(method: &Method, status: StatusCode) -> bool {
    let bare = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    *method == Method::HEAD || bare.contains(&status)
}

/// Leaves the content out where there is none: over HTTP/2 hyper would send it. `length` is what [`length`] found.
pub(super) fn frame(response: &mut Response<Body>, method: &Method, length: Option<u64>) {
    let status = response.status();
    if !has_none(method, status) {
        return;
    }
    *response.body_mut() = Body::empty();
    let headers = response.headers_mut();
    match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => drop(headers.remove(CONTENT_LENGTH)),
        StatusCode::NOT_MODIFIED => {}
        // What GET would have had (RFC 9110 §9.3.2). A handler that makes no content for HEAD does not know.
        _ => {
            if let Some(length) = length.filter(|length| *length > 0) {
                headers.insert(CONTENT_LENGTH, length.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn response(status: u16, lengths: &[&str], content: &'static str) -> Response<Body> {
        let mut response = Response::builder().status(status);
        for length in lengths {
            response = response.header(CONTENT_LENGTH, *length);
        }
        response.body(Body::from(Bytes::from_static(content.as_bytes()))).unwrap()
    }

    #[test]
    fn a_status_that_is_not_final_is_refused() {
        for status in [100, 101, 103] {
            assert!(length(&response(status, &[], ""), &Method::GET).is_err(), "{status}");
        }
        assert_eq!(length(&response(200, &[], "abc"), &Method::GET), Ok(Some(3)));
    }

    #[test]
    fn a_declared_length_that_is_not_the_content_s_is_refused() {
        for lengths in [&["2"][..], &["4"], &["3", "4"], &["+3"], &["3, 3"], &[""], &["99999999999999999999"]] {
            assert!(length(&response(200, lengths, "abc"), &Method::GET).is_err(), "{lengths:?}");
        }
        assert_eq!(length(&response(200, &["3", "3"], "abc"), &Method::GET), Ok(Some(3)));
    }

    #[test]
    fn responses_without_content_have_none() {
        for (method, status, declared, kept) in [
            (Method::HEAD, 200, None, Some("3")),
            (Method::HEAD, 200, Some("3"), Some("3")),
            (Method::GET, 204, Some("3"), None),
            (Method::GET, 205, Some("3"), None),
            (Method::GET, 304, Some("10"), Some("10")),
            (Method::GET, 200, None, None),
        ] {
            let mut response = response(status, declared.as_slice(), "abc");
            let length = length(&response, &method).unwrap();
            frame(&mut response, &method, length);
            let found = response.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(found, kept, "{method} {status}");
            assert_eq!(response.body().in_memory() == Some(3), status == 200 && method == Method::GET);
        }
    }

    #[test]
    fn a_head_response_without_content_says_nothing_of_its_length() {
        let mut response = response(200, &[], "");
        let length = length(&response, &Method::HEAD).unwrap();
        frame(&mut response, &Method::HEAD, length);
        assert!(response.headers().get(CONTENT_LENGTH).is_none());
    }
}

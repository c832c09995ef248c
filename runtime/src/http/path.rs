//! One spelling for each path.
//!
//! Guests, origins, proxies and file systems disagree on what `/a/../b`, `/a/%2e%2e/b` or `/a\b` mean. A request whose path
//! can be read in two ways could be authenticated as the one and answered as the other, so it is refused; what has one meaning
//! in several spellings gets one spelling.

use std::borrow::Cow;

use crate::failure::Failure;

/// The canonical form of a path without its query:
///
/// - escapes of unreserved characters are decoded, all others have upper-case digits (RFC 3986 §6.2.2); `%2F` stays `%2F`;
/// - ASCII characters that a path may not hold, but that browsers send (`|`, `^`, `"`, `{` …), are escaped;
/// - several slashes in a row become one;
/// - an escaped slash is no slash: `/a%2Fb` is one segment. The route table refuses it where it matters to somebody who takes it for two;
/// - `*` (the server as a whole, RFC 9112 §3.2.4) is left alone; the route table takes it for OPTIONS only.
///
/// The canonical form of a canonical form is itself. Nothing is allocated for a path that is canonical already.
///
/// # Errors
/// [`Failure::BadRequest`] for a path that does not begin with a slash; for dot segments, also with `%2F` or path parameters (`..;x`)
/// about them, and segments that are only such parameters; for backslashes, control characters and overlong UTF-8, plain or escaped; for
/// `%` without two digits, spaces, `#`, `?`, and bytes that are not ASCII.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Failure> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(Failure::BadRequest("the path does not begin with a slash"));
    }
    let canonical = if is_plain(path) { Cow::Borrowed(path) } else { Cow::Owned(rewrite(path)?) };
    check_segments(&canonical)?;
    Ok(canonical)
}

/// What paths have in common that an origin may take for the same: escapes of printable ASCII are decoded, but for `%` and `/`, and path
/// parameters (`;…`, RFC 3986 §3.3) are left out. RFC 3986 §2.2 keeps `%40` and `@` apart and leaves parameters to the
/// origin; most servers take the first two as one, and those of the Java world drop the third. A route for the one must not be passed
/// by with the other. Only for comparing; the slashes stay where they are.
pub fn match_key(canonical: &str) -> Cow<'_, str> {
    if !canonical.contains(['%', ';']) {
        return Cow::Borrowed(canonical);
    }
    let bytes = canonical.as_bytes();
    let mut key = String::with_capacity(canonical.len());
    let mut in_parameter = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        // An escape that is decoded: its byte stands for three.
        let decoded = escaped_byte(&bytes[at..]).filter(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'/'));
        at += if decoded.is_some() { 3 } else { 1 };
        let byte = decoded.unwrap_or(byte);
        match byte {
            b'/' => in_parameter = false,
            b';' => in_parameter = true,
            _ => {}
        }
        if !in_parameter {
            key.push(char::from(byte));
        }
    }
    Cow::Owned(key)
}

/// The path as a server sees it that decodes `%2F` before it splits the path into segments. `None` where there is no `%2F`.
///
/// # Errors
/// Those of [`canonical`].
pub fn with_slashes_decoded(canonical_path: &str) -> Result<Option<String>, Failure> {
    if !canonical_path.contains("%2F") {
        return Ok(None);
    }
    canonical(&canonical_path.replace("%2F", "/")).map(|path| Some(path.into_owned()))
}

/// Whether nothing has to be rewritten. Says nothing of what its segments are.
fn is_plain(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let good = is_path_character(byte) || (byte == b'/' && before != b'/');
        before = byte;
        good
    })
}

fn rewrite(path: &str) -> Result<String, Failure> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len() + 8);
    // The byte of the escape that ended right here, or 0.
    let mut before = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let Some(byte) = escaped_byte(&bytes[at..]) else {
                return Err(Failure::BadRequest("the path has a percent sign without two hexadecimal digits"));
            };
            refuse_escaped(byte, before)?;
            if is_unreserved(byte) {
                out.push(char::from(byte))
            } else {
                push_escape(&mut out, byte)
            }
            before = byte;
            at += 3;
            continue;
        }
        match byte {
            b'/' if out.ends_with('/') => {}
            b'/' => out.push('/'),
            b'\\' => return Err(Failure::BadRequest("the path has a backslash")),
            b' ' | b'?' | b'#' => return Err(Failure::BadRequest("the path has a character that no path has")),
            _ if is_path_character(byte) => out.push(char::from(byte)),
            _ if byte.is_ascii_graphic() => push_escape(&mut out, byte),
            _ if byte.is_ascii() => return Err(Failure::BadRequest("the path has a control character")),
            _ => return Err(Failure::BadRequest("the path has a character outside ASCII that is not escaped")),
        }
        before = 0;
        at += 1;
    }
    Ok(out)
}

fn refuse_escaped(byte: u8, before: u8) -> Result<(), Failure> {
    let continues = (0x80..0xc0).contains(&byte);
    // Longer than needed (RFC 3629 §3): lenient decoders read %C0%AE as a dot and %C0%AF as a slash.
    let overlong = continues
        && (matches!(before, 0xc0 | 0xc1) || (before == 0xe0 && byte < 0xa0) || (before == 0xf0 && byte < 0x90));
    match byte {
        _ if overlong => Err(Failure::BadRequest("the path has overlong UTF-8")),
        b'\\' => Err(Failure::BadRequest("the path has a backslash")),
        _ if byte.is_ascii_control() => Err(Failure::BadRequest("the path has a control character")),
        _ => Ok(()),
    }
}

/// In canonical form dots are plain. What separates segments is a slash, escaped or not; what may follow their name is a parameter (`;…`),
/// which some servers cut off before they resolve dots and merge slashes.
fn check_segments(canonical: &str) -> Result<(), Failure> {
    if !canonical.contains(['.', ';', '%']) {
        return Ok(());
    }
    for piece in canonical.split('/').flat_map(|segment| segment.split("%2F")) {
        let name = piece.split(';').next().unwrap_or_default();
        let name = name.split("%3B").next().unwrap_or_default();
        if matches!(name, "." | "..") {
            return Err(Failure::BadRequest("the path has dot segments"));
        }
        if name.is_empty() && !piece.is_empty() {
            return Err(Failure::BadRequest("the path has a segment that is nothing but parameters"));
        }
    }
    Ok(())
}

/// The byte of an escape that `bytes` begins with.
fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let [b'%', high, low, ..] = bytes else { return None };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` without escapes (RFC 3986 §3.3).
fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(path: &str) -> String {
        canonical(path).unwrap_or_else(|failure| panic!("{path}: {failure}")).into_owned()
    }

    #[track_caller]
    fn refused(paths: &[&str], why: &str) {
        for path in paths {
            match canonical(path) {
                Err(Failure::BadRequest(reason)) => assert!(reason.contains(why), "{path}: {reason}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_plain_path_is_its_own_canonical_form_without_a_copy() {
        for path in
            ["/", "/a", "/a/b.c/", "/a;b=c/@d:e,f", "/...", "/..a/b..", "/.well-known/x", "/-._~!$&'()*+,;=:@", "*"]
        {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn one_meaning_gets_one_spelling() {
        assert_eq!(good("/%61%2Db%5f%7E"), "/a-b_~");
        assert_eq!(good("/a%2fb%3ac%40"), "/a%2Fb%3Ac%40");
        assert_eq!(good("/caf%c3%a9"), "/caf%C3%A9");
        assert_eq!(good("//a///b//"), "/a/b/");
        assert_eq!(good("/a|b^c{d}[e]`\"<>"), "/a%7Cb%5Ec%7Bd%7D%5Be%5D%60%22%3C%3E");
        assert_eq!(good("/a%20b%2520"), "/a%20b%2520");
        assert_eq!(good("/v1%2e2/%2e%2e%2e"), "/v1.2/...");
        assert_eq!(good("/%ff%e9"), "/%FF%E9", "what is not UTF-8 is still bytes");
    }

    #[test]
    fn c21_dot_segments_are_refused_in_any_spelling() {
        refused(
            &[
                "/.",
                "/..",
                "/./a",
                "/../a",
                "/a/.",
                "/a/..",
                "/a/./b",
                "/a/../b",
                "//..//",
                "/%2e",
                "/%2E%2e/a",
                "/.%2e/a",
                "/a/%2e./b",
                "/a/..;/b",
                "/a/..;x=1/b",
                "/a/.;/b",
                "/a/%2e%2e;x/b",
                "/a/..%3bx/b",
                "/a/..%3B",
                "/a%2F..%2Fb",
                "/a%2f%2e%2e%2fb",
                "/a%2F..",
                "/..%2Fa",
                "/a/..%2F..;x/b",
                "/a;x/../b",
                "/a%2F.;y",
            ],
            "dot segments",
        );
    }

    #[test]
    fn c21_backslashes_and_control_characters_are_refused_plain_and_escaped() {
        refused(&["/a\\b", "/\\..\\", "/a%5Cb", "/a%5c..%5c", "/..\\"], "backslash");
        refused(
            &["/a\0", "/a%00", "/a%00.png", "/%0d%0aSet-Cookie", "/a\tb", "/a%7F", "/a\x7f", "/%1f"],
            "control character",
        );
    }

    #[test]
    fn c21_what_is_no_path_is_refused() {
        refused(&["/%", "/%4", "/%zz", "/%4g", "/a%", "/%%41", "/%+1", "/%c3%a"], "two hexadecimal digits");
        refused(&["", "a", "http://a/b", "example.com:443", "**", "%2F", "*/"], "begin with a slash");
        refused(&["/a b", "/a?b", "/a#b"], "no path has");
        refused(&["/caf\u{e9}", "/\u{2024}\u{2024}/", "/\u{ff0e}"], "outside ASCII");
        refused(&["/%c0%ae%c0%ae/", "/%c0%af", "/%C1%9c", "/%e0%80%af", "/%f0%80%80%af"], "overlong");
    }

    #[test]
    fn a_segment_of_nothing_but_parameters_is_refused() {
        refused(&["/;x/a", "/a/;", "/%3bx/a", "/a/;x;y/b", "/a%2F;x"], "nothing but parameters");
    }

    #[test]
    fn the_match_key_makes_equal_what_origins_take_for_equal() {
        assert_eq!(match_key("/%40admin"), "/@admin");
        assert_eq!(match_key("/a%2Fb%25c%21"), "/a%2Fb%25c!");
        assert_eq!(match_key("/a;x=%41/b%3By;z/c"), "/a/b/c");
        assert_eq!(match_key("/%7Bid%7D"), "/{id}");
        assert_eq!(match_key("/caf%C3%A9%20x"), "/caf%C3%A9%20x");
        assert_eq!(match_key("/%2540"), "/%2540", "decoded once, not twice");
        assert!(matches!(match_key("/a"), Cow::Borrowed(_)));
    }

    #[test]
    fn any_path_is_refused_or_has_a_canonical_form_that_is_its_own() {
        const PIECES: [&str; 32] = [
            "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "%3b", "%00", "%", "%4", "%41", "a",
            "B", "~", "%7e", "@", "%40", "%25", "25", "2e", "é", "|", "%c3%a9", "%c0%ae", " ", "?", "*",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut accepted = 0;
        for _ in 0..200_000 {
            let mut path = String::from("/");
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            for turn in 0..(state >> 61) {
                path.push_str(PIECES[(state >> (5 * turn + 20)) as usize & 31]);
            }
            let Ok(once) = canonical(&path) else { continue };
            accepted += 1;
            assert_eq!(canonical(&once).as_deref(), Ok(&*once), "{path}");
            let key = match_key(&once);
            assert_eq!(match_key(&key), key, "{path}");
            assert!(!key.contains("//") && !key.contains(';'), "{path}");
            assert_eq!(key.matches('/').count(), once.matches('/').count(), "{path}");
            assert!(once.is_ascii() && !once.contains("//"), "{path}");
            // However an origin decodes it, no segment is made of dots.
            let decoded = percent_encoding::percent_decode_str(&once).decode_utf8_lossy();
            assert!(decoded.split(['/', '\\']).all(|segment| !matches!(segment, "." | "..")), "{path}");
        }
        assert!(accepted > 10_000, "{accepted}");
    }
}

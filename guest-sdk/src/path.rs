//! What the path of a request may mean to those who read it after us.

use std::borrow::Cow;

/// The ways in which an origin may read a path; a filter looks at them, and the request goes on with the path that it has.
///
/// Servers disagree. Some cut a segment at `;` (its parameters, RFC 3986 §3.3) and some do not; some take `%2F` for a slash, some decode
/// before they cut and some after. A filter that compares the path as it came is passed by with `/admin;x`, `/admin%2Fusers` or
/// `/admin%3Bx`, by whoever knows the origin. Here are both orders, each decoded once, without empty segments and with dot
/// segments removed (`..;` is one to some). What must not get through is refused if any reading matches; what may get through is let
/// through if all do.
///
/// ```
/// use eyot_sdk::path;
///
/// assert!(path::readings("/admin%2Fusers;id=1").iter().any(|path| path.starts_with("/admin/")));
/// ```
#[must_use]
pub fn readings(path: &str) -> [String; 2] {
    let cut_first = path.split('/').map(|segment| decoded(cut(segment)).into_owned()).collect::<Vec<_>>().join("/");
    let decoded_first = decoded(path).split('/').map(cut).collect::<Vec<_>>().join("/");
    [plain(&cut_first), plain(&decoded_first)]
}

/// Whether an origin may read this path as `folder` or as something below it: `/internal` and `/internal/x`, not `/internals`.
#[must_use]
pub fn may_be_below(path: &str, folder: &str) -> bool {
    let below = |path: &String| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    readings(path).iter().any(below)
}

fn cut(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(before, _)| before)
}

/// Once: `%252F` becomes `%2F`. Bytes that are no UTF-8 become U+FFFD, which equals nothing that a filter looks for.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

fn plain(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{may_be_below, readings};

    #[test]
    fn what_an_origin_may_take_for_a_folder_is_found() {
        for path in [
            "/internal",
            "/internal/x",
            "/internal;a/x",
            "/internal;a",
            "/internal%2Fx",
            "/internal%2fx",
            "/internal%3Ba",
            "/internal%3Ba/x",
            "/%69nternal/x",
            "//internal/x",
            "/x/..;/internal",
            "/;a/internal",
            "/%2Finternal",
            "/.;/internal",
        ] {
            assert!(may_be_below(path, "/internal"), "{path}: {:?}", readings(path));
        }
        assert!(may_be_below("/internal;%2Fx/reports", "/internal/reports"));
        // An origin that cuts first reads the one, an origin that decodes first the other.
        assert_eq!(readings("/internal;%2Fx/reports"), ["/internal/reports", "/internal/x/reports"]);
    }

    #[test]
    fn what_no_origin_takes_for_it_is_not() {
        for path in ["/", "/internals", "/x/internal", "/internal%252Fx", "/x;internal", "/%FFinternal", "/internal%00"]
        {
            assert!(!may_be_below(path, "/internal"), "{path}: {:?}", readings(path));
        }
        assert_eq!(readings("/a/b"), ["/a/b", "/a/b"]);
        assert_eq!(readings("/"), ["/", "/"]);
    }
}

//! The field names that only this node gives a meaning to.

use http::HeaderMap;
use http::header::HeaderName;

/// Takes away every `eyot-` field, from a header or trailer section. `eyot_` too, because servers in the manner of CGI
/// (RFC 3875 §4.1.18) cannot tell the two apart.
pub fn strip_ours(fields: &mut HeaderMap) {
    strip_prefix(fields, "eyot-");
}

/// Takes away every field whose name begins so; a `_` in a name counts as the `-` that it becomes in CGI.
pub fn strip_prefix(fields: &mut HeaderMap, prefix: &str) {
    strip(fields, |name| name.len() >= prefix.len() && same(&name[..prefix.len()], prefix));
}

/// Takes away the fields of these names, however they are spelled.
pub fn strip_names(fields: &mut HeaderMap, names: &[&str]) {
    strip(fields, |name| names.iter().any(|wanted| name.len() == wanted.len() && same(name, wanted)));
}

fn same(name: &str, wanted: &str) -> bool {
    name.bytes().zip(wanted.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

fn strip(fields: &mut HeaderMap, matches: impl Fn(&str) -> bool) {
    // Mostly there is nothing to take away, and then this allocates nothing.
    let found: Vec<HeaderName> = fields.keys().filter(|name| matches(name.as_str())).cloned().collect();
    for name in found {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(strip: impl Fn(&mut HeaderMap), names: &[&'static str]) -> Vec<String> {
        let mut fields = HeaderMap::new();
        for name in names {
            fields.insert(*name, "x".parse().unwrap());
        }
        strip(&mut fields);
        let mut left: Vec<_> = fields.keys().map(|name| name.as_str().to_owned()).collect();
        left.sort();
        left
    }

    #[test]
    fn our_names_go_in_both_spellings_and_others_stay() {
        let names = ["eyot-claims", "eyot_claims", "eyotish", "eyot", "x-eyot-y"];
        assert_eq!(left(strip_ours, &names), ["eyot", "eyotish", "x-eyot-y"]);
    }

    #[test]
    fn a_name_goes_in_both_spellings_and_longer_ones_stay() {
        let strip = |fields: &mut HeaderMap| strip_names(fields, &["content-length"]);
        assert_eq!(left(strip, &["content-length", "content_length", "content-length-x"]), ["content-length-x"]);
    }
}

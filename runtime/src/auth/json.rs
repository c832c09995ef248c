//! A JSON object, read strictly: one value for each name.
//!
//! RFC 7515 §4 and RFC 7519 §4 let a parser take the last of two members of one name, or refuse. Two parsers that choose differently
//! (ours, and the guest's that reads the claims) would see two identities in one token, so we refuse.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, sorted by name; their values are read when they are asked for.
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A member is there, but its value is not of the type that it must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongType;

impl<'a> Object<'a> {
    /// Reads `bytes` as one JSON object; `None` when they are anything else, or when a name stands there twice.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        // Checked as a whole, because the values that nobody asks for are skipped and not looked into: a guest that reads them
        // would meet half a surrogate, or a number that is none, in what we have called good.
        let text = std::str::from_utf8(bytes).ok()?;
        serde_json::from_str::<serde_json::Value>(text).ok()?;
        let mut object: Self = serde_json::from_str(text).ok()?;
        object.0.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let unique = object.0.windows(2).all(|pair| pair[0].0 != pair[1].0);
        unique.then_some(object)
    }

    /// Whether there is a member of this name, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// A member that must be a string if it is there.
    pub(super) fn string(&self, name: &str) -> Result<Option<Cow<'a, str>>, WrongType> {
        self.read::<Text<'a>>(name).map(|text| text.map(|text| text.0))
    }

    /// A member that must be a number if it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, WrongType> {
        self.read(name)
    }

    /// A member that must be a string or a list of strings if it is there.
    pub(super) fn strings(&self, name: &str) -> Result<Option<Vec<Cow<'a, str>>>, WrongType> {
        if let Ok(one) = self.string(name) {
            return Ok(one.map(|one| vec![one]));
        }
        let list: Option<Vec<Text<'a>>> = self.read(name)?;
        Ok(list.map(|list| list.into_iter().map(|text| text.0).collect()))
    }

    fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, WrongType> {
        let Some(value) = self.member(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| WrongType)
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.binary_search_by(|(member, _)| member.as_ref().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| *value)
    }
}

/// A string that is borrowed unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_unescaped_name_and_read_by_its_type() {
        let object = Object::parse(br#"{"b": 1, "a\u0062": "x\ny", "list": ["p", "q"], "n": null}"#).unwrap();
        assert_eq!(object.string("ab"), Ok(Some("x\ny".into())));
        assert_eq!(object.number("b"), Ok(Some(1.0)));
        assert_eq!(object.string("b"), Err(WrongType));
        assert_eq!(object.number("n"), Err(WrongType), "null is a value, and no number");
        assert_eq!(object.strings("list"), Ok(Some(vec!["p".into(), "q".into()])));
        assert_eq!(object.strings("ab"), Ok(Some(vec!["x\ny".into()])));
        assert_eq!(object.number("missing"), Ok(None));
        assert!(object.has("n") && !object.has("missing"));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_also_when_one_is_escaped() {
        assert!(Object::parse(br#"{"alg": "HS256", "alg": "none"}"#).is_none());
        assert!(Object::parse(br#"{"alg": "HS256", "x": 1, "\u0061lg": "none"}"#).is_none());
        assert!(
            Object::parse(br#"{"x": {"alg": 1}, "alg": 2}"#).is_some(),
            "another object's names are another matter"
        );
    }

    #[test]
    fn what_is_not_one_object_of_utf8_is_refused() {
        for bytes in
            [&b""[..], b"null", b"[]", b"1", b"\"x\"", b"{}{}", b"{} x", b"{\"a\":}", b"{\"a\": 01}", b"\xef\xbb\xbf{}"]
        {
            assert!(Object::parse(bytes).is_none(), "{bytes:?}");
        }
        assert!(Object::parse(b"{\"ignored\": \"\xff\"}").is_none());
        assert!(Object::parse(b"{\"ignored\": \"\xc0\xae\"}").is_none());
        assert!(Object::parse(br#"{"ignored": "\ud800"}"#).is_none(), "no parser could hold it");
        assert!(Object::parse(br#"{"ignored": ["\ud83d\ude00", 1e999]}"#).is_none());
        assert!(Object::parse(br#"{"ignored": ["\ud83d\ude00", 1e99]}"#).is_some());
        let deep = format!("{{\"a\": {}", "[".repeat(100_000));
        assert!(Object::parse(deep.as_bytes()).is_none(), "and the stack holds");
    }
}

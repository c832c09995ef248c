//! The question that a test asks: the mode and its arguments, both from the request target.

/// The arguments of a mode, from the query of the request target.
pub struct Query {
    mode: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads a request target. The mode is the argument `mode` where there is one, so that a test can choose any path, and
    /// else the last segment of the path, so that the fixture works below any route.
    pub fn parse(path_with_query: &str) -> Self {
        let (path, query) = path_with_query.split_once('?').unwrap_or((path_with_query, ""));
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(key, value)| (key.to_owned(), percent_decode(value)))
            .collect();
        let last_segment = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        let named = pairs.iter().find(|(key, _)| key == "mode").map(|(_, value)| value.clone());
        Self { mode: named.unwrap_or_else(|| last_segment.to_owned()), pairs }
    }

    /// What to do.
    pub fn mode(&self) -> &str {
        &self.mode
    }

    /// An argument as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// An argument as a number. A test that misspells its number must not pass by accident, so that is a panic.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        match self.text(key) {
            None => default,
            Some(text) => text.parse().unwrap_or_else(|_| panic!("{key}={text:?} is not a number")),
        }
    }

    /// An argument as a length or a count.
    pub fn size(&self, key: &str, default: usize) -> usize {
        usize::try_from(self.number(key, default as u64)).expect("it fits 32 bits")
    }

    /// Whether an argument is there and is not `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value != "0")
    }
}

/// Decodes `%41`; what is not a valid escape stays as it is.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

//! What is written down beside compiled code, under a seal of its own: enough for a start to do without validating, mapping or linking.

use std::io;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::sandbox::Inspection;
use crate::store::Digest;

/// What is known of a component whose code is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What it is.
    pub(super) inspection: Inspection,
    /// The digest of its code.
    pub(super) code: String,
    /// The length of its code.
    pub(super) bytes: u64,
    /// Who has linked it: another build of Eyot may have other interfaces to offer, another pool other places.
    pub(super) linked: String,
}

impl Record {
    /// As it is written: one line of JSON, then the digest of the key and of that line.
    pub(super) fn sealed(&self, key: &str) -> io::Result<String> {
        let line = serde_json::to_string(self)?;
        let seal = seal(key, &line);
        Ok(format!("{line}\n{seal}\n"))
    }

    /// `None` where the seal is not that of this key and of what it stands under.
    pub(super) fn unsealed(text: &str, key: &str) -> Option<Self> {
        let (line, found) = text.split_once('\n')?;
        if found.trim_end() != seal(key, line) {
            return None;
        }
        serde_json::from_str(line).ok()
    }
}

fn seal(key: &str, line: &str) -> String {
    Digest::of(format!("{key}\n{line}").as_bytes()).to_string()
}

/// Told from other builds by its file. A copy of the same build counts as another one, which costs a start the linking.
pub(super) fn this_build() -> &'static str {
    use std::os::unix::fs::MetadataExt;
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| match std::fs::metadata("/proc/self/exe") {
        Ok(file) => format!("{}-{}-{}-{}", file.ino(), file.size(), file.mtime(), file.mtime_nsec()),
        // Then no two starts are of one build.
        Err(_) => format!("process {}", std::process::id()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{EngineKind, Handler};

    #[test]
    fn a_record_is_read_under_its_own_key_only_and_as_it_was_written_only() {
        let handlers = vec![(Handler::Http02, "wasi:http/incoming-handler@0.2.0".to_owned())];
        let inspection = Inspection { engine: EngineKind::Plain, handlers };
        let code = Digest::of(b"code").to_string();
        let record = Record { inspection, code, bytes: 4, linked: this_build().to_owned() };
        let text = record.sealed("a").unwrap();
        assert_eq!(Record::unsealed(&text, "a").as_ref(), Some(&record));
        assert_eq!(Record::unsealed(&text, "b"), None);
        assert_eq!(Record::unsealed(&text.replace("\"bytes\":4", "\"bytes\":5"), "a"), None);
        assert_eq!(Record::unsealed(text.split_once('\n').unwrap().0, "a"), None);
    }
}

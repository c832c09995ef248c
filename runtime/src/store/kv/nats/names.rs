//! How a worker's keys are called on the server: a stream for each worker, and in it a subject for each key.
//!
//! The names of workers and namespaces have small letters, digits and hyphens alone (`config::form`), and a key is encoded, so each is one
//! word of a subject and none leads to another one's.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::store::kv::model::Namespace;

/// The longest key in bytes: as long as limit `kv_key` lets it be. Its subject has 2,870 characters at most, and a line of the protocol,
/// which has the subject and little else, 4,096 (the server's `max_control_line`).
pub(super) const LONGEST_KEY: usize = 2048;

/// The stream that has all that a worker keeps. Names have no underscores, so it is nobody else's.
pub(super) fn stream(worker: &str) -> String {
    format!("eyot-kv_{worker}")
}

/// All subjects of a worker.
pub(super) fn of_worker(worker: &str) -> String {
    format!("eyot.kv.{worker}.>")
}

/// All subjects of a namespace.
pub(super) fn of_namespace(namespace: &Namespace) -> String {
    format!("eyot.kv.{}.{}.*", namespace.worker, namespace.name)
}

/// The subject of a key. No subject is that of an empty key, or of one that is too long: nothing stands there.
pub(super) fn subject(namespace: &Namespace, key: &str) -> Option<String> {
    let has_one = (1..=LONGEST_KEY).contains(&key.len());
    has_one.then(|| format!("eyot.kv.{}.{}.{}", namespace.worker, namespace.name, BASE64_URL_SAFE_NO_PAD.encode(key)))
}

/// The namespace and the key of a subject. What others have published there may be neither.
pub(super) fn key_of(subject: &str) -> Option<(&str, String)> {
    let mut words = subject.strip_prefix("eyot.kv.")?.split('.').skip(1);
    let (namespace, key) = (words.next()?, words.next()?);
    let key = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(key).ok()?).ok()?;
    Some((namespace, key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn carts() -> Namespace {
        Namespace { worker: "shop".into(), name: "carts".into() }
    }

    #[test]
    fn the_longest_key_has_a_subject_and_a_longer_one_has_none() {
        let name = "x".repeat(63);
        let namespace = Namespace { worker: name.as_str().into(), name: name.as_str().into() };
        let longest = subject(&namespace, &"k".repeat(LONGEST_KEY)).unwrap();
        assert!(longest.len() <= 2870, "{}", longest.len());
        assert_eq!(subject(&namespace, &"k".repeat(LONGEST_KEY + 1)), None);
        assert_eq!(subject(&namespace, ""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_key_of_any_characters_is_one_word_and_is_found_again(key in "\\PC{1,40}|[\\x00-\\x20.*>]{1,10}") {
            let subject = subject(&carts(), &key).unwrap();
            let word = subject.strip_prefix("eyot.kv.shop.carts.").unwrap();
            prop_assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{}", word);
            prop_assert_eq!(key_of(&subject), Some(("carts", key)));
        }
    }
}

//! Which certificates are for which name.

use std::collections::HashMap;

use rustls::SignatureAlgorithm;

/// Names and their certificates, each by its place in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Those that are written out.
    exact: HashMap<String, Vec<usize>>,
    /// What follows `*.` in those that stand for one more label (RFC 9525 §6.3).
    wildcard: HashMap<String, Vec<usize>>,
    /// For clients that name no host, or one that we do not have: the first certificate, and for those that cannot use its key, others
    /// of its names.
    others: Vec<usize>,
}

/// Two certificates between which nothing decides.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clash {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) name: String,
}

impl Names {
    /// The names of these certificates, and the first clash of each with those before it.
    pub(super) fn of<'a>(
        certificates: impl IntoIterator<Item = (&'a [String], SignatureAlgorithm)>,
    ) -> (Self, Vec<Clash>) {
        let (mut names, mut clashes, mut algorithms) = (Self::default(), Vec::new(), Vec::new());
        for (index, (own, algorithm)) in certificates.into_iter().enumerate() {
            let mut clash = None;
            for name in own {
                let known = names.entry(name);
                let same = known.iter().find(|other| algorithms[**other] == algorithm).copied();
                if let Some(first) = same {
                    clash.get_or_insert_with(|| Clash { first, second: index, name: name.clone() });
                } else {
                    // RSA last: to sign by it takes a server ten times as long.
                    let place = if algorithm == SignatureAlgorithm::RSA { known.len() } else { 0 };
                    known.insert(place, index);
                }
                let with_the_first = known.contains(&0);
                if with_the_first && !names.others.contains(&index) {
                    names.others.push(index);
                }
            }
            algorithms.push(algorithm);
            clashes.extend(clash);
        }
        if !names.others.contains(&0) {
            names.others.insert(0, 0);
        }
        (names, clashes)
    }

    /// The certificates for this name (in lower case), of which any will do whose key the client can use; the better one first. Never
    /// empty, as long as there is any certificate.
    pub(super) fn candidates(&self, name: Option<&str>) -> &[usize] {
        name.and_then(|name| self.of_name(name)).unwrap_or(&self.others)
    }

    /// The same where there is one for this very name.
    pub(super) fn of_name(&self, name: &str) -> Option<&[usize]> {
        let parent = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(parent).map(Vec::as_slice)
    }

    fn entry(&mut self, name: &str) -> &mut Vec<usize> {
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.to_owned()).or_default(),
            None => self.exact.entry(name.to_owned()).or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use SignatureAlgorithm::{ECDSA, RSA};

    use super::*;

    fn names(certificates: &[(&[&str], SignatureAlgorithm)]) -> (Names, Vec<Clash>) {
        let owned: Vec<(Vec<String>, _)> = certificates
            .iter()
            .map(|(names, algorithm)| (names.iter().map(ToString::to_string).collect(), *algorithm))
            .collect();
        Names::of(owned.iter().map(|(names, algorithm)| (&**names, *algorithm)))
    }

    #[test]
    fn the_most_specific_name_wins_and_a_star_stands_for_one_label() {
        let (names, clashes) = names(&[
            (&["first.test"], ECDSA),
            (&["*.example.test", "example.test"], ECDSA),
            (&["a.example.test"], ECDSA),
        ]);
        assert!(clashes.is_empty(), "{clashes:?}");
        for (name, expected) in [
            ("a.example.test", 2),
            ("b.example.test", 1),
            ("example.test", 1),
            ("a.b.example.test", 0),
            ("b.a.example.test", 0),
            ("test", 0),
            ("", 0),
            ("*.example.test", 1),
        ] {
            assert_eq!(names.candidates(Some(name)), [expected], "{name}");
        }
        assert_eq!(names.candidates(None), [0]);
    }

    #[test]
    fn certificates_for_one_name_differ_in_their_keys_and_rsa_is_the_last() {
        let (two, clashes) = names(&[(&["a.test"], RSA), (&["a.test", "b.test"], ECDSA)]);
        assert!(clashes.is_empty(), "{clashes:?}");
        assert_eq!(two.candidates(Some("a.test")), [1, 0]);
        assert_eq!(two.candidates(Some("b.test")), [1]);
        assert_eq!(two.candidates(None), [0, 1], "the first is shown before another one of its names");
        let (_, clashes) = names(&[(&["b.test"], RSA), (&["a.test", "*.b.test"], RSA), (&["*.b.test", "a.test"], RSA)]);
        assert_eq!(clashes, [Clash { first: 1, second: 2, name: "*.b.test".to_owned() }]);
    }

    #[test]
    fn a_first_certificate_without_names_is_there_for_those_who_name_none() {
        let (names, _) = names(&[(&[], ECDSA), (&["a.test"], ECDSA)]);
        assert_eq!(names.candidates(Some("a.test")), [1]);
        assert_eq!(names.candidates(Some("b.test")), [0]);
    }
}

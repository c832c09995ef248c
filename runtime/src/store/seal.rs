//! A digest of what stands in a row, beside it in the row: SQLite finds damage to the form of a page, not to a text in it.

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::shares::Share;

/// A seal that is being made. Each part is written with its length, so that no two rows have the same parts.
pub(super) struct Seal(Sha256);

impl Seal {
    pub(super) fn of(table: &str) -> Self {
        Self(Sha256::new()).text(table)
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.part(text.as_bytes())
    }

    pub(super) fn number(self, number: i64) -> Self {
        self.part(&number.to_be_bytes())
    }

    pub(super) fn digest(self, digest: &Digest) -> Self {
        self.text(&digest.to_string())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.part(bytes)
    }

    /// Something, or nothing.
    pub(super) fn maybe(self, number: Option<i64>) -> Self {
        match number {
            None => self.text("none"),
            Some(number) => self.text("some").number(number),
        }
    }

    pub(super) fn made(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }
}

pub(super) fn worker(id: i64, name: &str, created: i64) -> [u8; 32] {
    Seal::of("workers").number(id).text(name).number(created).made()
}

pub(super) fn version(id: &str, worker: i64, number: u32, created: i64, message: &str) -> [u8; 32] {
    Seal::of("versions").text(id).number(worker).number(number.into()).number(created).text(message).made()
}

pub(super) fn content(version: &str, component: &Digest, manifest: &str) -> [u8; 32] {
    Seal::of("contents").text(version).digest(component).text(manifest).made()
}

/// Of the deployment and its shares.
pub(super) fn deployment(
    number: i64,
    id: &str,
    worker: i64,
    created: i64,
    texts: [&str; 3],
    shares: &[Share],
) -> [u8; 32] {
    let seal = Seal::of("deployments").number(number).text(id).number(worker).number(created);
    let seal = texts.into_iter().fold(seal, Seal::text);
    let share =
        |seal: Seal, share: &Share| seal.text(&share.version.to_string()).number(share.weight.basis_points().into());
    shares.iter().fold(seal, share).made()
}

pub(super) fn audit(number: i64, at: i64, texts: [&str; 4]) -> [u8; 32] {
    texts.into_iter().fold(Seal::of("audit").number(number).number(at), Seal::text).made()
}

pub(super) fn key(texts: [&str; 3], request: &Digest, expires: i64) -> [u8; 32] {
    texts.into_iter().fold(Seal::of("idempotency_keys"), Seal::text).digest(request).number(expires).made()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_parts_have_other_seals() {
        let one = Seal::of("a").text("bc").text("d").number(1).made();
        assert_eq!(one, Seal::of("a").text("bc").text("d").number(1).made());
        assert_ne!(one, Seal::of("a").text("b").text("cd").number(1).made());
        assert_ne!(one, Seal::of("b").text("bc").text("d").number(1).made());
        assert_ne!(one, Seal::of("a").text("bc").text("d").number(2).made());
    }
}

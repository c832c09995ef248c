//! A digest of what stands in a row, beside it in the row: SQLite finds damage to the form of a page, not to a text in it.

use sha2::{Digest as _, Sha256};

use super::digest::Digest;

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

    pub(super) fn made(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }
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

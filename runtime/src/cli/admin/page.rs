//! Lists that the node gives page by page.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Connection, Refusal};

/// The node gives so many at once.
const MOST: u32 = 100;

/// A part of a list, and where the next one begins.
pub(in crate::cli) trait Pages: DeserializeOwned {
    /// What is older than what.
    type Before: Serialize + Clone;

    /// So many are in it.
    fn count(&self) -> usize;

    /// Where the next one begins.
    fn next(&self) -> Option<Self::Before>;

    /// Takes what is older.
    fn append(&mut self, older: Self);

    /// The newest so many, however many pages that takes.
    fn newest(connection: &Connection, path: &[&str], limit: u32) -> Result<Self, Refusal> {
        let wanted = |have: u32| [("limit", (limit - have).clamp(1, MOST))];
        let mut all: Self = connection.get(path, &wanted(0))?;
        loop {
            let have = u32::try_from(all.count()).unwrap_or(limit);
            match all.next() {
                Some(before) if have < limit => {
                    let [limit] = wanted(have);
                    all.append(connection.get(path, &(limit, ("before", before)))?);
                }
                _ => return Ok(all),
            }
        }
    }
}

/// The list `$field` of a shape.
macro_rules! pages {
    ($shape:ident, $field:ident, $before:ty) => {
        impl Pages for crate::admin::api::shapes::$shape {
            type Before = $before;

            fn count(&self) -> usize {
                self.$field.len()
            }

            fn next(&self) -> Option<$before> {
                self.next.clone()
            }

            fn append(&mut self, older: Self) {
                self.$field.extend(older.$field);
                self.next = older.next;
            }
        }
    };
}

pages!(Versions, versions, u32);
pages!(Deployments, deployments, String);
pages!(Audit, entries, i64);

//! Where kept history begins. The triggers of the schema let nothing of it be deleted but what lies before its horizon, a horizon only
//! advances, and only pruning moves one: so no other statement, and no slip of ours, takes anything from history.

use rusqlite::{Connection, Row, params};

use super::error::Cause;
use super::read::{self, damaged, faults, sealed};
use super::seal::Seal;

/// The worker of the audit's horizon, which has none.
const NOBODY: i64 = 0;

/// What has a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// All lines of the audit.
    Audit,
    /// The deployments of a worker, by its id.
    Deployments(i64),
}

const HORIZONS: &str = "SELECT history, worker, begins, seal FROM horizons";

/// What is before this number may be deleted from now on.
pub(super) fn advance(connection: &Connection, history: History, begins: i64) -> Result<(), Cause> {
    let (word, worker) = history.key();
    let write = "INSERT INTO horizons VALUES (?1, ?2, ?3, ?4) ON CONFLICT (history, worker) DO UPDATE SET begins = ?3, seal = ?4";
    connection.prepare_cached(write)?.execute(params![word, worker, begins, seal(word, worker, begins)])?;
    Ok(())
}

/// What is wrong with the horizons themselves.
pub(super) fn broken(connection: &Connection) -> Vec<Cause> {
    faults(connection, HORIZONS, row)
}

/// The audit has every line from its horizon on: what is missing there was not pruned.
pub(super) fn gaps(connection: &Connection) -> Option<Cause> {
    let look = || -> Result<Option<Cause>, Cause> {
        let (word, worker) = History::Audit.key();
        let query = format!("{HORIZONS} WHERE history = ?1 AND worker = ?2");
        let begins = read::one(connection, &query, params![word, worker], row)?.unwrap_or(1);
        let count = "SELECT count(*), coalesce(min(number), ?1), coalesce(max(number), ?1 - 1) FROM audit";
        let (count, first, last): (i64, i64, i64) =
            connection.query_row(count, [begins], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let is_whole = first == begins && count == last - begins + 1;
        Ok((!is_whole).then(|| Cause::Damaged(format!("the audit lacks lines between {begins} and {last}"))))
    };
    look().unwrap_or_else(Some)
}

impl History {
    fn key(self) -> (&'static str, i64) {
        match self {
            Self::Audit => ("audit", NOBODY),
            Self::Deployments(worker) => ("deployments", worker),
        }
    }
}

fn row(_: &Connection, row: &Row<'_>) -> Result<i64, Cause> {
    let (word, worker, begins): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    sealed(row, 3, seal(&word, worker, begins), || format!("where the {word} of {worker} begin"))?;
    if begins < 1 {
        return Err(damaged(&format!("where the {word} of {worker} begin")));
    }
    Ok(begins)
}

fn seal(history: &str, worker: i64, begins: i64) -> [u8; 32] {
    Seal::of("horizons").text(history).number(worker).number(begins).made()
}

//! The one thread that changes the database. It commits all changes that wait in one transaction, since what costs is the fsync, and
//! answers after it. What a loss of power may undo does without one, unless it is committed together with what it may not. If one of them
//! fails, all are made anew, each with a savepoint of its own, so that it takes no other with it: SQLite copies each page that is changed
//! after a savepoint, which is dear where nothing fails.

use std::io;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior, ffi};
use tokio::sync::{mpsc, oneshot};

use super::error::{Cause, StoreError, extended};
use super::thread::{MOST_WAITING, caught};

/// How many changes one transaction has at most. The first of them waits for all of them.
const MOST_TOGETHER: usize = 256;

/// What a change outlives that has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlives {
    /// It is on the disk.
    PowerLoss,
    /// The kernel has it.
    Kill,
}

/// The way to the thread. Dropping this ends it when it has made what was asked.
#[derive(Debug)]
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
    #[cfg(test)]
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts it, under this name, on the one connection that may write.
    pub(super) fn start(name: &str, connection: Connection, path: PathBuf) -> io::Result<Self> {
        let (changes, asked) = mpsc::channel(MOST_WAITING);
        #[cfg(test)]
        let commits = Arc::new(AtomicU64::new(0));
        let mut desk = Desk {
            connection,
            outlives: Outlives::PowerLoss,
            path,
            #[cfg(test)]
            commits: Arc::clone(&commits),
            failed: None,
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || desk.run(asked))?;
        Ok(Self {
            changes: Some(changes),
            thread: Some(thread),
            #[cfg(test)]
            commits,
        })
    }

    /// Makes a change, and answers when it is on the disk. It is made even if nobody waits any more, and made anew where another one failed
    /// beside it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(change, Outlives::PowerLoss).await
    }

    /// The same without an fsync: if the process is killed it was made, and if the machine loses its power it may not have been.
    pub(super) async fn change_unsynced<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(change, Outlives::Kill).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        change: impl Fn(&Connection) -> Result<T, Cause> + Send + 'static,
        outlives: Outlives,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let change = Box::new(Asked { change, outlives, came: None, answer });
        let changes = self.changes.as_ref().ok_or(StoreError::Closed)?;
        changes.send(change).await.map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// How often it has committed.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            // It catches what panics.
            let _ = thread.join();
        }
    }
}

/// A change of any kind, on its way.
trait Change: Send {
    fn outlives(&self) -> Outlives;
    /// Makes it, maybe once more. Says whether it is to be kept.
    fn make(&mut self, connection: &Connection, path: &Path) -> bool;
    /// Says what came of it, after the commit.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Asked<F, T> {
    change: F,
    outlives: Outlives,
    came: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: Fn(&Connection) -> Result<T, Cause> + Send> Change for Asked<F, T> {
    fn outlives(&self) -> Outlives {
        self.outlives
    }

    fn make(&mut self, connection: &Connection, path: &Path) -> bool {
        let came = caught(|| (self.change)(connection).map_err(|cause| cause.at(path)));
        let is_kept = came.is_ok();
        self.came = Some(came);
        is_kept
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.came, committed) {
            // Its own fault is the better answer.
            (Some(Err(own)), _) => Err(own),
            (_, Err(error)) => Err(error),
            (Some(Ok(made)), Ok(())) => Ok(made),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        let _ = self.answer.send(answer);
    }
}

struct Desk {
    connection: Connection,
    /// What its next commit outlives.
    outlives: Outlives,
    path: PathBuf,
    #[cfg(test)]
    commits: Arc<AtomicU64>,
    /// Why nothing is changed any more.
    failed: Option<StoreError>,
}

impl Desk {
    fn run(&mut self, mut asked: mpsc::Receiver<Box<dyn Change>>) {
        let mut waiting = Vec::new();
        while asked.blocking_recv_many(&mut waiting, MOST_TOGETHER) > 0 {
            let committed = match &self.failed {
                Some(failed) => Err(failed.clone()),
                None => self.commit(&mut waiting).map_err(|error| self.told(&error)),
            };
            for change in waiting.drain(..) {
                change.answer(committed.clone());
            }
        }
    }

    fn commit(&mut self, waiting: &mut [Box<dyn Change>]) -> rusqlite::Result<()> {
        self.outlive(waiting)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if waiting.iter_mut().all(|change| change.make(&transaction, &self.path)) {
            transaction.commit()?;
            self.committed();
            return Ok(());
        }
        // This fails where SQLite has rolled back everything, as it may when a disk is full.
        transaction.rollback()?;
        if waiting.len() > 1 { self.commit_apart(waiting) } else { Ok(()) }
    }

    fn commit_apart(&mut self, waiting: &mut [Box<dyn Change>]) -> rusqlite::Result<()> {
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut is_changed = false;
        for change in waiting {
            let savepoint = transaction.savepoint()?;
            if change.make(&savepoint, &self.path) {
                savepoint.commit()?;
                is_changed = true;
            } else {
                savepoint.finish()?;
            }
        }
        if is_changed {
            transaction.commit()?;
            self.committed();
        }
        Ok(())
    }

    /// What is written before goes to the disk with whatever must: the log is one file, and its beginning is not lost without its end.
    fn outlive(&mut self, waiting: &[Box<dyn Change>]) -> rusqlite::Result<()> {
        let needs_disk = waiting.iter().any(|change| change.outlives() == Outlives::PowerLoss);
        let (outlives, synchronous) =
            if needs_disk { (Outlives::PowerLoss, "full") } else { (Outlives::Kill, "normal") };
        if self.outlives != outlives {
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.outlives = outlives;
        }
        Ok(())
    }

    fn committed(&self) {
        #[cfg(test)]
        self.commits.fetch_add(1, Relaxed);
    }

    fn told(&mut self, error: &rusqlite::Error) -> StoreError {
        let told = StoreError::sqlite(&self.path, error);
        if is_lasting(error) {
            tracing::error!(%error, path = %self.path.display(), "the store takes no changes any more");
            self.failed = Some(StoreError::Failed { path: self.path.clone(), reason: error.to_string() });
        }
        told
    }
}

/// Whether trying again would tell that all is well where it is not: the kernel tells of a lost page once.
fn is_lasting(error: &rusqlite::Error) -> bool {
    let synced = [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&extended(error));
    synced || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_that_fails_takes_nothing_with_it_of_those_that_are_made_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE numbers (number INTEGER)").unwrap();
        let writer = Writer::start("test-write", connection, path.clone()).unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        // It is made alone, and the others come together behind it.
        let first = writer.change(move |_| Ok(wait.lock().unwrap().recv().is_err()));
        let add = |number: i64, is_good: bool| {
            writer.change(move |connection| {
                connection.execute("INSERT INTO numbers VALUES (?1)", [number])?;
                match is_good {
                    true => Ok(number),
                    false => Err(rusqlite::Error::QueryReturnedNoRows.into()),
                }
            })
        };
        let others = async {
            let (one, two, three, ()) = tokio::join!(add(1, true), add(2, false), add(3, true), async { drop(go) });
            (one.unwrap(), two.is_err(), three.unwrap())
        };
        let (_, others) = tokio::join!(first, others);
        assert_eq!(others, (1, true, 3));
        let all = |connection: &Connection| -> Result<Vec<i64>, Cause> {
            let mut numbers = connection.prepare("SELECT number FROM numbers ORDER BY number")?;
            let found = numbers.query_map([], |row| row.get(0))?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        };
        assert_eq!(writer.change(all).await.unwrap(), [1, 3]);
    }

    #[tokio::test]
    async fn what_must_be_on_the_disk_is_so_whatever_is_committed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "synchronous", "full").unwrap();
        let writer = Writer::start("test-write", connection, path).unwrap();
        // SQLite's numbers: 1 is normal, which has no fsync for a commit to its log, 2 is full, which has.
        let how = |connection: &Connection| -> Result<u32, Cause> {
            Ok(connection.pragma_query_value(None, "synchronous", |row| row.get(0))?)
        };
        assert_eq!(writer.change(how).await.unwrap(), 2);
        assert_eq!(writer.change_unsynced(how).await.unwrap(), 1);
        assert_eq!(writer.change(how).await.unwrap(), 2);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let first = writer.change_unsynced(move |_| Ok(wait.lock().unwrap().recv().is_err()));
        let together = async { tokio::join!(writer.change_unsynced(how), writer.change(how), async { drop(go) }) };
        let (_, (unsynced, synced, ())) = tokio::join!(first, together);
        assert_eq!((unsynced.unwrap(), synced.unwrap()), (2, 2));
    }

    #[test]
    fn a_failed_fsync_is_the_last_and_a_full_disk_is_not() {
        let error = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert!(is_lasting(&error(ffi::SQLITE_IOERR_FSYNC)));
        assert!(is_lasting(&error(ffi::SQLITE_CORRUPT)));
        assert!(!is_lasting(&error(ffi::SQLITE_FULL)));
        assert!(!is_lasting(&error(ffi::SQLITE_IOERR_WRITE)));
    }
}

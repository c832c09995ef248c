//! The file of the database: how it is opened, and what is looked at before it is believed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::check;
use super::durable;
use super::error::{READ, StoreError, WRITTEN};
use super::migrate::{self, MIGRATIONS, Migration};
use super::wal;

/// How the file is called, in the folder of the store and in a backup.
pub const DATABASE: &str = "state.db";

/// `Eyot` in ASCII: which program the file belongs to, as `file(1)` shows it.
const APPLICATION: i32 = 0x4579_6f74;

/// Who else has the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Nobody.
    Alone,
    /// The process whose place this one takes, which may be writing.
    Beside,
}

/// Opens the database to change it, or makes it; brings it to our schema; looks whether it is whole.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    open_with(path, MIGRATIONS, Opening::Alone)
}

pub(super) fn open_with(path: &Path, migrations: &[Migration], opening: Opening) -> Result<Connection, StoreError> {
    let told = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let is_there = is_there(path)?;
    match is_there {
        // Before SQLite reads it, which would throw away what follows the damage.
        // What somebody is writing just now is not damaged.
        true if opening == Opening::Alone => refuse_damaged_log(path)?,
        true => {}
        false => create(path)?,
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    if is_there {
        belongs_to_us(&connection, path)?;
    }
    migrate::refuse_newer(&connection, path, migrations)?;
    if is_there {
        refuse_damaged(path, check::pages(&connection, check::Depth::Quick))?;
    }
    connection.pragma_update(None, "journal_mode", "wal").map_err(told)?;
    if application(&connection).map_err(told)? != APPLICATION {
        connection.pragma_update(None, "application_id", APPLICATION).map_err(told)?;
    }
    migrate::migrate(&mut connection, path, migrations)?;
    // Its entry in the folder: SQLite sees to that of its journals only.
    durable::sync_folder(durable::parent(path)).map_err(|error| StoreError::file(path, WRITTEN, &error))?;
    refuse_damaged(path, check::schema(&connection, migrations))?;
    if opening == Opening::Alone {
        // The next log begins anew: nothing in it is from before a crash, as `wal.rs` relies on.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(told)?;
    }
    Ok(connection)
}

/// Opens the database to read it. It was opened by [`open`] before.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Refuses what is no database of ours.
fn belongs_to_us(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let told = |error: rusqlite::Error| StoreError::sqlite(path, &error);
    let application = application(connection).map_err(told)?;
    // A process that died in making it has left one without a table.
    let count = "SELECT count(*) FROM sqlite_schema";
    let is_empty = || connection.query_row(count, [], |row| row.get::<_, i64>(0)).map(|count| count == 0);
    if application == APPLICATION || (application == 0 && is_empty().map_err(told)?) {
        return Ok(());
    }
    let reason = format!("its application id is {application:#010x}, which is another program's");
    Err(StoreError::NotADatabase { path: path.to_owned(), reason })
}

/// Writes all of a database into a new file, as it is at one moment, and sees that it is on the disk.
pub(super) fn copy(connection: &Connection, into: &Path) -> Result<(), StoreError> {
    let name = into.to_str().ok_or_else(|| {
        let reason = io::Error::new(io::ErrorKind::InvalidFilename, "SQLite takes names in UTF-8 only");
        StoreError::file(into, WRITTEN, &reason)
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(|error| StoreError::sqlite(into, &error))?;
    durable::sync_file(into).map_err(|error| StoreError::file(into, WRITTEN, &error))
}

fn application(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Whether there is a database. What a process that died has left empty is made again.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len() > 0),
        Ok(_) => {
            let reason = "it is not a regular file".to_owned();
            Err(StoreError::NotADatabase { path: path.to_owned(), reason })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file(path, READ, &error)),
    }
}

/// An empty file that is this user's alone. SQLite gives its journals the same mode.
fn create(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map(drop).map_err(|error| StoreError::file(path, WRITTEN, &error))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    // No two threads share a connection, so SQLite need not lock it.
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let set = || {
        let connection = Connection::open_with_flags(path, flags)?;
        // Each commit is an fsync. Nothing less keeps what was answered over a power cut.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // A schema that somebody wrote into the file runs nothing of theirs, and a damaged page is noticed early.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        // What was deleted is overwritten: an old value of a secret would be opened by whoever has its old key.
        connection.pragma_update(None, "secure_delete", true)?;
        // A process that is confined has no other place for temporary files.
        connection.pragma_update(None, "temp_store", "memory")?;
        // Nobody is in the way but an operator with a shell of SQLite's.
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    };
    set().map_err(|error| StoreError::sqlite(path, &error))
}

fn refuse_damaged_log(path: &Path) -> Result<(), StoreError> {
    let damage = wal::damage(path).map_err(|error| StoreError::file(&wal::path(path), READ, &error))?;
    match damage {
        None => Ok(()),
        Some(found) => Err(StoreError::Damaged { path: path.to_owned(), found }),
    }
}

fn refuse_damaged(path: &Path, found: rusqlite::Result<Vec<String>>) -> Result<(), StoreError> {
    let found = found.map_err(|error| StoreError::sqlite(path, &error))?;
    match found.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Damaged { path: path.to_owned(), found: found.join("; ") }),
    }
}

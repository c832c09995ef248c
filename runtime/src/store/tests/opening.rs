//! What is opened, what is refused, and what an upgrade does.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::*;
use crate::store::{database, migrate};

fn database(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

/// The text of the fault with which a folder is refused.
#[track_caller]
fn refused(folder: &Path) -> (StoreError, String) {
    let error = open(folder).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&*folder.to_string_lossy()), "it does not say where: {text}");
    assert!(text.contains(';'), "it does not say what to do: {text}");
    (error, text)
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_the_store() {
    let (folder, store) = fresh();
    let error = Store::open(folder.path()).unwrap_err();
    let holder = format!("process {}", std::process::id());
    assert_eq!(error, StoreError::Locked { folder: folder.path().to_owned(), holder });
    drop(store);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn only_its_user_may_look_into_a_store() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a/b");
    let store = open(&folder).unwrap();
    serve(&store, "api", b"one").await;
    for (path, mode) in [(folder.clone(), 0o700), (database(&folder), 0o600), (lies(&folder, b"one"), 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}

#[tokio::test]
async fn each_commit_is_an_fsync_and_references_are_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let connection = database::open(&database(folder.path())).unwrap();
    let value = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((value("synchronous"), value("foreign_keys"), value("user_version")), (2, 1, 1));
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    assert!(fs::read(database(folder.path())).unwrap()[68..72] == *b"Eyot", "the application id");
}

#[tokio::test]
async fn a_store_is_closed_without_a_journal_beside_it() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    drop(store);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["components", "lock", "state.db"]);
}

#[test]
fn a_downgrade_is_refused_by_the_name_of_the_version_that_made_the_database() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let connection = Connection::open(database(folder.path())).unwrap();
    connection.execute("INSERT INTO migrations VALUES (7, '9.8.7', 0)", []).unwrap();
    connection.pragma_update(None, "user_version", 7).unwrap();
    drop(connection);
    let before = fs::read(database(folder.path())).unwrap();
    let (error, text) = refused(folder.path());
    assert!(matches!(error, StoreError::Newer { schema: 7, ours: 1, .. }), "{error:?}");
    assert!(text.contains("made by Eyot 9.8.7") && text.contains("start Eyot 9.8.7"), "{text}");
    assert_eq!(fs::read(database(folder.path())).unwrap(), before, "what was refused was changed");
}

#[tokio::test]
async fn an_upgrade_keeps_a_copy_of_what_there_was() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    drop(store);
    let path = database(folder.path());
    let next = [migrate::MIGRATIONS, &["CREATE TABLE others (name TEXT PRIMARY KEY) STRICT;"]].concat();
    drop(database::open_with(&path, &next, database::Opening::Alone).unwrap());
    let count = |path: &Path| -> i64 {
        let connection = Connection::open(path).unwrap();
        let known = "SELECT count(*) FROM sqlite_schema WHERE name = 'others'";
        connection.query_row(known, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count(&path), count(&folder.path().join("state.db.before-2"))), (1, 0));
    assert!(matches!(refused(folder.path()).0, StoreError::Newer { schema: 2, .. }));
    fs::rename(folder.path().join("state.db.before-2"), &path).unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(store.snapshot().await.unwrap().workers.len(), 1);
    assert_eq!(store.check().await.unwrap(), []);
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_database_as_it_was() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    let before = everything(&store).await;
    drop(store);
    let path = database(folder.path());
    let next = [migrate::MIGRATIONS, &["CREATE TABLE others (name TEXT) STRICT; CREATE TABLE workers (x);"]].concat();
    let error = database::open_with(&path, &next, database::Opening::Alone).unwrap_err();
    assert!(matches!(error, StoreError::Migration { number: 2, .. }), "{error}");
    let store = open(folder.path()).unwrap();
    assert_eq!(everything(&store).await, before);
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(database(folder.path()), "not a database, but long enough to be taken for one".repeat(100)).unwrap();
    let (error, _) = refused(folder.path());
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
    assert!(fs::read(database(folder.path())).unwrap().starts_with(b"not a database"));
    fs::remove_file(database(folder.path())).unwrap();
    fs::create_dir(database(folder.path())).unwrap();
    assert!(matches!(refused(folder.path()).0, StoreError::NotADatabase { .. }));
}

#[test]
fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(database(folder.path())).unwrap();
    connection.execute_batch("CREATE TABLE notes (text); PRAGMA user_version = 1").unwrap();
    drop(connection);
    assert!(matches!(refused(folder.path()).0, StoreError::NotADatabase { .. }));
}

#[tokio::test]
async fn a_lost_database_is_not_taken_for_a_new_store() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    drop(store);
    fs::write(database(folder.path()), "").unwrap();
    assert!(matches!(refused(folder.path()).0, StoreError::Gone { .. }));
    fs::remove_file(database(folder.path())).unwrap();
    assert!(matches!(refused(folder.path()).0, StoreError::Gone { .. }));
}

#[tokio::test]
async fn what_a_process_that_died_has_left_half_is_removed() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    drop(store);
    let beside = lies(folder.path(), b"one").with_file_name(".half.tmp");
    fs::write(&beside, "ha").unwrap();
    let store = open(folder.path()).unwrap();
    assert!(!beside.exists());
    assert_eq!(store.check().await.unwrap(), []);
}

//! Bytes that are not what was written are found and named, wherever they are.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

/// Two workers with a history whose begin was pruned, with secrets and tokens.
async fn filled() -> tempfile::TempDir {
    let (folder, store) = fresh();
    for worker in ["one", "two"] {
        for number in 0..4 {
            serve(&store, worker, format!("{worker} {number}").as_bytes()).await;
        }
    }
    store.remove_worker(by(), "two", After::Whatever).await.unwrap();
    for name in ["x", "y", "z"] {
        set(&store, "one", name, "a value").await;
    }
    store.remove_secret(by(), "one", name("z")).await.unwrap();
    for text in ["eyot_1", "eyot_2"] {
        let token = store.add_token(by(), token(text)).await.unwrap();
        store.revoke_token(by(), token.id).await.unwrap();
    }
    store.add_token(by(), token("eyot_3")).await.unwrap();
    let history = std::num::NonZeroU32::new(3).unwrap();
    store.prune(by(), Keep { deployments: history, history, ..Keep::default() }).await.unwrap();
    drop(store);
    folder
}

/// Turns one bit of a file around.
fn flip(path: &Path, at: u64, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
}

#[tokio::test]
async fn no_flipped_bit_of_the_database_changes_what_is_read() {
    let folder = filled().await;
    let path = folder.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let store = open(folder.path()).unwrap();
    let wanted = everything(&store).await;
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), whole, "reading has changed the file");
    let seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let (mut refused, mut named, mut harmless) = (0, 0, 0);
    for round in 0..300 {
        // All of the header, then anywhere.
        let at = if round < 100 { round } else { random.below(whole.len() as u64) };
        let bit = u8::try_from(random.below(8)).unwrap();
        fs::write(&path, &whole).unwrap();
        flip(&path, at, bit);
        match open(folder.path()) {
            Err(error) => {
                assert!(error.to_string().contains("state.db"), "bit {bit} of byte {at}: {error}");
                refused += 1;
            }
            Ok(store) if store.check().await.unwrap().is_empty() => {
                assert_eq!(everything(&store).await, wanted, "bit {bit} of byte {at} was not noticed");
                harmless += 1;
            }
            Ok(_) => named += 1,
        }
        for journal in ["state.db-wal", "state.db-shm"] {
            let _ = fs::remove_file(folder.path().join(journal));
        }
    }
    println!("{refused} were refused, {named} were named, {harmless} changed nothing");
    assert!(refused > 30, "only {refused} were refused");
}

#[tokio::test]
async fn a_changed_text_is_named_by_its_row() {
    let folder = filled().await;
    let path = folder.path().join("state.db");
    let bytes = fs::read(&path).unwrap();
    let manifest = b"name = \"one\"";
    let at = bytes.windows(manifest.len()).position(|window| window == manifest).unwrap();
    flip(&path, at as u64, 0);
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("of worker one is not what was written"), "{error}");
}

#[tokio::test]
async fn changed_secrets_tokens_and_notes_are_named_by_their_rows() {
    let folder = filled().await;
    let path = folder.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let store = open(folder.path()).unwrap();
    let ciphertext = store.secrets(None).await.unwrap().remove(0).sealed.ciphertext;
    let token = store.tokens().await.unwrap().remove(2);
    drop(store);
    let expected = [
        (ciphertext.as_slice(), "secret x of worker one".to_owned()),
        (b"*.shop.example", format!("token {}", token.id)),
        (&TokenHash::of("eyot_3").0, format!("token {}", token.id)),
        (b"a note", "of worker".to_owned()),
    ];
    for (bytes, named) in expected {
        let places = whole.windows(bytes.len()).enumerate().filter(|(_, window)| *window == bytes);
        let mut found = false;
        for (at, _) in places {
            fs::write(&path, &whole).unwrap();
            flip(&path, at as u64, 0);
            // A digest stands in an index, too, where only a full check looks.
            let told = match open(folder.path()) {
                Err(error) => error.to_string(),
                Ok(store) => format!("{:?}", store.check().await.unwrap()),
            };
            found |= told.contains(&named) && told.contains("is not what was written");
        }
        assert!(found, "nobody has found {named}");
    }
}

#[tokio::test]
async fn a_schema_that_somebody_has_changed_is_refused() {
    let folder = filled().await;
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    connection.execute_batch("DROP TRIGGER audit_stays").unwrap();
    drop(connection);
    let error = open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("the trigger audit_stays is not as it was made"), "{error}");
}

#[tokio::test]
async fn a_truncated_database_is_refused_or_named_or_lacks_nothing() {
    let folder = filled().await;
    let path = folder.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let store = open(folder.path()).unwrap();
    let wanted = everything(&store).await;
    drop(store);
    for length in [50, 4_096, whole.len() / 2, whole.len() - 4_096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        match open(folder.path()) {
            Err(error) => assert!(error.to_string().contains("state.db"), "{error}"),
            // SQLite takes what the last page lacks for zeros. Perhaps that is what was there, or the page is an index's.
            Ok(store) => {
                assert_eq!(length, whole.len() - 1, "{length} bytes of {} were enough", whole.len());
                if store.check().await.unwrap().is_empty() {
                    assert_eq!(everything(&store).await, wanted);
                }
            }
        }
    }
}

/// A page in the log, with its head.
const FRAME: u64 = 24 + 4_096;

/// What a process that dies now would leave.
fn dead(folder: &Path) -> tempfile::TempDir {
    let dead = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(folder.join(name), dead.path().join(name)).unwrap();
    }
    dead
}

#[tokio::test]
async fn a_flipped_bit_of_the_log_never_makes_an_answered_change_be_forgotten_in_silence() {
    let (folder, store) = fresh();
    for number in 0..5 {
        serve(&store, "api", &[number]).await;
    }
    let whole = dead(folder.path());
    let before = fs::metadata(whole.path().join("state.db-wal")).unwrap().len();
    add(&store, "api", &[5]).await;
    let log = fs::read(folder.path().join("state.db-wal")).unwrap();
    let mut random = Random(7);
    for round in 0..150 {
        let dead = dead(folder.path());
        // All of the head, then anywhere.
        let at = if round < 32 { round } else { random.below(log.len() as u64) };
        flip(&dead.path().join("state.db-wal"), at, u8::try_from(random.below(8)).unwrap());
        match open(dead.path()) {
            Err(error) => {
                assert!(error.to_string().contains("state.db-wal is not what was written"), "byte {at}: {error}");
                assert!(at < before, "byte {at} of the last transaction could be a power cut's");
            }
            Ok(store) => {
                let end = before - FRAME;
                assert!(at >= before || (end + 4..end + 16).contains(&at), "byte {at} of {before} was not noticed");
                assert_eq!(store.versions("api", None, 9).await.unwrap().len(), 5, "more than the last was lost");
            }
        }
    }
    let store = open(whole.path()).unwrap();
    assert_eq!(store.versions("api", None, 9).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_log_that_ends_within_a_transaction_is_what_a_power_cut_leaves() {
    let (folder, store) = fresh();
    serve(&store, "api", &[0]).await;
    let before = dead(folder.path());
    let begin = fs::metadata(before.path().join("state.db-wal")).unwrap().len();
    add(&store, "api", &[1]).await;
    let whole = fs::read(folder.path().join("state.db-wal")).unwrap();
    for length in [0, 31, 33, begin, begin + 1, begin + 30, begin + 5_000, whole.len() as u64 - 1] {
        let dead = dead(folder.path());
        let file = fs::OpenOptions::new().write(true).open(dead.path().join("state.db-wal")).unwrap();
        file.set_len(length).unwrap();
        let store = open(dead.path()).unwrap();
        let versions = store.versions("api", None, 9).await.unwrap().len();
        assert_eq!(versions, usize::from(length >= begin), "{length} of {} bytes", whole.len());
    }
}

#[tokio::test]
async fn a_changed_component_is_named_with_its_versions_and_not_served() {
    let folder = filled().await;
    let store = open(folder.path()).unwrap();
    add(&store, "three", b"one 2").await;
    let (changed, missing) = (lies(folder.path(), b"one 2"), lies(folder.path(), b"two 0"));
    flip(&changed, 4, 3);
    fs::remove_file(&missing).unwrap();
    let used_by = vec!["one version 3".to_owned(), "three version 1".to_owned()];
    let why = "has other bytes than it was written with".to_owned();
    let error = store.component(Digest::of(b"one 2")).await.unwrap_err();
    assert_eq!(error, StoreError::Component { path: changed.clone(), why: why.clone(), used_by: used_by.clone() });
    let error = store.component(Digest::of(b"two 0")).await.unwrap_err().to_string();
    assert!(error.contains("two version 1 is not there"), "{error}");
    let faults = store.check().await.unwrap();
    let gone =
        Fault::Component { path: missing, why: "is not there".to_owned(), used_by: vec!["two version 1".to_owned()] };
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.contains(&Fault::Component { path: changed, why, used_by }), "{faults:?}");
    assert!(faults.contains(&gone), "{faults:?}");
    // What is uploaded again is whole again.
    add(&store, "one", b"one 2").await;
    add(&store, "two", b"two 0").await;
    assert_eq!(store.check().await.unwrap(), []);
}

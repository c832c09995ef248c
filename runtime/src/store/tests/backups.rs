//! A backup of a store that is in use is whole, and what is made of it is the same store.

use std::fs;

use super::*;

#[tokio::test]
async fn a_restored_backup_is_what_the_store_was() {
    let (folder, store) = fresh();
    serve(&store, "one", b"1").await;
    serve(&store, "two", b"2").await;
    set(&store, "one", "x", "a value").await;
    let revoked = store.add_token(by(), token("eyot_1")).await.unwrap();
    store.revoke_token(by(), revoked.id).await.unwrap();
    store.add_token(by(), token("eyot_2")).await.unwrap();
    let history = std::num::NonZeroU32::MIN;
    store.prune(by(), Keep { deployments: history, history, ..Keep::default() }).await.unwrap();
    let wanted = everything(&store).await;
    let backup = folder.path().join("backup");
    assert_eq!(store.backup(&backup).await.unwrap(), Backup { components: 2, bytes: 2 });
    // It is of its moment.
    serve(&store, "two", b"3").await;
    let new = tempfile::tempdir().unwrap();
    assert_eq!(restore(&backup, new.path()).unwrap(), Backup { components: 2, bytes: 2 });
    let restored = open(new.path()).unwrap();
    assert_eq!(everything(&restored).await, wanted);
    assert_eq!(restored.component(Digest::of(b"2")).await.unwrap(), b"2");
    assert_eq!(restored.check().await.unwrap(), []);
    assert_eq!(store.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_backup_of_a_busy_store_is_of_one_moment() {
    let (folder, store) = fresh();
    serve(&store, "api", b"0").await;
    let backup = folder.path().join("backup");
    let keep =
        Keep { deployments: std::num::NonZeroU32::MIN, younger_than: std::time::Duration::ZERO, ..Keep::default() };
    let busy = async {
        for number in 1..40_u32 {
            serve(&store, "api", &number.to_be_bytes()).await;
            store.prune(by(), keep).await.unwrap();
        }
    };
    let ((), made) = tokio::join!(busy, store.backup(&backup));
    made.unwrap();
    let new = folder.path().join("new");
    restore(&backup, &new).unwrap();
    let restored = open(&new).unwrap();
    let worker = restored.snapshot().await.unwrap().workers.remove(0);
    let component = worker.serving[0].content.as_ref().unwrap().component;
    restored.component(component).await.unwrap();
}

#[tokio::test]
async fn what_is_not_empty_is_not_written_to() {
    let (folder, store) = fresh();
    serve(&store, "api", b"1").await;
    let backup = folder.path().join("backup");
    store.backup(&backup).await.unwrap();
    let refused = StoreError::NotEmpty { folder: backup.clone() };
    assert_eq!(store.backup(&backup).await.unwrap_err(), refused);
    assert_eq!(restore(&backup, &backup).unwrap_err(), refused);
    assert!(matches!(restore(&backup, folder.path()).unwrap_err(), StoreError::NotEmpty { .. }));
}

#[tokio::test]
async fn what_is_not_a_whole_backup_makes_no_store() {
    let (folder, store) = fresh();
    let (version, _) = serve(&store, "api", b"1").await;
    let (backup, new) = (folder.path().join("backup"), folder.path().join("new"));
    // A store in use is none.
    assert!(matches!(restore(folder.path(), &new).unwrap_err(), StoreError::NotABackup { .. }));
    assert!(matches!(restore(&backup, &new).unwrap_err(), StoreError::NotABackup { .. }));
    store.backup(&backup).await.unwrap();
    let component = lies(&backup, b"1");
    fs::write(&component, "2").unwrap();
    let error = restore(&backup, &new).unwrap_err();
    assert!(matches!(&error, StoreError::Component { path, .. } if *path == component), "{error:?}");
    fs::write(&component, "1").unwrap();
    let database = backup.join("state.db");
    let whole = fs::read(&database).unwrap();
    let manifest = &version.content.unwrap().manifest;
    let at = whole.windows(manifest.len()).position(|window| window == manifest.as_bytes()).unwrap();
    let mut changed = whole.clone();
    changed[at] ^= 1;
    fs::write(&database, changed).unwrap();
    let error = restore(&backup, &new).unwrap_err().to_string();
    assert!(error.contains(&*backup.to_string_lossy()), "{error}");
    assert!(error.contains("version 1 of worker api is not what was written"), "{error}");
    fs::write(&database, &whole[..whole.len() - 4_096]).unwrap();
    assert!(restore(&backup, &new).is_err());
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("new")), "something was left: {names:?}");
}

#[tokio::test]
async fn a_backup_that_finds_damage_says_so_and_leaves_nothing() {
    let (folder, store) = fresh();
    serve(&store, "api", b"1").await;
    fs::write(lies(folder.path(), b"1"), "2").unwrap();
    let outer = tempfile::tempdir().unwrap();
    let error = store.backup(&outer.path().join("backup")).await.unwrap_err();
    assert!(error.to_string().contains("api version 1"), "{error}");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
}

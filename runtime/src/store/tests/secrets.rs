//! Secrets are kept for those who have their key, and for nobody else.

use std::fs;

use super::*;

fn other() -> Vault {
    Vault::from_key_text(&hex::encode([8; 32])).unwrap()
}

/// Each secret, opened.
async fn opened(store: &Store, vault: &Vault) -> Vec<(String, String, u32, String)> {
    let open = |secret: Secret| {
        let value = vault.open(&secret.worker, &secret.name, &secret.sealed).unwrap();
        let value = String::from_utf8(value.as_bytes().to_vec()).unwrap();
        (secret.worker, secret.name.to_string(), secret.revision, value)
    };
    store.secrets(None).await.unwrap().into_iter().map(open).collect()
}

fn line(worker: &str, name: &str, revision: u32, value: &str) -> (String, String, u32, String) {
    (worker.to_owned(), name.to_owned(), revision, value.to_owned())
}

#[tokio::test]
async fn a_secret_is_kept_by_worker_and_name_also_before_there_is_the_worker() {
    let (folder, store) = fresh();
    for (worker, name, value) in [("b", "x", "1"), ("a", "y", "2"), ("a", "x", "3"), ("a", "x", "4")] {
        set(&store, worker, name, value).await;
    }
    let wanted = [line("a", "x", 2, "4"), line("a", "y", 1, "2"), line("b", "x", 1, "1")];
    assert_eq!(opened(&store, &vault()).await, wanted);
    assert_eq!(store.secrets(Some("b")).await.unwrap().len(), 1);
    assert_eq!(store.secrets(Some("c")).await.unwrap(), []);
    assert_eq!(store.snapshot().await.unwrap().workers, []);
    drop(store);
    assert_eq!(opened(&open(folder.path()).unwrap(), &vault()).await, wanted);
}

#[tokio::test]
async fn a_removed_secret_is_gone_and_its_next_value_has_another_revision() {
    let (_folder, store) = fresh();
    set(&store, "api", "x", "1").await;
    store.remove_secret(by(), "api", name("x")).await.unwrap();
    assert_eq!(store.secrets(None).await.unwrap(), []);
    let gone = StoreError::NoSecret { worker: "api".to_owned(), name: "x".to_owned() };
    assert_eq!(store.remove_secret(by(), "api", name("x")).await.unwrap_err(), gone);
    assert!(store.remove_secret(by(), "api", name("y")).await.is_err());
    assert_eq!(set(&store, "api", "x", "1").await, 2);
}

#[tokio::test]
async fn a_worker_has_a_bounded_number_of_secrets() {
    let (_folder, store) = fresh();
    for number in 0..256 {
        set(&store, "api", &number.to_string(), "1").await;
    }
    let sealed = vault().seal("api", &name("one-more"), &SecretValue::new(vec![]).unwrap()).unwrap();
    let refused = store.set_secret(by(), "api", name("one-more"), sealed).await.unwrap_err();
    assert_eq!(refused, StoreError::TooManySecrets { worker: "api".to_owned(), most: 256 });
    assert_eq!(set(&store, "api", "7", "2").await, 2);
    assert_eq!(set(&store, "other", "7", "2").await, 1);
}

#[tokio::test]
async fn the_audit_tells_who_set_a_secret_and_nothing_of_its_value() {
    let (_folder, store) = fresh();
    set(&store, "api", "x", "hunter2").await;
    set(&store, "api", "x", &"long".repeat(4_321)).await;
    store.remove_secret(By::new("bob"), "api", name("x")).await.unwrap();
    let audit = store.audit(None, 9).await.unwrap();
    let lines: Vec<_> = audit.iter().map(|line| (&*line.actor, &*line.action, &*line.target, &*line.detail)).collect();
    let key = vault().id();
    let wanted = [
        ("bob", "secret.remove", "api", r#"{"name":"x","revision":2}"#.to_owned()),
        ("alice", "secret.set", "api", format!(r#"{{"key":"{key}","name":"x","revision":2}}"#)),
        ("alice", "secret.set", "api", format!(r#"{{"key":"{key}","name":"x","revision":1}}"#)),
    ];
    assert_eq!(lines, wanted.each_ref().map(|(actor, action, target, detail)| (*actor, *action, *target, &**detail)));
}

#[tokio::test]
async fn no_file_of_a_store_or_a_backup_holds_a_value() {
    const VALUE: &str = "correct horse battery staple";
    let (folder, store) = fresh();
    for number in 0..20 {
        set(&store, "api", &number.to_string(), VALUE).await;
    }
    let backup = folder.path().join("backup");
    store.backup(&backup).await.unwrap();
    let mut names = Vec::new();
    let mut look = |folder: &Path| {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let bytes = fs::read(&entry).unwrap();
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!holds(VALUE) && !holds(&VALUE[..12]) && !holds(&hex::encode(VALUE)), "{}", entry.display());
            names.push(entry.file_name().unwrap().to_string_lossy().into_owned());
        }
    };
    look(folder.path());
    look(&backup);
    for file in ["state.db", "state.db-wal"] {
        assert!(names.iter().any(|name| name == file), "{names:?}");
    }
    drop(store);
    let restored = tempfile::tempdir().unwrap();
    restore(&backup, restored.path()).unwrap();
    let restored = open(restored.path()).unwrap();
    assert_eq!(opened(&restored, &vault()).await[0], line("api", "0", 1, VALUE));
}

#[tokio::test]
async fn a_row_that_was_given_anothers_value_is_not_opened_even_with_a_good_seal() {
    let (_folder, store) = fresh();
    set(&store, "rich", "key", "gold").await;
    let stolen = store.secrets(Some("rich")).await.unwrap().remove(0).sealed;
    // As somebody could who knows how to make seals.
    store.set_secret(by(), "poor", name("key"), stolen).await.unwrap();
    let found = store.secrets(Some("poor")).await.unwrap().remove(0);
    let error = vault().open("poor", &name("key"), &found.sealed).unwrap_err();
    assert_eq!(error, VaultError::Damaged { worker: "poor".to_owned(), name: name("key") });
}

#[tokio::test]
async fn secrets_are_given_another_key_all_at_once() {
    let (_folder, store) = fresh();
    for number in 0..50 {
        set(&store, "api", &number.to_string(), "value").await;
    }
    store.remove_secret(by(), "api", name("7")).await.unwrap();
    let before = store.secrets(None).await.unwrap();
    let commits = store.commits();
    assert_eq!(store.reseal_secrets(by(), |secret| other().reseal(&vault(), secret)).await.unwrap(), 49);
    assert_eq!(store.commits() - commits, 1);
    let after = store.secrets(None).await.unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.name, before.revision, before.set), (&after.name, after.revision, after.set));
        assert_eq!(after.sealed.key(), other().id());
    }
    assert!(opened(&store, &other()).await.iter().all(|secret| secret.3 == "value"));
    // Asked for again, nothing is left to do.
    assert_eq!(store.reseal_secrets(by(), |secret| other().reseal(&vault(), secret)).await.unwrap(), 0);
    let line = store.audit(None, 1).await.unwrap().remove(0);
    assert_eq!(
        (&*line.action, line.detail),
        ("secrets.reseal", format!(r#"{{"count":49,"keys":["{}"]}}"#, other().id()))
    );
    assert_eq!(store.check().await.unwrap(), []);
}

#[tokio::test]
async fn of_secrets_that_one_key_does_not_open_none_is_given_another() {
    let (_folder, store) = fresh();
    set(&store, "api", "a", "value").await;
    let strange = Vault::from_key_text(&hex::encode([9; 32])).unwrap();
    let sealed = strange.seal("api", &name("b"), &SecretValue::new(b"value".to_vec()).unwrap()).unwrap();
    store.set_secret(by(), "api", name("b"), sealed).await.unwrap();
    let before = everything(&store).await;
    let refused = store.reseal_secrets(by(), |secret| other().reseal(&vault(), secret)).await.unwrap_err();
    assert!(matches!(&refused, StoreError::NotResealed(VaultError::OtherKey { .. })), "{refused:?}");
    assert!(refused.to_string().contains(&strange.id().to_string()), "{refused}");
    assert_eq!(everything(&store).await, before);
}

#[tokio::test]
async fn an_old_value_is_not_left_in_the_file_when_it_was_replaced() {
    let (folder, store) = fresh();
    // Large enough for pages of its own, which become free.
    set(&store, "api", "x", &"v".repeat(60_000)).await;
    let old = store.secrets(None).await.unwrap().remove(0).sealed.ciphertext;
    store.reseal_secrets(by(), |secret| other().reseal(&vault(), secret)).await.unwrap();
    drop(store);
    let bytes = fs::read(folder.path().join("state.db")).unwrap();
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(old.chunks(500).all(|part| !holds(part)), "what the old key opens is still there");
}

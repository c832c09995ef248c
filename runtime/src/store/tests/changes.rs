//! What a change does, and what two do at once.

use futures_util::future::{Either, join_all, ready, select};
use jiff::{SignedDuration, Timestamp};

use super::*;

#[tokio::test]
async fn what_was_added_is_read_as_it_was_given_also_after_a_restart() {
    let (folder, store) = fresh();
    let (version, deployment) = serve(&store, "api", b"one").await;
    assert_eq!((version.number, version.worker.as_str(), version.message.as_str()), (1, "api", "a message"));
    let content = version.content.clone().unwrap();
    assert_eq!((content.component, content.manifest.as_str()), (Digest::of(b"one"), "name = \"api\"\n"));
    let worker = Worker {
        name: "api".to_owned(),
        created: version.created,
        deployment: Some(deployment),
        serving: vec![version.clone()],
    };
    assert_eq!(store.snapshot().await.unwrap(), Snapshot { workers: vec![worker] });
    let before = everything(&store).await;
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(everything(&store).await, before);
    assert_eq!(store.component(content.component).await.unwrap(), b"one");
    assert_eq!(std::fs::read(store.component_path(&content.component)).unwrap(), b"one");
    assert_eq!(store.version(version.id).await.unwrap(), Some(version));
}

#[tokio::test]
async fn versions_of_each_worker_are_numbered_from_one() {
    let (_folder, store) = fresh();
    let mut found = Vec::new();
    for (worker, bytes) in [("a", b"1"), ("b", b"1"), ("a", b"2"), ("a", b"2"), ("b", b"3")] {
        found.push((worker, add(&store, worker, bytes).await.number));
    }
    assert_eq!(found, [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]);
    let numbers = |versions: Vec<Version>| versions.into_iter().map(|version| version.number).collect::<Vec<_>>();
    assert_eq!(numbers(store.versions("a", None, 2).await.unwrap()), [3, 2]);
    assert_eq!(numbers(store.versions("a", Some(2), 2).await.unwrap()), [1]);
    let second = store.version_numbered("b", 2).await.unwrap();
    assert_eq!(second.as_ref(), store.versions("b", None, 1).await.unwrap().first());
    assert_eq!(store.version_numbered("b", 3).await.unwrap(), None);
    assert_eq!(store.version_numbered("c", 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_worker_is_found_by_its_name_as_in_the_snapshot() {
    let (_folder, store) = fresh();
    serve(&store, "one", b"1").await;
    add(&store, "two", b"2").await;
    for worker in store.snapshot().await.unwrap().workers {
        assert_eq!(store.worker(&worker.name).await.unwrap(), Some(worker));
    }
    assert_eq!(store.worker("three").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_said_of_a_deployment_is_kept_with_it_and_in_the_audit() {
    let (_folder, store) = fresh();
    let version = add(&store, "api", b"one").await;
    let note = "p99 was 80 ms after two minutes; \"back\" to 6".to_owned();
    let new = NewDeployment { note: note.clone(), why: Why::AutomaticRollback, ..whole(&version) };
    let made = store.deploy(by(), new).await.unwrap();
    assert_eq!(made.note, note);
    assert_eq!(store.deployments("api", None, 1).await.unwrap(), [made]);
    let detail: serde_json::Value = serde_json::from_str(&store.audit(None, 1).await.unwrap()[0].detail).unwrap();
    assert_eq!(detail["note"], note);
    assert_eq!(store.remove_worker(by(), "api", After::Whatever).await.unwrap().note, "");
}

#[tokio::test]
async fn a_deployment_is_all_or_nothing() {
    let (_folder, store) = fresh();
    let (one, first) = serve(&store, "api", b"one").await;
    let other = add(&store, "other", b"two").await;
    let before = everything(&store).await;
    let half = Weight::new(5_000).unwrap();
    for (stranger, worker) in [(other.id, "api"), (one.id, "nobody")] {
        let shares = [one.id, stranger].map(|version| Share { version, weight: half });
        let shares = Shares::new(shares).unwrap_or(Shares::whole(stranger));
        let new = NewDeployment { worker: worker.to_owned(), shares, why: Why::Rollout, ..whole(&one) };
        let refused = store.deploy(by(), new).await.unwrap_err();
        let version = stranger.to_string();
        assert_eq!(refused, StoreError::NoVersion { worker: worker.to_owned(), version });
    }
    assert_eq!(everything(&store).await, before);
    assert_eq!(store.deployments("api", None, 9).await.unwrap(), [first]);
}

#[tokio::test]
async fn shares_are_kept_as_they_were_given() {
    let (_folder, store) = fresh();
    let (one, two) = (add(&store, "api", b"one").await, add(&store, "api", b"two").await);
    let share = |version: &Version, weight| Share { version: version.id, weight: Weight::new(weight).unwrap() };
    let shares = Shares::new([share(&two, 1), share(&one, 9_999)]).unwrap();
    let new = NewDeployment { shares: shares.clone(), why: Why::Rollout, ..whole(&one) };
    let made = store.deploy(by(), new).await.unwrap();
    assert_eq!(made.plan, Plan::Serve { why: Why::Rollout, shares });
    let worker = store.snapshot().await.unwrap().workers.remove(0);
    assert_eq!((worker.deployment, worker.serving), (Some(made), vec![one, two]));
}

#[tokio::test]
async fn of_two_deployments_that_replace_the_same_one_the_second_is_refused() {
    let (_folder, store) = fresh();
    let (version, zeroth) = serve(&store, "api", b"one").await;
    let after = |after| NewDeployment { after: After::This(after), ..whole(&version) };
    let (one, two) = tokio::join!(store.deploy(by(), after(zeroth.id)), store.deploy(By::new("bob"), after(zeroth.id)));
    let first = one.unwrap();
    assert_eq!(two.unwrap_err(), StoreError::Raced { worker: "api".to_owned(), current: Some(first.id) });
    let second = store.deploy(by(), after(first.id)).await.unwrap();
    assert!(store.deploy(by(), after(first.id)).await.is_err());
    let history = store.deployments("api", None, 9).await.unwrap();
    assert_eq!(history, [second.clone(), first.clone(), zeroth.clone()]);
    assert_eq!(store.deployments("api", Some(second.id), 9).await.unwrap(), [first, zeroth]);
}

#[tokio::test]
async fn a_removed_worker_serves_nothing_and_keeps_its_history() {
    let (_folder, store) = fresh();
    let (version, first) = serve(&store, "api", b"one").await;
    let gone = store.remove_worker(by(), "api", After::This(first.id)).await.unwrap();
    assert_eq!(gone.plan, Plan::Removed);
    let worker = store.snapshot().await.unwrap().workers.remove(0);
    assert_eq!((worker.deployment, worker.serving), (Some(gone.clone()), vec![]));
    assert_eq!(store.deployments("api", None, 9).await.unwrap(), [gone, first]);
    let again = store.remove_worker(by(), "api", After::Whatever).await.unwrap_err();
    assert_eq!(again, StoreError::NoWorker { worker: "api".to_owned() });
    store.deploy(by(), whole(&version)).await.unwrap();
    assert_eq!(store.snapshot().await.unwrap().workers[0].serving, [version]);
    assert_eq!(add(&store, "api", b"two").await.number, 2);
}

#[tokio::test]
async fn each_change_has_its_line_of_the_audit() {
    let (_folder, store) = fresh();
    serve(&store, "api", b"one").await;
    store.remove_worker(By::new("bob"), "api", After::Whatever).await.unwrap();
    let audit = store.audit(None, 9).await.unwrap();
    let lines: Vec<_> = audit.iter().map(|line| (line.number, &*line.actor, &*line.action, &*line.target)).collect();
    let wanted = [
        (4, "bob", "worker.remove", "api"),
        (3, "alice", "deployment.add", "api"),
        (2, "alice", "version.add", "api"),
        (1, "alice", "worker.add", "api"),
    ];
    assert_eq!(lines, wanted);
    assert!(audit[2].detail.contains(&Digest::of(b"one").to_string()), "{}", audit[2].detail);
    assert_eq!(store.audit(Some(3), 1).await.unwrap(), audit[2..3]);
}

#[tokio::test]
async fn history_cannot_be_changed_by_any_statement() {
    let (folder, store) = fresh();
    serve(&store, "api", b"one").await;
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let columns =
        [("workers", "name"), ("versions", "number"), ("deployments", "why"), ("shares", "weight"), ("audit", "at")];
    for (table, column) in columns {
        let changed = connection.execute(&format!("UPDATE {table} SET {column} = {column}"), []);
        assert!(changed.unwrap_err().to_string().contains("never changed"), "{table}");
        let deleted = connection.execute(&format!("DELETE FROM {table}"), []);
        assert!(deleted.unwrap_err().to_string().contains("never deleted"), "{table}");
    }
}

fn once(key: &str, request: &str, lasts: SignedDuration) -> By {
    let expires = Timestamp::now().checked_add(lasts).unwrap();
    By {
        who: "alice".to_owned(),
        once: Some(Once { key: key.to_owned(), request: Digest::of(request.as_bytes()), expires }),
    }
}

#[tokio::test]
async fn a_change_with_a_key_is_made_once_however_often_it_is_asked_for() {
    const HOUR: SignedDuration = SignedDuration::from_hours(1);
    let (folder, store) = fresh();
    let version = add(&store, "api", b"one").await;
    let made = store.deploy(once("k", "request", HOUR), whole(&version)).await.unwrap();
    let again = store.deploy(once("k", "request", HOUR), whole(&version)).await.unwrap();
    assert_eq!(again, made);
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.deploy(once("k", "request", HOUR), whole(&version)).await.unwrap(), made);
    let reused = StoreError::KeyReused { key: "k".to_owned() };
    assert_eq!(store.deploy(once("k", "another", HOUR), whole(&version)).await.unwrap_err(), reused);
    let component = store.put_component(Bytes::from_static(b"one")).await.unwrap();
    let new = NewVersion { worker: "api".to_owned(), manifest: String::new(), message: String::new() };
    assert_eq!(store.add_version(once("k", "request", HOUR), component, new).await.unwrap_err(), reused);
    // Another caller's key is another one.
    let bob = By { who: "bob".to_owned(), ..once("k", "request", HOUR) };
    assert_ne!(store.deploy(bob, whole(&version)).await.unwrap().id, made.id);
    assert_eq!(store.deployments("api", None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_key_that_has_expired_is_forgotten() {
    let (_folder, store) = fresh();
    let version = add(&store, "api", b"one").await;
    let past = SignedDuration::from_secs(-1);
    let one = store.deploy(once("k", "request", past), whole(&version)).await.unwrap();
    let two = store.deploy(once("k", "another", past), whole(&version)).await.unwrap();
    assert_ne!(one.id, two.id);
}

#[tokio::test]
async fn a_hundred_writers_share_few_commits() {
    let (_folder, store) = fresh();
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(store.put_component(Bytes::from_static(b"one")).await.unwrap());
    }
    let before = store.commits();
    let adds = held.into_iter().enumerate().map(|(number, component)| {
        let (worker, manifest, message) = (format!("worker-{number}"), String::new(), String::new());
        store.add_version(by(), component, NewVersion { worker, manifest, message })
    });
    for added in join_all(adds).await {
        assert_eq!(added.unwrap().number, 1);
    }
    let commits = store.commits() - before;
    assert!(commits <= 20, "{commits} commits for 100 changes");
    assert_eq!(store.snapshot().await.unwrap().workers.len(), 100);
}

#[tokio::test]
async fn a_change_that_fails_takes_no_other_with_it() {
    let (_folder, store) = fresh();
    let version = add(&store, "api", b"one").await;
    let stranger = add(&store, "other", b"two").await;
    let before = store.commits();
    let deploys = (0..30).map(|number| {
        let shares = Shares::whole(if number % 3 == 0 { stranger.id } else { version.id });
        store.deploy(by(), NewDeployment { shares, ..whole(&version) })
    });
    let made: Vec<_> = join_all(deploys).await;
    for (number, made) in made.iter().enumerate() {
        assert_eq!(made.is_err(), number % 3 == 0, "{number}: {made:?}");
    }
    assert!(store.commits() - before < 10, "they were not together");
    assert_eq!(store.deployments("api", None, 99).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_change_is_made_although_nobody_waits_for_it() {
    let (folder, store) = fresh();
    let version = add(&store, "api", b"one").await;
    let deploy = Box::pin(store.deploy(by(), whole(&version)));
    // Asked for by the first poll, and then given up.
    assert!(matches!(select(deploy, ready(())).await, Either::Right(_)));
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.deployments("api", None, 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_another_node_has_made_is_kept_under_its_name_once_and_no_other_under_its_number() {
    let ((_one, from), (_two, into)) = (fresh(), fresh());
    let (version, deployment) = serve(&from, "api", b"one").await;
    let import = async |version: &Version| {
        let held = into.put_component(Bytes::from_static(b"one")).await.unwrap();
        into.import_version(By::new("fleet"), held, version.clone()).await
    };
    for _ in 0..2 {
        assert_eq!(import(&version).await.unwrap(), version);
        assert_eq!(into.import_deployment(By::new("fleet"), deployment.clone()).await.unwrap(), deployment);
    }
    assert_eq!(into.worker("api").await.unwrap().unwrap().deployment, Some(deployment.clone()));
    assert_eq!(into.deployments("api", None, 9).await.unwrap().len(), 1);
    let other = add(&from, "other", b"one").await;
    let same_number = Version { worker: "api".to_owned(), ..other };
    let differs = StoreError::Differs { worker: "api".to_owned(), number: 1 };
    assert_eq!(import(&same_number).await.unwrap_err(), differs);
    assert_eq!(into.next_number("api").await.unwrap(), 2);
    assert!(into.check().await.unwrap().is_empty(), "seals fit");
}

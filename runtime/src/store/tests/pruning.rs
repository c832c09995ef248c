//! What goes by the rule goes, and nothing else.

use std::num::NonZeroU32;
use std::time::Duration;

use super::*;

fn keep(deployments: u32) -> Keep {
    Keep { deployments: NonZeroU32::new(deployments).unwrap(), younger_than: Duration::ZERO, ..Keep::default() }
}

/// The numbers of the versions that have content.
async fn kept(store: &Store, worker: &str) -> Vec<u32> {
    let versions = store.versions(worker, None, 99).await.unwrap();
    versions.into_iter().filter(|version| version.content.is_some()).map(|version| version.number).collect()
}

#[tokio::test]
async fn what_the_last_deployments_name_stays_and_the_rest_goes() {
    let (folder, store) = fresh();
    let (first, _) = serve(&store, "api", b"1").await;
    let (second, _) = serve(&store, "api", b"2").await;
    serve(&store, "api", b"3").await;
    add(&store, "api", b"4, never deployed").await;
    serve(&store, "other", b"1").await;
    let pruned = store.prune(by(), keep(2)).await.unwrap();
    // The bytes of the first are the other worker's, too.
    assert_eq!(pruned, Pruned { versions: 2, components: 1, bytes: 17, ..Pruned::default() });
    assert_eq!((kept(&store, "api").await, kept(&store, "other").await), (vec![3, 2], vec![1]));
    assert!(lies(folder.path(), b"1").exists() && !lies(folder.path(), b"4, never deployed").exists());
    assert_eq!(store.prune(by(), keep(2)).await.unwrap(), Pruned::default());
    let refused = store.deploy(by(), whole(&first)).await.unwrap_err();
    assert_eq!(refused, StoreError::Pruned { worker: "api".to_owned(), number: 1 });
    store.deploy(by(), whole(&second)).await.unwrap();
    assert_eq!(store.audit(None, 99).await.unwrap().iter().filter(|line| line.action == "prune").count(), 1);
    // Numbers go on, and history still names what went.
    assert_eq!(add(&store, "api", b"5").await.number, 5);
    assert_eq!(store.deployments("api", None, 99).await.unwrap().len(), 4);
    assert_eq!(store.check().await.unwrap(), []);
}

#[tokio::test]
async fn what_is_young_stays() {
    let (_folder, store) = fresh();
    add(&store, "api", b"1").await;
    let hour = Keep { younger_than: Duration::from_secs(3600), ..keep(1) };
    assert_eq!(store.prune(by(), hour).await.unwrap(), Pruned::default());
    assert_eq!(kept(&store, "api").await, [1]);
    let always = Keep { younger_than: Duration::MAX, ..keep(1) };
    assert_eq!(store.prune(by(), always).await.unwrap(), Pruned::default());
}

#[tokio::test]
async fn what_serves_stays_also_with_many_versions_and_when_it_is_old() {
    let (_folder, store) = fresh();
    let (one, two) = (add(&store, "api", b"1").await, add(&store, "api", b"2").await);
    let half = Weight::new(5_000).unwrap();
    let shares = Shares::new([&one, &two].map(|version| Share { version: version.id, weight: half })).unwrap();
    store.deploy(by(), NewDeployment { shares, ..whole(&one) }).await.unwrap();
    serve(&store, "other", b"3").await;
    serve(&store, "other", b"4").await;
    store.prune(by(), keep(1)).await.unwrap();
    for worker in store.snapshot().await.unwrap().workers {
        for version in worker.serving {
            store.component(version.content.unwrap().component).await.unwrap();
        }
    }
    assert_eq!((kept(&store, "api").await, kept(&store, "other").await), (vec![2, 1], vec![2]));
}

#[tokio::test]
async fn a_removed_worker_loses_its_content_when_its_tombstone_is_all_that_counts() {
    let (_folder, store) = fresh();
    serve(&store, "api", b"1").await;
    store.remove_worker(by(), "api", After::Whatever).await.unwrap();
    store.prune(by(), keep(2)).await.unwrap();
    assert_eq!(kept(&store, "api").await, [1]);
    assert_eq!(
        store.prune(by(), keep(1)).await.unwrap(),
        Pruned { versions: 1, components: 1, bytes: 1, ..Pruned::default() }
    );
}

#[tokio::test]
async fn a_component_that_is_being_uploaded_stays() {
    let (folder, store) = fresh();
    let component = store.put_component(Bytes::from_static(b"1")).await.unwrap();
    let gone = store.put_component(Bytes::from_static(b"2")).await.unwrap();
    drop(gone);
    assert_eq!(store.prune(by(), keep(1)).await.unwrap(), Pruned { components: 1, bytes: 1, ..Pruned::default() });
    assert!(lies(folder.path(), b"1").exists());
    let (manifest, message) = (String::new(), String::new());
    store.add_version(by(), component, NewVersion { worker: "api".to_owned(), manifest, message }).await.unwrap();
    assert_eq!(store.check().await.unwrap(), []);
}

#[tokio::test]
async fn uploads_and_pruning_at_once_lose_nothing() {
    let (_folder, store) = fresh();
    // The same few bytes again and again, so that what is pruned is what somebody uploads.
    let upload = |worker: &'static str| {
        let store = &store;
        async move {
            for number in 0..60_u8 {
                let version = add(store, worker, &[number % 3]).await;
                // Nothing is too young to be pruned here, not even what is about to be deployed.
                let deployed = store.deploy(by(), whole(&version)).await;
                assert!(matches!(deployed, Ok(_) | Err(StoreError::Pruned { .. })), "{deployed:?}");
            }
        }
    };
    let prune = async {
        for _ in 0..60 {
            store.prune(by(), keep(1)).await.unwrap();
        }
    };
    tokio::join!(upload("one"), upload("two"), prune);
    assert_eq!(store.check().await.unwrap(), []);
}

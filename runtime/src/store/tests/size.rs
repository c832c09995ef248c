//! A store of a thousand workers is read in a moment.

use futures_util::future::join_all;

use super::*;

/// How long a snapshot takes at best.
async fn snapshot(store: &Store, workers: usize) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begin = Instant::now();
        assert_eq!(store.snapshot().await.unwrap().workers.len(), workers);
        best = best.min(begin.elapsed());
    }
    println!("a snapshot of {workers} workers takes {best:?}");
    best
}

#[tokio::test]
async fn a_thousand_workers_are_read_in_a_moment() {
    let (folder, store) = fresh();
    let store_of = &store;
    let add_and_serve = |number: usize| async move { serve(store_of, &format!("worker-{number}"), b"the same").await };
    join_all((0..100).map(add_and_serve)).await;
    snapshot(&store, 100).await;
    join_all((100..1_000).map(add_and_serve)).await;
    let thousand = snapshot(&store, 1_000).await;
    // Without optimization, on a machine that does other things, too; a quadratic question would take far longer.
    assert!(thousand < Duration::from_secs(1), "{thousand:?}");
    drop(store);
    let begin = Instant::now();
    drop(open(folder.path()).unwrap());
    println!("opening it takes {:?}", begin.elapsed());
}

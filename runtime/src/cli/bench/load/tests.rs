use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::link::request;
use super::super::protocol::Asked;
use super::*;

/// A server of one connection after the other, which does this before each of its answers, by their number; and the load on it.
async fn loaded(
    pace: Pace,
    duration: Duration,
    length: usize,
    before: impl AsyncFn(u64) -> &'static str,
) -> anyhow::Result<Loaded> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let asked = Asked { path: "/".to_owned(), headers: Vec::new() };
    let request = request("test", &asked)?;
    let target = Target { address, requests: vec![request], status: StatusCode::OK, length: Some(length) };
    let load =
        Load { target: &target, connections: 1, pace, duration, patience: Duration::from_millis(100), own_core: false };
    let count = Arc::new(AtomicU64::new(0));
    let serve = async {
        loop {
            let (mut socket, _) = listener.accept().await?;
            let mut buffer = [0; 4096];
            while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                let answer = before(count.fetch_add(1, Relaxed)).await;
                socket.write_all(answer.as_bytes()).await?;
                if answer.contains("connection: close") {
                    break;
                }
            }
        }
    };
    tokio::select! {
        loaded = run(&load) => loaded,
        served = serve => served,
    }
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GOOD_AND_LAST: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\nok";

/// Stalls once, for a second.
async fn stall(number: u64) -> &'static str {
    if number == 5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    GOOD
}

fn quantile(loaded: &Loaded, quantile: f64) -> Duration {
    Duration::from_nanos(loaded.latency.value_at_quantile(quantile))
}

#[tokio::test]
async fn a_stall_is_seen_by_every_request_that_was_due_meanwhile() {
    let loaded = loaded(Pace::Open(50.0), Duration::from_secs(3), 2, stall).await.unwrap();
    assert_eq!((loaded.answers, loaded.wrong, loaded.unsent), (150, 0, 0), "{loaded:?}");
    assert!(quantile(&loaded, 0.99) > Duration::from_millis(900), "{:?}", quantile(&loaded, 0.99));
    // One in three was due during the stall, and waited for half of it on average.
    assert!(quantile(&loaded, 0.80) > Duration::from_millis(300), "{:?}", quantile(&loaded, 0.80));
    assert!(quantile(&loaded, 0.50) < Duration::from_millis(100), "{:?}", quantile(&loaded, 0.50));
}

#[tokio::test]
async fn a_closed_loop_does_not_see_it_which_is_why_there_is_an_open_one() {
    let loaded = loaded(Pace::Closed, Duration::from_secs(2), 2, stall).await.unwrap();
    assert!(loaded.answers > 300 && loaded.wrong == 0, "{loaded:?}");
    assert!(quantile(&loaded, 0.99) < Duration::from_millis(100), "{:?}", quantile(&loaded, 0.99));
    assert!(Duration::from_nanos(loaded.latency.max()) > Duration::from_millis(900));
}

#[tokio::test]
async fn requests_that_a_server_is_too_slow_for_are_counted_with_the_time_that_they_waited() {
    let slow = async |_| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        GOOD
    };
    let loaded = loaded(Pace::Open(200.0), Duration::from_millis(500), 2, slow).await.unwrap();
    assert!(loaded.unsent > 50 && loaded.answers < 50, "{loaded:?}");
    assert_eq!(loaded.latency.len(), loaded.answers + loaded.unsent);
    assert!(quantile(&loaded, 0.5) > Duration::from_millis(100), "{:?}", quantile(&loaded, 0.5));
}

#[tokio::test]
async fn wrong_answers_are_counted_and_are_no_latencies() {
    let second_is_bad = async |number| if number % 2 == 1 { BAD } else { GOOD };
    let half = loaded(Pace::Open(100.0), Duration::from_millis(200), 2, second_is_bad).await.unwrap();
    assert_eq!((half.answers, half.wrong, half.latency.len()), (10, 10, 10), "{half:?}");
    assert!(half.example.unwrap().contains("500"));
    let short = loaded(Pace::Open(100.0), Duration::from_millis(100), 3, async |_| GOOD).await.unwrap();
    assert_eq!((short.answers, short.wrong), (0, 10));
    assert!(short.example.unwrap().contains("2 bytes in place of 3"));
}

#[tokio::test]
async fn a_connection_that_its_server_closes_after_an_answer_is_opened_again() {
    let closes = async |_| GOOD_AND_LAST;
    let loaded = loaded(Pace::Open(100.0), Duration::from_millis(200), 2, closes).await.unwrap();
    assert_eq!((loaded.answers, loaded.wrong), (20, 0), "{:?}", loaded.example);
}

#[tokio::test]
async fn a_broken_answer_is_a_fault() {
    let loaded = loaded(Pace::Open(50.0), Duration::from_millis(100), 2, async |_| "nonsense\r\n\r\n").await.unwrap();
    assert_eq!((loaded.answers, loaded.wrong), (0, 5), "{:?}", loaded.example);
}

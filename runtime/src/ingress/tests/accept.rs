//! Permits, cores, and a listener that nothing ends.

use std::fs::File;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn a_connection_past_the_limit_waits_for_another_to_be_done() {
    let node = Running::start(&NodeLimits { connections: 1, keepalive_idle: PATIENCE * 2, ..limits() });
    let mut first = node.connect().await;
    first.write_all(get("/wait").as_bytes()).await.unwrap();
    node.opened(1).await;
    let mut second = node.connect().await;
    second.write_all(GET.as_bytes()).await.unwrap();
    assert!(timeout(limits().header_timeout, response(&mut second)).await.is_err());
    node.release.notify_one();
    assert!(within(response(&mut first)).await.ends_with("done"));
    assert!(within(response(&mut second)).await.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn the_connection_that_has_been_idle_the_longest_makes_room() {
    let node = Running::start(&NodeLimits { connections: 2, keepalive_idle: PATIENCE * 2, ..limits() });
    let (mut longest, mut shorter) = (node.connect().await, node.connect().await);
    exchange(&mut longest, GET).await;
    exchange(&mut shorter, &get("/slow")).await;
    let mut third = node.connect().await;
    exchange(&mut third, &get("/slow")).await;
    until_closed(&mut longest).await;
    // The crowd is over, and so is the haste.
    assert!(timeout(limits().keepalive_idle, shorter.read_u8()).await.is_err());
    exchange(&mut shorter, GET).await;
}

#[tokio::test]
async fn an_idle_listener_holds_no_permit() {
    let node = Running::start(&NodeLimits { connections: 1, ..limits() });
    let other = Listening::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let address = other.address();
    node.cores.listen([other]);
    for address in [address, node.address, address] {
        let mut client = TcpStream::connect(address).await.unwrap();
        assert!(exchange(&mut client, GET).await.starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn connections_go_to_the_core_with_the_fewest() {
    let node = Running::with(2, &NodeLimits { keepalive_idle: PATIENCE, ..limits() }, None);
    let mut clients = Vec::new();
    let mut cores = [0, 0];
    for _ in 0..6 {
        let mut client = node.connect().await;
        let answer = exchange(&mut client, &get("/core")).await;
        cores[usize::from(answer.ends_with('1'))] += 1;
        clients.push(client);
    }
    assert_eq!(cores, [3, 3]);
    assert_eq!(node.cores.connections(), 6);
}

#[tokio::test]
async fn stopping_closes_what_is_there() {
    let node = Running::with(2, &limits(), None);
    let mut client = node.connect().await;
    exchange(&mut client, GET).await;
    drop(node.cores);
    let (_, took) = until_closed(&mut client).await;
    assert!(took < limits().keepalive_idle);
    assert!(TcpStream::connect(node.address).await.is_err());
}

/// The limit on descriptors is the process's, so the test runs itself in a process of its own.
#[test]
fn want_of_descriptors_does_not_end_a_listener() {
    let path = "ingress::tests::accept::without_descriptors";
    let status = Command::new(std::env::current_exe().unwrap()).args(["--exact", path, "--ignored"]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
#[ignore = "run by want_of_descriptors_does_not_end_a_listener, in a process of its own"]
async fn without_descriptors() {
    let node = Running::start(&NodeLimits { header_timeout: PATIENCE, ..limits() });
    exchange(&mut node.connect().await, GET).await;
    // Its descriptor is free again before they are counted.
    while node.cores.connections() > 0 {
        tokio::task::yield_now().await;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    drop(held.pop());
    // This takes the last descriptor; the listener has none to accept it with.
    let mut client = node.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(timeout(limits().header_timeout, response(&mut client)).await.is_err());
    drop(held);
    assert!(within(response(&mut client)).await.starts_with("http/1.1 200"));
    assert!(exchange(&mut node.connect().await, GET).await.starts_with("http/1.1 200"));
}

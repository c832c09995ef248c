//! HTTP/1.1 and what comes before it.

use tokio::time::{interval, timeout};

use super::*;

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed() {
    let node = Running::start(&limits());
    let (seen, took) = until_closed(&mut node.connect().await).await;
    assert_eq!(seen, "");
    assert!(took >= limits().header_timeout, "{took:?}");
}

#[tokio::test]
async fn half_a_preface_is_closed() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(b"PRI * HTTP").await.unwrap();
    let (seen, took) = until_closed(&mut client).await;
    assert_eq!(seen, "");
    assert!(took >= limits().header_timeout, "{took:?}");
}

#[tokio::test]
async fn half_a_preface_and_an_end_is_not_waited_for() {
    let node = Running::start(&NodeLimits { header_timeout: PATIENCE * 2, ..limits() });
    let mut client = node.connect().await;
    client.write_all(b"PRI").await.unwrap();
    client.shutdown().await.unwrap();
    until_closed(&mut client).await;
}

#[tokio::test]
async fn a_preface_in_pieces_is_understood() {
    let node = Running::start(&NodeLimits { header_timeout: PATIENCE, ..limits() });
    let mut client = node.connect().await;
    client.set_nodelay(true).unwrap();
    for piece in [&b"PRI * HT"[..], b"TP/2.0\r\n\r\nSM\r\n", b"\r\n\0\0\0\x04\0\0\0\0\0"] {
        client.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frame = [0; 9];
    within(client.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS: {frame:?}");
}

#[tokio::test]
async fn a_head_in_small_pieces_is_closed_at_header_timeout() {
    let node = Running::start(&limits());
    let (mut reader, mut writer) = node.connect().await.into_split();
    let drip = async {
        let mut tick = interval(limits().header_timeout / 10);
        writer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"a: b\r\n").await.is_ok() {
            tick.tick().await;
        }
    };
    let (_, (seen, took)) = within(async { tokio::join!(drip, until_closed(&mut reader)) }).await;
    assert_eq!(seen, "");
    assert!(took >= limits().header_timeout, "{took:?}");
}

#[tokio::test]
async fn between_requests_keepalive_idle_counts_and_in_a_head_header_timeout() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    assert!(exchange(&mut client, GET).await.starts_with("http/1.1 200"));
    let (seen, took) = until_closed(&mut client).await;
    assert_eq!(seen, "");
    assert!(took >= limits().keepalive_idle - Duration::from_millis(50), "{took:?}");

    let node = Running::start(&NodeLimits { keepalive_idle: PATIENCE * 2, ..limits() });
    let mut client = node.connect().await;
    exchange(&mut client, GET).await;
    client.write_all(b"GET").await.unwrap();
    until_closed(&mut client).await;
}

#[tokio::test]
async fn a_handler_may_take_longer_than_any_wait_for_the_client() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    for _ in 0..2 {
        assert!(exchange(&mut client, &get("/slow")).await.ends_with("slow"));
    }
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_at_write_idle() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    let start = Instant::now();
    client.write_all(get("/endless").as_bytes()).await.unwrap();
    node.opened(1).await;
    node.opened(0).await;
    assert!(start.elapsed() >= limits().write_idle);
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(get("/endless").as_bytes()).await.unwrap();
    let (start, mut tick) = (Instant::now(), interval(limits().write_idle / 8));
    let mut buffer = vec![0; 1 << 20];
    while start.elapsed() < limits().write_idle * 3 {
        tick.tick().await;
        assert_ne!(within(client.read(&mut buffer)).await.unwrap(), 0);
    }
    assert_eq!(*node.open.borrow(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(get("/wait").as_bytes()).await.unwrap();
    node.opened(1).await;
    drop(client);
    node.opened(0).await;
}

#[tokio::test]
async fn a_client_that_half_closes_gets_all_its_answers() {
    let node = Running::start(&NodeLimits { half_close: PATIENCE, ..limits() });
    for requests in [
        GET.to_owned(),
        GET.repeat(3),
        format!("{}{}", get("/whole"), get("/slow")),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        let mut client = node.connect().await;
        client.write_all(requests.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let (seen, _) = until_closed(&mut client).await;
        assert_eq!(seen.matches("HTTP/1").count(), requests.matches("GET").count(), "{requests:?}: {seen:.200}");
    }
}

#[tokio::test]
async fn a_client_that_closed_its_side_and_takes_nothing_is_gone_after_half_close() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    // An unread body and pipelined bytes: hyper would not see the end behind them.
    let left = "POST /wait HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nunread";
    client.write_all(left.as_bytes()).await.unwrap();
    node.opened(1).await;
    let start = Instant::now();
    client.shutdown().await.unwrap();
    node.opened(0).await;
    assert!(start.elapsed() >= limits().half_close);
}

#[tokio::test]
async fn a_reset_ends_a_request_at_once() {
    let node = Running::start(&NodeLimits { half_close: PATIENCE * 2, ..limits() });
    let mut client = node.connect().await;
    client.write_all(format!("{}{GET}", get("/wait")).as_bytes()).await.unwrap();
    node.opened(1).await;
    client.set_zero_linger().unwrap();
    drop(client);
    node.opened(0).await;
}

#[tokio::test]
async fn closed_is_a_connection_without_an_answer() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(get("/closed").as_bytes()).await.unwrap();
    assert_eq!(until_closed(&mut client).await.0, "");
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_what_is_far_too_large_414_or_431_and_each_is_told_of() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    client.write_all(b"GET / HTTP/1.1\nbad header\n\n").await.unwrap();
    assert!(until_closed(&mut client).await.0.starts_with("HTTP/1.1 400"));

    let mut client = node.connect().await;
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\na: {}\r\n\r\n", "b".repeat(60_000));
    client.write_all(large.as_bytes()).await.unwrap();
    assert!(until_closed(&mut client).await.0.starts_with("HTTP/1.1 431"));

    let patient = Running::start(&NodeLimits { uri: 100_000, ..limits() });
    let mut client = patient.connect().await;
    client.write_all(get(&format!("/{}", "p".repeat(70_000))).as_bytes()).await.unwrap();
    assert!(until_closed(&mut client).await.0.starts_with("HTTP/1.1 414"));
    node.refused(&["bad_request", "request_header_too_large"]).await;
    patient.refused(&["uri_too_long"]).await;
}

#[tokio::test]
async fn a_little_over_a_limit_is_for_the_handler_to_judge() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    let fields: String = (0..limits().header_count).map(|n| format!("f{n}: v\r\n")).collect();
    let response = exchange(&mut client, &format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")).await;
    assert!(response.ends_with("101 fields"), "{response}");
    let path = "p".repeat(count(limits().uri));
    let field = "v".repeat(count(limits().header_bytes));
    let response = exchange(&mut client, &format!("GET /{path} HTTP/1.1\r\nhost: a\r\nf: {field}\r\n\r\n")).await;
    assert!(response.starts_with("http/1.1 200"), "{response}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let node = Running::start(&limits());
    let mut client = node.connect().await;
    let both = format!("{}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", get("/whole"));
    client.write_all(both.as_bytes()).await.unwrap();
    let (seen, _) = until_closed(&mut client).await;
    assert!(seen.ends_with("2 fields") && seen.matches("HTTP/1.1 200").count() == 2);
}

#[tokio::test]
async fn an_answer_reaches_a_client_that_is_still_sending() {
    let node = Running::start(&NodeLimits { header_timeout: PATIENCE, ..limits() });
    let (mut reader, mut writer) = node.connect().await.into_split();
    let send = async {
        writer.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n").await.unwrap();
        // Four times what socket buffers on loopback would hide.
        for _ in 0..8 {
            writer.write_all(&[b'x'; 64 * 1024]).await.unwrap();
            tokio::task::yield_now().await;
        }
        writer.shutdown().await
    };
    let mut seen = String::new();
    let (sent, read) = within(async { tokio::join!(send, reader.read_to_string(&mut seen)) }).await;
    sent.unwrap();
    read.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200") && seen.ends_with("2 fields"), "{seen}");
}

#[tokio::test]
async fn a_silent_client_does_not_delay_another() {
    let node = Running::start(&NodeLimits { header_timeout: PATIENCE, ..limits() });
    let _silent = node.connect().await;
    let mut client = node.connect().await;
    assert!(timeout(PATIENCE, exchange(&mut client, GET)).await.unwrap().starts_with("http/1.1 200"));
}

#[tokio::test]
async fn answers_that_go_out_together_are_whole_and_each_at_its_client() {
    let node = Running::start(&limits());
    let clients = futures_util::future::join_all((0..40).map(|fields| {
        let node = &node;
        async move {
            let mut client = node.connect().await;
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(fields));
            for _ in 0..50 {
                let answer = exchange(&mut client, &request).await;
                assert!(answer.ends_with(&format!("\r\n\r\n{} fields", fields + 1)), "{answer}");
            }
        }
    }));
    within(clients).await;
}

#[tokio::test]
async fn clients_that_ask_for_more_than_they_read_get_every_answer_in_the_end() {
    const ASKED: usize = 40_000;
    let node = Running::start(&NodeLimits { write_idle: PATIENCE, ..limits() });
    let clients = futures_util::future::join_all((0..4).map(|_| async {
        let (mut reader, mut writer) = node.connect().await.into_split();
        let ask = async {
            writer.write_all(GET.repeat(ASKED).as_bytes()).await.unwrap();
            writer
        };
        let read = async {
            // The answers fill both sockets' buffers meanwhile.
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (mut answers, mut rest) = (0, Vec::new());
            while answers < ASKED {
                assert_ne!(reader.read_buf(&mut rest).await.unwrap(), 0, "closed after {answers}");
                let text = String::from_utf8_lossy(&rest).into_owned();
                let end = text.rfind("1 fields").map_or(0, |at| at + "1 fields".len());
                answers += text[..end].matches("1 fields").count();
                rest.drain(..end);
            }
            answers
        };
        let (_writer, answers) = tokio::join!(ask, read);
        assert_eq!(answers, ASKED);
    }));
    within(clients).await;
}

//! Modes about bodies.

use modes::burn_ms;
use serde_json::json;
use wasip3::http::types::{Fields, Method, Scheme};
use wasip3::spawn_local;

use crate::Outcome;
use crate::http::{Exchange, consume, drain, name_of, next, start, text};
use crate::time::wait_ms;

/// `echo`: the first line is the head of the request as JSON; the body of the request follows, streamed.
pub(crate) async fn echo(exchange: Exchange) -> Outcome {
    let request = exchange.request;
    let headers: Vec<_> = request
        .get_headers()
        .copy_all()
        .into_iter()
        .map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]))
        .collect();
    let head = json!({
        "method": method_name(request.get_method()),
        "scheme": request.get_scheme().map(scheme_name),
        "authority": request.get_authority(),
        "path": request.get_path_with_query(),
        "headers": headers,
    });
    let (response, mut body) = start(200, "application/x-ndjson");
    spawn_local(async move {
        let (mut contents, _ended) = consume(request);
        let mut left = body.write_all(format!("{head}\n").into_bytes()).await;
        while left.is_empty()
            && let Some(bytes) = next(&mut contents).await
        {
            left = body.write_all(bytes).await;
        }
    });
    Ok(response)
}

/// `read-body`: reads the whole request body, then answers its length, and the error where there was one.
pub(crate) async fn read_body(exchange: Exchange) -> Outcome {
    let (mut contents, ended) = consume(exchange.request);
    let bytes = drain(&mut contents).await;
    drop(contents);
    let error = ended.await.map(|code| name_of(&code));
    Ok(text(200, format!("{}\n", json!({ "bytes": bytes, "error": error }))))
}

/// `unread`: answers without looking at the request body.
pub(crate) async fn unread(_exchange: Exchange) -> Outcome {
    Ok(text(200, "unread\n".to_owned()))
}

/// `stream?chunks=N&bytes=M&delay=MS`: N chunks of M bytes, each after a wait.
pub(crate) async fn stream(exchange: Exchange) -> Outcome {
    let query = &exchange.query;
    let (chunks, bytes, delay) = (query.number("chunks", 3), query.size("bytes", 10), query.number("delay", 0));
    let (response, mut body) = start(200, "application/octet-stream");
    spawn_local(async move {
        for _ in 0..chunks {
            wait_ms(delay).await;
            if !body.write_all(vec![b'x'; bytes]).await.is_empty() {
                eprintln!("stream: the client is gone");
                return;
            }
        }
    });
    Ok(response)
}

/// `stream-forever?bytes=M&delay=MS`: the same without an end, until a write fails.
pub(crate) async fn stream_forever(exchange: Exchange) -> Outcome {
    let (bytes, delay) = (exchange.query.size("bytes", 1024), exchange.query.number("delay", 0));
    let (response, mut body) = start(200, "application/octet-stream");
    spawn_local(async move {
        while body.write_all(vec![b'x'; bytes]).await.is_empty() {
            wait_ms(delay).await;
        }
        eprintln!("stream-forever: the client is gone");
    });
    Ok(response)
}

/// `background?ms=N&spin=1`: a whole response, then N ms of waiting (or of work), then a line on stdout that says so.
pub(crate) async fn background(exchange: Exchange) -> Outcome {
    let (ms, spin) = (exchange.query.number("ms", 100), exchange.query.flag("spin"));
    let (response, mut body) = start(200, "text/plain");
    spawn_local(async move {
        let _ = body.write_all(b"answered\n".to_vec()).await;
        drop(body);
        if spin {
            burn_ms(ms);
        } else {
            wait_ms(ms).await;
        }
        println!("background: done after {ms} ms");
    });
    Ok(response)
}

/// `hold?n=N&bytes=M`: makes the host hold N fields of M bytes each until it has answered.
pub(crate) async fn hold(exchange: Exchange) -> Outcome {
    let n = exchange.query.number("n", 1);
    let list = [("x".to_owned(), vec![b'x'; exchange.query.size("bytes", 1)])];
    let held: Vec<_> = (0..n).map(|_| Fields::from_list(&list).expect("they fit")).collect();
    let response = text(200, format!("held {n}\n"));
    drop(held);
    Ok(response)
}

fn method_name(method: Method) -> String {
    match method {
        Method::Other(name) => name,
        known => format!("{known:?}").trim_start_matches("Method::").to_uppercase(),
    }
}

fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}

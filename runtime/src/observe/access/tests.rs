//! Claims about the lines of the access log.

use super::*;
use crate::observe::Trace;

fn record<'a>(request_id: &'a RequestId, path: &'a str) -> Record<'a> {
    Record {
        time: "2026-02-03T04:05:06.789Z".parse().unwrap(),
        request_id,
        trace_id: Trace::root().id(),
        client: "192.0.2.7".parse().unwrap(),
        method: "GET",
        scheme: "https",
        host: "shop.example.com",
        port: 443,
        protocol: Version::HTTP_2,
        path,
        status: 200,
        failure: None,
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(1240),
        cpu: Some(Duration::from_micros(310)),
        peak_memory: Some(1_179_648),
        start: Some(Start::Warm),
        worker: Some("hello"),
        version: Some("3f2a"),
        route: Some("shop.example.com/*"),
        caller: None,
    }
}

fn line(record: &Record<'_>, form: AccessForm) -> String {
    let mut out = Vec::new();
    record.write(form, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_line_has_every_field_and_leaves_out_what_is_not_known() {
    let id = RequestId::parse(b"req-1").unwrap();
    let mut record = record(&id, "/cart");
    let trace = record.trace_id;
    assert_eq!(
        line(&record, AccessForm::Json),
        format!(
            r#"{{"time":"2026-02-03T04:05:06.789000Z","request_id":"req-1","trace_id":"{trace}","client":"192.0.2.7","method":"GET","scheme":"https","host":"shop.example.com","path":"/cart","status":200,"bytes_in":0,"bytes_out":12,"duration_us":1240,"cpu_us":310,"peak_memory_bytes":1179648,"start":"warm","worker":"hello","version":"3f2a","route":"shop.example.com/*"}}"#
        ) + "\n"
    );
    (record.cpu, record.peak_memory, record.start) = (None, None, None);
    (record.worker, record.version, record.route) = (None, None, None);
    (record.status, record.failure) = (404, Some("route_not_found"));
    let short = line(&record, AccessForm::Json);
    assert!(short.contains(r#""status":404,"failure":"route_not_found","bytes_in""#), "{short}");
    assert!(short.ends_with("\"duration_us\":1240}\n"), "{short}");
}

#[test]
fn a_text_line_is_aligned() {
    let id = RequestId::fresh();
    let plain = AccessForm::Text { colour: false };
    assert_eq!(
        line(&record(&id, "/cart"), plain),
        "GET     shop.example.com/cart                        200      1.24 ms  310 µs CPU  1152 KiB  warm     hello@3f2a\n"
    );
    let mut failed = record(&id, "/");
    (failed.status, failed.failure, failed.cpu, failed.peak_memory) = (503, Some("overloaded"), None, None);
    (failed.start, failed.worker, failed.version) = (None, None, None);
    assert_eq!(
        line(&failed, plain),
        "GET     shop.example.com/                            503      1.24 ms           -         -  -        overloaded\n"
    );
}

#[test]
fn colours_are_closed_again() {
    let id = RequestId::fresh();
    let coloured = line(&record(&id, "/"), AccessForm::Text { colour: true });
    assert!(coloured.contains("\x1b[32m200\x1b[0m"), "{coloured:?}");
}

#[test]
fn a_client_cannot_put_control_characters_into_the_log() {
    let id = RequestId::fresh();
    let path = "/\x1b]0;owned\x07\n{\"status\":200}\u{9b}31m\u{202e}\u{2028}é";
    let evil = record(&id, path);
    for form in [AccessForm::Json, AccessForm::Text { colour: false }] {
        let text = line(&evil, form);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end().contains(|c: char| c.is_control() || "\u{202e}\u{2028}".contains(c)), "{text:?}");
    }
    assert!(!line(&evil, AccessForm::Text { colour: true }).contains("\x1b]"));
    let read: serde_json::Value = serde_json::from_str(&line(&evil, AccessForm::Json)).unwrap();
    assert_eq!(read["path"], path, "nothing is lost by it");
}

#[test]
fn each_core_has_its_own_end_and_all_lines_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let lost = IntCounter::new("lost", "lines").unwrap();
    let destination = Destination::File(path.clone());
    let mut logs = AccessLogs::start(&destination, AccessForm::Json, lost.clone()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let log = logs.core();
            scope.spawn(move || (0..200).for_each(|_| log.record(&record(&RequestId::fresh(), "/"))));
        }
    });
    assert!(logs.close(Duration::from_secs(5)));
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!((text.lines().count(), lost.get()), (400, 0));
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["client"], "192.0.2.7");
    }
}

//! Each limit of limits.toml, at its bound and one past it: one byte, page, handle, field, request or connection. Times are
//! tried well below and well past their bound, because a machine with other work has no exact ones.
//!
//! Here: the limits of an invocation. Those of workers and of the node are in `limits/node.rs`, those of connections in
//! `limits/connection.rs` and, where they are a rate, in `limits/rate.rs`, those of origins in `limits/origin.rs`,
//! those of isolates that are asked again in `limits/reuse.rs`, those of keys and values in `limits/kv.rs`.

mod harness;

#[path = "limits/connection.rs"]
mod connection;
#[path = "limits/kv.rs"]
mod kv;
#[path = "limits/service.rs"]
mod service;
#[path = "limits/queue.rs"]
mod queue;
#[path = "limits/node.rs"]
mod node;
#[path = "limits/origin.rs"]
mod origin;
#[path = "limits/rate.rs"]
mod rate;
#[path = "limits/reuse.rs"]
mod reuse;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::origin::{OK, Origin};
use harness::wire::Wire;
use harness::{Answer, Node, fixtures, until};

/// Names are what they stand for: each is a test here, and a line of docs/limits.md.
macro_rules! tested {
    ($($key:ident => $test:path;)*) => { &[$((stringify!($key), stringify!($test), $test as fn())),*] };
}

/// The test of each limit. A key of limits.toml that is not here fails a test; a test that is not there does not compile.
const TESTED: &[(&str, &str, fn())] = tested! {
    memory => memory_up_to_the_limit_is_given_and_one_page_more_ends_the_isolate;
    cpu_time => cpu_time_below_the_limit_is_given_and_a_spinning_guest_ends_at_it;
    wall_time => a_response_head_within_wall_time_is_sent_and_past_it_is_a_timeout;
    stream_idle => a_stream_that_stands_still_past_stream_idle_is_cut_without_a_clean_end;
    stream_total => a_stream_longer_than_stream_total_is_cut;
    wait_until => work_after_the_response_goes_on_until_wait_until;
    subrequests => subrequests_up_to_the_limit_are_sent_and_the_next_is_refused_to_the_guest;
    subrequests_concurrent => as_many_subrequests_as_may_wait_are_sent_and_the_next_waits;
    request_body => a_request_body_at_the_limit_is_read_and_one_byte_more_is_413;
    response_body => a_response_body_at_the_limit_is_whole_and_one_byte_more_is_cut_without_a_clean_end;
    response_header => a_response_header_at_the_limit_is_sent_and_one_byte_more_fails;
    handles => as_many_handles_as_the_limit_are_given_and_one_more_ends_the_isolate;
    resource_table => as_many_host_resources_as_the_table_holds_are_given_and_one_more_ends_the_isolate;
    hostcall_fuel => one_host_call_copies_hostcall_fuel_and_not_one_byte_more;
    random_bytes => random_bytes_up_to_the_limit_are_given_and_one_more_ends_the_isolate;
    kv_key => kv::a_key_up_to_kv_key_is_taken_and_one_byte_more_is_refused_to_the_worker;
    kv_value => kv::a_value_up_to_kv_value_is_taken_and_one_byte_more_is_refused_to_the_worker;
    kv_metadata => kv::metadata_up_to_kv_metadata_is_taken_and_one_byte_more_is_refused_to_the_worker;
    kv_total => kv::a_worker_keeps_up_to_kv_total_and_one_byte_more_is_refused_to_it;
    kv_batch => kv::one_call_names_up_to_kv_batch_keys_and_one_more_is_refused_to_the_worker;
    kv_operations => kv::an_invocation_asks_kv_operations_times_and_once_more_is_refused_to_it;
    event_cpu_time => queue::what_no_client_waits_for_has_event_cpu_time_and_a_spinning_guest_ends_at_it;
    event_wall_time => queue::what_no_client_waits_for_goes_on_until_event_wall_time;
    queue_message => queue::a_message_up_to_queue_message_is_taken_and_one_byte_more_is_refused_to_the_worker;
    queue_batch => queue::one_call_sends_up_to_queue_batch_messages_and_one_more_is_refused_to_the_worker;
    queue_sends => queue::an_invocation_sends_queue_sends_messages_and_one_more_is_refused_to_it;
    queue_messages => queue::a_queue_holds_queue_messages_and_one_more_is_refused_to_its_producer;
    queue_bytes => queue::a_queue_holds_queue_bytes_and_one_more_is_refused_to_its_producer;
    log => log_bytes_past_the_limit_are_dropped_and_counted_and_the_request_goes_on;
    concurrency => node::past_concurrency_and_queue_the_next_request_is_503_at_once;
    queue => node::past_concurrency_and_queue_the_next_request_is_503_at_once;
    queue_wait => node::a_wait_longer_than_queue_wait_is_503;
    node_concurrency => node::isolates_of_all_workers_together_are_bounded;
    node_queue => node::past_node_queue_the_next_request_of_any_worker_is_503_at_once;
    node_queue_wait => node::a_wait_longer_than_node_queue_wait_is_503;
    node_memory => node::the_memory_of_all_isolates_together_is_bounded;
    origin_concurrency => origin::past_origin_concurrency_and_origin_queue_the_next_request_is_503_at_once_until_a_body_is_over;
    origin_queue => origin::past_origin_concurrency_and_origin_queue_the_next_request_is_503_at_once_until_a_body_is_over;
    origin_queue_wait => origin::a_request_waits_for_an_origin_as_long_as_origin_queue_wait_and_an_origin_may_have_its_own_concurrency;
    loop_hops => origin::a_request_that_comes_back_more_often_than_loop_hops_is_508;
    call_depth => service::workers_call_one_another_call_depth_times_and_once_more_is_refused_to_the_worker;
    process_memory => node::past_process_memory_nothing_begins_until_there_is_some_again;
    loaded_bytes => node::components_are_in_memory_up_to_loaded_bytes_and_one_byte_more_makes_another_go;
    loaded_components => node::as_many_components_as_loaded_components_are_in_memory_and_one_more_makes_another_go;
    load_queue => node::past_load_queue_the_request_for_the_next_worker_is_503_at_once;
    component_size => node::a_component_up_to_component_size_is_read_and_a_larger_one_is_refused;
    compile_memory => node::a_component_that_takes_more_than_compile_memory_to_compile_is_refused;
    compile_cpu => node::a_component_that_takes_more_than_compile_cpu_to_compile_is_refused;
    compile_time => node::a_component_that_takes_longer_than_compile_time_to_compile_is_refused;
    drain_delay => node::a_node_serves_on_for_drain_delay_while_it_says_that_it_is_not_ready;
    drain => node::a_request_within_drain_is_answered_and_one_past_it_is_cut;
    half_close => connection::a_client_that_has_closed_its_side_is_answered_within_half_close_and_gone_past_it;
    connections => connection::connections_past_the_limit_wait_until_one_is_free;
    connections_per_address => connection::as_many_connections_of_one_address_as_the_limit_are_served_and_one_more_is_closed;
    request_body_rate => rate::a_request_body_at_request_body_rate_is_read_and_a_slower_one_is_408;
    response_body_rate => rate::a_response_taken_at_response_body_rate_is_whole_and_one_taken_more_slowly_is_cut;
    h2_glitches => connection::as_many_frames_that_bring_nothing_as_h2_glitches_are_taken_and_one_more_ends_the_connection;
    uri => connection::a_target_at_the_limit_is_served_and_one_byte_more_is_414;
    header_bytes => connection::a_header_section_at_the_limit_is_read_and_one_byte_more_is_431;
    header_count => connection::as_many_header_fields_as_the_limit_are_read_and_one_more_is_431;
    header_timeout => connection::a_head_that_does_not_end_is_closed_after_header_timeout;
    handshake_timeout => connection::a_handshake_that_does_not_end_is_closed_after_handshake_timeout;
    keepalive_idle => connection::an_idle_connection_is_closed_after_keepalive_idle;
    request_body_idle => connection::a_request_body_that_does_not_arrive_is_408;
    write_idle => connection::a_client_that_does_not_read_is_cut_after_write_idle;
    waiting_isolates => reuse::as_many_isolates_wait_on_a_core_as_the_limit_says;
    reuse_requests => reuse::an_isolate_answers_as_many_requests_as_it_may_and_not_one_more;
    reuse_age => reuse::an_isolate_is_asked_until_it_is_too_old;
    reuse_idle => reuse::an_isolate_that_nobody_asks_for_so_long_gives_its_memory_back;
    h2_streams => connection::as_many_http_2_streams_as_the_limit_are_served_and_the_next_is_refused;
};

#[test]
fn every_limit_of_the_file_has_its_test() {
    let file = std::fs::read_to_string(harness::root().join("limits.toml")).expect("limits.toml can be read");
    let table: toml::Table = file.parse().expect("it is TOML");
    let keys: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    let tested: BTreeSet<&str> = TESTED.iter().map(|(key, ..)| *key).collect();
    assert_eq!(keys, tested, "on the left limits.toml, on the right the table of tests");
}

/// `EYOT_WRITE_DOCS=1 cargo test --test limits docs` writes it anew.
#[test]
fn docs_limits_md_is_what_the_product_and_these_tests_say() {
    let output = harness::eyot().args(["limits", "--markdown"]).output().expect("it runs");
    let table = String::from_utf8(output.stdout).expect("text");
    let mut expected = String::from(
        "# Limits\n\nWhat is held, by default; `eyot limits` shows what holds on a node, and who set it. Written by \
         `EYOT_WRITE_DOCS=1 cargo test --test limits docs` from [limits.toml](../limits.toml) and the tests.\n\n",
    );
    for line in table.lines() {
        let key = line.trim_start_matches("| `").split('`').next().expect("a key");
        let test = match TESTED.iter().find(|(tested, ..)| *tested == key) {
            Some((_, test, _)) => format!("`{test}`"),
            None if line.starts_with("| ---") => "---".to_owned(),
            None => "test (`cargo test --test limits NAME`)".to_owned(),
        };
        expected.push_str(&format!("{line} {test} |\n"));
    }
    let file = harness::root().join("docs/limits.md");
    if std::env::var_os("EYOT_WRITE_DOCS").is_some() {
        std::fs::write(&file, &expected).expect("a file");
    }
    let written = std::fs::read_to_string(&file).expect("docs/limits.md can be read");
    assert!(written == expected, "write it anew: EYOT_WRITE_DOCS=1 cargo test --test limits docs");
}

/// What is cut by a limit of a fraction of a second ends within this, and no default is as short.
const SOON: Duration = Duration::from_secs(5);

/// A node with the fixture at every path, under these limits of its own.
fn fixture(limits: &str) -> Node {
    fixture_with("", limits)
}

/// The same, with more of node.toml.
fn fixture_with(node: &str, limits: &str) -> Node {
    let manifest = fixtures::manifest(&format!("[[route]]\npath = \"/*\"\n[limits]\n{limits}"));
    Node::start(&format!("{node}\n[[worker]]\npath = \"fixture\"\n"), &[("fixture/eyot.toml", &manifest)])
}

/// What a worker that is this core module comes to under these limits of its own and of the node. One that is left to its end
/// is `worker_no_response`, since it makes none.
fn outcome(module: &str, node: &str, limits: &str) -> (u16, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let component = fixtures::handler(module, folder.path());
    let manifest = fixtures::worker("w", &component, &format!("[[route]]\npath = \"/*\"\n[limits]\n{limits}"));
    let node = Node::start(&format!("{node}\n[[worker]]\npath = \"w\"\n"), &[("w/eyot.toml", &manifest)]);
    let answer = node.get("/");
    (answer.status, answer.code().to_owned())
}

/// How a module ends that was denied nothing.
fn ran_to_its_end() -> (u16, String) {
    (500, "worker_no_response".to_owned())
}

#[track_caller]
fn fails(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
}

#[test]
fn memory_up_to_the_limit_is_given_and_one_page_more_ends_the_isolate() {
    let declared = |pages: u32| format!("(memory {pages}) (func (export \"handle\") (param i32 i32))");
    let grown = |pages: u32| {
        let more = pages - 1;
        format!(
            "(memory 1) (func (export \"handle\") (param i32 i32)
               (if (i32.eq (memory.grow (i32.const {more})) (i32.const -1)) (then unreachable)))"
        )
    };
    // 64 MiB are 1024 pages.
    for module in [&declared as &dyn Fn(u32) -> String, &grown] {
        assert_eq!(outcome(&module(1024), "", "memory = \"64MiB\""), ran_to_its_end());
        let past = outcome(&module(1025), "", "memory = \"64MiB\"");
        assert_eq!(past, (500, "worker_memory_exceeded".to_owned()));
    }
}

#[test]
fn a_denied_growth_is_an_error_to_the_guest_and_the_sum_is_the_limit() {
    let node = fixture("memory = \"64MiB\"");
    let answer = node.get("/grow-checked");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let bytes = answer.json()["after"].as_u64().expect("the guest answers how many bytes it has");
    assert!(bytes <= 64 << 20, "{bytes}");
    assert!(bytes > 63 << 20, "nearly all of the limit can be used: {bytes}");
}

#[test]
fn a_denied_growth_ends_a_worker_that_has_trap_on_grow_failure() {
    let head = "trap_on_grow_failure = true\n[[route]]\npath = \"/*\"\n[limits]\nmemory = \"64MiB\"";
    let manifest = fixtures::manifest(head);
    let node = Node::start("[[worker]]\npath = \"fixture\"\n", &[("fixture/eyot.toml", &manifest)]);
    let answer = node.get("/grow-checked");
    assert_eq!((answer.status, answer.code()), (500, "worker_memory_exceeded"), "{}", answer.body);
    assert_eq!(node.get("/grow?mib=16").status, 200);
}

#[test]
fn cpu_time_below_the_limit_is_given_and_a_spinning_guest_ends_at_it() {
    let node = fixture("cpu_time = \"100ms\"");
    assert_eq!(node.get("/spin-ms?ms=50").status, 200);
    let began = Instant::now();
    fails(&node.get("/spin"), 500, "worker_cpu_exceeded");
    assert!(began.elapsed() >= Duration::from_millis(90), "not before its budget is used: {:?}", began.elapsed());
    node.wait_until_idle();
    let charged = node.metric("eyot_guest_cpu_seconds_total", "worker=\"fixture\"");
    // The first burns by the wall clock, of which other processes may have a part.
    assert!((0.1..0.4).contains(&charged), "{charged} s for two invocations of 50 and 100 ms");
}

#[test]
fn a_guest_that_waits_pays_no_cpu_time() {
    let node = fixture("cpu_time = \"20ms\"");
    assert_eq!(node.get("/sleep?ms=300").status, 200);
}

#[test]
fn a_response_head_within_wall_time_is_sent_and_past_it_is_a_timeout() {
    let node = fixture("wall_time = \"500ms\"");
    assert_eq!(node.get("/sleep?ms=100").status, 200);
    let began = Instant::now();
    fails(&node.get("/sleep?ms=20000"), 504, "worker_timeout");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_stream_that_stands_still_past_stream_idle_is_cut_without_a_clean_end() {
    let node = fixture("stream_idle = \"300ms\"\nwait_until = \"100ms\"");
    let whole = node.get("/stream?chunks=3&bytes=10&delay=100");
    assert_eq!((whole.status, whole.body.len()), (200, 30), "pauses below the limit are fine");
    let broken = node.request("GET", "/stream?chunks=2&bytes=10&delay=5000").send().expect("a head");
    assert_eq!(broken.status(), 200);
    assert!(broken.bytes().is_err(), "never a clean end");
}

#[test]
fn a_stream_longer_than_stream_total_is_cut() {
    let node = fixture("stream_total = \"500ms\"\nwait_until = \"100ms\"");
    assert_eq!(node.get("/stream?chunks=2&bytes=10&delay=50").body.len(), 20);
    let broken = node.request("GET", "/stream?chunks=1000&bytes=10&delay=50").send().expect("a head");
    assert!(broken.bytes().is_err());
}

#[test]
fn work_after_the_response_goes_on_until_wait_until() {
    let node = fixture("wait_until = \"400ms\"");
    assert_eq!(node.get("/background?ms=100").status, 200);
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "worker_wait_until_exceeded"), 0.0);
    assert_eq!(node.get("/background?ms=20000").status, 200, "the client has its answer");
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "worker_wait_until_exceeded"), 1.0);
}

#[test]
fn subrequests_up_to_the_limit_are_sent_and_the_next_is_refused_to_the_guest() {
    let origin = Origin::answering();
    let node = asking(&origin, "subrequests = 3");
    let three = node.get(&format!("/fetch?url={ORIGIN}&n=3")).json();
    assert!(three.as_array().is_some_and(|answers| answers.iter().all(|answer| answer["status"] == 200)), "{three}");
    assert_eq!(node.metric("eyot_limits_reached_total", ""), 0.0);
    assert_eq!(origin.so_far().len(), 3);
    let four = node.get(&format!("/fetch?url={ORIGIN}&n=4")).json();
    assert_eq!(four[2]["status"], 200, "{four}");
    assert_eq!(four[3]["error"], "ConnectionLimitReached", "{four}");
    assert_eq!(origin.so_far().len(), 3, "the fourth never came");
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_limits_reached_total", "worker_subrequests_exceeded"), 1.0);
}

/// The one origin of [`asking`], escaped.
const ORIGIN: &str = "http%3A%2F%2Fo.origin.internal%2F";

/// A node with the fixture, which may ask this origin.
fn asking(origin: &Origin, limits: &str) -> Node {
    let manifest = fixtures::manifest(&format!("origins = [\"o\"]\n[[route]]\npath = \"/*\"\n[limits]\n{limits}"));
    let node = format!("{}[[worker]]\npath = \"fixture\"", origin.declared("o"));
    Node::start(&node, &[("fixture/eyot.toml", &manifest)])
}

#[test]
fn as_many_subrequests_as_may_wait_are_sent_and_the_next_waits() {
    let origin = Origin::silent();
    let node = asking(&origin, "subrequests_concurrent = 2");
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| node.get(&format!("/fetch?url={ORIGIN}&n=3&parallel=1")));
        let held = [origin.next(), origin.next()];
        assert!(origin.next_within(Duration::from_millis(300)).is_none(), "the third waits for its turn");
        for asked in held {
            asked.answer(OK);
        }
        origin.next().answer(OK);
        let answers = answer.join().expect("no panic").json();
        let answers = answers.as_array().expect("a list");
        assert!(answers.len() == 3 && answers.iter().all(|answer| answer["status"] == 200), "{answers:?}");
    });
}

#[test]
fn a_request_body_at_the_limit_is_read_and_one_byte_more_is_413() {
    let node = fixture("request_body = \"1KiB\"");
    let send = |body: Vec<u8>| Answer::of(node.request("POST", "/read-body").body(body));
    assert_eq!(send(vec![b'x'; 1024]).status, 200);
    fails(&send(vec![b'x'; 1025]), 413, "request_body_too_large");
}

#[test]
fn a_chunked_request_body_over_the_limit_is_413_too() {
    let node = fixture("request_body = \"1KiB\"");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = "POST /read-body HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let whole = node.raw(format!("{head}{chunk}0\r\n\r\n"));
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    let more = node.raw(format!("{head}{chunk}1\r\nx\r\n0\r\n\r\n"));
    assert!(more.starts_with("HTTP/1.1 413") && more.contains("request_body_too_large"), "{more}");
}

#[test]
fn a_response_body_at_the_limit_is_whole_and_one_byte_more_is_cut_without_a_clean_end() {
    let node = fixture("response_body = \"1MiB\"");
    let ask = |bytes: usize| {
        let request = format!("GET /big-body?bytes={bytes} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        Wire::exchange(node.connect(), request)
    };
    let whole = ask(1 << 20);
    assert!(whole.closed && whole.bytes.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", whole.bytes.len());
    let broken = ask((1 << 20) + 1);
    assert!(broken.closed && !broken.bytes.ends_with(b"\r\n0\r\n\r\n"), "{} bytes", broken.bytes.len());
    node.wait_until_idle();
    assert_eq!(node.metric("eyot_failures_total", "worker_body_too_large"), 1.0);
}

#[test]
fn a_response_header_at_the_limit_is_sent_and_one_byte_more_fails() {
    let node = fixture("response_header = \"16KiB\"");
    // One field is its name, `x-0`, its value, and four bytes around them.
    let ask = |bytes: usize| node.get(&format!("/headers?n=1&bytes={}", bytes - "x-0".len() - 4));
    assert_eq!(ask(16 << 10).status, 200);
    fails(&ask((16 << 10) + 1), 500, "worker_header_too_large");
}

#[test]
fn small_fields_fill_the_response_header_and_what_the_library_cannot_hold_is_the_same_failure() {
    let node = fixture("response_header = \"256KiB\"\ncpu_time = \"5s\"");
    // A client library would not take so many.
    let answer = node.raw("GET /headers?n=20000&bytes=0 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nx-19999: \r\n"),
        "no bound of the library first"
    );
    for (n, bytes, why) in [(30_000, 0, "too many fields"), (2, 3 << 20, "too many bytes"), (2, 200_000, "too long")] {
        let answer = node.get(&format!("/headers?n={n}&bytes={bytes}"));
        assert_eq!((answer.status, answer.code()), (500, "worker_header_too_large"), "{why}: {}", answer.body);
    }
}

/// A module that makes so many host objects and keeps them.
fn keeps(objects: u32) -> String {
    format!(
        "(func (export \"handle\") (param i32 i32) (local $made i32)
           (loop $more
             (drop (call $new))
             (local.set $made (i32.add (local.get $made) (i32.const 1)))
             (br_if $more (i32.lt_u (local.get $made) (i32.const {objects})))))"
    )
}

#[test]
fn as_many_handles_as_the_limit_are_given_and_one_more_ends_the_isolate() {
    // The request and where its response goes are two already.
    assert_eq!(outcome(&keeps(498), "", "handles = 500"), ran_to_its_end());
    assert_eq!(outcome(&keeps(499), "", "handles = 500"), (500, "worker_handles_exceeded".to_owned()));
}

#[test]
fn as_many_host_resources_as_the_table_holds_are_given_and_one_more_ends_the_isolate() {
    assert_eq!(outcome(&keeps(498), "", "resource_table = 500"), ran_to_its_end());
    assert_eq!(outcome(&keeps(499), "", "resource_table = 500"), (500, "worker_resources_exceeded".to_owned()));
}

#[test]
fn one_host_call_copies_hostcall_fuel_and_not_one_byte_more() {
    let node = fixture("hostcall_fuel = \"64KiB\"");
    assert_eq!(node.get("/hostcall?via=stdout&bytes=65536").status, 200);
    fails(&node.get("/hostcall?via=stdout&bytes=65537"), 500, "worker_hostcall_exceeded");
}

#[test]
fn random_bytes_up_to_the_limit_are_given_and_one_more_ends_the_isolate() {
    let node = fixture("random_bytes = \"1KiB\"");
    assert_eq!(node.get("/random?bytes=1024").status, 200);
    fails(&node.get("/random?bytes=1025"), 500, "worker_random_exceeded");
}

#[test]
fn log_bytes_past_the_limit_are_dropped_and_counted_and_the_request_goes_on() {
    let node = fixture("log = \"1KiB\"");
    assert_eq!(node.get("/log?bytes=1024").status, 200);
    assert_eq!(node.metric("eyot_guest_log_bytes_dropped_total", "fixture"), 0.0);
    assert_eq!(node.get("/log?bytes=1025").status, 200);
    until("the dropped byte is counted", || node.metric("eyot_guest_log_bytes_dropped_total", "fixture") >= 1.0);
}

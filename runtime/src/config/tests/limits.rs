//! The table of limits.

use std::time::Duration;

use super::super::limits::{NODE_SHAPES, Scope, WORKER_SHAPES, shapes};
use super::super::{LimitTable, Source, Value};
use super::{assert_faults, faults, folder, node_faults, worker_faults};

fn file_faults(text: &str) -> Vec<String> {
    let root = folder(&[("my.toml", text)]);
    let mut table = LimitTable::builtin();
    faults(root.path(), &table.override_from_file(&root.path().join("my.toml")).unwrap_err())
}

fn with_file(text: &str) -> LimitTable {
    let root = folder(&[("my.toml", text)]);
    let mut table = LimitTable::builtin();
    table.override_from_file(&root.path().join("my.toml")).unwrap();
    table
}

#[test]
fn the_table_that_is_compiled_in_has_a_row_for_every_limit_and_no_other() {
    let table = LimitTable::builtin();
    assert_eq!(table.rows.len(), shapes().count());
    assert_eq!(table.rows[0].key, "memory");
    assert_eq!(table.rows.last().unwrap().key, "drain");
    for shape in WORKER_SHAPES {
        assert!(table.row(shape.key).unwrap().scope.is_of_worker(), "{}", shape.key);
    }
    for shape in NODE_SHAPES {
        assert!(!table.row(shape.key).unwrap().scope.is_of_worker(), "{}", shape.key);
    }
    for row in &table.rows {
        assert_eq!(row.source, Source::BuiltIn);
        let off = row.default == Value::Off || row.max == Some(Value::Off);
        let shape = shapes().find(|shape| shape.key == row.key).unwrap();
        assert_eq!(off, shape.may_be_off, "{}: \"off\" is a value where the row says so", row.key);
    }
}

#[test]
fn the_typed_limits_hold_what_limits_toml_says() {
    let (worker, node) = (LimitTable::builtin().worker_defaults(), LimitTable::builtin().node_limits());
    assert_eq!((worker.memory, worker.cpu_time), (128 << 20, Duration::from_millis(100)));
    assert_eq!((worker.stream_total, worker.subrequests, worker.queue), (None, 50, 400));
    assert_eq!((node.node_memory, node.h2_streams, node.drain), (512 << 20, 100, Duration::from_secs(30)));
    assert_eq!(LimitTable::builtin().row("uri").unwrap().scope, Scope::Connection);
}

#[test]
fn a_single_value_sets_the_default_and_a_table_sets_both() {
    let table =
        with_file("memory = \"64MiB\"\ncpu_time = { default = \"1s\", max = \"2s\" }\n[wall_time]\nmax = \"1h\"\n");
    let memory = table.row("memory").unwrap();
    assert_eq!((memory.default, memory.max), (Value::Bytes(64 << 20), Some(Value::Bytes(512 << 20))));
    assert!(matches!(memory.source, Source::File(_)) && memory.max_source == Source::BuiltIn);
    let cpu = table.row("cpu_time").unwrap();
    assert_eq!(cpu.max, Some(Value::Time(Duration::from_secs(2))));
    assert!(matches!((&cpu.source, &cpu.max_source), (Source::File(_), Source::File(_))));
    assert_eq!(table.row("wall_time").unwrap().max, Some(Value::Time(Duration::from_secs(3600))));
}

#[test]
fn a_copy_of_limits_toml_can_be_used_as_a_file_of_overrides() {
    let copy = with_file(include_str!("../../../../limits.toml"));
    assert_eq!(copy.worker_defaults(), LimitTable::builtin().worker_defaults());
    assert_eq!(copy.node_limits(), LimitTable::builtin().node_limits());
}

#[test]
fn every_fault_of_an_override_is_reported_at_its_place_and_changes_nothing() {
    let text = "memory = 134217728\ncpu_time = 50\nwall_time = \"30\"\nqueue = \"many\"\nmemori = \"1MiB\"\nhandles = -1\n\
                log = \"5 parsecs\"\nconcurrency = 0\nheader_timeout = \"0s\"\nmemory_x = {}\nhostcall_fuel = \"off\"\n\
                stream_total = \"off\"\nsubrequests = 0\n";
    assert_faults(
        &file_faults(text),
        &[
            "my.toml:1:10: `memory` must be a size with its unit, in quotes, not the integer 134217728",
            "my.toml:2:12: `cpu_time` must be a time with its unit, in quotes, not the integer 50",
            "my.toml:3:13: bad `wall_time`, the string \"30\": a time needs a unit",
            "my.toml:4:9: `queue` must be a whole number, without quotes and unit, not the string \"many\"",
            "my.toml:5:1: unknown limit `memori`",
            "my.toml:6:11: bad `handles`, the integer -1: a count is a whole number from 0",
            "my.toml:7:7: bad `log`, the string \"5 parsecs\": this is not a size",
            "my.toml:8:15: bad `concurrency`, the integer 0: 0 would let nothing through",
            "my.toml:9:18: bad `header_timeout`, the string \"0s\": 0 would let nothing through",
            "my.toml:10:1: unknown limit `memory_x`",
            "my.toml:11:17: bad `hostcall_fuel`, the string \"off\": this limit cannot be switched off",
        ],
    );
}

#[test]
fn a_row_refuses_what_is_not_its_own_to_change() {
    let text =
        "[memory]\nmax = \"64MiB\"\nscop = 1\n[drain]\nmax = \"1m\"\n[queue]\ncode = \"mine\"\nscope = \"worker\"\n";
    assert_faults(
        &file_faults(text),
        &[
            "my.toml:1:1: the default of `memory`, 128MiB, is past its max, 64MiB",
            "my.toml:3:1: unknown key `scop` in [memory]",
            "my.toml:5:7: `drain` has no max: workers have no say in it",
            "my.toml:7:8: bad `code` \"mine\": this belongs to the limit",
        ],
    );
}

#[test]
fn a_worker_may_go_up_to_the_max_and_one_past_it_names_the_max_and_who_set_it() {
    let table = with_file("memory = { default = \"1MiB\", max = \"2MiB\" }\n");
    let load = |limits: &str| {
        let text = format!("name = \"a\"\n[limits]\n{limits}\n");
        let root = folder(&[("eyot.toml", &text), ("a.wasm", "")]);
        let loaded = super::Worker::load(root.path(), &table);
        loaded.map(|worker| worker.limits).map_err(|error| faults(root.path(), &error).join("\n"))
    };
    assert_eq!(load("").unwrap().memory, 1 << 20);
    assert_eq!(load("memory = \"2MiB\"").unwrap().memory, 2 << 20);
    let past = load("memory = \"2097153B\"").unwrap_err();
    assert!(past.starts_with("eyot.toml:3:10: `memory` = 2097153B is past the max of 2MiB (--limits "), "{past}");
    assert_eq!(load("stream_total = \"1h\"").unwrap().stream_total, Some(Duration::from_secs(3600)));
    assert_eq!(load("queue = 0\nqueue_wait = \"0s\"").unwrap().queue, 0);
    assert_eq!(load("subrequests = 1_000").unwrap().subrequests, 1000);
    assert!(load("subrequests = 1001").unwrap_err().contains("is past the max of 1000 (built in)"));
}

#[test]
fn a_worker_has_no_say_in_limits_of_the_node() {
    assert_faults(
        &worker_faults(&[
            ("eyot.toml", "name = \"a\"\n[limits]\nmemroy = 5\ndrain = \"1s\"\nmemory = {}\n"),
            ("a.wasm", ""),
        ]),
        &[
            "eyot.toml:3:1: unknown limit `memroy`",
            "eyot.toml:4:9: `drain` is a limit of the node",
            "eyot.toml:5:10: `memory` must be a size with its unit, in quotes, not a table",
        ],
    );
}

#[test]
fn limits_of_node_toml_come_after_the_file_and_before_the_worker() {
    let node = "listener = [{ address = \"127.0.0.1:0\" }]\n[limits]\nqueue = 7\n[[worker]]\npath = \"w\"\n";
    let root = folder(&[
        ("node.toml", node),
        ("my.toml", "queue = 5\nhandles = 5\n"),
        ("w/eyot.toml", "name = \"w\""),
        ("w/w.wasm", ""),
    ]);
    let node = super::Node::load(&root.path().join("node.toml"), Some(&root.path().join("my.toml"))).unwrap();
    assert_eq!((node.workers[0].limits.queue, node.workers[0].limits.handles), (7, 5));
    assert!(matches!(node.limits.row("queue").unwrap().source, Source::Node(_)));
    assert!(matches!(node.limits.row("handles").unwrap().source, Source::File(_)));
    let found = node_faults(&[("node.toml", "listener = [{ address = \"127.0.0.1:0\" }]\nlimits = 5\n")]);
    assert_faults(&found, &["node.toml:2:10: `limits` must be a table, not the integer 5"]);
}

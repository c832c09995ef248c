//! Claims about the metrics, down to the text that Prometheus reads.

use super::*;

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "no line {line:?} in\n{text}");
}

#[test]
fn requests_are_counted_by_target_and_status() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker("hello");
    worker.target().finished(200, Duration::from_micros(80));
    worker.target().finished(200, Duration::from_millis(3));
    worker.target().finished(299, Duration::ZERO);
    metrics.target(Target::Origin("shop")).finished(502, Duration::ZERO);
    metrics.target(Target::None).finished(404, Duration::ZERO);
    let text = metrics.render();
    assert_has(&text, "# TYPE eyot_requests_total counter");
    assert_has(&text, r#"eyot_requests_total{status="200",target="hello"} 2"#);
    assert_has(&text, r#"eyot_requests_total{status="2xx",target="hello"} 1"#);
    assert_has(&text, r#"eyot_requests_total{status="502",target="origin:shop"} 1"#);
    assert_has(&text, r#"eyot_requests_total{status="404",target="node:none"} 1"#);
    assert_has(&text, "# TYPE eyot_request_duration_seconds histogram");
    assert_has(&text, r#"eyot_request_duration_seconds_bucket{target="hello",le="0.0001"} 2"#);
    assert_has(&text, r#"eyot_request_duration_seconds_bucket{target="hello",le="0.005"} 3"#);
    assert_has(&text, r#"eyot_request_duration_seconds_count{target="hello"} 3"#);
}

#[test]
fn failures_and_soft_limits_are_counted_by_code() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker("hello");
    worker.target().failed("worker_cpu_exceeded");
    metrics.target(Target::None).failed("route_not_found");
    worker.limit_reached("worker_log_truncated");
    worker.log_dropped(1000);
    let text = metrics.render();
    assert_has(&text, r#"eyot_failures_total{code="worker_cpu_exceeded",target="hello"} 1"#);
    assert_has(&text, r#"eyot_failures_total{code="route_not_found",target="node:none"} 1"#);
    assert_has(&text, r#"eyot_limits_reached_total{code="worker_log_truncated",worker="hello"} 1"#);
    assert_has(&text, r#"eyot_guest_log_bytes_dropped_total{worker="hello"} 1000"#);
}

#[test]
fn a_worker_of_any_name_is_told_from_the_node_itself() {
    let metrics = Metrics::new().unwrap();
    for (name, target) in [("none", Target::None), ("redirect", Target::Redirect), ("respond", Target::Respond)] {
        metrics.worker(name).target().finished(200, Duration::ZERO);
        metrics.target(target).finished(404, Duration::ZERO);
        assert_has(&metrics.render(), &format!("eyot_requests_total{{status=\"200\",target=\"{name}\"}} 1"));
    }
    let none_of_both = metrics.render().lines().filter(|line| line.starts_with("eyot_requests_total{")).count();
    assert_eq!(none_of_both, 6);
}

#[test]
fn isolates_are_counted_while_they_exist_and_by_their_start() {
    let metrics = Metrics::new().unwrap();
    let first = metrics.isolate_started(Start::Cold);
    let second = metrics.isolate_started(Start::Warm);
    assert_has(&metrics.render(), "eyot_isolates_in_use 2");
    drop((first, second));
    drop(metrics.isolate_started(Start::Warm));
    let text = metrics.render();
    assert_has(&text, "eyot_isolates_in_use 0");
    assert_has(&text, r#"eyot_isolates_started_total{start="cold"} 1"#);
    assert_has(&text, r#"eyot_isolates_started_total{start="warm"} 2"#);
    assert_has(&text, r#"eyot_isolates_started_total{start="compile"} 0"#);
    assert_has(&text, r#"eyot_isolates_started_total{start="prepared"} 0"#);
    assert_has(&text, r#"eyot_isolates_started_total{start="reused"} 0"#);
}

#[test]
fn usage_is_counted_in_cpu_seconds_and_gigabyte_seconds() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker("hello");
    worker.used(Duration::from_millis(250), 500_000_000, Duration::from_secs(3));
    worker.used(Duration::from_millis(250), 0, Duration::from_secs(3));
    let text = metrics.render();
    assert_has(&text, r#"eyot_guest_cpu_seconds_total{worker="hello"} 0.5"#);
    assert_has(&text, r#"eyot_guest_gigabyte_seconds_total{worker="hello"} 1.5"#);
}

#[test]
fn connections_are_counted_while_they_are_open() {
    let metrics = Metrics::new().unwrap();
    metrics.connections(1);
    assert_has(&metrics.render(), "eyot_connections 1");
    metrics.connections(0);
    assert_has(&metrics.render(), "eyot_connections 0");
}

#[test]
fn a_worker_activated_again_goes_on_with_its_counters() {
    let metrics = Metrics::new().unwrap();
    metrics.worker("hello").target().finished(200, Duration::ZERO);
    metrics.worker("hello").target().finished(200, Duration::ZERO);
    assert_has(&metrics.render(), r#"eyot_requests_total{status="200",target="hello"} 2"#);
}

#[test]
fn all_statuses_of_a_guest_make_a_bounded_number_of_series() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker("hello");
    (0..=u16::MAX).for_each(|status| worker.target().finished(status, Duration::ZERO));
    let series = metrics.render().lines().filter(|line| line.starts_with("eyot_requests_total{")).count();
    assert_eq!(series, status::slots());
}

#[test]
fn the_build_and_the_process_are_told() {
    let metrics = Metrics::new().unwrap();
    metrics.adopt(IntCounter::new("eyot_log_lines_dropped_total", "Lines.").unwrap()).unwrap();
    let text = metrics.render();
    assert!(text.contains("eyot_build_info{version=\"0.1.0\",wasmtime=\"48."), "{text}");
    assert_has(&text, "eyot_access_log_dropped_total 0");
    assert_has(&text, "eyot_log_lines_dropped_total 0");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "no {name}");
    }
}

#[test]
fn the_told_version_of_wasmtime_is_the_one_in_the_lock_file() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let entry = format!("name = \"wasmtime\"\nversion = \"{}\"\n", wasmtime_environ::VERSION);
    assert!(lock.contains(&entry), "wasmtime and wasmtime-environ go together");
}

#[tokio::test]
async fn tasks_are_told_by_name() {
    let metrics = Metrics::new().unwrap();
    let task = task::spawn("test-metrics", std::future::pending::<()>());
    assert_has(&metrics.render(), r#"eyot_tasks{name="test-metrics"} 1"#);
    task.abort();
    let _ = task.await;
    let text = metrics.render();
    assert_has(&text, r#"eyot_tasks{name="test-metrics"} 0"#);
    assert_has(&text, r#"eyot_task_panics_total{name="test-metrics"} 0"#);
}

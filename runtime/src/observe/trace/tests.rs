//! Claims about trace context; the vectors are the specification's and those of its test harness.

use super::*;

const ID: &str = "0af7651916cd43dd8448eb211c80319c";
const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn is_taken(traceparent: &str) -> bool {
    Trace::from_headers(&headers(&[("traceparent", traceparent)])).parent().is_some()
}

fn carried(lines: &[&str]) -> Option<String> {
    let mut all = vec![("traceparent", GOOD)];
    all.extend(lines.iter().map(|line| ("tracestate", *line)));
    Trace::from_headers(&headers(&all)).state().map(str::to_owned)
}

#[test]
fn a_good_traceparent_makes_a_child_in_the_same_trace() {
    let trace = Trace::from_headers(&headers(&[("traceparent", GOOD)]));
    assert_eq!(trace.id().to_string(), ID);
    assert_eq!(trace.parent().unwrap().to_string(), "b7ad6b7169203331");
    assert_ne!(trace.span(), trace.parent().unwrap());
    assert!(trace.is_sampled() && trace.has_remote_parent());
}

#[test]
fn the_sampled_flag_is_honoured_and_unknown_flags_are_cleared() {
    let flags = |flags: &str| {
        let sent = format!("00-{ID}-b7ad6b7169203331-{flags}");
        Trace::from_headers(&headers(&[("traceparent", &sent)])).flags()
    };
    assert_eq!([flags("00"), flags("01"), flags("02"), flags("03"), flags("ff")], [0, 1, 2, 3, 3]);
}

#[test]
fn a_bad_traceparent_starts_a_new_trace() {
    for bad in [
        "",
        "foo",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what-the-future-will-be-like",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-will-be-like",
        "cc-12345678901234567890123456789012-1234567890123456-01.what-the-future-will-be-like",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-010",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0af7651916cd43dd8448eb211c80319.-b7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-xy",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-\u{fc}",
    ] {
        assert!(!is_taken(bad), "{bad:?} was taken");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    assert!(is_taken("cc-12345678901234567890123456789012-1234567890123456-01"));
    assert!(is_taken("cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-will-be-like"));
}

#[test]
fn two_traceparents_start_a_new_trace_without_the_state() {
    let trace = Trace::from_headers(&headers(&[("traceparent", GOOD), ("traceparent", GOOD), ("tracestate", "a=1")]));
    assert_eq!((trace.parent(), trace.state()), (None, None));
    assert_ne!(trace.id().to_string(), ID);
}

#[test]
fn tracestate_is_carried_in_order_and_joined() {
    assert_eq!(
        carried(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"]).unwrap(),
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    );
    assert_eq!(carried(&["foo=1 , bar=2", "", "rojo=1,congo=2"]).unwrap(), "foo=1,bar=2,rojo=1,congo=2");
    assert_eq!(carried(&["fw529a3039@dt=FfAAZ"]).unwrap(), "fw529a3039@dt=FfAAZ");
}

#[test]
fn tracestate_that_breaks_the_grammar_is_dropped_and_the_trace_goes_on() {
    for bad in ["", "foo", "foo=1=2", "FOO=1", "=1", "foo=", "foo bar=1", "foo=\u{fc}", "-a=1", &"z".repeat(300)] {
        assert_eq!(carried(&[bad]), None, "{bad:?} was carried");
    }
    let members = |count| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    assert!(carried(&[&members(32)]).is_some());
    assert_eq!(carried(&[&members(33)]), None);
}

#[test]
fn tracestate_is_bounded_and_long_members_go_first() {
    let long = format!("long={}", "x".repeat(200));
    let short: Vec<_> = (0..10).map(|n| format!("s{n}={}", "y".repeat(36))).collect();
    let sent = format!("{long},{}", short.join(","));
    assert_eq!(carried(&[&sent]).unwrap(), short.join(","));
    let exact = format!("a={},b={}", "x".repeat(254), "y".repeat(253));
    assert_eq!((exact.len(), carried(&[&exact]).unwrap().len()), (512, 512));
}

#[test]
fn a_subrequest_gets_a_span_of_its_own_in_place_of_the_clients() {
    let trace = Trace::from_headers(&headers(&[("traceparent", GOOD)]));
    let child = trace.child();
    assert_eq!((child.id(), child.parent()), (trace.id(), Some(trace.span())));
    assert!(!child.has_remote_parent());

    let mut out = headers(&[("traceparent", "client"), ("traceparent", "again"), ("tracestate", "stale=1")]);
    child.inject(&mut out);
    let sent: Vec<_> = out.get_all("traceparent").iter().collect();
    assert_eq!(sent, [&format!("00-{ID}-{}-01", child.span())]);
    assert!(!out.contains_key("tracestate"));
}

#[test]
fn a_new_trace_is_sampled_and_says_that_its_id_is_random() {
    let mut out = HeaderMap::new();
    Trace::root().inject(&mut out);
    let sent = out["traceparent"].to_str().unwrap().to_owned();
    assert!(sent.ends_with("-03") && is_taken(&sent), "{sent}");
}

#[test]
fn where_no_span_is_recorded_the_caller_stays_the_parent() {
    let mut out = HeaderMap::new();
    Trace::from_headers(&headers(&[("traceparent", GOOD)])).unrecorded().inject(&mut out);
    assert_eq!(out["traceparent"], GOOD);
}

#[test]
fn a_trace_that_is_not_sampled_says_so() {
    let mut out = HeaderMap::new();
    let trace = Trace::root().sampled(false);
    trace.inject(&mut out);
    assert!(!trace.is_sampled() && out["traceparent"].to_str().unwrap().ends_with("-02"));
    assert!(trace.sampled(true).is_sampled());
}

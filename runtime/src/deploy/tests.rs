//! Which route wins, and which tricks do not.

use std::time::Instant;

use http::Method;

use super::{RouteTable, fuzz};
use crate::config::Route;
use crate::failure::Failure;
use crate::http::{host, path};

/// `[METHODS] [HOST]/PATH`; its place is its line.
fn route(text: &str, line: usize) -> Route {
    fuzz::parsed(text, line).unwrap_or_else(|| panic!("{text} is no route"))
}

fn build(routes: &[&str]) -> Result<RouteTable, crate::config::Diagnostics> {
    RouteTable::build(routes.iter().enumerate().map(|(index, text)| route(text, index + 1)))
}

/// A table with its routes as they were written.
struct Table {
    table: RouteTable,
    routes: Vec<String>,
}

fn table(routes: &[&str]) -> Table {
    let table = build(routes).unwrap_or_else(|faults| panic!("{faults}"));
    Table { table, routes: routes.iter().map(ToString::to_string).collect() }
}

/// The route that a request takes, as it was written, or the failure's code. `[METHOD] HOST/PATH`.
fn find(Table { table, routes }: &Table, request: &str) -> String {
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    let (authority, target) = url.split_at(url.find('/').unwrap_or(url.len()));
    let found = host::canonical(authority).and_then(|host| {
        let path = path::canonical(target)?.into_owned();
        table.find(&host, &method.parse().unwrap(), &path).map(|index| routes[index].clone())
    });
    found.unwrap_or_else(|failure| failure.code().to_owned())
}

#[track_caller]
fn expect(routes: &[&str], requests: &[(&str, &str)]) {
    let forwards = table(routes);
    let backwards = table(&routes.iter().rev().copied().collect::<Vec<_>>());
    for (request, expected) in requests {
        assert_eq!(find(&forwards, request), *expected, "{request}");
        assert_eq!(find(&backwards, request), *expected, "{request}: the order of the routes decides nothing");
    }
}

const NOT_FOUND: &str = "route_not_found";
const BAD: &str = "bad_request";

#[test]
fn the_most_specific_host_that_has_the_path_wins() {
    expect(
        &["a.example.com/x", "*.example.com/*", "*.b.example.com/*", "/any", "/x"],
        &[
            ("a.example.com/x", "a.example.com/x"),
            ("a.example.com/y", "*.example.com/*"),
            ("c.b.example.com/x", "*.b.example.com/*"),
            ("d.c.b.example.com/x", "*.b.example.com/*"),
            ("b.example.com/x", "*.example.com/*"),
            ("example.com/x", "/x"),
            ("example.com/y", NOT_FOUND),
            ("A.Example.COM.:8080/x", "a.example.com/x"),
        ],
    );
}

#[test]
fn t09_a_wildcard_matches_whole_labels_only() {
    let routes = ["*.example.com/*"];
    let others = [
        "example.com",
        "myexample.com",
        "example.com.evil.org",
        "a.example.com.evil.org",
        "xexample.com",
        "com",
        "a.example.co",
    ];
    for host in others {
        assert_eq!(find(&table(&routes), &format!("{host}/")), NOT_FOUND, "{host}");
    }
    for host in [".example.com", "a..example.com", "a@b.example.com", "*.example.com", "a.example.com:x"] {
        assert_eq!(find(&table(&routes), &format!("{host}/")), BAD, "{host}");
    }
    expect(&routes, &[("a.example.com/", routes[0]), ("a.b.example.com/", routes[0]), ("-._.example.com/", routes[0])]);
}

#[test]
fn addresses_are_hosts_too() {
    expect(
        &["[::1]/*", "127.0.0.1/*"],
        &[
            ("[0::1]:80/", "[::1]/*"),
            ("127.0.0.1:80/", "127.0.0.1/*"),
            ("127.0.0.2/", NOT_FOUND),
            ("[::2]/", NOT_FOUND),
        ],
    );
}

#[test]
fn exact_segments_win_over_parameters_and_both_over_prefixes() {
    expect(
        &["/users/me", "/users/{id}", "/users/*", "/users/me/*", "/users/{id}/posts", "/users/{id}/*", "/*", "/"],
        &[
            ("h/users/me", "/users/me"),
            ("h/users/7", "/users/{id}"),
            ("h/users/7/posts", "/users/{id}/posts"),
            ("h/users/me/posts", "/users/{id}/posts"),
            ("h/users/me/x", "/users/me/*"),
            ("h/users/7/x/y", "/users/{id}/*"),
            ("h/users", "/users/*"),
            ("h/users/", "/users/*"),
            ("h/usersx", "/*"),
            ("h/", "/"),
            ("h//", "/"),
            ("h/a/b/c/d/e/f", "/*"),
        ],
    );
}

#[test]
fn a_prefix_matches_itself_and_all_below_and_nothing_beside() {
    let all =
        ["h/files", "h/files/", "h/files/a", "h/files/a/b/", "h//files//a", "h/files/%2F", "h/files/*", "h/%66iles"];
    expect(&["/files/*"], &all.map(|request| (request, "/files/*")));
    expect(
        &["/files/*"],
        &["h/file", "h/filesx", "h/Files", "h/", "h/a/files", "h/x%2Fa"].map(|request| (request, NOT_FOUND)),
    );
    expect(
        &["/{a}/x/*"],
        &[("h/1/x", "/{a}/x/*"), ("h/1/x/2/3", "/{a}/x/*"), ("h/1/2", NOT_FOUND), ("h/1", NOT_FOUND)],
    );
}

#[test]
fn a_trailing_slash_is_part_of_an_exact_path() {
    expect(
        &["/a", "/b/"],
        &[("h/a", "/a"), ("h/a/", NOT_FOUND), ("h/b/", "/b/"), ("h/b", NOT_FOUND), ("h//b//", "/b/")],
    );
    expect(&["/{a}"], &[("h/x", "/{a}"), ("h/", NOT_FOUND), ("h/x/", NOT_FOUND), ("h/x/y", NOT_FOUND)]);
}

#[test]
fn a13_c21_another_spelling_never_leads_to_another_route() {
    expect(
        &["/admin/*", "/@me", "/a|b", "/caf%c3%a9", "/%7bx%7D", "/*"],
        &[
            ("h/%61dmin/x", "/admin/*"),
            ("h//admin//x", "/admin/*"),
            ("h/admin;x/y", "/admin/*"),
            ("h/admin%3Bx;y=z", "/admin/*"),
            ("h/;/admin", BAD),
            ("h/%40me", "/@me"),
            ("h/@me", "/@me"),
            ("h/a%7Cb", "/a|b"),
            ("h/a%7cb", "/a|b"),
            ("h/caf%C3%A9", "/caf%c3%a9"),
            ("h/{x}", "/%7bx%7D"),
            ("h/x/../admin/y", BAD),
            ("h/x/..;/admin/y", BAD),
            ("h/x%2F..%2Fadmin", BAD),
            ("h/x%5C..%5Cadmin", BAD),
            ("h/admin%00", BAD),
            ("h/%c0%aeadmin", BAD),
        ],
    );
}

#[test]
fn an_escaped_slash_is_refused_where_a_plain_one_would_lead_elsewhere() {
    expect(
        &["/admin/*", "/u/{id}", "/files/*", "*.a.example/x/y", "/*"],
        &[
            ("h/admin%2Fx", BAD),
            ("h/admin%2fx/y", BAD),
            ("h/%2Fadmin/x", BAD),
            ("h/%2F%2Fadmin", BAD),
            ("h/admin%2F", BAD),
            ("h/x;%2Fadmin", "/*"),
            ("h/;%2Fadmin", BAD),
            ("h/admin;y%2Fx", "/admin/*"),
            ("h/u/a%2Fb", BAD),
            ("h/u%2F1", BAD),
            ("h/u/1%2F", BAD),
            ("1.a.example/x%2Fy", BAD),
            ("h/x%2Fy", "/*"),
            ("h/files/a%2Fb", "/files/*"),
            ("h/admin/a%2Fb", "/admin/*"),
            ("h/a%252Fb", "/*"),
        ],
    );
    expect(&["/{page}"], &[("h/admin%2Fx", BAD), ("h/a%2Fb/c", NOT_FOUND)]);
}

#[test]
fn a_listed_method_wins_over_any_and_get_includes_head() {
    expect(
        &["GET /a", "POST,PUT /a", "/a", "GET /b", "HEAD /b", "GET /c"],
        &[
            ("GET h/a", "GET /a"),
            ("HEAD h/a", "GET /a"),
            ("PUT h/a", "POST,PUT /a"),
            ("DELETE h/a", "/a"),
            ("PROPFIND h/a", "/a"),
            ("OPTIONS h/a", "/a"),
            ("get h/a", "/a"),
            ("HEAD h/b", "HEAD /b"),
            ("GET h/b", "GET /b"),
            ("POST h/b", "method_not_allowed"),
            ("OPTIONS h/c", "method_not_allowed"),
            ("TRACE h/a", "method_not_allowed"),
            ("CONNECT h/a", "method_not_allowed"),
        ],
    );
}

#[test]
fn a_path_for_other_methods_is_405_with_all_that_it_allows() {
    let Table { table, .. } = table(&["GET a.example/x", "POST,DELETE a.example/x", "/x", "a.example/*"]);
    let allow = |method, path| match table.find("a.example", &method, path) {
        Err(Failure::MethodNotAllowed { allow }) => allow,
        other => panic!("{other:?}"),
    };
    assert_eq!(allow(Method::PUT, "/x"), "GET, HEAD, POST, DELETE", "no less specific path or host is asked");
    assert_eq!(allow(Method::TRACE, "/y"), "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
    assert!(matches!(table.find("b.example", &Method::PUT, "/y"), Err(Failure::RouteNotFound)));
}

#[test]
fn the_server_as_a_whole_has_no_route() {
    let Table { table, .. } = table(&["/*"]);
    assert!(matches!(table.find("h", &Method::OPTIONS, "*"), Err(Failure::RouteNotFound)));
    assert!(matches!(table.find("h", &Method::GET, "*"), Err(Failure::BadRequest(_))));
}

#[test]
fn routes_that_match_the_same_requests_are_a_fault_that_names_both() {
    for (first, second) in [
        ("/a", "/a"),
        ("/{a}", "/{b}"),
        ("/x/{a}/*", "/x/{b}/*"),
        ("/*", "/*"),
        ("GET,POST /a", "POST,PUT /a"),
        ("Example.com/a", "example.com/a"),
        ("*.example.com/a", "*.EXAMPLE.com/a"),
        ("/%61", "/a"),
        ("/@", "/%40"),
        ("[::1]/", "[0::1]/"),
    ] {
        let faults = build(&["/other", first, second]).unwrap_err();
        assert_eq!(faults.0.len(), 1, "{first} {second}");
        assert_eq!(faults.0[0].place.line, 3);
        assert!(faults.0[0].message.contains("node.toml:2:1"), "{faults}");
    }
    for (first, second) in [
        ("/a", "/a/"),
        ("/a", "/a/*"),
        ("GET /{a}", "POST /{b}"),
        ("GET /a", "HEAD /a"),
        ("a.b/", "*.b/"),
        ("GET /a", "/a"),
    ] {
        assert!(build(&[first, second]).is_ok(), "{first} {second}");
    }
}

#[test]
fn all_faults_are_told_together() {
    let faults = build(&["/a", "b/*", "/a", "/ok", "b/*"]).unwrap_err();
    let lines: Vec<_> = faults.0.iter().map(|fault| fault.place.line).collect();
    assert_eq!(lines, [3, 5], "{faults}");
    assert!(faults.0.iter().all(|fault| fault.help.as_ref().is_some_and(|help| !help.is_empty())));
}

#[test]
fn any_table_finds_what_the_slow_way_finds() {
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut found = 0;
    for _ in 0..2_000 {
        let mut texts: Vec<String> = Vec::new();
        for _ in 0..1 + next(10) {
            let mut text: String = (0..next(4))
                .map(|_| ["/a", "/b", "/ab", "/{x}"][next(4) as usize])
                .enumerate()
                .map(|(at, s)| s.replace('x', &format!("x{at}")))
                .collect();
            text.push_str(["/*", "", "/", "/a"][next(4) as usize]);
            if !text.is_empty() && !texts.contains(&text) {
                texts.push(text);
            }
        }
        let routes: Vec<&str> = texts.iter().map(String::as_str).collect();
        let table = table(&routes);
        let parsed: Vec<Route> = routes.iter().map(|text| route(text, 1)).collect();
        for _ in 0..30 {
            let mut path: String = (0..next(6)).map(|_| ["/a", "/b", "/ab", "/c"][next(4) as usize]).collect();
            if path.is_empty() || next(4) == 0 {
                path.push('/');
            }
            let slow = fuzz::slow(&parsed, "h", &Method::GET, &path).map_or(NOT_FOUND, |index| routes[index]);
            found += usize::from(slow != NOT_FOUND);
            assert_eq!(find(&table, &format!("h{path}")), slow, "{routes:?} {path}");
        }
    }
    assert!(found > 10_000, "{found}");
}

/// Prints what a lookup costs: `cargo test --release --lib deploy:: -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_lookup() {
    let mut routes: Vec<String> = (0..1_000).map(|n| format!("h{n}.example.com/api/{{id}}/x{n}")).collect();
    routes.extend((0..1_000).map(|n| format!("*.w{n}.example.com/files/{n}/*")));
    routes.extend((0..1_000).map(|n| format!("/any/{n}")));
    let Table { table, .. } = table(&routes.iter().map(String::as_str).collect::<Vec<_>>());
    let many = format!("/any/{}", "x/".repeat(4_000));
    let cases = [
        ("exact host, parameter", "h7.example.com", "/api/12/x7"),
        ("wildcard host, prefix", "a.w9.example.com", "/files/9/a/b/c"),
        ("any host, exact", "other.org", "/any/500"),
        ("with escapes", "other.org", "/any/%40"),
        ("8,000 bytes of slashes", "a.w9.example.com", &many),
    ];
    for (name, host, target) in cases {
        let start = Instant::now();
        for _ in 0..10_000 {
            let path = path::canonical(std::hint::black_box(target)).unwrap();
            std::hint::black_box(table.find(host, &Method::GET, &path).is_ok());
        }
        println!("{name}: {:?}", start.elapsed() / 10_000);
    }
}

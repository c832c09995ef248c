//! Targets of routes that node.toml writes out: redirects and fixed answers.

use super::super::route::{check_field, location};

#[test]
fn a_location_uses_only_what_the_route_has_and_never_lets_it_choose_the_host() {
    for good in [
        "/new",
        "/new/{id}",
        "/{id}",
        "/old{path}?{query}",
        "https://example.com",
        "https://example.com{path}",
        "http://example.com/{id}?{query}",
        "https://example.com?x={id}",
    ] {
        let checked = location(good, "/users/{id}");
        assert_eq!(checked.as_deref().map_err(|wrong| wrong.why.as_str()), Ok(good));
    }
    for wrong in [
        "",
        "new",
        "//evil.example",
        "/\\evil.example",
        "https://{id}/",
        "https://example.com{id}",
        "https://{path}",
        "/{other}",
        "/{id",
        "/id}",
        "ftp://a/",
        "javascript:alert(1)",
        "{id}",
        "{query}",
        "{path}",
        "/{path}",
        "/a b",
        "/é",
        "/a\r\nb",
    ] {
        assert!(location(wrong, "/users/{id}").is_err(), "{wrong}");
    }
}

#[test]
fn a_fixed_answer_cannot_set_what_frames_it() {
    assert_eq!(check_field("Content-Type", "text/plain"), Ok(()));
    for (name, value) in [
        ("content-length", "1"),
        ("Transfer-Encoding", "x"),
        ("eyot-error", "x"),
        ("a b", "x"),
        ("", "x"),
        ("x", "a\nb"),
    ] {
        assert!(check_field(name, value).is_err(), "{name}");
    }
}

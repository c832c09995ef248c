//! The forms of small strings.

use super::super::form::*;

#[test]
fn a_name_is_a_dns_label() {
    for good in ["a", "api-2", "0", &"x".repeat(63)] {
        assert_eq!(name(good).as_deref(), Ok(good));
    }
    for wrong in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
        assert!(name(wrong).is_err(), "{wrong}");
    }
    assert_eq!(name("My_Api").unwrap_err().help, "write, for example, \"my-api\"");
}

#[test]
fn a_method_is_an_upper_case_token_that_can_be_routed() {
    assert_eq!(method("PURGE").unwrap().as_str(), "PURGE");
    assert_eq!(method("get").unwrap_err().help, "write \"GET\"");
    for wrong in ["", "G T", "CONNECT", "TRACE", "Get", "é"] {
        assert!(method(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_block_of_addresses_names_no_host_bits() {
    assert_eq!(addresses("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(addresses("::1").unwrap().to_string(), "::1/128");
    assert!(addresses("10.0.0.1/8").unwrap_err().help.contains("\"10.0.0.0/8\""));
    for wrong in ["", "10", "10.0.0.0/33", "localhost", "10.0.0.0/"] {
        assert!(addresses(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_destination_is_scheme_host_and_port_and_nothing_else() {
    let parts =
        |text| egress(text).map(|e| (e.scheme.map(|s| s.to_string()), e.host.to_string(), e.port)).map_err(|w| w.why);
    assert_eq!(parts("https://api.example.com"), Ok((Some("https".into()), "api.example.com".into(), None)));
    assert_eq!(parts("*.example.com:8443"), Ok((None, "*.example.com".into(), Some(8443))));
    assert_eq!(parts("http://X.test:8080"), Ok((Some("http".into()), "x.test".into(), Some(8080))));
    assert_eq!(parts("http://[2600::1]:80"), Ok((Some("http".into()), "[2600::1]".into(), Some(80))));
    assert_eq!(parts("myorigin.internal"), Ok((None, "myorigin.internal".into(), None)));
    assert_eq!(parts("[2600::1]"), Ok((None, "[2600::1]".into(), None)));
    for wrong in [
        "",
        "*",
        "https://",
        "ftp://a.com",
        "https://a.com/",
        "https://a.com/x",
        "https://u@a.com",
        "a.com:0",
        "a.com:+1",
        "a.com:99999",
        "a.com:",
        "https://a.com?x",
        "http://127.0.0.1:3000",
        "10.0.0.1",
        "http://[::1]",
        "[::ffff:8.8.8.8]",
        "a.origin.internal",
        "*.origin.internal",
    ] {
        assert!(parts(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_base_url_is_http_without_secrets_and_query() {
    assert_eq!(base_url("http://127.0.0.1:3000/api").unwrap().as_str(), "http://127.0.0.1:3000/api");
    for wrong in ["", "a.com", "ftp://a", "http://", "http://u:p@a", "http://a?x", "http://a#x", "http://a:0"] {
        assert!(base_url(wrong).is_err(), "{wrong}");
    }
}

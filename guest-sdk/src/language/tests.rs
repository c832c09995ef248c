use http::HeaderValue;
use http::header::{ACCEPT_LANGUAGE, COOKIE, HeaderMap};

use super::Languages;

const SUPPORTED: [&str; 4] = ["en", "de", "fr", "ja"];

fn negotiated(cookie: Option<&str>, accept: &[&str]) -> &'static str {
    let mut headers = HeaderMap::new();
    if let Some(cookie) = cookie {
        headers.append(COOKIE, HeaderValue::from_str(cookie).unwrap());
    }
    for accept in accept {
        headers.append(ACCEPT_LANGUAGE, HeaderValue::from_str(accept).unwrap());
    }
    Languages::of(&headers, "lang").negotiate(&SUPPORTED, "en")
}

#[test]
fn the_highest_weight_wins_and_equal_weights_keep_their_order() {
    assert_eq!(negotiated(None, &["fr;q=0.5, de;q=0.9, en;q=0.1"]), "de");
    assert_eq!(negotiated(None, &["ja, de"]), "ja");
    assert_eq!(negotiated(None, &["fr;q=0.5", "de"]), "de");
    assert_eq!(negotiated(None, &["de ; q=0.001 , fr;Q=1.000"]), "fr");
}

#[test]
fn a_range_with_a_region_or_a_script_finds_its_language() {
    assert_eq!(negotiated(None, &["de-AT"]), "de");
    assert_eq!(negotiated(None, &["ja-Jpan-JP"]), "ja");
    assert_eq!(negotiated(None, &["DE-ch"]), "de");
    assert_eq!(Languages::default().negotiate(&["pt-BR"], "pt-BR"), "pt-BR");
}

#[test]
fn lookup_shortens_a_range_from_its_end_and_only_that() {
    assert_eq!(negotiated(None, &["de-DE-u-co-phonebk"]), "de");
    assert_eq!(negotiated(None, &["de-x-foo"]), "de");
    assert_eq!(negotiated(None, &["de-*-DE"]), "de");
    assert_eq!(negotiated(None, &["x-de", "i-fr", "*-de", "fr"]), "fr");
    let lookup = |accept: &'static str, supported: &[&'static str]| {
        let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(accept))]);
        Languages::of(&headers, "lang").negotiate(supported, "en")
    };
    // RFC 4647 §3.4, its own example.
    let steps = ["zh-Hant-CN-x-private1-private2", "zh-Hant-CN-x-private1", "zh-Hant-CN", "zh-Hant", "zh"];
    for step in steps {
        assert_eq!(lookup(steps[0], &["en", step]), step);
    }
    assert_eq!(lookup("zh-Hant-CN-x-private1", &["zh-Hant-CN-x"]), "en");
    // Neither another region nor a likely one.
    assert_eq!(lookup("pt", &["pt-BR"]), "en");
    assert_eq!(lookup("pt-PT, fr;q=0.1", &["pt-BR", "fr"]), "fr");
    assert_eq!(lookup("zh-TW", &["zh-Hant", "zh-Hans"]), "en");
    assert_eq!(lookup("PT-br", &["pt-BR"]), "pt-BR");
}

#[test]
fn a_supported_language_that_is_no_tag_is_never_chosen() {
    let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static("pt-BR, *, de;q=0.1"))]);
    assert_eq!(Languages::of(&headers, "lang").negotiate(&["pt_BR", "", "*", "de"], "en"), "de");
}

#[test]
fn the_cookie_comes_before_the_header() {
    assert_eq!(negotiated(Some("theme=dark; lang=ja"), &["de"]), "ja");
    assert_eq!(negotiated(Some("lang=fr"), &[]), "fr");
    assert_eq!(negotiated(Some("lang=\"fr\""), &["de"]), "fr");
}

#[test]
fn a_cookie_that_is_no_supported_language_leaves_it_to_the_header() {
    assert_eq!(negotiated(Some("lang=tlh"), &["de"]), "de");
    assert_eq!(negotiated(Some("lang=%00%ff"), &["de"]), "de");
    assert_eq!(negotiated(Some("lang=../../etc"), &["de"]), "de");
    assert_eq!(negotiated(Some("lang=und"), &["de"]), "de");
    assert_eq!(negotiated(Some("lang=*"), &["de"]), "de");
}

#[test]
fn a_refused_language_is_not_taken() {
    assert_eq!(negotiated(None, &["de;q=0, fr;q=0.1"]), "fr");
    assert_eq!(negotiated(None, &["de;q=0.000"]), "en");
    assert_eq!(negotiated(None, &["de-AT, de;q=0, fr;q=0.5"]), "fr");
    assert_eq!(negotiated(None, &["fr, de;q=0, de-AT;q=0.5"]), "fr");
    assert_ne!(negotiated(None, &["en;q=0, *"]), "en");
    assert_ne!(negotiated(None, &["en;q=0"]), "en");
    assert_eq!(negotiated(None, &["*;q=0, ja"]), "ja");
    assert_eq!(negotiated(None, &["*;q=0"]), "en", "there must be an answer");
    assert_eq!(negotiated(Some("lang=de"), &["de;q=0, fr"]), "de", "the visitor's own choice");
}

#[test]
fn weights_that_are_none_drop_their_range() {
    for weight in ["1e9", "2", "1.001", "-1", "0.0001", "", "abc", "NaN", "0,5", "+1"] {
        assert_eq!(negotiated(None, &[&format!("de;q={weight}")]), "en", "q={weight}");
    }
    assert_eq!(negotiated(None, &["de;level=1, fr;q=0.1"]), "fr");
}

#[test]
fn garbage_is_answered_in_the_default_language() {
    for garbage in ["", ",", ";", "*", "*;q=0.5", "xx-\u{1}-", "x", ";;;q=1", "-", "en--", "und", "12345", "=,=;="] {
        let Ok(value) = HeaderValue::from_bytes(garbage.as_bytes()) else { continue };
        let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, value)]);
        assert_eq!(Languages::of(&headers, "lang").negotiate(&SUPPORTED, "en"), "en", "{garbage:?}");
    }
}

#[test]
fn ten_thousand_entries_are_not_read() {
    let many = vec!["de"; 10_000].join(",");
    assert_eq!(negotiated(None, &[&many]), "en");
    assert_eq!(negotiated(None, &[&format!("{}de", "a".repeat(100_000))]), "en");
}

#[test]
fn thirty_two_languages_are_read_and_one_more_is_not() {
    let mut wishes = vec!["xx"; 31];
    wishes.push("de");
    assert_eq!(negotiated(None, &[&wishes.join(",")]), "de");
    wishes.insert(0, "xx");
    assert_eq!(negotiated(None, &[&wishes.join(",")]), "en");
}

#[test]
fn one_odd_byte_costs_one_range() {
    let value = HeaderValue::from_bytes(b"f\xffr, de;q=0.5").unwrap();
    let headers = HeaderMap::from_iter([(ACCEPT_LANGUAGE, value)]);
    assert_eq!(Languages::of(&headers, "lang").negotiate(&SUPPORTED, "en"), "de");
}

//! Who is let in, and what a grant covers.

use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::SignedDuration;

use super::*;
use crate::config::HostPattern;
use crate::store::{By, Scope};

fn grant(scope: Scope, workers: &[&str], hosts: &[&str]) -> Grant {
    Grant::parse(scope, workers, hosts).unwrap()
}

fn bearer(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())])
}

fn with(token: &ApiToken) -> HeaderMap {
    bearer(&format!("Bearer {}", token.reveal()))
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

async fn fresh() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_token_that_was_issued_lets_its_owner_in_as_what_it_says() {
    let (_folder, store) = fresh().await;
    let (token, new) = issue("ci of shop", &grant(Scope::Deploy, &["shop-*"], &["*.Shop.example"]), None).unwrap();
    assert!(token.reveal().ends_with(&new.hint));
    let row = store.add_token(By::new("root"), new).await.unwrap();
    let operator = authenticate(&store, &with(&token)).await.unwrap();
    assert_eq!((operator.token, &*operator.name), (row.id, "ci of shop"));
    assert_eq!(operator.who(), format!("ci of shop ({})", row.id));
    assert!(operator.grant.allows(Scope::Read) && !operator.grant.allows(Scope::Admin));
    assert!(operator.grant.covers_worker("shop-front") && !operator.grant.covers_worker("mail"));
    assert_eq!(operator.grant.hosts(), ["*.shop.example"]);
    // The scheme is in any case.
    authenticate(&store, &bearer(&format!("bearer {}", token.reveal()))).await.unwrap();
}

#[tokio::test]
async fn why_a_token_is_refused_is_told_to_the_log_alone() {
    let (_folder, store) = fresh().await;
    let everything = grant(Scope::Admin, &["*"], &["*"]);
    let now = Timestamp::now();
    let expires = now.checked_add(SignedDuration::from_hours(1)).unwrap();
    let (good, new) = issue("short", &everything, Some(expires)).unwrap();
    store.add_token(By::new("root"), new).await.unwrap();
    let (revoked, new) = issue("revoked", &everything, None).unwrap();
    let row = store.add_token(By::new("root"), new).await.unwrap();
    store.revoke_token(By::new("root"), row.id).await.unwrap();
    let (strange, _) = issue("strange", &everything, None).unwrap();
    authenticate_at(&store, &with(&good), now).await.unwrap();
    let mut two = with(&good);
    two.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    let cases = [
        (HeaderMap::new(), now, "has no token"),
        (bearer("Basic eDp5"), now, "has no token"),
        (bearer("Bearer eyot_short"), now, "no token of Eyot's"),
        (bearer(&format!("Bearer {} x", good.reveal())), now, "no token of Eyot's"),
        (two, now, "more than one Authorization header"),
        (with(&strange), now, "not known"),
        (with(&revoked), now, "was revoked at"),
        (with(&good), expires, "has expired at"),
    ];
    for (headers, now, wanted) in cases {
        let refusal = authenticate_at(&store, &headers, now).await.unwrap_err();
        let told = refusal.to_string();
        assert!(told.contains(wanted), "{told}");
        assert!(!told.contains(&good.reveal()[5..]) && !format!("{refusal:?}").contains(&good.reveal()[5..]));
        assert!(!matches!(refusal, Refusal::Store(_)));
    }
    assert!(!["revoked", "expired", "known"].iter().any(|reason| REFUSED.contains(reason)), "{REFUSED}");
}

#[test]
fn a_token_that_could_never_be_used_is_not_issued() {
    let everything = grant(Scope::Admin, &["*"], &["*"]);
    for name in ["", " ci", "ci\n", &"x".repeat(101)] {
        assert_eq!(issue(name, &everything, None).unwrap_err(), GrantError::Name, "{name}");
    }
    let now = Timestamp::now();
    assert_eq!(issue("ci", &everything, Some(now)).unwrap_err(), GrantError::Past);
}

#[test]
fn a_glob_of_workers_matches_whole_names() {
    let covers = |glob: &str, name: &str| grant(Scope::Read, &[glob], &[]).covers_worker(name);
    for (glob, name) in [("*", "shop"), ("shop", "shop"), ("shop-*", "shop-"), ("*-api", "a-api"), ("a*b*c", "aXbXbc")]
    {
        assert!(covers(glob, name), "{glob} {name}");
    }
    for (glob, name) in [("shop", "shop2"), ("shop-*", "shop"), ("shop-*", "my-shop-1"), ("*-api", "api"), ("a", "")] {
        assert!(!covers(glob, name), "{glob} {name}");
    }
    assert_eq!(grant(Scope::Read, &["a***b"], &[]).workers(), ["a*b"]);
    for wrong in ["", "Shop", "a?", "[ab]", "{a,b}", "a/b", "!a", "a\\*", "ä", &"x".repeat(129)] {
        let refused = Grant::parse(Scope::Read, &[wrong], &[] as &[&str]).unwrap_err();
        assert!(matches!(refused, GrantError::Worker { .. }), "{wrong}");
    }
    assert_eq!(Grant::parse(Scope::Read, &[] as &[&str], &["*"]).unwrap_err(), GrantError::NoWorker);
    let many = vec!["a"; 33];
    let refused = Grant::parse(Scope::Read, &many, &[] as &[&str]).unwrap_err();
    assert_eq!(refused, GrantError::TooMany { what: "workers", most: 32, found: 33 });
}

#[test]
fn a_pattern_is_covered_only_with_every_host_that_it_matches() {
    let covers = |glob: &str, route: &str| {
        let route = (route != "*").then(|| pattern(route));
        grant(Scope::Deploy, &["*"], &[glob]).covers_host(route.as_ref())
    };
    for (glob, route) in [
        ("*", "*"),
        ("*", "a.example"),
        ("*", "*.example"),
        ("a.example", "A.Example"),
        ("A.EXAMPLE", "a.example"),
        ("*.shop.example", "a.shop.example"),
        ("*.shop.example", "a.b.shop.example"),
        ("*.shop.example", "*.shop.example"),
        ("*.Shop.example", "*.a.b.shop.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[0::1]", "[::1]"),
    ] {
        assert!(covers(glob, route), "{glob} covers {route}");
    }
    for (glob, route) in [
        ("a.example", "*"),
        ("*.example", "*"),
        ("*.a.example", "b.example"),
        ("*.a.example", "a.example"),
        ("*.a.example", "*.example"),
        ("*.a.example", "*.b.example"),
        ("*.a.example", "x.a.example.evil"),
        ("*.a.example", "xa.example"),
        ("*.a.example", "*.xa.example"),
        ("a.example", "*.a.example"),
        ("a.example", "b.a.example"),
        ("a.example", "aa.example"),
    ] {
        assert!(!covers(glob, route), "{glob} does not cover {route}");
    }
    assert!(!grant(Scope::Admin, &["*"], &[]).covers_host(None));
    for wrong in ["", "**", "*.*", "a.*", "*a.example", "a.example:80", "http://a.example", "a.example.", "*.127.0.0.1"]
    {
        let refused = Grant::parse(Scope::Read, &["*"], &[wrong]).unwrap_err();
        assert!(matches!(refused, GrantError::Host { .. }), "{wrong}");
    }
}

/// What is covered is asked of hosts, one by one.
#[test]
fn no_host_of_a_covered_pattern_is_outside() {
    let labels = ["a", "b", "c"];
    let mut hosts = vec![];
    for one in labels {
        hosts.push(one.to_owned());
        for two in labels {
            hosts.push(format!("{one}.{two}"));
            hosts.extend(labels.map(|three| format!("{one}.{two}.{three}")));
        }
    }
    let patterns: Vec<_> = hosts.iter().flat_map(|host| [host.clone(), format!("*.{host}")]).collect();
    for glob in &patterns {
        let (own, grant) = (pattern(glob), grant(Scope::Read, &["*"], &[glob]));
        for route in &patterns {
            let route = pattern(route);
            if grant.covers_host(Some(&route)) {
                assert!(hosts.iter().all(|host| !route.matches(host) || own.matches(host)), "{glob} {route}");
            }
        }
    }
}

#[test]
fn nobody_makes_a_token_that_can_do_more_than_his_own() {
    let own = grant(Scope::Deploy, &["shop-*", "mail"], &["*.shop.example"]);
    for (workers, hosts) in
        [(&["shop-a", "mail"][..], &["a.shop.example"][..]), (&["shop-*"], &["*.shop.example"]), (&["shop-a-*-b"], &[])]
    {
        assert!(own.includes(&grant(Scope::Deploy, workers, hosts)), "{workers:?} {hosts:?}");
        assert!(own.includes(&grant(Scope::Read, workers, hosts)));
        assert!(!own.includes(&grant(Scope::Admin, workers, hosts)));
        assert!(grant(Scope::Admin, &["*"], &["*"]).includes(&grant(Scope::Admin, workers, hosts)));
    }
    for (workers, hosts) in [
        (&["*"][..], &[][..]),
        (&["shop*"], &[]),
        (&["mail*"], &[]),
        (&["*-a"], &[]),
        (&["mail"], &["*"]),
        (&["mail"], &["shop.example"]),
        (&["mail", "other"], &[]),
    ] {
        assert!(!own.includes(&grant(Scope::Read, workers, hosts)), "{workers:?} {hosts:?}");
    }
}

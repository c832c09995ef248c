//! Several versions of one worker at once: how requests are shared out, and when the node goes back by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::harness::{Answer, Node, until};
use crate::operator::{Operator, asked, node};

fn counted(node: &Node, requests: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..requests {
        *counts.entry(asked(node, "shop")).or_default() += 1;
    }
    counts
}

#[test]
fn requests_are_shared_out_as_the_deployment_says() {
    let node = node("");
    let operator = Operator::first(&node);
    let versions: Vec<u64> = ["one", "two", "three"].iter().map(|is| operator.version("shop", is)).collect();
    let shares = [(versions[0], 50.0), (versions[1], 30.0), (versions[2], 20.0)];
    assert_eq!(operator.deploy("shop", &shares).status, 201);
    let counts = counted(&node, 1_000);
    // More than six standard deviations.
    for (is, expected) in [("one", 500), ("two", 300), ("three", 200)] {
        let count = counts[is];
        assert!(count.abs_diff(expected) < 100, "{counts:?}");
    }
}

#[test]
fn a_client_that_sticks_stays_with_its_version_and_keeps_the_new_one_while_its_share_grows() {
    let node = node("");
    let operator = Operator::first(&node);
    let sticky = "rollout = { sticky = \"cookie:user\" }";
    let (old, new) = (operator.version_with("shop", "one", sticky), operator.version_with("shop", "two", sticky));
    let asked_by = |user: usize| {
        let request = node.request("GET", "/config?key=is").header("host", "shop.example");
        Answer::of(request.header("cookie", format!("a=b; user={user}"))).json().as_str().unwrap().to_owned()
    };
    let users = 0..400;
    let with_new = |percent: f64| -> Vec<usize> {
        assert_eq!(operator.deploy("shop", &[(old, 100.0 - percent), (new, percent)]).status, 201);
        users.clone().filter(|user| asked_by(*user) == "two").collect()
    };
    let few = with_new(20.0);
    assert!((30..140).contains(&few.len()), "{} of 400", few.len());
    assert_eq!(few, users.clone().filter(|user| asked_by(*user) == "two").collect::<Vec<_>>());
    let many = with_new(60.0);
    assert!((170..310).contains(&many.len()), "{} of 400", many.len());
    assert!(few.iter().all(|user| many.contains(user)));
}

/// What sticks to the field `user`, and may fail in one of ten requests.
const BOUND: &str =
    "rollout = { sticky = \"header:user\", max_failures = \"10%\", window = \"20s\", min_requests = 20 }";

/// Two versions, `one` and `two`, that share the requests; of those that come to `bad`, one of five meets its fault, and of the others none.
/// Gives the deployment by which the node goes back.
fn gone_back(node: &Node, operator: &Operator, bad: &str) -> serde_json::Value {
    assert_eq!(operator.deploy("shop", &[(1, 50.0), (2, 50.0)]).status, 201);
    let ask = |user: usize, path: &str| {
        let request = node.request("GET", path).header("host", "shop.example").header("user", user.to_string());
        Answer::of(request)
    };
    let met: Vec<usize> = (0..40).filter(|user| ask(*user, "/config?key=is").json() == bad).collect();
    let (began, mut count) = (Instant::now(), 0);
    let deployment = || operator.get("/v1/workers/shop").json()["deployment"].clone();
    until("the node goes back", || {
        for user in 0..40 {
            count += usize::from(met.contains(&user));
            let fails = met.contains(&user) && count % 5 == 0;
            ask(user, if fails { "/trap" } else { "/config?key=is" });
        }
        deployment()["why"] == "automatic rollback"
    });
    assert!(began.elapsed() < Duration::from_secs(20), "within its window");
    deployment()
}

/// What the node goes back to is written down before it is switched to.
fn serves(node: &Node, version: &str) {
    until("the version serves", || asked(node, "shop") == version);
}

#[test]
fn a_version_that_fails_one_request_of_five_is_rolled_back_and_the_deployment_says_why() {
    let node = node("");
    let operator = Operator::first(&node);
    let (old, _) = (operator.version_with("shop", "one", BOUND), operator.version_with("shop", "two", BOUND));
    operator.serve("shop", old);
    let deployment = gone_back(&node, &operator, "two");
    let note = deployment["note"].as_str().unwrap();
    assert!(note.contains("version 2 failed") && note.contains("may fail"), "{note}");
    assert_eq!((&deployment["versions"][0]["version"], &deployment["who"]), (&old.into(), &"eyot".into()));
    serves(&node, "one");
}

#[test]
fn an_older_version_that_is_rolled_out_has_to_prove_itself_like_a_new_one() {
    let node = node("");
    let operator = Operator::first(&node);
    let (_, new) = (operator.version_with("shop", "one", BOUND), operator.version_with("shop", "two", BOUND));
    operator.serve("shop", new);
    let deployment = gone_back(&node, &operator, "one");
    assert!(deployment["note"].as_str().unwrap().contains("version 1 failed"), "{deployment}");
    serves(&node, "two");
}

#[test]
fn a_version_that_has_served_is_not_on_trial_when_a_rollout_is_given_up() {
    let node = node("");
    let operator = Operator::first(&node);
    let rollout = "rollout = { window = \"2s\", min_requests = 1 }";
    let versions = ["zero", "one", "two"].map(|is| operator.version_with("shop", is, rollout));
    operator.serve("shop", versions[0]);
    operator.serve("shop", versions[1]);
    // Its own trial is over when the node has looked once more behind its window.
    let began = Instant::now();
    until("its window is over", || began.elapsed() > Duration::from_secs(4));
    assert_eq!(operator.deploy("shop", &[(versions[1], 90.0), (versions[2], 10.0)]).status, 201);
    operator.serve("shop", versions[1]);
    let began = Instant::now();
    until("a few more windows are over", || {
        assert_eq!(node.get_from("shop.example", "/trap").status, 500);
        began.elapsed() > Duration::from_secs(3)
    });
    assert_eq!(asked(&node, "shop"), "one");
    assert_eq!(operator.get("/v1/workers/shop").json()["deployment"]["why"], "deploy");
}

#[test]
fn a_new_version_that_fails_alone_is_rolled_back_after_a_plain_deploy_too() {
    let node = node("");
    let operator = Operator::first(&node);
    let rollout = "rollout = { window = \"20s\", min_requests = 5 }";
    let (old, new) = (operator.version_with("shop", "one", rollout), operator.version_with("shop", "two", rollout));
    operator.serve("shop", old);
    operator.serve("shop", new);
    until("the node goes back", || {
        node.get_from("shop.example", "/trap");
        operator.get("/v1/workers/shop").json()["deployment"]["why"] == "automatic rollback"
    });
    serves(&node, "one");
}

#[test]
fn a_first_version_that_fails_has_nothing_to_go_back_to_and_serves_on() {
    let node = node("");
    let operator = Operator::first(&node);
    let rollout = "rollout = { window = \"2s\", min_requests = 1 }";
    operator.serve("shop", operator.version_with("shop", "one", rollout));
    for _ in 0..20 {
        node.get_from("shop.example", "/trap");
    }
    assert_eq!(asked(&node, "shop"), "one");
    let back = operator.send("POST", "/v1/workers/shop/rollback", &serde_json::json!({}));
    assert_eq!((back.status, back.json()["code"].as_str()), (409, Some("nothing_before")));
}

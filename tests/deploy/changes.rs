//! Versions and deployments: what is checked, what serves, and what is told.

use serde_json::json;

use crate::harness::{Answer, client, fixtures};
use crate::operator::{Operator, asked, first_token, manifest, node};

#[test]
fn a_worker_is_deployed_changed_rolled_back_and_removed_while_the_node_runs() {
    let node = node("");
    let operator = Operator::first(&node);
    let first = operator.version("shop", "one");
    assert_eq!(node.get_from("shop.example", "/").status, 404, "a version serves nothing by itself");
    operator.serve("shop", first);
    assert_eq!(asked(&node, "shop"), "one");
    let second = operator.version("shop", "two");
    assert_eq!((first, second), (1, 2));
    assert_eq!(asked(&node, "shop"), "one");
    operator.serve("shop", second);
    assert_eq!(asked(&node, "shop"), "two");
    let back = operator.send("POST", "/v1/workers/shop/rollback", &json!({ "note": "two was wrong" }));
    assert_eq!(back.status, 201, "{}", back.body);
    assert_eq!(asked(&node, "shop"), "one");
    assert_eq!(operator.request("DELETE", "/v1/workers/shop").send().expect("an answer").status(), 200);
    assert_eq!(node.get_from("shop.example", "/").status, 404);

    let history = operator.get("/v1/workers/shop/deployments").json();
    let why: Vec<_> = history["deployments"].as_array().unwrap().iter().map(|one| one["why"].clone()).collect();
    assert_eq!(why, ["remove", "rollback", "deploy", "deploy"]);
    assert_eq!(history["deployments"][1]["note"], "two was wrong");
    assert_eq!(operator.get("/v1/workers/shop/versions").json()["versions"][0]["version"], 2);
    operator.serve("shop", second);
    assert_eq!(asked(&node, "shop"), "two", "a removed worker can be deployed again");
}

#[test]
fn every_fault_of_a_manifest_is_told_with_its_place_and_nothing_is_kept() {
    let node = node("");
    let operator = Operator::first(&node);
    let wrong = "name = \"shop\"\norigins = [\"nowhere\"]\ncolour = \"blue\"\n[limits]\nmemory = \"1PiB\"\n";
    let answer = operator.add("shop", wrong, &fixtures::fixture());
    assert_eq!(answer.status, 422, "{}", answer.body);
    let problem = answer.json();
    let lines: Vec<_> =
        problem["faults"].as_array().unwrap().iter().map(|fault| fault["line"].as_u64().unwrap()).collect();
    assert!([2, 3, 5].iter().all(|line| lines.contains(line)), "{problem:#}");
    assert!(problem["faults"].as_array().unwrap().iter().all(|fault| fault["file"] == "eyot.toml"));
    assert_eq!(operator.get("/v1/workers/shop").status, 404);
}

#[test]
fn what_is_no_component_is_refused_and_what_serves_serves_on() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let junk = node.folder.path().join("junk.wasm");
    for bytes in [&b""[..], b"not wasm", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0"] {
        std::fs::write(&junk, bytes).unwrap();
        let answer = operator.add("shop", &manifest("shop", "two", ""), &junk);
        assert_eq!(answer.status, 422, "{bytes:?}: {}", answer.body);
        assert_eq!(answer.json()["faults"][0]["file"], "component");
    }
    assert_eq!(asked(&node, "shop"), "one");
    assert_eq!(operator.get("/v1/workers/shop/versions").json()["versions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_route_that_another_worker_has_is_refused_by_the_place_of_both() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let thief = "name = \"thief\"\n[[route]]\nhost = \"shop.example\"\n";
    let version = operator.add("thief", thief, &fixtures::fixture());
    assert_eq!(version.status, 201, "{}", version.body);
    let answer = operator.deploy("thief", &[(1, 100.0)]);
    assert_eq!(answer.status, 422, "{}", answer.body);
    assert!(answer.body.contains("shop@1/eyot.toml") && answer.body.contains("thief@1/eyot.toml"), "{}", answer.body);
    assert_eq!(asked(&node, "shop"), "one");
}

#[test]
fn a_request_that_is_sent_twice_with_one_key_is_done_once() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let second = operator.version("shop", "two");
    let send = |key: &str, version: u64| {
        let body = json!({ "versions": [{ "version": version, "percent": 100 }] }).to_string();
        let request = operator.request("POST", "/v1/workers/shop/deployments").header("idempotency-key", key);
        Answer::of(request.header("content-type", "application/json").body(body))
    };
    let (once, twice) = (send("k1", second), send("k1", second));
    assert_eq!((once.status, twice.status), (201, 201));
    assert_eq!(once.json()["id"], twice.json()["id"]);
    assert_eq!(operator.get("/v1/workers/shop/deployments").json()["deployments"].as_array().unwrap().len(), 2);
    assert_eq!(send("k1", 1).status, 409, "a key is for one request");
    // Asked again when something else serves by now, it is answered, and changes nothing.
    operator.serve("shop", 1);
    assert_eq!(send("k1", second).json()["id"], once.json()["id"]);
    assert_eq!(asked(&node, "shop"), "one");
}

#[test]
fn of_two_changes_to_one_deployment_the_second_is_told() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let current = operator.get("/v1/workers/shop").json()["deployment"]["id"].clone();
    operator.version("shop", "two");
    let change = json!({ "versions": [{ "version": 2, "percent": 100 }], "after": current });
    assert_eq!(operator.send("POST", "/v1/workers/shop/deployments", &change).status, 201);
    let late = operator.send("POST", "/v1/workers/shop/deployments", &change);
    assert_eq!((late.status, late.json()["code"].as_str()), (409, Some("raced")), "{}", late.body);
}

#[test]
fn shares_that_do_not_come_to_everything_are_refused() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.version("shop", "one");
    operator.version("shop", "two");
    let wrong: [&[(u64, f64)]; 5] =
        [&[(1, 99.99)], &[(1, 60.0), (2, 60.0)], &[(1, 50.0), (1, 50.0)], &[(1, 0.0), (2, 100.0)], &[(1, 100.001)]];
    for shares in wrong {
        let answer = operator.deploy("shop", shares);
        assert_eq!(answer.status, 422, "{shares:?}: {}", answer.body);
    }
    assert_eq!(operator.deploy("shop", &[(3, 100.0)]).status, 404);
    assert_eq!(operator.deploy("nobody", &[(1, 100.0)]).status, 404);
    assert_eq!(operator.deploy("shop", &[(1, 0.01), (2, 99.99)]).status, 201);
}

#[test]
fn a_worker_of_node_toml_is_not_taken_over() {
    let manifest_of_own = fixtures::worker("own", &fixtures::fixture(), "[[route]]\npath = \"/env\"");
    let configuration = crate::operator::configuration("[[worker]]\npath = \"own\"\n");
    let node = crate::harness::Node::start(&configuration, &[("own/eyot.toml", &manifest_of_own)]);
    let operator = Operator::first(&node);
    let answer = operator.add("own", &manifest("own", "two", ""), &fixtures::fixture());
    assert_eq!(answer.status, 422, "{}", answer.body);
    operator.serve("shop", operator.version("shop", "one"));
    assert_eq!((asked(&node, "shop").as_str(), node.get("/env").status), ("one", 200));
}

#[test]
fn without_a_token_nothing_is_answered_and_the_reason_is_not_told() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let admin = format!("http://{}", node.admin.unwrap());
    let without = Answer::of(client().get(format!("{admin}/v1/workers")));
    assert_eq!((without.status, without.header("www-authenticate").starts_with("Bearer")), (401, true));
    let token = first_token(&node);
    for wrong in ["", "x", &token[..token.len() - 1], &format!("{token}x"), &token.to_uppercase()] {
        let answer = Operator::with(&node, wrong).get("/v1/workers");
        assert_eq!((answer.status, &answer.body), (401, &without.body), "{wrong}");
    }
    assert_eq!(Answer::of(client().get(format!("{admin}/healthz"))).status, 200);
}

#[test]
fn every_change_stands_in_the_audit_with_its_author() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let audit = operator.get("/v1/audit").json();
    let entries: Vec<_> = audit["entries"].as_array().unwrap().iter().collect();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions[..3], ["deployment.add", "version.add", "worker.add"]);
    assert!(entries[0]["actor"].as_str().unwrap().starts_with("first ("), "{audit:#}");
}

#[test]
fn a_version_that_does_not_pass_its_probe_is_never_served() {
    let node = node("");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    let second = operator.version("shop", "two");
    let deploy = |probe: &str| {
        let versions = json!([{ "version": second, "percent": 100 }]);
        operator.send("POST", "/v1/workers/shop/deployments", &json!({ "versions": versions, "probe": probe }))
    };
    for bad in ["/trap", "/no-response", "/status?code=503"] {
        let answer = deploy(bad);
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (409, Some("probe_failed")),
            "{bad}: {}",
            answer.body
        );
        assert_eq!(asked(&node, "shop"), "one");
    }
    assert_eq!(operator.get("/v1/workers/shop/deployments").json()["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(deploy("/env").status, 201);
    assert_eq!(asked(&node, "shop"), "two");
}

#[test]
fn a_version_that_does_not_serve_is_tried_at_its_preview_address() {
    let node = node("preview = \"preview.example\"");
    let operator = Operator::first(&node);
    operator.serve("shop", operator.version("shop", "one"));
    operator.version("shop", "two");
    let tried = |host: &str| node.get_from(host, "/config?key=is");
    assert_eq!(tried("2-shop.preview.example").json(), "two");
    assert_eq!(tried("1-shop.preview.example").json(), "one");
    assert_eq!(asked(&node, "shop"), "one");
    for host in ["3-shop.preview.example", "2-shop.xpreview.example", "2-nobody.preview.example", "preview.example"] {
        assert_eq!(tried(host).status, 404, "{host}");
    }
}

//! Tokens: each does what it is for, with the workers and hosts that it is for.

use serde_json::{Value, json};

use crate::harness::{Node, fixtures};
use crate::operator::{Operator, asked, node};

fn token(operator: &Operator, node: &Node, scope: &str, workers: &[&str], hosts: &[&str]) -> Operator {
    let body = json!({ "name": "tenant", "scope": scope, "workers": workers, "hosts": hosts });
    let answer = operator.send("POST", "/v1/tokens", &body);
    assert_eq!(answer.status, 201, "{}", answer.body);
    Operator::with(node, answer.json()["token"].as_str().expect("a token"))
}

#[test]
fn a_token_to_look_changes_nothing_and_one_to_deploy_makes_no_tokens() {
    let node = node("");
    let first = Operator::first(&node);
    first.serve("shop", first.version("shop", "one"));
    let reader = token(&first, &node, "read", &["*"], &["*"]);
    assert_eq!(reader.get("/v1/workers/shop").status, 200);
    assert_eq!(reader.deploy("shop", &[(1, 100.0)]).status, 403);
    assert_eq!(reader.add("shop", "", &fixtures::fixture()).status, 403);
    assert_eq!(reader.send("PUT", "/v1/workers/shop/secrets/A", &json!({ "value": "x" })).status, 403);
    let deployer = token(&first, &node, "deploy", &["*"], &["*"]);
    assert_eq!(deployer.deploy("shop", &[(1, 100.0)]).status, 201);
    let another = json!({ "name": "x", "scope": "read", "workers": ["*"], "hosts": [] });
    assert_eq!(deployer.send("POST", "/v1/tokens", &another).status, 403);
    assert_eq!(deployer.get("/v1/audit").status, 403);
}

#[test]
fn a_tenant_sees_and_changes_only_his_own_workers() {
    let node = node("");
    let first = Operator::first(&node);
    first.serve("b-shop", first.version("b-shop", "one"));
    let tenant = token(&first, &node, "deploy", &["a-*"], &["*.example"]);
    for path in ["/v1/workers/b-shop", "/v1/workers/b-shop/versions", "/v1/workers/b-shop/deployments"] {
        assert_eq!(tenant.get(path).status, 403, "{path}");
    }
    assert_eq!(tenant.deploy("b-shop", &[(1, 100.0)]).status, 403);
    assert_eq!(tenant.request("DELETE", "/v1/workers/b-shop").send().unwrap().status(), 403);
    tenant.serve("a-shop", tenant.version("a-shop", "mine"));
    let seen = tenant.get("/v1/workers").json();
    let names: Vec<_> = seen["workers"].as_array().unwrap().iter().map(|worker| worker["name"].clone()).collect();
    assert_eq!(names, ["a-shop"]);
    assert_eq!(asked(&node, "b-shop"), "one");
}

#[test]
fn a_tenant_cannot_take_a_host_that_his_token_is_not_for() {
    let node = node("");
    let first = Operator::first(&node);
    let tenant = token(&first, &node, "deploy", &["mine"], &["*.mine.example"]);
    let route = |host: &str| format!("name = \"mine\"\n[[route]]\nhost = \"{host}\"\n");
    for host in ["other.example", "mine.example", "*.example", "xmine.example"] {
        let answer = tenant.add("mine", &route(host), &fixtures::fixture());
        assert_eq!(answer.status, 403, "{host}: {}", answer.body);
    }
    let anywhere = "name = \"mine\"\n[[route]]\npath = \"/x\"\n";
    assert_eq!(tenant.add("mine", anywhere, &fixtures::fixture()).status, 403, "a route for any host");
    for host in ["a.mine.example", "a.b.mine.example", "*.mine.example"] {
        assert_eq!(tenant.add("mine", &route(host), &fixtures::fixture()).status, 201, "{host}");
    }
    // Nor by a version that somebody else has added.
    first.add("mine", &route("other.example"), &fixtures::fixture());
    let answer = tenant.deploy("mine", &[(4, 100.0)]);
    assert_eq!(answer.status, 403, "{}", answer.body);
}

#[test]
fn a_token_that_was_revoked_or_has_expired_is_refused_at_once() {
    let node = node("");
    let first = Operator::first(&node);
    let body = json!({ "name": "short", "scope": "read", "workers": ["*"], "hosts": [] });
    let made = first.send("POST", "/v1/tokens", &body).json();
    let short = Operator::with(&node, made["token"].as_str().unwrap());
    assert_eq!(short.get("/v1/workers").status, 200);
    let id = made["id"].as_str().unwrap();
    assert_eq!(first.request("DELETE", &format!("/v1/tokens/{id}")).send().unwrap().status(), 200);
    assert_eq!(short.get("/v1/workers").status, 401);
    let past =
        json!({ "name": "past", "scope": "read", "workers": ["*"], "hosts": [], "expires": "2020-01-01T00:00:00Z" });
    assert_eq!(first.send("POST", "/v1/tokens", &past).status, 422);
    let listed: Value = first.get("/v1/tokens").json();
    assert!(!listed.to_string().contains(made["token"].as_str().unwrap()));
}

#[test]
fn nobody_makes_a_token_that_does_more_than_his_own() {
    let node = node("");
    let first = Operator::first(&node);
    let admin = token(&first, &node, "admin", &["a-*"], &["*.a.example"]);
    let make = |workers: &[&str], hosts: &[&str]| {
        let body = json!({ "name": "x", "scope": "deploy", "workers": workers, "hosts": hosts });
        admin.send("POST", "/v1/tokens", &body).status
    };
    assert_eq!(make(&["*"], &[]), 403);
    assert_eq!(make(&["a-b"], &["*"]), 403);
    assert_eq!(make(&["a-b"], &["b.example"]), 403);
    assert_eq!(make(&["a-b*"], &["x.a.example"]), 201);
}

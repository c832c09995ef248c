//! Everything that changes in the life of a node, under load.

use super::dial::{Client, VERSIONS};
use super::harness::{Node, fixtures, until};
use super::load::{self, Ends, Seen, Speaks};
use super::operator::Operator;
use super::{Site, Successor, confined, lines};

const VERSIONS_DEPLOYED: u64 = 50;

#[test]
fn fifty_versions_are_deployed_under_load_while_certificates_and_the_program_are_replaced() {
    let site = Site::new("nothing");
    let text = std::fs::read_to_string(site.configuration()).expect("node.toml");
    let text = text.split("[[route]]").next().expect("what stands before the routes");
    std::fs::write(site.configuration(), format!("store = \"store\"\n{text}")).expect("a file");
    let mut node = site.start(confined());
    let tls = node.addresses[1];
    let admin = node.admin.expect("an admin listener");
    let token = std::fs::read_to_string(site.folder.path().join("store/admin.token")).expect("the first token");
    let operator = Operator::at(admin, token.trim());
    deploy(&operator, 1);
    let (seen, client) = (Seen::default(), Client::new(&site.authority, VERSIONS[1]));
    let successor = std::thread::scope(|scope| {
        for (speaks, connections) in [(Speaks::Http1, 32), (Speaks::Http2, 32)] {
            let (seen, client) = (&seen, &client);
            scope.spawn(move || load::tls(tls, client, speaks, connections, "/config?key=is", seen));
        }
        let _ends = Ends(&seen);
        until("all are at work", || seen.count(&answer_of(1)) > 1000);
        let mut successor = None;
        for version in 2..=VERSIONS_DEPLOYED {
            match version {
                15 => renew_certificate(&site, &mut node),
                30 => successor = Some(Successor::of(&mut node)),
                _ => {}
            }
            deploy(&operator, version);
            until("the new version answers", || seen.count(&answer_of(version)) > 0);
        }
        until("the process before has ended", || node.ended());
        successor
    });
    let failures = seen.failures.lock().expect("not poisoned");
    assert!(failures.is_empty(), "{} failed, the first: {}\n{}", failures.len(), failures[0], node.log());
    let mut answered: Vec<u64> = seen.texts().iter().map(|text| one_version(text)).collect();
    answered.sort_unstable();
    assert_eq!(answered, (1..=VERSIONS_DEPLOYED).collect::<Vec<_>>());
    println!("{} versions, {} requests, none failed", VERSIONS_DEPLOYED, seen.total());
    drop(successor);
}

/// What a version answers.
fn answer_of(version: u64) -> String {
    format!("\"{version}\"\n")
}

#[test]
fn a_successor_that_fails_leaves_the_store_to_the_process_that_serves() {
    let site = Site::new("nothing");
    let text = std::fs::read_to_string(site.configuration()).expect("node.toml");
    let good = format!("store = \"store\"\n{}", text.split("[[route]]").next().expect("what stands before the routes"));
    std::fs::write(site.configuration(), &good).expect("a file");
    let node = site.start(confined());
    let token = std::fs::read_to_string(site.folder.path().join("store/admin.token")).expect("the first token");
    let operator = Operator::at(node.admin.expect("an admin listener"), token.trim());
    deploy(&operator, 1);
    // What is wrong is only found when the component is looked at, which is after the store was asked for.
    let worker = site.folder.path().join("broken");
    std::fs::create_dir(&worker).expect("a folder");
    std::fs::write(worker.join("broken.wasm"), "no component").expect("a file");
    std::fs::write(worker.join("eyot.toml"), "name = \"broken\"\n").expect("a file");
    std::fs::write(site.configuration(), format!("{good}[[worker]]\npath = \"broken\"\n")).expect("a file");
    let (code, told) = site.fails(&["--take-over"]);
    assert_eq!(code, Some(2), "{told}");
    deploy(&operator, 2);
    let answer = super::client().get(format!("http://{}/config?key=is", node.address())).send().expect("an answer");
    assert_eq!(answer.text().expect("a body"), answer_of(2));
}

/// The number that an answer is; anything else is no answer of one version.
fn one_version(text: &str) -> u64 {
    text.trim_matches(['"', '\n']).parse().unwrap_or_else(|_| panic!("answered {text:?}"))
}

/// Adds a version and has it serve. While one process hands over to the next there is nobody to do it: the operator asks again.
fn deploy(operator: &Operator, version: u64) {
    let manifest = format!("name = \"shop\"\n[[route]]\npath = \"/config\"\n[config]\nis = \"{version}\"\n");
    let mut number = None;
    until("the version is added", || {
        let answer = operator.try_upload("shop", &manifest, &fixtures::fixture());
        number = answer.filter(|answer| answer.status == 201).and_then(|answer| answer.json()["version"].as_u64());
        number.is_some()
    });
    let number = number.expect("it was added");
    until("it is deployed", || {
        let versions = serde_json::json!({ "versions": [{ "version": number, "percent": 100 }] });
        operator.try_send("POST", "/v1/workers/shop/deployments", &versions).is_some_and(|answer| answer.status == 201)
    });
}

fn renew_certificate(site: &Site, node: &mut Node) {
    let issued = site.authority.issue(&["shop.test"]);
    std::fs::write(site.folder.path().join("tls/shop.pem"), &issued.pem).expect("a file");
    std::fs::write(site.folder.path().join("tls/shop.key"), &issued.key).expect("a file");
    node.signal("-HUP");
    until("certificates are read again", || !lines(node, "certificates read again").is_empty());
}

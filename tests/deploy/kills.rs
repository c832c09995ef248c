//! A node that is killed at any moment: what was acknowledged is there, nothing is there by half.
//!
//! `EYOT_FULL=1 cargo test --test deploy kills` kills 200 times, without it 8 times. The seed is printed, and taken from `EYOT_TESTS_SEED`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{LISTENERS, Node, eyot, fixtures};
use crate::operator::{Operator, configuration, manifest};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const WORKERS: [&str; 3] = ["a", "b", "c"];

/// What the node has acknowledged, and what was on its way when it was killed.
#[derive(Default)]
struct Known {
    /// The newest deployment of each worker: the shares of its versions.
    serving: BTreeMap<&'static str, Value>,
    /// The value of each worker's secret.
    secrets: BTreeMap<&'static str, String>,
    /// How many versions each worker has.
    versions: BTreeMap<&'static str, u64>,
    asked: Option<(&'static str, Change)>,
}

enum Change {
    Version,
    Deployment(Value),
    Secret(String),
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn a_node_that_is_killed_during_changes_serves_the_last_acknowledged_state() {
    let seed = std::env::var("EYOT_TESTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        since.as_millis() as u64
    });
    let kills = if std::env::var_os("EYOT_FULL").is_some() { 200 } else { 8 };
    println!("seed {seed}, {kills} kills");
    let mut random = Random(seed);
    let configuration = format!("secrets_key = \"key\"\n{}\n{LISTENERS}", configuration(""));
    let mut node = Node::start_by(eyot(), &configuration, &[("key", KEY)], "off");
    let mut known = Known::default();
    for kill in 1..=kills {
        let moment = Duration::from_micros(random.below(400_000));
        change_until_killed(&mut node, &mut known, &mut random, moment);
        node = node.again("-KILL");
        look(&node, &mut known).unwrap_or_else(|wrong| panic!("after kill {kill} of seed {seed}: {wrong}"));
    }
    println!("{:?}", known.versions);
}

/// Changes one thing after the other; at the moment, the process is killed in the middle of whatever it does.
fn change_until_killed(node: &mut Node, known: &mut Known, random: &mut Random, moment: Duration) {
    let operator = Operator::first(node);
    let process = node.id().to_string();
    let killer = std::thread::spawn(move || {
        let end = Instant::now() + moment;
        while let Some(rest) = end.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(rest);
        }
        assert!(std::process::Command::new("kill").args(["-KILL", &process]).status().expect("kill runs").success());
    });
    while change(&operator, known, random).is_some() {}
    killer.join().expect("it kills");
}

/// One change. `None`: the answer did not come.
fn change(operator: &Operator, known: &mut Known, random: &mut Random) -> Option<()> {
    let worker = WORKERS[random.below(3) as usize];
    let versions = known.versions.get(worker).copied().unwrap_or(0);
    match random.below(3) {
        0 => {
            known.asked = Some((worker, Change::Version));
            let is = format!("{}", versions + 1);
            let answer =
                operator.try_upload(worker, &manifest(worker, &is, "secrets = [\"S\"]"), &fixtures::fixture())?;
            assert_eq!((answer.status, &answer.json()["version"]), (201, &json!(versions + 1)), "{}", answer.body);
            known.versions.insert(worker, versions + 1);
        }
        1 if versions > 0 && known.secrets.contains_key(worker) => {
            let (one, two) = (1 + random.below(versions), 1 + random.below(versions));
            let shares = match one == two {
                true => json!([{ "version": one, "percent": 100.0 }]),
                false => {
                    json!([{ "version": one.min(two), "percent": 75.0 }, { "version": one.max(two), "percent": 25.0 }])
                }
            };
            known.asked = Some((worker, Change::Deployment(shares.clone())));
            let path = format!("/v1/workers/{worker}/deployments");
            let answer = operator.try_send("POST", &path, &json!({ "versions": shares }))?;
            assert_eq!(answer.status, 201, "{}", answer.body);
            known.serving.insert(worker, shares);
        }
        _ => {
            let value = format!("value-{}", random.below(u64::MAX));
            known.asked = Some((worker, Change::Secret(value.clone())));
            let path = format!("/v1/workers/{worker}/secrets/S");
            let answer = operator.try_send("PUT", &path, &json!({ "value": value }))?;
            assert_eq!(answer.status, 200, "{}", answer.body);
            known.secrets.insert(worker, value);
        }
    }
    known.asked = None;
    Some(())
}

/// Compares what the node serves with what it has acknowledged. What was on its way may be there as a whole, or not at all.
fn look(node: &Node, known: &mut Known) -> Result<(), String> {
    let operator = Operator::first(node);
    let asked = known.asked.take();
    for worker in WORKERS {
        let on_its_way = asked.as_ref().filter(|(of, _)| *of == worker).map(|(_, change)| change);
        let versions = operator.get(&format!("/v1/workers/{worker}/versions?limit=1")).json();
        let found = versions["versions"][0]["version"].as_u64().unwrap_or(0);
        let expected = known.versions.get(worker).copied().unwrap_or(0);
        if found != expected && !(matches!(on_its_way, Some(Change::Version)) && found == expected + 1) {
            return Err(format!("worker {worker} has {found} versions, and {expected} were acknowledged"));
        }
        known.versions.insert(worker, found);
        let deployment = operator.get(&format!("/v1/workers/{worker}")).json()["deployment"]["versions"].clone();
        let expected = known.serving.get(worker).cloned().unwrap_or(Value::Null);
        match on_its_way {
            Some(Change::Deployment(shares)) if deployment == *shares => {
                _ = known.serving.insert(worker, shares.clone())
            }
            _ if deployment == expected => {}
            _ => return Err(format!("worker {worker} serves {deployment}, and {expected} was acknowledged")),
        }
        serves(node, worker, known, on_its_way)?;
    }
    let faulty = operator.get("/v1/status").json()["faulty"].clone();
    if faulty == json!([]) { Ok(()) } else { Err(format!("faulty: {faulty}")) }
}

/// What answers is one of the versions that should, and knows the secret.
fn serves(node: &Node, worker: &'static str, known: &mut Known, on_its_way: Option<&Change>) -> Result<(), String> {
    let Some(shares) = known.serving.get(worker) else { return Ok(()) };
    let ask = |key: &str| {
        let answer = node.get_from(&format!("{worker}.example"), &format!("/config?key={key}"));
        answer.json().as_str().map(str::to_owned).ok_or_else(|| format!("worker {worker} answers {}", answer.body))
    };
    let version: u64 = ask("is")?.parse().map_err(|_| "no version".to_owned())?;
    if !shares.as_array().into_iter().flatten().any(|share| share["version"] == version) {
        return Err(format!("worker {worker} answers by version {version}, and {shares} should serve"));
    }
    let (secret, expected) = (ask("S")?, known.secrets[worker].clone());
    match on_its_way {
        Some(Change::Secret(value)) if secret == *value => _ = known.secrets.insert(worker, secret),
        _ if secret == expected => {}
        _ => return Err(format!("worker {worker} knows {secret}, and {expected} was acknowledged")),
    }
    Ok(())
}

//! Secrets: they come by stdin or from a file, and no command shows them.

use super::Machine;

#[test]
fn a_secret_is_set_listed_and_removed_and_never_shown() {
    let machine = Machine::start();
    let ran = machine.eyot_told(&["secret", "set", "shop", "API_KEY"], "s3cret-value\n").done();
    assert_eq!(ran.out, "shop: API_KEY is set (revision 1)\n");
    let ran = machine.eyot_told(&["secret", "set", "shop", "API_KEY", "--json"], "s3cret-value-2").done();
    assert_eq!(ran.json()["revision"], 2);
    for arguments in [&["secret", "list", "shop"][..], &["secret", "list", "shop", "--json"], &["audit", "--json"]] {
        let ran = machine.eyot(arguments).done();
        assert!(ran.out.contains("API_KEY") && !ran.out.contains("s3cret"), "{}", ran.out);
    }
    let ran = machine.eyot(&["secret", "remove", "shop", "API_KEY"]).done();
    assert_eq!(ran.out, "shop: API_KEY is removed\n");
    machine.eyot(&["secret", "remove", "shop", "API_KEY"]).ended_with(1);
    assert_eq!(machine.eyot(&["secret", "list", "shop"]).done().out, "shop has no secrets\n");
}

#[test]
fn what_cannot_be_a_secret_is_refused() {
    let machine = Machine::start();
    let set = ["secret", "set", "shop", "API_KEY"];
    machine.eyot_told(&set, "").ended_with(2).says(&["the value is empty"]);
    machine.eyot_told(&set, "\n").ended_with(2);
    machine.eyot_told(&["secret", "set", "shop", "not a name"], "x").ended_with(2);
    machine.eyot_told(&["secret", "set", "shop", "API_KEY", "the-value"], "x").ended_with(2);
    let file = machine.workers.path().join("binary");
    std::fs::write(&file, [0xff, 0xfe]).expect("a file");
    let file = file.to_str().expect("text");
    machine.eyot(&["secret", "set", "shop", "API_KEY", "--from-file", file]).ended_with(2).says(&["base64"]);
    machine.eyot(&["secret", "set", "shop", "API_KEY", "--from-file", "no-such-file"]).ended_with(1);
}

#[test]
fn a_version_that_asks_for_a_secret_serves_once_it_is_there() {
    let machine = Machine::start();
    let folder = machine.worker("shop", "one", "secrets = [\"API_KEY\"]");
    let ran = machine.eyot(&["deploy", &folder]);
    assert!(ran.code != Some(0) && ran.err.contains("API_KEY"), "{}", ran.err);
    machine.eyot_told(&["secret", "set", "shop", "API_KEY"], "value").done();
    machine.eyot(&["rollout", "shop", "1", "100%"]).done();
    machine.eyot(&["secret", "remove", "shop", "API_KEY"]).ended_with(1).says(&["deploy one that does not first"]);
}

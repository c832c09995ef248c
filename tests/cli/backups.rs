//! Backups: made while the node serves, restored into a new store, and looked at.

use std::fs;

use super::{KEY, Machine, run};
use crate::harness::{Node, eyot};

#[test]
fn a_backup_of_a_running_node_becomes_the_store_of_another_one() {
    let machine = Machine::start();
    machine.deployed("shop", 2);
    let made = machine.eyot(&["backup", "before-upgrade"]).done().out;
    let backup = machine.node.folder.path().join("store-backups/before-upgrade");
    assert!(made.starts_with(backup.to_str().expect("text")) && made.contains("2 components"), "{made}");
    machine.eyot(&["backup", "before-upgrade"]).ended_with(1);
    machine.eyot(&["backup"]).done();
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let mut command = eyot();
    command.arg("restore").arg(&backup).arg(&store);
    let ran = run(command, None).done();
    assert!(ran.out.contains("2 components") && ran.out.contains("store = "), "{}", ran.out);
    let mut command = eyot();
    command.arg("check").arg("--store").arg(&store);
    assert!(run(command, None).done().out.contains("is whole"));
    let mut configuration = format!("store = {store:?}\nsecrets_key = \"secrets.key\"\n");
    configuration += crate::harness::LISTENERS;
    let restored = Node::start_exactly(&configuration, &[("secrets.key", KEY)]);
    let mut command = eyot();
    command.args(["deployments", "shop", "--json", "--admin", &format!("http://{}", restored.admin.expect("one"))]);
    // Tokens are in it, too.
    command.arg("--token-file").arg(machine.node.folder.path().join("store/admin.token"));
    assert_eq!(run(command, None).done().json()["deployments"].as_array().map(Vec::len), Some(2));
}

#[test]
fn secrets_move_to_another_key_as_a_whole_or_not_at_all() {
    let machine = Machine::start();
    machine.eyot_told(&["secret", "set", "shop", "API_KEY"], "value").done();
    machine.eyot(&["backup", "one"]).done();
    let (backup, folder) = (machine.node.folder.path().join("store-backups/one"), machine.workers.path());
    let new_key = KEY.replace('0', "f");
    fs::write(folder.join("old.key"), KEY).expect("a file");
    fs::write(folder.join("new.key"), &new_key).expect("a file");
    fs::write(folder.join("no.key"), "short").expect("a file");
    let mut command = eyot();
    command.arg("restore").arg(&backup).arg(folder.join("store"));
    run(command, None).done();
    let rekey = |old: &str, new: &str| {
        let mut command = eyot();
        command.args(["secret", "rekey", "store", "--old", old, "--new", new]).current_dir(folder);
        run(command, None)
    };
    rekey("new.key", "new.key").ended_with(2).says(&["nothing was changed"]);
    rekey("no.key", "new.key").ended_with(2).says(&["openssl rand -hex 32"]);
    assert!(rekey("old.key", "new.key").done().out.starts_with("1 secrets"));
    assert!(rekey("old.key", "new.key").done().out.starts_with("0 secrets"));
    let store = folder.join("store");
    let configuration = format!("store = {store:?}\nsecrets_key = \"new.key\"\n{}", crate::harness::LISTENERS);
    drop(Node::start_exactly(&configuration, &[("new.key", &new_key)]));
}

#[test]
fn backups_go_where_node_toml_says_and_nowhere_else() {
    let machine = Machine::with("backups = \"kept/here\"");
    let made = machine.eyot(&["backup", "one", "--json"]).done().json();
    assert!(made["folder"].as_str().expect("a path").ends_with("kept/here/one"), "{made}");
    assert!(machine.node.folder.path().join("kept/here/one/state.db").is_file());
    for name in ["../one", "/tmp/one", ".one", "", "a b"] {
        machine.eyot(&["backup", name]).ended_with(2);
    }
}

#[test]
fn what_is_no_backup_makes_no_store_and_what_is_damaged_is_named() {
    let machine = Machine::start();
    machine.deployed("shop", 1);
    let store = machine.node.folder.path().join("store");
    let into = machine.workers.path().join("new");
    let restore = |from: &std::path::Path| {
        let mut command = eyot();
        command.arg("restore").arg(from).arg(&into);
        run(command, None)
    };
    restore(&store).ended_with(2).says(&["in use"]);
    restore(machine.workers.path()).ended_with(2).says(&["state.db"]);
    assert!(!into.exists());
    let check = |folder: &std::path::Path| {
        let mut command = eyot();
        command.arg("check").arg("--store").arg(folder);
        run(command, None)
    };
    check(&store).ended_with(2).says(&["stop the node"]);
    check(machine.workers.path()).ended_with(2).says(&["is no store"]);
    machine.eyot(&["backup", "one"]).done();
    let backup = machine.node.folder.path().join("store-backups/one");
    restore(&backup).done();
    let component = component(&into);
    let mut bytes = fs::read(&component).expect("a file");
    bytes[20] ^= 1;
    fs::write(&component, bytes).expect("a file");
    check(&into).ended_with(2).says(&["shop version 1", "eyot restore"]);
}

/// The one component of a store.
fn component(store: &std::path::Path) -> std::path::PathBuf {
    let mut open = vec![store.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let is_component = fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"\0asm"));
            match path.is_dir() {
                true => open.push(path),
                false if is_component => return path,
                false => {}
            }
        }
    }
    panic!("there is no component in {}", store.display())
}

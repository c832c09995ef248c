//! `eyot new`: what it makes builds outside of this repository, and it writes over nothing.

use super::{cargo_target, run};
use crate::harness::eyot;

#[test]
fn every_template_builds_where_nothing_of_this_repository_is_near() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = eyot().args(["new", "--list"]).output().expect("it runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let templates: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(templates.contains(&"hello") && templates.len() >= 6, "{list}");
    for template in &templates {
        let mut command = eyot();
        command.args(["new", &format!("my-{template}"), "--template", template]).current_dir(folder.path());
        run(command, None).done().says(&["eyot dev", "eyot deploy"]);
    }
    let mut command = eyot();
    command.args(["check", "."]).current_dir(folder.path());
    command.env("CARGO_TARGET_DIR", cargo_target());
    // What needs an origin finds the one of `eyot dev`.
    let ran = run(command, None).done();
    for template in &templates {
        assert!(ran.out.contains(&format!("my-{template}@")), "{}", ran.out);
    }
}

#[test]
fn nothing_is_written_over_and_a_name_that_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = |name: &str| {
        let mut command = eyot();
        command.args(["new", name]).current_dir(folder.path());
        run(command, None)
    };
    new("shop").done();
    let before = std::fs::read(folder.path().join("shop/eyot.toml")).expect("a file");
    new("shop").ended_with(2).says(&["is there already"]);
    assert_eq!(std::fs::read(folder.path().join("shop/eyot.toml")).expect("a file"), before);
    std::fs::create_dir(folder.path().join("empty")).expect("a folder");
    new("empty").ended_with(2);
    new("below/two/shop").done();
    for wrong in ["Shop", "1shop", "shop-", "-shop", "a_b", "", "eyot-sdk", "..", "/"] {
        let mut command = eyot();
        command.args(["new", "--", wrong]).current_dir(folder.path());
        run(command, None).ended_with(2);
    }
    let mut command = eyot();
    command.args(["new", "other", "--template", "helo"]).current_dir(folder.path());
    run(command, None).ended_with(2).says(&["hello"]);
    assert!(!folder.path().join("other").exists());
    let left = std::fs::read_dir(folder.path()).expect("a folder").flatten().count();
    assert_eq!(left, 3, "something else was left");
}

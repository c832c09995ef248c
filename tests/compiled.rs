//! Compiled code on disk: kept, sealed, and never taken for what it is not.

mod harness;

use harness::{Answer, Node, eyot, fixtures};

#[test]
fn what_no_isolate_has_room_for_is_refused_and_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let three = std::fs::read_to_string(harness::root().join("tests/guests/wat/many-memories.wat")).expect("a file");
    let (begin, end) = three.split_once("(core instance (instantiate $code))").expect("an instance");
    let many = format!("{begin}{}{end}", "(core instance (instantiate $code))".repeat(9));
    let many_memories = folder.path().join("more-memories.wasm");
    std::fs::write(&many_memories, wat::parse_str(many).expect("a component")).expect("a file");
    for component in [fixtures::text("huge-table", folder.path()), many_memories] {
        let mut command = eyot();
        command.arg("serve").arg(component).args(["--addr", "127.0.0.1:0", "--state"]).arg(folder.path());
        let output = command.output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("more than an isolate may have"), "{errors}");
        assert_eq!(std::fs::read_dir(folder.path().join("compiled")).expect("a folder").count(), 0);
    }
}

#[test]
fn the_code_of_another_component_is_not_taken_for_this_one_s() {
    let state = tempfile::tempdir().expect("a folder");
    let argument = state.path().to_str().expect("text");
    let (hello, fixture) = (fixtures::hello(), fixtures::fixture());
    drop(Node::single(&hello, &["--state", argument]));
    let compiled = state.path().join("compiled");
    let code = |but: &[std::path::PathBuf]| {
        let mut files = std::fs::read_dir(&compiled).expect("a folder").map(|entry| entry.expect("an entry").path());
        files.find(|file| file.extension().is_some_and(|end| end == "cwasm") && !but.contains(file)).expect("code")
    };
    let first = code(&[]);
    drop(Node::single(&fixture, &["--state", argument]));
    let second = code(std::slice::from_ref(&first));
    for end in ["cwasm", "seal"] {
        std::fs::copy(first.with_extension(end), second.with_extension(end)).expect("a copy");
    }
    let node = Node::single(&fixture, &["--state", argument]);
    assert_eq!(node.get("/count").body.trim(), "1", "the fixture answers, not hello");
    node.wait_for_log("does not have its digest");
}

#[test]
fn a_second_start_maps_what_the_first_compiled() {
    use std::os::unix::fs::MetadataExt;
    let state = tempfile::tempdir().expect("a folder");
    let argument = state.path().to_str().expect("text");
    let component = fixtures::fixture();
    // Compiled code is written to a new file that then takes its name, so one that was compiled again is another one.
    let compiled = || {
        let files = std::fs::read_dir(state.path().join("compiled")).expect("a folder").flatten();
        let identity = |entry: std::fs::DirEntry| {
            let about = entry.metadata().expect("a file");
            (entry.file_name(), about.ino(), about.size())
        };
        let mut files: Vec<_> = files.map(identity).collect();
        files.sort();
        files
    };
    drop(Node::single(&component, &["--state", argument]));
    let first = compiled();
    assert_eq!(first.len(), 2, "compiled code and its record: {first:?}");
    let node = Node::single(&component, &["--state", argument]);
    assert_eq!(Answer::of(node.request("GET", "/count")).status, 200);
    assert_eq!(compiled(), first, "nothing was compiled again");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", node.id())).expect("a process");
    let name = first.iter().map(|file| file.0.to_string_lossy()).find(|name| name.ends_with(".cwasm"));
    assert!(maps.contains(&*name.expect("compiled code")), "it is mapped:\n{maps}");
}

#[test]
fn a_check_changes_nothing_of_what_a_node_keeps() {
    let state = tempfile::tempdir().expect("a folder");
    let argument = state.path().to_str().expect("text");
    drop(Node::single(&fixtures::hello(), &["--state", argument]));
    let code = || {
        let files = std::fs::read_dir(state.path().join("compiled")).expect("a folder").flatten();
        let code = files.map(|file| file.path()).find(|file| file.extension().is_some_and(|end| end == "cwasm"));
        let code = code.expect("compiled code");
        (code.metadata().and_then(|about| about.modified()).expect("a file"), code)
    };
    let manifest = tempfile::tempdir().expect("a folder");
    let text = fixtures::worker("hello", &fixtures::hello(), "");
    std::fs::write(manifest.path().join("eyot.toml"), text).expect("a file");
    let check = || {
        let output = eyot().arg("check").arg(manifest.path()).args(["--state", argument]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let before = code();
    check();
    assert_eq!(code(), before, "code that fits");
    std::fs::write(&before.1, "not what was sealed").expect("a file");
    let before = code();
    check();
    assert_eq!(code(), before, "code that does not fit");
}

#[test]
fn a_folder_that_others_can_write_to_is_not_trusted_with_compiled_code() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().expect("a folder");
    let compiled = state.path().join("compiled");
    std::fs::create_dir(&compiled).expect("a folder");
    std::fs::set_permissions(&compiled, std::fs::Permissions::from_mode(0o777)).expect("its owner");
    let output = eyot()
        .arg("serve")
        .arg(fixtures::fixture())
        .args(["--addr", "127.0.0.1:0", "--state"])
        .arg(state.path())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("others can write") && errors.contains("--state"), "{errors}");
}

#[test]
fn compiled_code_that_was_changed_is_compiled_anew() {
    let state = tempfile::tempdir().expect("a folder");
    let component = fixtures::fixture();
    let argument = state.path().to_str().expect("text");
    drop(Node::single(&component, &["--state", argument]));
    let compiled = std::fs::read_dir(state.path().join("compiled")).expect("a folder").flatten();
    let compiled = compiled.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "cwasm"));
    let compiled = compiled.expect("compiled code");
    let mut bytes = std::fs::read(&compiled).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&compiled, &bytes).expect("written");
    let node = Node::single(&component, &["--state", argument]);
    assert_eq!(node.get("/count").status, 200);
    node.wait_for_log("does not have its digest");
    assert_ne!(std::fs::read(&compiled).expect("bytes"), bytes, "it was replaced");
}

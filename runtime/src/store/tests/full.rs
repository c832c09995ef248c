//! A disk that takes no more, and one that takes nothing.

use std::process::Command;

use landlock::{ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// The limit on the size of files is the process's, and a signal goes with it that a shell can turn off, so the test runs itself in a
/// process of its own.
#[test]
fn a_full_disk_is_told_and_writing_goes_on_when_there_is_room() {
    let program = std::env::current_exe().unwrap();
    let path = "store::tests::full::with_little_room";
    let mut child = Command::new("sh");
    child.args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\" --ignored --nocapture"]);
    // Into pipes, since the limit holds for a log file, too.
    let output = child.args([program.as_os_str(), path.as_ref()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "run by a_full_disk_is_told_and_writing_goes_on_when_there_is_room, in a process of its own"]
async fn with_little_room() {
    let (folder, store) = fresh();
    let (version, _) = serve(&store, "api", b"1").await;
    let Rlimit { current, maximum } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(300_000), maximum }).unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    let refused = store.put_component(large.clone()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(refused.to_string().contains("no space left"), "{refused}");
    let mut added = Vec::new();
    let refused = loop {
        let component = store.put_component(Bytes::from_static(b"2")).await.unwrap();
        let (worker, manifest, message) = ("api".to_owned(), "#".repeat(30_000), String::new());
        match store.add_version(by(), component, NewVersion { worker, manifest, message }).await {
            Ok(version) => added.push(version),
            Err(error) => break error,
        }
        assert!(added.len() < 99, "there was room for everything");
    };
    assert!(matches!(&refused, StoreError::Full { path, .. } if path.ends_with("state.db")), "{refused}");
    // What was answered is there, and nothing else.
    let serving = &store.snapshot().await.unwrap().workers[0].serving;
    assert_eq!(serving.first(), Some(&version));
    assert_eq!(store.versions("api", None, 99).await.unwrap().len(), added.len() + 1);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    store.put_component(large).await.unwrap();
    let number = u32::try_from(added.len()).unwrap() + 2;
    assert_eq!(add(&store, "api", b"3").await.number, number);
    assert_eq!(store.check().await.unwrap(), []);
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.versions("api", None, 99).await.unwrap().len(), added.len() + 2);
}

/// May this thread, and those that it starts, still write anywhere? Permissions would not keep root from it.
fn give_up_writing() -> RulesetStatus {
    let reads = AccessFs::from_read(ABI::V1);
    let rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V1)).unwrap().create().unwrap();
    let everywhere = PathBeneath::new(PathFd::new("/").unwrap(), reads);
    rules.add_rule(everywhere).unwrap().restrict_self().unwrap().ruleset
}

#[test]
fn a_read_only_folder_is_told() {
    let (folder, store) = fresh();
    drop(store);
    let (old, new) = (folder.path().to_owned(), folder.path().join("new"));
    let work = move || {
        if give_up_writing() == RulesetStatus::NotEnforced {
            println!("this kernel has no Landlock: nothing was tested");
            return;
        }
        for folder in [old, new] {
            let error = open(&folder).unwrap_err();
            assert!(matches!(&error, StoreError::ReadOnly { path, .. } if path.starts_with(&folder)), "{error:?}");
            assert!(error.to_string().contains("let this user write to it"), "{error}");
        }
    };
    std::thread::spawn(work).join().unwrap();
}

//! Hand-overs between two sides in one process, and what becomes of the state whatever happens to one of them.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::handover::{Giver, State};
use super::takeover::TakeOverError;
use super::wire::{Door, Heard, Line, PROTOCOL, Word};
use super::*;
use crate::ingress::Given;

const PATIENCE: Duration = Duration::from_secs(30);

/// Writes down what it is asked, and refuses to resume so many times.
#[derive(Clone, Default)]
struct Recorded {
    asked: Arc<Mutex<Vec<&'static str>>>,
    held: Arc<Mutex<u32>>,
}

impl State for Recorded {
    fn release(&self) -> Result<(), String> {
        self.asked.lock().unwrap().push("released");
        Ok(())
    }

    fn resume(&self) -> Result<(), String> {
        let mut held = self.held.lock().unwrap();
        if *held > 0 {
            *held -= 1;
            self.asked.lock().unwrap().push("refused");
            return Err("another process has it".to_owned());
        }
        self.asked.lock().unwrap().push("resumed");
        Ok(())
    }
}

impl Recorded {
    fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }
}

fn giver(folder: &Path, state: &Recorded, sockets: Vec<TcpListener>) -> Giver<Recorded> {
    let any = "127.0.0.1:0".parse().unwrap();
    let sockets = Some(sockets.into_iter().map(|socket| (any, socket)).collect());
    let claim = Claim::take(folder).unwrap();
    Giver { claim, sockets: Arc::new(Mutex::new(sockets)), state: state.clone(), released: PATIENCE }
}

/// One conversation: what the giving side came to, and what the other side returned.
fn between<T: Send>(giver: &Giver<Recorded>, other: impl FnOnce(Line) -> T + Send) -> (std::io::Result<u32>, T) {
    let (ours, theirs) = Line::pair().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(move || other(theirs));
        let given = giver.give(&ours);
        drop(ours);
        (given, other.join().unwrap())
    })
}

fn hear(line: &Line) -> Word {
    match line.hear(Some(PATIENCE)).unwrap() {
        Heard::Word(word, _) => word,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sockets_claim_and_state_go_over_and_the_claim_is_never_free() {
    let folder = tempfile::tempdir().unwrap();
    let (state, socket) = (Recorded::default(), TcpListener::bind("127.0.0.1:0").unwrap());
    let bound = socket.local_addr().unwrap();
    let giver = giver(folder.path(), &state, vec![socket]);
    let (given, taken) = between(&giver, |line| {
        let mut given = Given::default();
        let (claim, taken) = TakeOver::ask(line, folder.path(), &mut given).unwrap();
        assert_eq!(state.asked(), [""; 0], "the state is given when it is asked for");
        taken.take_state().unwrap();
        assert_eq!(state.asked(), ["released"]);
        taken.may_serve().unwrap();
        taken.line().say(&Word::Done).unwrap();
        (claim, given)
    });
    assert_eq!(given.unwrap(), std::process::id());
    assert_eq!(state.asked(), ["released"]);
    drop(giver);
    let (claim, mut given) = taken;
    assert_eq!(given.take("127.0.0.1:0".parse().unwrap()).unwrap().local_addr().unwrap(), bound);
    let held = Claim::take(folder.path()).unwrap_err();
    assert!(held.to_string().contains(&format!("process {}", std::process::id())), "{held}");
    drop(claim);
    free(folder.path());
}

/// A process that another test is about to start may hold the lock for a moment, as it has all files until it runs its program.
fn free(folder: &Path) {
    let until = std::time::Instant::now() + PATIENCE;
    while let Err(error) = Claim::take(folder) {
        assert!(std::time::Instant::now() < until, "{error}");
        std::thread::yield_now();
    }
}

#[test]
fn a_process_that_is_gone_at_any_step_leaves_the_state_where_it_was() {
    let steps: [&[Word]; 4] = [&[], &[Word::Give], &[Word::Give, Word::Ready], &[Word::Give, Word::Bye]];
    for (words, asked) in steps.into_iter().zip([
        &[] as &[_],
        &["released", "resumed"],
        &["released", "resumed"],
        &["released", "resumed"],
    ]) {
        let (folder, state) = (tempfile::tempdir().unwrap(), Recorded::default());
        let giver = giver(folder.path(), &state, vec![]);
        let (given, ()) = between(&giver, |line| {
            line.say(&Word::Hello { protocol: PROTOCOL, version: "0".to_owned() }).unwrap();
            while hear(&line) != Word::All {}
            for word in words {
                line.say(word).unwrap();
                hear(&line);
            }
        });
        given.unwrap_err();
        assert_eq!(state.asked(), asked, "{words:?}");
    }
}

#[test]
fn who_is_not_ready_in_time_is_refused_and_the_state_is_tried_until_it_is_free() {
    let (folder, state) = (tempfile::tempdir().unwrap(), Recorded::default());
    *state.held.lock().unwrap() = 1;
    let giver = Giver { released: Duration::from_millis(1), ..giver(folder.path(), &state, vec![]) };
    let (given, refused) = between(&giver, |line| {
        let (_claim, taken) = TakeOver::ask(line, folder.path(), &mut Given::default()).unwrap();
        taken.take_state().unwrap();
        // It opens its state, and takes its time.
        while state.asked().last() != Some(&"refused") {
            std::thread::yield_now();
        }
        taken.may_serve().unwrap_err()
    });
    assert!(given.unwrap_err().to_string().contains("not ready in time"));
    assert!(matches!(refused, TakeOverError::Refused { .. }), "{refused}");
    assert_eq!(state.asked(), ["released", "refused", "resumed"]);
}

#[test]
fn who_speaks_another_protocol_or_comes_too_late_is_told() {
    let (folder, state) = (tempfile::tempdir().unwrap(), Recorded::default());
    let giver = giver(folder.path(), &state, vec![]);
    let (given, word) = between(&giver, |line| {
        line.say(&Word::Hello { protocol: PROTOCOL + 1, version: "9.0.0".to_owned() }).unwrap();
        hear(&line)
    });
    given.unwrap_err();
    assert!(matches!(word, Word::Refused { why } if why.contains("9.0.0")));
    giver.sockets.lock().unwrap().take();
    let (given, refused) =
        between(&giver, |line| TakeOver::ask(line, folder.path(), &mut Given::default()).unwrap_err());
    given.unwrap_err();
    assert!(refused.to_string().contains("about to end"), "{refused}");
}

#[test]
fn the_door_is_this_users_alone_and_is_reached_by_paths_that_are_too_long_for_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("node.sock");
    // What a process that was killed has left goes away.
    drop(Door::open(&path).unwrap());
    let door = Door::open(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let line = Line::connect(&path).unwrap();
    line.say(&Word::Give).unwrap();
    let other = door.next().unwrap();
    assert_eq!(hear(&other), Word::Give);
    assert!(other.is_ours().unwrap());
}

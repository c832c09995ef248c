//! A process that is killed at any moment loses nothing that it has answered, and leaves nothing half.
//!
//! `EYOT_STORE_KILLS` asks for more than the usual rounds, `EYOT_STORE_SEED` for the moments of another run.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::*;

const FOLDER: &str = "EYOT_STORE_FOLDER";
const WRITER: &str = "store::tests::crash::writes_until_it_is_killed";
const WORKERS: [&str; 4] = ["a", "b", "c", "d"];
/// How many deployments of each worker stay at least.
const HISTORY: u32 = 20;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test]
async fn what_was_answered_outlives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let seed = from_environment("EYOT_STORE_SEED", u64::from(std::process::id()) * 7919 + 1);
    println!("EYOT_STORE_SEED={seed}");
    let mut random = Random(seed);
    let mut answers = Vec::new();
    for round in 0..from_environment("EYOT_STORE_KILLS", 24) {
        let (mut child, lines) = start(folder.path());
        // Some die while they open the store, and a few of those while they make it.
        let wanted = if round % 4 == 0 { 0 } else { random.below(60) };
        for _ in 0..wanted {
            answers.push(lines.recv().expect("the writer has ended by itself"));
        }
        let moment = Instant::now() + Duration::from_micros(random.below(if wanted == 0 { 60_000 } else { 6_000 }));
        collect_until(moment, &lines, &mut answers);
        child.kill().unwrap();
        child.wait().unwrap();
        answers.extend(lines.iter());
        verify(folder.path(), &answers).await;
    }
    println!("{} answers", answers.len());
    assert!(answers.len() > 50, "only {} answers", answers.len());
}

/// A process that writes to this store, and what it has answered.
fn start(folder: &Path) -> (Child, Receiver<Answer>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", WRITER, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        // The last line may be half.
        while output.read_line(&mut line).is_ok() && line.ends_with('\n') {
            if let Some((_, answer)) = line.trim_end().split_once("answer: ") {
                let _ = sender.send(Answer::parse(answer));
            }
            line.clear();
        }
    });
    (child, lines)
}

fn collect_until(moment: Instant, lines: &Receiver<Answer>, answers: &mut Vec<Answer>) {
    loop {
        match lines.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(answer) => answers.push(answer),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => panic!("the writer has ended by itself"),
        }
    }
}

/// What a writer was told to be on the disk.
enum Answer {
    Version {
        worker: String,
        number: u32,
        id: VersionId,
        component: String,
    },
    Deployment {
        worker: String,
        id: DeploymentId,
        version: VersionId,
    },
    /// Its value is its revision.
    Secret {
        worker: String,
        revision: u32,
    },
    Token {
        id: TokenId,
        is_revoked: bool,
    },
}

impl Answer {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let worker = words[1].to_owned();
        match words[0] {
            "version" => {
                let (id, component) = (VersionId::parse(words[3]).unwrap(), words[4].to_owned());
                Self::Version { worker, number: words[2].parse().unwrap(), id, component }
            }
            "secret" => Self::Secret { worker, revision: words[2].parse().unwrap() },
            "token" => Self::Token { id: TokenId::parse(words[1]).unwrap(), is_revoked: words[2] == "revoked" },
            _ => {
                let (id, version) = (DeploymentId::parse(words[2]).unwrap(), VersionId::parse(words[3]).unwrap());
                Self::Deployment { worker, id, version }
            }
        }
    }
}

async fn verify(folder: &Path, answers: &[Answer]) {
    // Opening looks for damage, too.
    let store = open(folder).unwrap();
    assert_eq!(store.check().await.unwrap(), []);
    let (snapshot, versions, deployments, audit, secrets, tokens) = everything(&store).await;
    let known: HashMap<_, _> = versions.iter().map(|version| (version.id, version)).collect();
    let served: HashMap<_, _> = deployments.iter().map(|deployment| (deployment.id, deployment)).collect();
    for answer in answers {
        match answer {
            Answer::Version { worker, number, id, component } => {
                let version = known[id];
                assert_eq!((&version.worker, version.number), (worker, *number));
                let found = version.content.as_ref().map(|content| content.component.to_string());
                assert!(found.as_ref().is_none_or(|found| found == component));
            }
            Answer::Deployment { worker, id, version } => {
                let Some(deployment) = served.get(id) else {
                    let left = deployments.iter().filter(|deployment| deployment.worker == *worker).count();
                    assert!(left >= usize::try_from(HISTORY).unwrap(), "{id} was not pruned");
                    continue;
                };
                assert_eq!((&deployment.worker, &*deployment.note), (worker, "a note"));
                assert_eq!(deployment.shares(), Some(&Shares::whole(*version)));
            }
            Answer::Secret { worker, revision } => {
                let secret = secrets.iter().find(|secret| secret.worker == *worker).unwrap();
                assert!(secret.revision >= *revision, "{} of {revision}", secret.revision);
            }
            Answer::Token { id, is_revoked } => {
                let token = tokens.iter().find(|token| token.id == *id).unwrap();
                assert!(token.revoked.is_some() || !is_revoked, "{id} holds again");
            }
        }
    }
    for worker in &snapshot.workers {
        assert!(worker.serving.iter().all(|version| version.content.is_some()), "{} cannot serve", worker.name);
        let mut numbers: Vec<_> =
            versions.iter().filter(|version| version.worker == worker.name).map(|version| version.number).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap()), "{numbers:?}");
    }
    // Each change is there together with its line, or neither is.
    let lines = |action: &str| audit.iter().filter(|line| line.action == action).count();
    let workers = versions.iter().map(|version| &version.worker).collect::<HashSet<_>>().len();
    let pruned = audit.iter().filter(|line| line.action == "prune").map(|line| {
        let detail: serde_json::Value = serde_json::from_str(&line.detail).unwrap();
        usize::try_from(detail["deployments"].as_u64().unwrap()).unwrap()
    });
    assert_eq!(
        (lines("version.add"), lines("deployment.add"), lines("worker.add")),
        (versions.len(), deployments.len() + pruned.sum::<usize>(), workers)
    );
    let revoked = tokens.iter().filter(|token| token.revoked.is_some()).count();
    assert_eq!((lines("token.add"), lines("token.revoke")), (tokens.len(), revoked));
    let sets: u32 = secrets.iter().map(|secret| secret.revision).sum();
    assert_eq!(lines("secret.set"), usize::try_from(sets).unwrap());
    for secret in &secrets {
        let value = vault().open(&secret.worker, &secret.name, &secret.sealed).unwrap();
        assert_eq!(value.as_bytes(), format!("value {}", secret.revision).as_bytes());
    }
    let components = folder.join("components/sha256");
    for entry in fs::read_dir(components).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(Digest::of(&fs::read(&path).unwrap()).to_string(), name, "a file is half");
    }
}

#[tokio::test]
#[ignore = "run by what_was_answered_outlives_a_kill_at_any_moment, which kills it"]
async fn writes_until_it_is_killed() {
    let folder = std::env::var(FOLDER).unwrap();
    let store = open(folder.as_ref()).unwrap();
    let seed = u64::from(std::process::id()) | 1;
    let writers = (1..).zip(WORKERS).map(|(number, worker)| write(&store, worker, Random(seed * number)));
    futures_util::future::join_all(writers).await;
}

/// Versions and deployments, one after the other; those of the four workers come together.
async fn write(store: &Store, worker: &str, mut random: Random) {
    let answer = |text: String| {
        let mut output = std::io::stdout().lock();
        writeln!(output, "answer: {text}").and_then(|()| output.flush()).unwrap();
    };
    loop {
        let mut bytes = vec![0; usize::try_from(random.below(100_000)).unwrap()];
        bytes.extend(random.below(u64::MAX).to_be_bytes());
        let version = add(store, worker, &bytes).await;
        let component = version.content.as_ref().unwrap().component;
        answer(format!("version {worker} {} {} {component}", version.number, version.id));
        if random.below(3) > 0 {
            match store.deploy(by(), whole(&version)).await {
                Ok(deployment) => answer(format!("deployment {worker} {} {}", deployment.id, version.id)),
                // Nothing is too young to be pruned here.
                Err(error) => assert!(matches!(error, StoreError::Pruned { .. }), "{error}"),
            }
        }
        if random.below(3) == 0 {
            let before = store.secrets(Some(worker)).await.unwrap().pop().map_or(0, |secret| secret.revision);
            let revision = set(store, worker, "x", &format!("value {}", before + 1)).await;
            answer(format!("secret {worker} {revision}"));
        }
        if random.below(4) == 0 {
            let token = store.add_token(by(), token(&uuid::Uuid::now_v7().to_string())).await.unwrap();
            answer(format!("token {} added", token.id));
            if random.below(8) > 0 {
                store.revoke_token(by(), token.id).await.unwrap();
                answer(format!("token {} revoked", token.id));
            }
        }
        if random.below(10) == 0 {
            let keep = Keep {
                deployments: std::num::NonZeroU32::MIN,
                younger_than: Duration::ZERO,
                history: HISTORY.try_into().unwrap(),
                ..Keep::default()
            };
            store.prune(by(), keep).await.unwrap();
        }
    }
}

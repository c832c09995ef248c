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
    Version { worker: String, number: u32, id: VersionId, component: String },
    Deployment { worker: String, id: DeploymentId, version: VersionId },
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
    let (snapshot, versions, deployments, audit) = everything(&store).await;
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
                let deployment = served[id];
                assert_eq!(deployment.worker, *worker);
                assert_eq!(deployment.shares(), Some(&Shares::whole(*version)));
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
    assert_eq!(
        (lines("version.add"), lines("deployment.add"), lines("worker.add")),
        (versions.len(), deployments.len(), workers)
    );
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
        if random.below(10) == 0 {
            let keep = Keep { deployments: std::num::NonZeroU32::MIN, younger_than: Duration::ZERO };
            store.prune(by(), keep).await.unwrap();
        }
    }
}

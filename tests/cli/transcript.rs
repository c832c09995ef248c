//! The life of a worker, as README.md shows it: each command is run against a real node, and prints what stands there.

use std::process::Command;

use super::{Machine, cargo_target, run};
use crate::harness::{eyot, root};

/// Where it stands in README.md.
const HEADING: &str = "## The life of a worker";

#[test]
fn each_command_of_the_transcript_prints_what_stands_there() {
    let machine = Machine::start();
    let transcript = transcript();
    assert!(transcript.len() >= 10, "the transcript was not found");
    let binary = std::path::PathBuf::from(eyot().get_program());
    let folder = binary.parent().expect("a folder").to_str().expect("text");
    let path = format!("{folder}:{}", std::env::var("PATH").expect("a path"));
    for (line, expected) in transcript {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 2>&1; {line}")]).current_dir(machine.workers.path());
        for (name, value) in eyot().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.envs(machine.environment()).env("PATH", &path);
        command.env("CARGO_TARGET_DIR", cargo_target());
        let ran = run(command, None);
        assert_eq!(ran.code, Some(0), "$ {line}\n{}", ran.out);
        assert_eq!(blanked(&ran.out), blanked(&expected), "$ {line}\n{}", ran.out);
    }
}

/// The commands and what they print: what begins with `$ ` in the console blocks below the heading.
fn transcript() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (_, rest) = text.split_once(HEADING).expect("the heading");
    let part = rest.split("\n## ").next().expect("a first part");
    let (mut found, mut inside) = (Vec::<(String, String)>::new(), false);
    for line in part.lines() {
        match line.trim_end() {
            "```console" => inside = true,
            "```" => inside = false,
            line if inside => match line.strip_prefix("$ ") {
                Some(command) => found.push((command.to_owned(), String::new())),
                None => found.last_mut().expect("output follows a command").1 += &format!("{line}\n"),
            },
            _ => {}
        }
    }
    found
}

/// Words alone; times, sizes, digests and ids are taken out, as is what depends on the machine.
fn blanked(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.contains("is confined here"));
    let is_figure = |word: &str| word.parse::<f64>().is_ok() && word.contains('.');
    let blank = |word: &str| {
        let inner = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let digits = inner.bytes().filter(u8::is_ascii_digit).count();
        let is_hex = inner.len() >= 8 && inner.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits > 0;
        let is_time = digits >= 6 && inner.bytes().all(|byte| byte.is_ascii_digit() || b"-:.Z".contains(&byte));
        match word.split_once('@') {
            Some((name, _)) => format!("{name}@…"),
            None if is_hex || is_time || is_figure(inner) => "…".to_owned(),
            None if word.chars().all(|letter| letter == '─') => "─".to_owned(),
            None => word.to_owned(),
        }
    };
    lines.map(|line| line.split_whitespace().map(blank).collect::<Vec<_>>().join(" ")).collect()
}

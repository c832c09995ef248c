//! `--help` of every subcommand: what it does, an example, what its exit codes mean.

use crate::harness::eyot;

fn help(path: &[String]) -> String {
    let output = eyot().args(path).arg("--help").output().expect("it runs");
    assert!(output.status.success(), "{path:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names below `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let Some((_, rest)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_subcommand_has_an_example_and_tells_its_exit_codes() {
    let mut open = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let text = help(&path);
        let below = subcommands(&text);
        let line = format!("  eyot {}", path.join(" "));
        let example = text.split_once("Examples:\n").is_some_and(|(_, rest)| rest.contains(line.trim_end()));
        assert!(example, "`eyot {} --help` has no example:\n{text}", path.join(" "));
        let exempt = path.is_empty() || matches!(path[0].as_str(), "limits" | "schema" | "dev" | "bench");
        assert!(
            exempt || text.contains("Exit codes: 0 "),
            "`eyot {} --help` has no exit codes:\n{text}",
            path.join(" ")
        );
        seen += 1;
        open.extend(below.into_iter().map(|name| [path.as_slice(), &[name]].concat()));
    }
    assert!(seen > 25, "only {seen} subcommands were found");
}

#[test]
fn no_subcommand_takes_a_token_or_the_value_of_a_secret_as_an_argument() {
    for path in [&["deploy"][..], &["token", "create"], &["secret", "set"]] {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let text = help(&path);
        assert!(!text.contains("--token ") && !text.contains("--value"), "{text}");
    }
}

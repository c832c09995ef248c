//! What the options of a command line ask for, gathered with everything that is wrong with them.

use std::collections::BTreeMap;

use super::rules::Group;
use super::rules::Rule::{Always, Bytes, Count, Environment, GrowthTraps, Needed, Never, Time, Tuning, Variable};
use crate::config::{Diagnostic, Diagnostics, LimitTable, Place, Value, positive_time};

/// What a command line asks for, with everything that is wrong with it.
pub(super) struct Asked {
    pub(super) env: BTreeMap<String, String>,
    pub(super) config: BTreeMap<String, String>,
    pub(super) limits: LimitTable,
    pub(super) trap_on_grow_failure: bool,
    /// Whether isolates are asked more than once.
    pub(super) reuse: bool,
    /// What was taken though it changes nothing here.
    pub(super) notes: Vec<String>,
    faults: Vec<Diagnostic>,
}

impl Asked {
    pub(super) fn new(limits: LimitTable) -> Self {
        Self {
            env: BTreeMap::new(),
            config: BTreeMap::new(),
            limits,
            trap_on_grow_failure: false,
            reuse: false,
            notes: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// # Errors
    /// Everything that is wrong, together.
    pub(super) fn check(self) -> Result<Self, Diagnostics> {
        if self.faults.is_empty() { Ok(self) } else { Err(Diagnostics(self.faults)) }
    }

    pub(super) fn wrong(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.faults.push(Diagnostic::new(Place::default(), message, help));
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// One option of a group: `KEY` or `KEY=VALUE`.
    pub(super) fn option(&mut self, group: Group, option: &str) {
        let flag = format!("-{} {option}", group.letter);
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let Some(rule) = group.rule(&name.replace('_', "-")) else {
            return self.wrong(format!("{flag} is not an option that this host knows"), group.known());
        };
        match rule {
            Tuning => self.note(format!("{flag} changes nothing here: it is about wasmtime's own tuning")),
            Never(why, help) => match value {
                Some("n" | "no" | "false") => {}
                _ => self.wrong(format!("{flag}: {why}"), help),
            },
            Always | Needed | Environment | GrowthTraps => match (rule, truth(value)) {
                (_, None) => {
                    self.wrong(format!("{flag}: this is neither yes nor no"), format!("write {name}=y or {name}=n"))
                }
                (Environment, Some(true)) => self.inherit(),
                (GrowthTraps, Some(traps)) => self.trap_on_grow_failure = traps,
                (Needed, Some(false)) => self.wrong(format!("{flag}: there is no serving without it"), "leave it out"),
                (Always, Some(false)) => self.note(format!("{flag} changes nothing here: it is always there")),
                _ => {}
            },
            Variable => match value.map(|variable| variable.split_once('=').unwrap_or((variable, ""))) {
                None | Some(("", _)) => self.wrong(format!("{flag}: no name"), "write -S config-var=NAME=VALUE"),
                Some((name, value)) => _ = self.config.insert(name.to_owned(), value.to_owned()),
            },
            Bytes(limit) => self.number(&flag, limit, value, Value::Bytes),
            Count(limit) => self.number(&flag, limit, value, Value::Count),
            Time(limit) => match time(value.unwrap_or_default()) {
                Ok(time) => self.limit(&flag, limit, Value::Time(time)),
                Err((why, help)) => self.wrong(format!("{flag}: {why}"), help),
            },
        }
    }

    fn number(&mut self, flag: &str, limit: &str, value: Option<&str>, unit: impl Fn(u64) -> Value) {
        match number(value.unwrap_or_default()) {
            Some(number) => self.limit(flag, limit, unit(number)),
            None => self.wrong(format!("{flag}: this is not a number"), "write a whole number, such as 67108864"),
        }
    }

    /// Sets a limit as the operator, who is the one who writes command lines.
    pub(super) fn limit(&mut self, flag: &str, limit: &str, value: Value) {
        if !self.limits.set(limit, value) {
            self.wrong(format!("{flag}: 0 would let nothing through"), "write a number above 0, or leave it out");
        }
    }

    /// `--env NAME=VALUE`, or `--env NAME` for our own value, if we have one.
    pub(super) fn variable(&mut self, variable: &str) {
        let flag = format!("--env {variable}");
        let (name, value) = match variable.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None if variable.is_empty() => ("", None),
            None => match std::env::var(variable) {
                Ok(value) => (variable, Some(value)),
                Err(std::env::VarError::NotPresent) => (variable, None),
                Err(std::env::VarError::NotUnicode(_)) => {
                    return self.wrong(format!("{flag}: its value is not UTF-8"), "give the value: --env NAME=VALUE");
                }
            },
        };
        match (name, value) {
            ("", _) => self.wrong(format!("{flag}: no name"), "write --env NAME=VALUE"),
            (name, Some(value)) => _ = self.env.insert(name.to_owned(), value),
            (_, None) => {}
        }
    }

    /// What components can have is UTF-8, and what surrounds this process need not be.
    fn inherit(&mut self) {
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) if !name.is_empty() => _ = self.env.entry(name).or_insert(value),
                (Ok(name), _) => self.note(format!("-S inherit-env leaves {name:?} out: it is not UTF-8")),
                (Err(name), _) => self.note(format!("-S inherit-env leaves {name:?} out: it is not UTF-8")),
            }
        }
    }
}

fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("y" | "yes" | "true") => Some(true),
        Some("n" | "no" | "false") => Some(false),
        Some(_) => None,
    }
}

/// A number in wasmtime's notation.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    }
}

/// A time in wasmtime's notation: a number alone is seconds, and the letter of microseconds has two code points.
pub(super) fn time(text: &str) -> Result<std::time::Duration, (String, String)> {
    let mut text = text.replace(['μ', 'µ'], "u");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.push('s');
    }
    positive_time(&text).map_err(|wrong| (wrong.why, wrong.help))
}

#[cfg(test)]
mod tests {
    use super::super::rules::{C, D, O, S, W};
    use super::*;

    fn asked(options: &[(Group, &str)]) -> Asked {
        let mut asked = Asked::new(LimitTable::builtin());
        for (group, option) in options {
            asked.option(*group, option);
        }
        asked
    }

    #[test]
    fn an_option_that_names_a_bound_sets_the_limit() {
        let asked = asked(&[
            (W, "timeout=100μs"),
            (W, "max_memory_size=0x4000000"),
            (S, "max-resources=1_000"),
            (S, "max-component-handles=7"),
            (S, "hostcall-fuel=5000"),
            (S, "max-random-size=255"),
            (S, "max-http-fields-size=4096"),
        ]);
        let limits = asked.check().unwrap().limits.worker_defaults();
        assert_eq!(limits.wall_time, std::time::Duration::from_micros(100));
        assert_eq!((limits.memory, limits.resource_table, limits.handles), (64 << 20, 1000, 7));
        assert_eq!((limits.hostcall_fuel, limits.random_bytes, limits.response_header), (5000, 255, 4096));
    }

    #[test]
    fn a_time_is_read_as_wasmtime_reads_it() {
        for (text, nanos) in
            [("5", 5_000_000_000), ("5s", 5_000_000_000), ("5ms", 5_000_000), ("5us", 5000), ("5ns", 5)]
        {
            assert_eq!(time(text).unwrap().as_nanos(), nanos, "{text}");
        }
        for wrong in ["", "0", "0ms", "x", "18446744073709551615", "18446744073709551615s", "-1s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_never_granted_can_be_denied_and_not_asked_for() {
        for name in
            ["tcp", "udp", "inherit-network", "allow-ip-name-lookup", "keyvalue", "nn", "threads", "inherit-stdin"]
        {
            assert!(asked(&[(S, name)]).check().is_err(), "{name}");
            let denied = asked(&[(S, &format!("{name}=n"))]).check().unwrap();
            assert!(denied.notes.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_changes_nothing_is_said() {
        let options = [
            (S, "cli=n"),
            (W, "component-model-async=n"),
            (S, "http-outgoing-body-chunk-size=1024"),
            (O, "opt-level=2"),
            (O, "pooling-total-memories=5"),
            (C, "cache=n"),
        ];
        assert_eq!(asked(&options).check().unwrap().notes.len(), options.len());
    }

    #[test]
    fn all_faults_are_told_together_each_with_what_to_do() {
        let faults = asked(&[
            (S, "http=n"),
            (W, "component-model=n"),
            (W, "fuel=1000"),
            (W, "max-memory-size=0"),
            (W, "max-memory-size=much"),
            (S, "config-var"),
            (S, "config-var==y"),
            (S, "cli=perhaps"),
            (S, "nonsense"),
            (D, "coredump=x"),
        ])
        .check()
        .err()
        .unwrap();
        assert_eq!(faults.0.len(), 10);
        assert!(faults.0.iter().all(|fault| fault.help.is_some()));
    }

    #[test]
    fn a_variable_without_a_name_is_refused() {
        let mut asked = asked(&[]);
        asked.variable("=x");
        asked.variable("");
        asked.variable("A=b=c");
        asked.variable("EYOT_NO_SUCH_VARIABLE");
        assert_eq!(asked.faults.len(), 2);
        assert_eq!(asked.env, BTreeMap::from([("A".to_owned(), "b=c".to_owned())]));
    }
}

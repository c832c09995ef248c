//! wasmtime's grouped options (`-S`, `-W`, `-O`, `-C`, `-D`): what each of them means here.
//!
//! Nothing is taken that is not held: an option that grants what is never granted is refused, one that names a bound becomes a
//! limit of ours, and one that only tunes wasmtime is taken with a note that it changes nothing.

/// What an option means here.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// It is so for every component; to ask that it be otherwise changes nothing.
    Always,
    /// It is so for every component, and there is no serving without it.
    Needed,
    /// It is never so: why, and what to do instead.
    Never(&'static str, &'static str),
    /// It is about speed alone.
    Tuning,
    /// A number of bytes for this limit.
    Bytes(&'static str),
    /// A number of things for this limit.
    Count(&'static str),
    /// A time for this limit.
    Time(&'static str),
    /// `NAME=VALUE` for `wasi:config`.
    Variable,
    /// The environment of this process.
    Environment,
    /// Growing past the limit ends the guest.
    GrowthTraps,
}

use Rule::{Always, Bytes, Count, Environment, GrowthTraps, Needed, Never, Time, Tuning, Variable};

const SOCKETS: Rule = Never("a component has no sockets and no resolver", "let it make its requests through wasi:http");
const FILES: Rule = Never("a component has no files", "give it what it needs with --env or -S config-var=NAME=VALUE");
const STDIN: Rule = Never("a component has no standard input", "leave it out");
const STORE: Rule =
    Never("there is no key-value store here", "leave it out if the component does not import wasi:keyvalue");
const UNKNOWN: Rule =
    Never("this host does not have that interface", "leave it out if the component does not import it");
const PROPOSAL: Rule = Never("this proposal of WebAssembly is off here", "build the component without it");
const FUEL: Rule =
    Never("fuel is not counted here", "bound CPU time in its place: cpu_time = \"100ms\" in --limits FILE");
const TABLES: Rule =
    Never("this is not a bound of its own here", "tables and memories are counted together: -W max-memory-size=BYTES");
const POOL: Rule = Never("this is fixed here", "leave it out");
const DEBUG: Rule = Never("components are not debugged here", "debug it with `wasmtime serve`");

/// Options by name; `*` at the end stands for any rest.
type Rules = &'static [(&'static str, Rule)];

const WASI: Rules = &[
    ("cli common config p3 preview2 inherit-stdout inherit-stderr", Always),
    ("http", Needed),
    ("config-var", Variable),
    ("inherit-env", Environment),
    ("max-resources", Count("resource_table")),
    ("max-component-handles", Count("handles")),
    ("hostcall-fuel", Bytes("hostcall_fuel")),
    ("max-random-size", Bytes("random_bytes")),
    ("max-http-fields-size", Bytes("response_header")),
    ("http-outgoing-body-buffer-chunks http-outgoing-body-chunk-size", Tuning),
    ("tcp udp tcplisten listenfd inherit-network allow-ip-name-lookup tls", SOCKETS),
    ("inherit-stdin", STDIN),
    ("cwd", FILES),
    ("keyvalue keyvalue-in-memory-data", STORE),
    ("nn nn-graph threads preview0 cli-exit-with-code network-error-code", UNKNOWN),
];

const WASM: Rules = &[
    ("timeout", Time("wall_time")),
    ("max-memory-size", Bytes("memory")),
    ("component-model", Needed),
    ("component-model-async concurrency-support epoch-interruption", Always),
    ("bulk-memory multi-value reference-types simd relaxed-simd tail-call extended-const", Always),
    ("fuel", FUEL),
    ("max-table-elements max-tables max-memories max-instances", TABLES),
    ("max-wasm-stack async-stack-size", POOL),
    ("async-stack-zeroing branch-hinting", Tuning),
    ("trap-on-grow-failure", GrowthTraps),
    ("nan-canonicalization unknown-exports-allow unknown-imports-*", POOL),
    ("wmemcheck", DEBUG),
    (
        "all-proposals multi-memory threads shared-memory shared-everything-threads memory64 function-references",
        PROPOSAL,
    ),
    ("stack-switching gc gc-support custom-page-sizes wide-arithmetic exceptions relaxed-simd-deterministic", PROPOSAL),
    ("component-model-*", PROPOSAL),
];

const OPTIMIZE: Rules = &[
    ("opt-level regalloc-algorithm guard-before-linear-memory signals-based-traps", Tuning),
    ("memory-* gc-* table-lazy-init pooling-* dynamic-memory-* static-memory-*", Tuning),
];

const CODEGEN: Rules = &[
    ("compiler collector cache cache-config parallel-compilation native-unwind-info inlining", Tuning),
    ("cranelift-* metadata-for-*", Tuning),
];

const DEBUGGING: Rules = &[
    ("address-map logging symbols max-backtrace", Tuning),
    ("debug-info guest-debug log-to-files coredump debugger arg inherit-std*", DEBUG),
];

/// A letter of the command line and what may stand behind it.
#[derive(Clone, Copy)]
pub(super) struct Group {
    pub(super) letter: char,
    rules: Rules,
}

pub(super) const S: Group = Group { letter: 'S', rules: WASI };
pub(super) const W: Group = Group { letter: 'W', rules: WASM };
pub(super) const O: Group = Group { letter: 'O', rules: OPTIMIZE };
pub(super) const C: Group = Group { letter: 'C', rules: CODEGEN };
pub(super) const D: Group = Group { letter: 'D', rules: DEBUGGING };

impl Group {
    pub(super) fn rule(self, name: &str) -> Option<Rule> {
        let is_named = |names: &str| {
            names.split(' ').any(|known| match known.strip_suffix('*') {
                Some(begin) => name.starts_with(begin),
                None => name == known,
            })
        };
        self.rules.iter().find(|(names, _)| is_named(names)).map(|(_, rule)| *rule)
    }

    /// What has an effect, for who asked for something else.
    pub(super) fn known(self) -> String {
        let taken = self.rules.iter().filter(|(_, rule)| !matches!(rule, Never(..)));
        let names: Vec<&str> = taken.flat_map(|(names, _)| names.split(' ')).collect();
        format!("known are {}", names.join(", "))
    }
}

//! What both fixtures can do without wasi:http: a mode takes the query and returns what to answer, as text. Everything here
//! goes through the standard library, so the WASI 0.2 fixture and the WASI 0.3 fixture share it.

mod cpu;
mod ending;
mod log;
mod memory;
mod query;
mod surroundings;

pub use cpu::burn_ms;
pub use ending::end;
pub use query::Query;

/// A mode that needs nothing but the query.
pub type Plain = fn(&Query) -> String;

/// The plain modes, by name.
pub const PLAIN: &[(&str, Plain)] = &[
    ("count", memory::count),
    ("spin", cpu::spin),
    ("spin-ms", cpu::spin_ms),
    ("work", cpu::work),
    ("grow", memory::grow),
    ("grow-checked", memory::grow_checked),
    ("plant", memory::plant),
    ("scan", memory::scan),
    ("trap", ending::trap),
    ("panic", ending::panic),
    ("exit", ending::exit),
    ("log", log::log),
    ("log-nasty", log::log_nasty),
    ("env", surroundings::env),
    ("files", surroundings::files),
    ("sockets", surroundings::sockets),
    ("clock", surroundings::clock),
];

/// Finds the entry of a table of modes.
pub fn find<Mode: Copy>(table: &[(&str, Mode)], name: &str) -> Option<Mode> {
    table.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode)
}

/// The names of a table of modes, one a line.
pub fn names<Mode>(table: &[(&str, Mode)]) -> String {
    table.iter().map(|(name, _)| format!("{name}\n")).collect()
}

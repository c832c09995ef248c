//! What ties this process to those before, after and above it: who has the state folder, how sockets and state go from one process
//! to the next, and what systemd is told.
//!
//! May import: `config`, `ingress`.
//!
//! The way in: a node with a state folder of its own has a [`Claim`] on it, offers what it has by a [`Handover`], and comes by it with a
//! [`TakeOver`]; a [`Starter`] starts the process that takes over; a [`Supervisor`] is told, and a [`Watchdog`] tells it that cores answer.
//!
//! Invariants:
//! - A state folder has one claim. It goes from one process to the next as the same open file, so that it is never free meanwhile.
//! - The process that serves goes on serving until another one says that it does: whatever happens to that one before, nothing changes.
//! - State is open in one process at a time: it is released before the other may take it, and taken back only when that one is gone, or
//!   its lock says that it is free.
//! - Who takes over says nothing to systemd before it serves, and who was taken over from says nothing after it.

mod claim;
mod handover;
mod notify;
mod starter;
mod takeover;
mod watchdog;
mod wire;

#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use handover::{Handover, Heir, State};
pub use notify::Supervisor;
pub use starter::{HELPER, Starter, deaf_to_operators, run_helper};
pub use takeover::TakeOver;
pub use watchdog::Watchdog;

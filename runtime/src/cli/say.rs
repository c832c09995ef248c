//! The two ways to print: words for a person on stderr, results on stdout.
//!
//! The macros of std and of anstream panic where nobody takes what they print: a closed pipe, a full disk. That must end nothing
//! that serves, and a result that is lost is an error like any other.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// A line for the one who watches, without colours where no terminal shows them.
pub(super) fn line(text: impl Display) {
    // Whoever closed stderr does not want to be told.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// The result of a command.
///
/// # Errors
/// When it cannot be written.
pub(super) fn result(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // `eyot limits | head` has seen enough; that is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.map_err(|error| anyhow::anyhow!("the result cannot be written: {error}"))?),
    }
}

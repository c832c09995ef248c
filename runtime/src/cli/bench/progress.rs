//! What is going on while it is measured: a bar for who watches a terminal, a line for each run where there is none.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::super::say;

pub(super) struct Progress {
    bar: ProgressBar,
    is_watched: bool,
}

impl Progress {
    pub(super) fn start() -> Self {
        let is_watched = io::stderr().is_terminal();
        let bar = if is_watched { ProgressBar::new(0) } else { ProgressBar::hidden() };
        let style = "{prefix:>10.cyan} {wide_bar:.cyan/dim} {pos}/{len} {eta:>4.dim} left  {msg:.dim}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix("measuring");
        // Seldom: it runs on the core of the load generator.
        bar.enable_steady_tick(Duration::from_secs(1));
        Self { bar, is_watched }
    }

    /// How many runs there will be.
    pub(super) fn expect(&self, runs: usize) {
        self.bar.set_length(runs as u64);
    }

    pub(super) fn begin(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    pub(super) fn done(&self, what: &str, figures: &str) {
        self.bar.inc(1);
        if !self.is_watched {
            let (done, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
            say::line(format_args!("[{done}/{of}] {what}: {figures}"));
        }
    }

    pub(super) fn fault(&self, fault: &str) {
        self.bar.suspend(|| say::line(format_args!("fault: {fault}")));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

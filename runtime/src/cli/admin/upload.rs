//! A version on its way to the node, and what is seen of it meanwhile.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::blocking::multipart::{Form, Part};

/// What is sent.
pub(in crate::cli) struct Upload<'a> {
    /// The text of its eyot.toml.
    manifest: &'a str,
    /// The file of its component.
    pub(super) component: &'a Path,
    message: &'a str,
    bar: ProgressBar,
}

impl<'a> Upload<'a> {
    pub(in crate::cli) fn new(manifest: &'a str, component: &'a Path, message: &'a str) -> Self {
        // Hidden where stderr is no terminal.
        Self { manifest, component, message, bar: ProgressBar::new(0) }
    }

    /// All of it, from the beginning.
    pub(super) fn form(&self) -> io::Result<Form> {
        let file = File::open(self.component)?;
        let length = file.metadata()?.len();
        self.bar.set_length(length);
        self.bar.set_position(0);
        self.bar.set_style(style("{prefix:>10.cyan} {bar:24.cyan/dim} {binary_bytes} of {binary_total_bytes}"));
        self.bar.set_prefix("uploading");
        // One byte more than was said would be an error that says nothing; the file may have grown.
        let reader = Watched { file: file.take(length), bar: self.bar.clone(), left: length };
        let component = Part::reader_with_length(reader, length).file_name("component");
        let form = Form::new().text("manifest", self.manifest.to_owned()).part("component", component);
        Ok(if self.message.is_empty() { form } else { form.text("message", self.message.to_owned()) })
    }

    /// There is an answer, or there will be none.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// A file that tells how much of it was read.
struct Watched {
    file: io::Take<File>,
    bar: ProgressBar,
    left: u64,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bar.inc(read as u64);
        let before = self.left;
        self.left = self.left.saturating_sub(read as u64);
        if self.left == 0 && before > 0 {
            // Now the node has all of it, and works.
            self.bar.set_style(style("{prefix:>10.cyan} {spinner:.cyan} {elapsed:.dim}"));
            self.bar.set_prefix("compiling");
            self.bar.reset_elapsed();
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        Ok(read)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

//! `eyot new`: a folder with a worker in it that builds, from one of the examples.

mod project;
mod template;

use std::fs;
use std::path::{Path, PathBuf};

use anstyle::AnsiColor;
use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use self::project::Project;
use self::template::TEMPLATES;
use super::serve::wrong;
use super::{say, show};

/// Make a folder with a worker in Rust, which builds as it is, from a template; the SDK is in it.
#[derive(Args)]
#[command(
    override_usage = "eyot new [OPTIONS] <PATH>\n       eyot new --list",
    after_help = "Examples:
  eyot new shop                                       then: eyot dev shop
  eyot new workers/gate --template auth-gate
  eyot new --list

Exit codes: 0 when it is there, 1 when it cannot be written, 2 when the name is wrong or something is there already."
)]
pub(super) struct New {
    /// The folder, which is made; its name is the worker's.
    #[arg(required_unless_present = "list")]
    path: Option<PathBuf>,

    /// What the worker does at first.
    #[arg(long, value_name = "NAME", default_value = TEMPLATES[0].name, hide_possible_values = true,
          value_parser = PossibleValuesParser::new(TEMPLATES.iter().map(|template| template.name)))]
    template: String,

    /// List the templates.
    #[arg(long, conflicts_with = "path")]
    list: bool,
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Some(path) = self.path.filter(|_| !self.list) else {
            let lines = TEMPLATES.iter().map(|template| format!("{:<14} {}\n", template.name, template.what));
            return say::result(&lines.collect::<String>());
        };
        let template = TEMPLATES.iter().find(|template| template.name == self.template);
        let template = template.context("there is no such template")?;
        let name = name(&path)?;
        if fs::symlink_metadata(&path).is_ok() {
            let message = format!("{} is there already", path.display());
            return Err(wrong(message, "choose another name; nothing is ever written over"));
        }
        write(&Project::of(template, &name)?, &path).with_context(|| path.display().to_string())?;
        show::word(AnsiColor::Green, "made", format_args!("{} from the template {}", path.display(), template.name));
        let path = path.display();
        say::line(format_args!("\n  eyot dev {path}        build it and serve it here, with reload"));
        say::line(format_args!("  eyot deploy {path}     bring it to a node"));
        Ok(())
    }
}

/// The name of the worker, which is that of its crate, too.
fn name(path: &Path) -> anyhow::Result<String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=63).contains(&name.len()) && name.bytes().all(fits) && !name.ends_with('-');
    match is_label && name.starts_with(|first: char| first.is_ascii_lowercase()) && name != project::SDK {
        true => Ok(name.to_owned()),
        false => Err(wrong(
            format!("`{name}` cannot be the name of a worker in Rust"),
            "write 1 to 63 lower-case letters, digits and inner hyphens, the first of them a letter, such as `shop`",
        )),
    }
}

/// All of it or nothing: it is written under another name first.
fn write(project: &Project, path: &Path) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let folder = tempfile::Builder::new().prefix(".eyot-new").tempdir_in(parent)?;
    // The folder is its owner's like any other, not only this user's.
    let whole = folder.path().join("project");
    for (file, bytes) in &project.files {
        let file = whole.join(file);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, bytes)?;
    }
    Ok(fs::rename(&whole, path)?)
}

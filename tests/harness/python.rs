//! What tests need from PyPI: each package in an environment of its own, its version with it.
//!
//! The library's own tests use this file, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Where the programs of a package are (`python` among them), installed when they are not there. `None`, and said so, where it cannot be
/// had: CI does not do without.
///
/// It is tried once in a process; whoever asks for the same waits, in others too: two that install into one folder spoil it.
pub fn programs(requirement: &str) -> Option<PathBuf> {
    static TRIED: Mutex<BTreeMap<String, Result<PathBuf, String>>> = Mutex::new(BTreeMap::new());
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    let installed = tried.entry(requirement.to_owned()).or_insert_with(|| installed(requirement)).clone();
    drop(tried);
    if let Err(why) = &installed {
        let why = format!("{requirement} cannot be installed by python3 -m venv and pip: {why}");
        assert!(std::env::var_os("EYOT_TESTS_SKIP_NOTHING").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    installed.ok()
}

fn installed(requirement: &str) -> Result<PathBuf, String> {
    let name = requirement.split(['=', '[']).next().expect("a name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(format!("test-{name}"));
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let file = folder.join("requirement");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(file);
    let mut file = file.map_err(|error| error.to_string())?;
    file.lock().map_err(|error| error.to_string())?;
    let mut there = String::new();
    file.read_to_string(&mut there).map_err(|error| error.to_string())?;
    let programs = folder.join("bin");
    if there != requirement {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement];
        run(Command::new(programs.join("python")).args(install))?;
        let noted = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(requirement.as_bytes()));
        noted.map_err(|error| error.to_string())?;
    }
    Ok(programs)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.success().then_some(()).ok_or_else(said)
}

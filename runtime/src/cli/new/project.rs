//! What stands in a new project: an example, taken out of its workspace, under another name.

use std::path::{Path, PathBuf};

use anyhow::Context;
use include_dir::Dir;
use toml::{Table, Value};

use super::template::{GUEST_SDK, LOCK, Template, WORKSPACE};

/// The name of the SDK and of its folder.
pub(super) const SDK: &str = "eyot-sdk";

/// Files that are to be written.
pub(super) struct Project {
    /// Where, in the folder of the project, and what.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Project {
    /// A template under this name.
    pub(super) fn of(template: &Template, name: &str) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for (path, bytes) in contents(&template.files) {
            let text = || String::from_utf8_lossy(bytes);
            let bytes = match path.to_str() {
                Some("Cargo.toml") => manifest(&text(), name)?.into_bytes(),
                Some("eyot.toml") => own_name(&text(), template.name, name).into_bytes(),
                Some("README.md") => readme(&text(), template.name, name).into_bytes(),
                _ => bytes.to_vec(),
            };
            files.push((path.to_owned(), bytes));
        }
        for (path, bytes) in contents(&GUEST_SDK) {
            let text = || String::from_utf8_lossy(bytes);
            let bytes = match path.to_str() {
                Some("Cargo.toml") => alone(&text()).into_bytes(),
                Some("README.md") => text().replace("\"../guest-sdk\"", "\"eyot-sdk\"").into_bytes(),
                _ => bytes.to_vec(),
            };
            files.push((Path::new(SDK).join(path), bytes));
        }
        files.push(("Cargo.lock".into(), LOCK.into()));
        files.push((".gitignore".into(), b"/target/\n".to_vec()));
        Ok(Self { files })
    }
}

/// All files of a folder, with their paths in it.
fn contents<'d>(folder: &'d Dir<'static>) -> Vec<(&'d Path, &'d [u8])> {
    let mut all: Vec<_> = folder.files().map(|file| (file.path(), file.contents())).collect();
    all.extend(folder.dirs().flat_map(contents));
    all
}

/// A Cargo.toml that says itself what the example's leaves to its workspace.
fn manifest(example: &str, name: &str) -> anyhow::Result<String> {
    let (example, workspace): (Table, Table) = (example.parse()?, WORKSPACE.parse()?);
    let package = workspace["workspace"]["package"].as_table().context("the package")?;
    let shared = workspace["workspace"]["dependencies"].as_table().context("the dependencies")?;
    let mut text = format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
    for key in ["edition", "rust-version", "publish"] {
        text += &format!("{key} = {}\n", package[key]);
    }
    text += "\n[lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\n";
    for (dependency, own) in example["dependencies"].as_table().into_iter().flatten() {
        let is_shared = own.get("workspace").is_some();
        let value = if is_shared { shared.get(dependency).context("a dependency")? } else { own };
        text += &match dependency == SDK {
            true => format!("{SDK} = {{ path = \"{SDK}\" }}\n"),
            false => format!("{dependency} = {value}\n"),
        };
    }
    text += "\n# It stands alone, wherever it lies.\n[workspace]\n";
    text += "\n# Small components start faster and leave more of a small machine to others.\n[profile.release]\n";
    let profile = workspace["profile"]["release"].as_table().into_iter().flatten();
    Ok(text + &profile.map(|(key, value): (_, &Value)| format!("{key} = {value}\n")).collect::<String>())
}

/// The SDK's Cargo.toml without the workspace of the examples, and the line that tells of it.
fn alone(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_of_workspace = |line: &str| line.starts_with("workspace = ");
    let stays = |(at, line): &(usize, &&str)| {
        let is_told = line.starts_with('#') && lines.get(at + 1).is_some_and(|next| is_of_workspace(next));
        !is_of_workspace(line) && !is_told
    };
    lines.iter().enumerate().filter(stays).map(|(_, line)| format!("{line}\n")).collect()
}

fn own_name(text: &str, old: &str, new: &str) -> String {
    text.replacen(&format!("name = \"{old}\""), &format!("name = \"{new}\""), 1)
}

/// Its commands are for the project's folder, and for its own name.
fn readme(text: &str, old: &str, new: &str) -> String {
    let text = text.replacen(&format!("# {old}\n"), &format!("# {new}\n"), 1);
    text.replace(&format!("examples/{old}/"), "").replace(&format!("{old}.localhost"), &format!("{new}.localhost"))
}

#[cfg(test)]
mod tests {
    use super::super::template::TEMPLATES;
    use super::*;

    #[test]
    fn every_template_has_the_parts_of_a_project_under_its_new_name() {
        for template in &TEMPLATES {
            let project = Project::of(template, "shop").unwrap();
            let text = |name: &str| {
                let found = project.files.iter().find(|(path, _)| path == Path::new(name));
                String::from_utf8(found.unwrap_or_else(|| panic!("{name}")).1.clone()).unwrap()
            };
            for name in ["src/lib.rs", "eyot-sdk/src/lib.rs", "eyot-sdk/wit/worker.wit", "Cargo.lock"] {
                assert!(!text(name).is_empty());
            }
            let worker: Table = text("eyot.toml").parse().unwrap();
            assert_eq!(worker["name"].as_str(), Some("shop"), "{}", template.name);
            assert!(!text("README.md").contains(&format!("{}.localhost", template.name)));
            for file in ["Cargo.toml", "eyot-sdk/Cargo.toml"] {
                let manifest: Table = text(file).parse().unwrap();
                assert!(!text(file).contains("workspace = "), "{}", text(file));
                assert!(manifest.contains_key("package"));
            }
        }
    }

    #[test]
    fn every_example_is_a_template() {
        let workspace: Table = WORKSPACE.parse().unwrap();
        let members = workspace["workspace"]["members"].as_array().unwrap();
        let examples = members.iter().filter_map(Value::as_str).filter(|member| !member.starts_with(".."));
        for example in examples {
            assert!(TEMPLATES.iter().any(|template| template.name == example), "{example}");
        }
    }
}

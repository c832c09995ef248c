//! Where a worker's component lies when eyot.toml does not say so.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The parts of a Cargo.toml that decide where the artifact lies.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Manifest {
    package: Option<Package>,
    lib: Option<Library>,
    bin: Vec<Binary>,
    workspace: Option<Workspace>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Package {
    name: String,
    workspace: Option<PathBuf>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Library {
    name: Option<String>,
    crate_type: Vec<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Binary {
    name: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Workspace {
    members: Vec<PathBuf>,
    exclude: Vec<PathBuf>,
}

/// The variables that move cargo's target folder, the stronger first.
pub(super) fn target_folder() -> Option<OsString> {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].iter().find_map(std::env::var_os).filter(|folder| !folder.is_empty())
}

/// The artifact of `cargo build --release --target wasm32-wasip2` in a folder, or why Cargo.toml does not tell. cargo itself
/// is not asked, since a node that only serves need not have it.
pub(super) fn cargo_artifact(folder: &Path, target: Option<OsString>) -> Result<PathBuf, String> {
    // The parents of `a/../b` are not those of `b`.
    let resolved = folder.canonicalize().ok().filter(|_| folder.components().any(|part| part == Component::ParentDir));
    let folder = resolved.as_deref().unwrap_or(folder);
    let manifest = read(folder)?;
    let file = artifact_name(&manifest)?;
    let target = match target {
        // cargo runs in the worker's folder, so a relative one starts there.
        Some(target) => folder.join(target),
        None => workspace_root(folder, &manifest).join("target"),
    };
    Ok(target.join("wasm32-wasip2").join("release").join(file))
}

/// A library is named with underscores, a binary as it is written.
fn artifact_name(manifest: &Manifest) -> Result<String, String> {
    let package = manifest.package.as_ref().ok_or("Cargo.toml has no [package]")?;
    let name = match (&manifest.lib, manifest.bin.first()) {
        (Some(lib), _) if lib.crate_type.iter().any(|kind| kind == "cdylib") => {
            lib.name.clone().unwrap_or_else(|| package.name.replace('-', "_"))
        }
        (_, Some(bin)) if !bin.name.is_empty() => bin.name.clone(),
        _ => package.name.clone(),
    };
    Ok(format!("{name}.wasm"))
}

/// The root of the workspace that the folder belongs to, by cargo's rules: `package.workspace`, or the nearest parent with
/// a `[workspace]`, unless that one excludes it.
fn workspace_root(folder: &Path, manifest: &Manifest) -> PathBuf {
    if manifest.workspace.is_some() {
        return folder.to_owned();
    }
    if let Some(root) = manifest.package.as_ref().and_then(|package| package.workspace.as_ref()) {
        return folder.join(root);
    }
    for root in folder.ancestors().skip(1) {
        let Ok(Manifest { workspace: Some(workspace), .. }) = read(root) else { continue };
        let named = |paths: &[PathBuf]| paths.iter().any(|path| folder.starts_with(root.join(path)));
        return match named(&workspace.exclude) && !named(&workspace.members) {
            true => folder.to_owned(),
            false => root.to_owned(),
        };
    }
    folder.to_owned()
}

fn read(folder: &Path) -> Result<Manifest, String> {
    let text = std::fs::read_to_string(folder.join("Cargo.toml")).map_err(|error| error.to_string())?;
    toml::from_str(&text).map_err(|error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const CDYLIB: &str = "[package]\nname = \"my-api\"\nversion.workspace = true\n[lib]\ncrate-type = [\"cdylib\"]\n";

    #[test]
    fn a_library_of_a_workspace_lies_in_the_target_folder_of_its_root() {
        let root = project(&[("Cargo.toml", "[workspace]\nmembers = [\"a/*\"]"), ("a/api/Cargo.toml", CDYLIB)]);
        let found = cargo_artifact(&root.path().join("a/api"), None).unwrap();
        assert_eq!(found, root.path().join("target/wasm32-wasip2/release/my_api.wasm"));
    }

    #[test]
    fn a_folder_that_its_workspace_excludes_has_its_own_target_folder() {
        let root = project(&[("Cargo.toml", "[workspace]\nexclude = [\"api\"]"), ("api/Cargo.toml", CDYLIB)]);
        let found = cargo_artifact(&root.path().join("api"), None).unwrap();
        assert_eq!(found, root.path().join("api/target/wasm32-wasip2/release/my_api.wasm"));
    }

    #[test]
    fn a_target_folder_of_the_environment_comes_first() {
        let root = project(&[("Cargo.toml", "[package]\nname = \"my-api\"\n")]);
        let found = |target: &str| cargo_artifact(root.path(), Some(target.into())).unwrap();
        assert_eq!(found("/t"), Path::new("/t/wasm32-wasip2/release/my-api.wasm"));
        assert_eq!(found("t"), root.path().join("t/wasm32-wasip2/release/my-api.wasm"));
    }

    #[test]
    fn a_manifest_without_a_package_or_that_is_not_toml_says_so() {
        let root = project(&[("Cargo.toml", "[workspace]"), ("bad/Cargo.toml", "=")]);
        assert!(cargo_artifact(root.path(), None).is_err());
        assert!(cargo_artifact(&root.path().join("bad"), None).is_err());
        assert!(cargo_artifact(&root.path().join("none"), None).is_err());
    }
}

//! The guests that the tests run, built once for a test process by `tests/guests/build`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::root;

/// The fixture guest of WASI 0.2: one mode for each path.
pub fn fixture() -> PathBuf {
    guest("fixture")
}

/// The fixture guest of WASI 0.3.
pub fn fixture3() -> PathBuf {
    guest("fixture3")
}

/// The smallest honest handler.
pub fn hello() -> PathBuf {
    guest("hello")
}

/// A guest of wasi:keyvalue, in both of its drafts.
pub fn keyvalue() -> PathBuf {
    guest("keyvalue")
}

/// A guest that sends messages, and does with those that it works off as they say.
pub fn queue() -> PathBuf {
    guest("queue")
}

/// A guest that was made by another toolchain for Rust, by its folder's name.
pub fn foreign(name: &str) -> PathBuf {
    guest(&format!("../../foreign/{name}"))
}

fn guest(name: &str) -> PathBuf {
    let path = built().join(format!("{name}.wasm"));
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// A fixture written as text, as a file of its own in the given folder.
pub fn text(name: &str, folder: &Path) -> PathBuf {
    let source = root().join("tests/guests/wat").join(format!("{name}.wat"));
    let binary = wat::parse_file(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, binary).expect("a file can be written");
    path
}

/// A WASI 0.2 handler around this text of a core module, as a file of its own in the given folder. The module exports `handle`;
/// `host` `new` makes a `fields` of wasi:http and returns its handle.
pub fn handler(module: &str, folder: &Path) -> PathBuf {
    let component = format!(
        r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $outparam))
  (core func $new (canon lower (func $types "[constructor]fields")))
  (core module $code
    (import "host" "new" (func $new (result i32)))
    {module})
  (core instance $instance (instantiate $code (with "host" (instance (export "new" (func $new))))))
  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $instance "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    let path = folder.join("handler.wasm");
    std::fs::write(&path, wat::parse_str(component).expect("a component")).expect("a file can be written");
    path
}

/// A handler whose one function has so many locals, live throughout so many blocks: what that costs a compiler grows with the
/// product of the two, and its size does not.
pub fn hard_to_compile(locals: usize, blocks: usize, folder: &Path) -> PathBuf {
    let mut seed = 1u32;
    let mut local = move || {
        // Numerical Recipes' generator: any numbers do, as long as they are the same ones each time.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % (locals + 2)
    };
    let blocks: String = (0..blocks)
        .map(|_| {
            let (from, by, to) = (local(), local(), local());
            format!(
                "(block (br_if 0 (local.get {from})) \
                 (local.set {to} (i32.add (local.get {by}) (i32.load (local.get {from})))))\n"
            )
        })
        .collect();
    let locals = "i32 ".repeat(locals);
    handler(&format!("(memory 1) (func (export \"handle\") (param i32 i32) (local {locals}) {blocks})"), folder)
}

fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = root().join("tests/guests");
        let mut build = Command::new(folder.join("build"));
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST")) {
                build.env_remove(name);
            }
        }
        build.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
        let output = build.output().expect("the script runs");
        assert!(output.status.success(), "the guests do not build:\n{}", String::from_utf8_lossy(&output.stderr));
        folder.join("target/wasm32-wasip2/release")
    })
}

/// The eyot.toml of a worker `fixture` with these lines added.
pub fn manifest(lines: &str) -> String {
    worker("fixture", &fixture(), lines)
}

/// An eyot.toml: top-level lines go before the first table of `lines`.
pub fn worker(name: &str, component: &Path, lines: &str) -> String {
    format!("name = \"{name}\"\ncomponent = {component:?}\n{lines}\n")
}

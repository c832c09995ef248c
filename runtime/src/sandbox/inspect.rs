//! Reading a component before it is compiled: what it exports, what it imports, which engine it needs.

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload, Validator};

use super::EngineKind;
use super::engine::features;

/// A handler that a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Handler {
    /// `wasi:http/incoming-handler@0.2.x`
    #[serde(rename = "IncomingHandler")]
    Http02,
    /// `wasi:http/handler@0.3.x`
    #[serde(rename = "Handler")]
    Http03,
    /// `eyot:worker/queue-handler@0.1.x`
    Queue,
    /// `eyot:worker/scheduled-handler@0.1.x`
    Scheduled,
}

/// What a component is. Written down beside its code, so that a start need not look again.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Inspection {
    /// The engine that it needs.
    pub engine: EngineKind,
    /// What we could call, the better first, each with the full name of its export.
    pub handlers: Vec<(Handler, String)>,
}

/// Why it cannot be a worker.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InspectionError {
    /// Neither binary nor text.
    #[error("this is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    /// A core module.
    #[error("this is a core module, not a component")]
    CoreModule,
    /// Compiled code of wasmtime, which is native code that nobody can check.
    #[error("this is compiled code (.cwasm), which is never accepted")]
    Compiled,
    /// Broken or using proposals that are off.
    #[error("this component is not valid at byte {offset}: {message}")]
    Invalid {
        /// From the start of the file.
        offset: usize,
        /// What the validator said.
        message: String,
    },
    /// A draft of WASI 0.3, which differs from the release.
    #[error("this component exports {export}, a draft of an interface that is final by now")]
    Draft {
        /// With its version.
        export: String,
    },
    /// No fault of the component's.
    #[error("there is no compiler for this machine: {0}")]
    Machine(String),
    /// Nothing to call.
    #[error(
        "this component exports none of wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, eyot:worker/queue-handler@0.1 and eyot:worker/scheduled-handler@0.1; it exports {}",
        list(.exports)
    )]
    NoHandler {
        /// What it exports.
        exports: Vec<String>,
    },
}

impl InspectionError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotWasm => "build a component for the target wasm32-wasip2",
            Self::CoreModule => "build for the target wasm32-wasip2, or wrap it with `wasm-tools component new`",
            Self::Compiled => "give the component (.wasm) that it was compiled from",
            Self::Invalid { .. } => "build it again; if that does not help, with a newer version of its toolchain",
            Self::Draft { .. } => "build it with a version of its toolchain that is for WASI 0.3.0",
            Self::Machine(_) => "run it on a processor that wasmtime compiles for",
            Self::NoHandler { .. } => "export an HTTP handler, for example with eyot-sdk's `serve!`",
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Reads and validates a binary component.
///
/// # Errors
/// When it cannot be a worker.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, InspectionError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(InspectionError::Compiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectionError::NotWasm);
    }
    let (imports, exports) = names(bytes)?;
    let concurrent = imports.iter().chain(&exports).any(|name| name.starts_with("wasi:") && name.contains("@0.3."));
    let engine = if !concurrent && validate(bytes, EngineKind::Plain).is_ok() {
        EngineKind::Plain
    } else {
        validate(bytes, EngineKind::Concurrent)?;
        EngineKind::Concurrent
    };
    Ok(Inspection { engine, handlers: handlers(exports)? })
}

fn handlers(exports: Vec<String>) -> Result<Vec<(Handler, String)>, InspectionError> {
    let known = [
        (Handler::Http03, "wasi:http/handler@0.3."),
        (Handler::Http02, "wasi:http/incoming-handler@0.2."),
        (Handler::Queue, "eyot:worker/queue-handler@0.1."),
        (Handler::Scheduled, "eyot:worker/scheduled-handler@0.1."),
    ];
    let named = |prefix| exports.iter().filter(move |name| name.starts_with(prefix));
    let is_draft = |name: &String| name.rsplit_once('@').is_some_and(|(_, version)| version.contains('-'));
    let found: Vec<_> = known
        .iter()
        .flat_map(|(handler, prefix)| named(prefix).filter(|name| !is_draft(name)).map(|name| (*handler, name.clone())))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match known.iter().flat_map(|(_, prefix)| named(prefix)).next() {
        Some(draft) => Err(InspectionError::Draft { export: draft.clone() }),
        None => Err(InspectionError::NoHandler { exports }),
    }
}

fn validate(bytes: &[u8], kind: EngineKind) -> Result<(), InspectionError> {
    let features = features(kind).map_err(|error| InspectionError::Machine(format!("{error:#}")))?;
    Validator::new_with_features(features).validate_all(bytes).map(|_| ()).map_err(invalid)
}

/// The names of the outermost imports and exported instances.
fn names(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), InspectionError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(InspectionError::CoreModule);
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(invalid)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn invalid(error: wasmparser::BinaryReaderError) -> InspectionError {
    InspectionError::Invalid { offset: error.offset(), message: error.message().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(exports: &[&str]) -> Result<Vec<Handler>, InspectionError> {
        let exports = exports.iter().map(|&export| export.to_owned()).collect();
        handlers(exports).map(|found| found.into_iter().map(|(handler, _)| handler).collect())
    }

    #[test]
    fn the_newer_handler_comes_first_and_a_draft_does_not_hide_the_older() {
        let (old, new) = ("wasi:http/incoming-handler@0.2.3", "wasi:http/handler@0.3.0");
        assert_eq!(found(&[old, new]), Ok(vec![Handler::Http03, Handler::Http02]));
        assert_eq!(found(&[old, "wasi:http/handler@0.3.0-rc-2025-09-16"]), Ok(vec![Handler::Http02]));
    }

    #[test]
    fn a_draft_alone_is_named() {
        let draft = "wasi:http/handler@0.3.0-rc-2025-09-16";
        let error = found(&["other:thing/x", draft]).unwrap_err();
        assert!(error.to_string().contains(draft) && error.help().contains("0.3.0"), "{error}");
        assert!(matches!(found(&["other:thing/x"]), Err(InspectionError::NoHandler { .. })));
    }
}

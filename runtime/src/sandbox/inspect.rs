//! Reading a component before it is compiled: what it exports, what it imports, which engine it needs.

use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload, Validator};

use super::{EngineKind, Engines};

/// The handler that a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `wasi:http/incoming-handler@0.2.x`
    IncomingHandler,
    /// `wasi:http/handler@0.3.x`
    Handler,
}

/// What a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The engine that it needs.
    pub engine: EngineKind,
    /// The export that we call.
    pub handler: Handler,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
}

/// Why it cannot be a worker. Each says what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InspectionError {
    /// Neither binary nor text.
    #[error("this is not WebAssembly (it does not begin with \\0asm): build a component for wasm32-wasip2")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core module, not a component: build for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Compiled code of wasmtime, which is native code that nobody can check.
    #[error("this is compiled code (.cwasm), which is never accepted: give the component (.wasm)")]
    Compiled,
    /// Broken or using proposals that are off.
    #[error("this component is not valid at byte {offset}: {message}")]
    Invalid {
        /// From the start of the file.
        offset: usize,
        /// What the validator said.
        message: String,
    },
    /// Nothing to call.
    #[error(
        "this component exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3; it exports {}: \
         export an HTTP handler, for example with eyot-sdk's `serve!`", list(.exports)
    )]
    NoHandler {
        /// What it exports.
        exports: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Reads and validates a binary component.
///
/// # Errors
/// When it cannot be a worker.
pub fn inspect(engines: &Engines, bytes: &[u8]) -> Result<Inspection, InspectionError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(InspectionError::Compiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(InspectionError::NotWasm);
    }
    let (imports, exports) = names(bytes)?;
    let concurrent = imports.iter().chain(&exports).any(|name| name.contains("@0.3."));
    let engine = if !concurrent && validate(engines, bytes, EngineKind::Plain).is_ok() {
        EngineKind::Plain
    } else {
        validate(engines, bytes, EngineKind::Concurrent)?;
        EngineKind::Concurrent
    };
    let exported = |prefix: &str| exports.iter().any(|name| name.starts_with(prefix));
    let handler = if exported("wasi:http/handler@0.3.") {
        Handler::Handler
    } else if exported("wasi:http/incoming-handler@0.2.") {
        Handler::IncomingHandler
    } else {
        return Err(InspectionError::NoHandler { exports });
    };
    Ok(Inspection { engine, handler, imports })
}

fn validate(engines: &Engines, bytes: &[u8], kind: EngineKind) -> Result<(), InspectionError> {
    Validator::new_with_features(engines.features(kind)).validate_all(bytes).map(|_| ()).map_err(invalid)
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

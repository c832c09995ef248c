//! From a component to code for one of the engines: what a process of its own does, since a compiler is no sandbox.

use wasmtime::Engine;
use wasmtime::component::Component;

use super::EngineKind;
use super::bulk::interruptible;
use super::engine::base_config;

/// Compiles a component for engines of this kind, wherever they run on this machine.
///
/// # Errors
/// When it is not valid, or asks for more than the compiler does.
pub fn compile(kind: EngineKind, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    // Without pools: nothing is instantiated here. They have no part in the code.
    let engine = Engine::new(&base_config(kind))?;
    // Loaded once where it can take nothing with it; what is written then is what `precompile_component` makes.
    Component::new(&engine, interruptible(component)?)?.serialize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Engines;

    #[test]
    fn code_is_compatible_with_the_engines_that_run_it() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let engines = Engines::new(1, 0).unwrap();
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        for kind in [EngineKind::Plain, EngineKind::Concurrent] {
            let compiling = Engine::new(&base_config(kind)).unwrap();
            assert_eq!(hash(&compiling), hash(engines.engine(kind)), "{kind:?}");
        }
    }
}

//! From a component to code for one of the engines: what a process of its own does, since a compiler is no sandbox.

use wasmtime::component::Component;

use super::EngineKind;
use super::bulk::interruptible;
use super::engine::without_pool;

/// Compiles a component for engines of this kind, wherever they run on this machine.
///
/// # Errors
/// When it is not valid, or asks for more than the compiler does.
pub fn compile(kind: EngineKind, component: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let engine = without_pool(kind)?;
    // Loaded once where it can take nothing with it; what is written then is what `precompile_component` makes.
    Component::new(&engine, interruptible(component)?)?.serialize()
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;
    use crate::sandbox::{Engines, Pool};

    #[test]
    fn code_is_compatible_with_the_engines_that_run_it() {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let engines = Engines::new(Pool::new(1, 0, 1 << 20));
        let hash = |engine: &Engine| {
            let mut hasher = DefaultHasher::new();
            engine.precompile_compatibility_hash().hash(&mut hasher);
            hasher.finish()
        };
        for kind in EngineKind::ALL {
            assert_eq!(hash(&without_pool(kind).unwrap()), hash(engines.engine(kind).unwrap()), "{kind:?}");
        }
    }
}

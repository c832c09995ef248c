//! How many descriptors this process may have: for sockets, and for the files of components in memory.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What a node needs besides its clients' connections: files, listeners, reactors, and connections to origins.
const RESERVE: u64 = 512;

/// Raises the soft limit to the hard one: it is low for the sake of programs that use `select`, which we do not. Says so when that is not
/// enough for `connections` and for the files of so many `components` in memory, because a node without descriptors can accept nothing
/// and reach no origin.
pub fn raise_descriptors(connections: u64, components: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit on open descriptors cannot be raised");
        }
    }
    let needed = connections.saturating_add(components).saturating_add(RESERVE);
    // `None` is no limit.
    if let Some(descriptors) = getrlimit(Resource::Nofile).current.filter(|descriptors| *descriptors < needed) {
        tracing::warn!(
            descriptors,
            connections,
            components,
            needed,
            "too few open descriptors are allowed: raise `ulimit -Hn`, or lower limits connections and loaded_components"
        );
    }
}

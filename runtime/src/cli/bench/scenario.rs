//! The words for how a request comes to its isolate (DESIGN §5), as far as they can be measured: each says how the node is configured
//! and which measurement is made.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::config::{self, HostPattern, Route, Target, Value, Worker};
use crate::observe::Start;

/// How a request comes to its isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scenario {
    /// From Wasm bytes, by the processes that compile
    Compile,
    /// Compiled, and not in memory: each request maps, links and starts a component
    Cold,
    /// The compiled component is in memory, each request has a new isolate
    Warm,
    /// The same, and a core with nothing else to do makes an isolate ahead of its request
    Prepared,
    /// Isolates are kept and asked again
    Reused,
}

impl Scenario {
    /// Its word: the one of the metrics.
    pub(super) fn name(self) -> &'static str {
        self.start().as_str()
    }

    /// What it is, for a reader of the figures.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Compile => "from Wasm bytes to code, in a process of its own",
            Self::Cold => {
                "a component that is compiled and on disk, not in memory: each request maps it, links it and starts it"
            }
            Self::Warm => "a fresh isolate for each request, of a component that is in memory",
            Self::Prepared => {
                "the same, where a core that has nothing else to do makes an isolate ahead of its request"
            }
            Self::Reused => "isolates that have answered other requests before (`isolate = \"reuse\"`)",
        }
    }

    /// Where its isolates come from.
    pub(super) fn start(self) -> Start {
        match self {
            Self::Compile => Start::Compile,
            Self::Cold => Start::Cold,
            Self::Warm => Start::Warm,
            Self::Prepared => Start::Prepared,
            Self::Reused => Start::Reused,
        }
    }

    /// The hosts that are asked in turn by so many connections, each of which leads to a worker of its own; none where there is one
    /// worker, whatever the host.
    pub(super) fn hosts(self, connections: usize) -> Vec<String> {
        match self {
            // Twice as many: no two of those that are under way ask the same one.
            Self::Cold => (0..2 * connections).map(|number| format!("cold-{number}.test")).collect(),
            Self::Compile | Self::Warm | Self::Prepared | Self::Reused => Vec::new(),
        }
    }

    /// Sets what the node needs so that requests come to their isolates in this way.
    pub(super) fn configure(self, node: &mut config::Node, connections: usize) {
        match self {
            // It is what a node does by itself.
            Self::Compile | Self::Prepared => {}
            Self::Warm => set(node, "waiting_isolates", 0),
            Self::Reused => node.workers.iter_mut().for_each(|worker| worker.reuse = true),
            Self::Cold => {
                set(node, "loaded_components", 1);
                set(node, "load_queue", connections as u64);
                share_out(node, self.hosts(connections));
            }
        }
    }
}

fn set(node: &mut config::Node, limit: &str, count: u64) {
    let is_set = node.limits.set(limit, Value::Count(count));
    debug_assert!(is_set, "{limit} = {count}");
}

/// One worker and one route for each host beside those that there are, which answer for any other host.
fn share_out(node: &mut config::Node, hosts: Vec<String>) {
    let first = |node: &config::Node| Some((node.workers.first()?.clone(), node.routes.first()?.clone()));
    let Some((worker, route)) = first(node) else { return };
    for host in hosts {
        node.workers.push(Worker { name: host.clone(), ..worker.clone() });
        node.routes.push(Route {
            target: Target::Worker(host.clone()),
            host: Some(HostPattern::Exact(host.into())),
            ..route.clone()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_has_one_name_on_the_command_line_in_files_and_in_the_metrics() {
        for scenario in Scenario::value_variants() {
            let named = scenario.to_possible_value().unwrap();
            assert_eq!(named.get_name(), scenario.name());
            assert_eq!(serde_json::to_value(scenario).unwrap(), scenario.name());
        }
    }
}

//! Everything that stands during one round: a process for each scenario, and whom to ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, ensure};

use super::link;
use super::load::Target;
use super::protocol::{Asked, Order, Used};
use super::report::LIMIT;
use super::scenario::Scenario;
use super::server::Server;
use super::subject::Local;
use crate::observe::Start;

/// One subject during a round.
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) role: Role,
}

/// What can be known of a subject besides its answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    /// The limit, in the process of this number.
    Plain(usize),
    /// A worker, likewise, and where its isolates should come from.
    Worker(usize, Start),
    /// Nothing.
    Remote,
}

impl Role {
    pub(super) fn server(self) -> Option<usize> {
        match self {
            Self::Plain(server) | Self::Worker(server, _) => Some(server),
            Self::Remote => None,
        }
    }
}

/// A process and where its metrics are.
struct Serves {
    server: Server,
    admin: SocketAddr,
}

/// The processes of one round. They rest while they are not asked.
#[derive(Default)]
pub(super) struct Stand(Vec<Serves>);

/// The name of a component among the subjects.
pub(super) fn name_of(scenario: Scenario) -> String {
    format!("eyot {}", scenario.name())
}

impl Stand {
    /// Starts a process for each scenario that is loaded, the limit in the first; `expected` is what the component answers.
    pub(super) async fn start(
        local: &Local,
        scenarios: &[Scenario],
        expected: &Target,
    ) -> anyhow::Result<(Self, Vec<Standing>)> {
        let mut stand = Self::default();
        let mut standing = Vec::new();
        for scenario in scenarios {
            if *scenario == Scenario::Compile {
                continue;
            }
            let name = name_of(*scenario);
            let index = stand.0.len();
            let mut server = Server::start(&local.setup(*scenario), &local.folder)?;
            let serving = server.serve().await.with_context(|| format!("{name} does not start"))?;
            stand.0.push(Serves { server, admin: serving.admin });
            if index == 0 {
                let target = checked(LIMIT, serving.plain, local, &[], expected).await?;
                standing.push(Standing { name: LIMIT.to_owned(), target, role: Role::Plain(index) });
            }
            let hosts = scenario.hosts(local.connections);
            let target = checked(&name, serving.node, local, &hosts, expected).await?;
            standing.push(Standing { name, target, role: Role::Worker(index, scenario.start()) });
        }
        Ok((stand, standing))
    }

    /// What a process has used.
    pub(super) async fn used(&mut self, server: usize, order: Order) -> anyhow::Result<Used> {
        self.0[server].server.used(order).await
    }

    /// What a process has counted.
    pub(super) async fn counted(&self, server: usize) -> anyhow::Result<Counted> {
        let admin = self.0[server].admin;
        let asked = Asked { path: "/metrics".to_owned(), headers: Vec::new() };
        let page = link::once(admin, link::request(&admin.to_string(), &asked)?).await?;
        Ok(Counted::read(&String::from_utf8_lossy(&page.body)))
    }

    /// Ends all of them in good order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        for serves in self.0 {
            serves.server.end().await?;
        }
        Ok(())
    }
}

/// Whom to ask, once it has been seen to answer as it should.
async fn checked(
    name: &str,
    address: SocketAddr,
    local: &Local,
    hosts: &[String],
    expected: &Target,
) -> anyhow::Result<Target> {
    let mut requests = vec![link::request(&address.to_string(), &local.asked)?];
    if !hosts.is_empty() {
        // Whatever host was asked for: here it is what leads to the workers.
        let to = |host: &String| link::request_to(host, &local.asked);
        requests = hosts.iter().map(to).collect::<anyhow::Result<_>>()?;
    }
    let target = Target { address, requests, ..expected.clone() };
    let answer =
        link::once(address, target.request(0).clone()).await.with_context(|| format!("{name} does not answer"))?;
    let fault = target.fault(answer.status, answer.body.len());
    ensure!(fault.is_none(), "{name} answers otherwise than before: {}", fault.unwrap_or_default());
    Ok(target)
}

/// Of the node's metrics, what tells whether a scenario was what it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Isolates, by where they came from.
    pub(super) isolates: BTreeMap<String, u64>,
    /// Lines of the access log that were dropped.
    pub(super) lines_lost: u64,
}

impl Counted {
    fn read(page: &str) -> Self {
        let mut counted = Self::default();
        for (name, value) in page.lines().filter_map(|line| line.rsplit_once(' ')) {
            let value = value.parse().unwrap_or(0);
            let start =
                name.strip_prefix("eyot_isolates_started_total{start=\"").and_then(|rest| rest.strip_suffix("\"}"));
            match start {
                Some(start) => _ = counted.isolates.insert(start.to_owned(), value),
                None if name == "eyot_access_log_dropped_total" => counted.lines_lost = value,
                None => {}
            }
        }
        counted
    }

    /// What came on top of what there was before; kinds of which nothing came are left out.
    pub(super) fn since(&self, before: &Self) -> Self {
        let then = |start: &String| before.isolates.get(start).copied().unwrap_or(0);
        let more = self.isolates.iter().map(|(start, now)| (start.clone(), now - then(start)));
        Self { isolates: more.filter(|(_, more)| *more > 0).collect(), lines_lost: self.lines_lost - before.lines_lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_meanwhile_is_told_by_kind() {
        let page = |warm, reused| {
            format!(
                "# TYPE eyot_isolates_started_total counter\neyot_isolates_started_total{{start=\"warm\"}} {warm}\n\
                 eyot_isolates_started_total{{start=\"reused\"}} {reused}\neyot_access_log_dropped_total 3\n"
            )
        };
        let more = Counted::read(&page(10, 5)).since(&Counted::read(&page(4, 5)));
        assert_eq!(more, Counted { isolates: BTreeMap::from([("warm".to_owned(), 6)]), lines_lost: 0 });
    }
}

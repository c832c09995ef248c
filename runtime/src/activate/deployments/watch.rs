//! Going back by itself: while a new version is rolled out, and for a while after, the node looks at how its requests end.
//!
//! It goes back when more of them fail, or take longer, than `[rollout]` of the new version's eyot.toml allows, over the window that it
//! names. What the old versions suffer at the same time is no fault of the new one: where an origin is down for all, going back helps nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::serving::One;
use super::{Asked, DeployError, Deployments};
use crate::activate::deployed::Stored;
use crate::activate::tally::{Counts, Tally};
use crate::config::Rollout;
use crate::store::{After, By, DeploymentId, Why};

/// How often the node looks.
const EVERY: Duration = Duration::from_millis(500);

/// A new version on trial.
pub(super) struct Trial {
    deployment: DeploymentId,
    version: u32,
    rollout: Rollout,
    new: Arc<Tally>,
    /// Those of the versions that serve beside it.
    old: Vec<Arc<Tally>>,
    /// When it is over; `None` while others serve beside it.
    ends: Option<Instant>,
}

impl Trial {
    /// What there is to look at when these versions serve by a deployment; `before` served until then.
    pub(super) fn begin(one: &One, deployment: DeploymentId, why: Why, before: Option<&One>) -> Option<Self> {
        let trial = Self::of(one, deployment, why, before);
        if trial.is_none() {
            one.forget();
        }
        trial
    }

    fn of(one: &One, deployment: DeploymentId, why: Why, before: Option<&One>) -> Option<Self> {
        if !matches!(why, Why::Deploy | Why::Rollout) {
            return None;
        }
        let newest = newest(one, before)?;
        let is_alone = one.versions.len() == 1;
        let rollout = newest.configuration.rollout.clone();
        let window = rollout.window;
        let (mut new, mut old) = (None, Vec::new());
        for (stored, (worker, _)) in one.versions.iter().zip(&one.served.versions) {
            let tally = worker.watched.watch(window);
            if stored.number == newest.number { new = Some(tally) } else { old.push(tally) }
        }
        let ends = is_alone.then(|| Instant::now() + window);
        Some(Self { deployment, version: newest.number, rollout, new: new?, old, ends })
    }

    /// Why to go back, if there is a reason.
    fn judge(&self) -> Option<String> {
        let old = self.old.iter().map(|tally| tally.counts()).max_by_key(|counts| counts.requests);
        judge(&self.rollout, self.version, self.new.counts(), old.unwrap_or_default())
    }

    pub(super) fn is_of(&self, deployment: DeploymentId) -> bool {
        self.deployment == deployment
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| Instant::now() >= ends)
    }
}

/// The version that has to prove itself: one that did not serve before, or that was on trial. After a start nobody knows which did, and it
/// is the last one of several.
fn newest<'a>(one: &'a One, before: Option<&One>) -> Option<&'a Stored> {
    let last = |versions: &mut dyn Iterator<Item = &'a Stored>| versions.max_by_key(|stored| stored.number);
    let Some(before) = before else { return last(&mut one.versions.iter()).filter(|_| one.versions.len() > 1) };
    let served = |stored: &&Stored| before.versions.iter().any(|other| other.number == stored.number);
    let on_trial = before.trial.as_ref().map(|trial| trial.version);
    last(&mut one.versions.iter().filter(|stored| !served(stored)))
        .or_else(|| one.versions.iter().find(|stored| Some(stored.number) == on_trial))
}

/// Compares what both windows say with what may be.
fn judge(rollout: &Rollout, version: u32, new: Counts, old: Counts) -> Option<String> {
    let Rollout { max_failures, max_p99, window, min_requests, .. } = rollout;
    if new.requests < *min_requests {
        return None;
    }
    let compared = old.requests >= *min_requests;
    let window = humantime::format_duration(*window);
    if let Some(most) = max_failures {
        let others = if compared { old.failure_rate() } else { 0.0 };
        if new.failure_rate() > most + others {
            let Counts { requests, failures, .. } = new;
            let (rate, most) = (percent(new.failure_rate()), percent(most + others));
            return Some(format!(
                "version {version} failed {failures} of {requests} requests ({rate}) within {window}, \
                 and at most {most} may fail"
            ));
        }
    }
    let most = max_p99.filter(|most| !compared || old.p99 <= *most)?;
    (new.p99 > most).then(|| {
        let (p99, most) = (milliseconds(new.p99), milliseconds(most));
        let requests = new.requests;
        format!("the p99 of version {version} was {p99} over {requests} requests within {window}, and may be {most}")
    })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

impl Deployments {
    /// Looks after new versions, for as long as the node runs.
    pub async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            for (worker, deployment, version, reason) in self.to_go_back() {
                if let Err(error) = self.go_back(&worker, deployment, version, reason).await {
                    // Not tried again: what is in the way does not go by itself.
                    self.serving().end_trial(&worker, deployment);
                    tracing::error!(worker, version, "the node cannot go back by itself: {error}");
                }
            }
        }
    }

    fn to_go_back(&self) -> Vec<(String, DeploymentId, u32, String)> {
        let mut serving = self.serving();
        let mut back = Vec::new();
        let mut over = Vec::new();
        for (name, one) in serving.workers() {
            let Some(trial) = &one.trial else { continue };
            match trial.judge() {
                Some(reason) => back.push((name.clone(), trial.deployment, trial.version, reason)),
                None if trial.is_over() => over.push((name.clone(), trial.deployment)),
                None => {}
            }
        }
        for (name, deployment) in over {
            serving.end_trial(&name, deployment);
        }
        back
    }

    /// To the newest deployment without this version, unless somebody has changed something meanwhile.
    async fn go_back(
        self: &Arc<Self>,
        worker: &str,
        deployment: DeploymentId,
        version: u32,
        reason: String,
    ) -> Result<(), DeployError> {
        let bad = self.store()?.version_numbered(worker, version).await?.map(|version| version.id);
        let shares = self.before(worker, bad).await?;
        tracing::warn!(worker, version, "going back: {reason}");
        let after = After::This(deployment);
        let why = Why::AutomaticRollback;
        let asked = Asked { worker: worker.to_owned(), shares, why, after, note: reason, probe: None };
        self.deploy(By::new("eyot"), asked, &|_| Ok(())).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, failures: u64, p99: u64) -> Counts {
        Counts { requests, failures, p99: Duration::from_millis(p99) }
    }

    fn rollout() -> Rollout {
        let max_p99 = Some(Duration::from_millis(100));
        Rollout { max_failures: Some(0.1), max_p99, min_requests: 20, ..Rollout::default() }
    }

    #[test]
    fn a_version_that_fails_more_often_than_it_may_is_taken_back_and_one_at_the_bound_is_not() {
        let judge = |new, old| judge(&rollout(), 2, new, old);
        assert_eq!(judge(counts(100, 10, 1), counts(100, 0, 1)), None);
        let reason = judge(counts(100, 11, 1), counts(100, 0, 1)).unwrap();
        assert!(reason.contains("version 2 failed 11 of 100 requests (11.0 %)"), "{reason}");
    }

    #[test]
    fn a_version_that_is_slower_than_it_may_be_is_taken_back() {
        let judge = |new, old| judge(&rollout(), 2, new, old);
        assert_eq!(judge(counts(100, 0, 100), counts(100, 0, 1)), None);
        assert!(judge(counts(100, 0, 101), counts(100, 0, 1)).unwrap().contains("101.0 ms"));
    }

    #[test]
    fn too_few_requests_say_nothing() {
        let judge = |new, old| judge(&rollout(), 2, new, old);
        assert_eq!(judge(counts(19, 19, 1_000), counts(100, 0, 1)), None);
        assert!(judge(counts(20, 20, 1_000), counts(0, 0, 0)).is_some());
    }

    #[test]
    fn what_the_old_versions_suffer_too_is_no_fault_of_the_new_one() {
        let judge = |new, old| judge(&rollout(), 2, new, old);
        assert_eq!(judge(counts(100, 50, 1), counts(100, 45, 1)), None);
        assert!(judge(counts(100, 56, 1), counts(100, 45, 1)).is_some());
        assert_eq!(judge(counts(100, 0, 500), counts(100, 0, 400)), None);
    }

    #[test]
    fn what_is_off_is_not_judged() {
        let off = Rollout { max_failures: None, max_p99: None, ..rollout() };
        assert_eq!(judge(&off, 2, counts(100, 100, 10_000), counts(100, 0, 1)), None);
    }
}

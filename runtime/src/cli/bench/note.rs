//! What a reader must know before using a figure.

use serde::{Deserialize, Serialize};

use super::machine::Activity;

/// Something that makes a figure doubtful.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Note {
    ClientBound,
    Behind,
    Shared,
    Steal,
    OtherStarts,
    LogLost,
}

/// A core that is busy for this share of the time is full.
const FULL: f64 = 0.95;

/// CPU time that others or the hypervisor take is noted from these shares of a core on, and from a time that the kernel's clock of a
/// hundredth of a second can tell.
const OTHERS: f64 = 0.05;
const STOLEN: f64 = 0.02;
const TOLD_S: f64 = 0.05;

impl Note {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClientBound => "client-bound",
            Self::Behind => "behind",
            Self::Shared => "machine shared",
            Self::Steal => "steal",
            Self::OtherStarts => "other starts",
            Self::LogLost => "log lost",
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::ClientBound => {
                "the load generator's core was full, and fuller than the server's: requests/s is its figure and not the server's; CPU time stands"
            }
            Self::Behind => {
                "the server could not answer at the rate of the open loop: latencies are those of a queue that grows; take a lower --rate"
            }
            Self::Shared => "other programs took more than 5 % of a core on the two cores: run again",
            Self::Steal => "the hypervisor withheld more than 2 % of a core: believe the ratios only",
            Self::OtherStarts => {
                "more than 1 % of the requests came to their isolates in another way than the scenario says"
            }
            Self::LogLost => "lines of the access log were dropped, so a part of what it costs is missing",
        }
    }
}

/// What the machine did during a loop.
pub(super) struct Meanwhile {
    pub(super) seconds: f64,
    pub(super) machine: Activity,
    /// CPU seconds of the server, where they are known, and of the load generator.
    pub(super) server_s: Option<f64>,
    pub(super) client_s: f64,
}

impl Meanwhile {
    /// What there is to note of it.
    pub(super) fn notes(&self) -> Vec<Note> {
        let told = |seconds: f64, share: f64| seconds > TOLD_S && seconds > share * self.seconds;
        let ours = self.server_s.map(|server| server + self.client_s);
        let mut notes = Vec::new();
        if ours.is_some_and(|ours| told(self.machine.busy_s - ours, OTHERS)) {
            notes.push(Note::Shared);
        }
        if told(self.machine.stolen_s, STOLEN) {
            notes.push(Note::Steal);
        }
        notes
    }

    /// Whether the load generator was what held a closed loop up.
    pub(super) fn is_client_bound(&self) -> bool {
        self.client_s > FULL * self.seconds && self.server_s.is_none_or(|server| server < self.client_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meanwhile(busy_s: f64, stolen_s: f64, server_s: Option<f64>, client_s: f64) -> Meanwhile {
        Meanwhile { seconds: 10.0, machine: Activity { busy_s, stolen_s }, server_s, client_s }
    }

    #[test]
    fn what_others_take_is_what_neither_side_took() {
        assert_eq!(meanwhile(15.0, 0.0, Some(10.0), 4.6).notes(), []);
        assert_eq!(meanwhile(15.0, 0.0, Some(10.0), 4.4).notes(), [Note::Shared]);
        // Whether a server that is not ours took it, nobody knows.
        assert_eq!(meanwhile(15.0, 0.3, None, 4.4).notes(), [Note::Steal]);
    }

    #[test]
    fn a_client_is_the_bound_where_it_is_fuller_than_the_server() {
        assert!(meanwhile(0.0, 0.0, Some(9.0), 9.9).is_client_bound());
        assert!(meanwhile(0.0, 0.0, None, 9.9).is_client_bound());
        assert!(!meanwhile(0.0, 0.0, Some(9.95), 9.9).is_client_bound());
        assert!(!meanwhile(0.0, 0.0, Some(9.0), 9.0).is_client_bound());
    }
}

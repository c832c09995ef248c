//! What a token lets its owner do: how much, with which workers, with routes of which hosts.
//!
//! Names of workers are matched by globs, in which `*` is any number of characters. Hosts are patterns of routes (`shop.example`,
//! `*.shop.example`), or `*` for any host. A pattern of a route is covered only by one that has every host which the route would get.

use globset::{GlobBuilder, GlobMatcher};

use crate::config::HostPattern;
use crate::store::Scope;

/// How many globs of workers a token names at most: each is compiled for each request.
const MOST_WORKERS: usize = 32;

/// How many patterns of hosts, which cost little.
const MOST_HOSTS: usize = 100;

/// How long a glob is at most; a name has 63 characters.
const LONGEST: usize = 128;

/// What a token lets do.
#[derive(Clone, Debug)]
pub struct Grant {
    scope: Scope,
    workers: Vec<WorkerGlob>,
    hosts: Vec<HostGlob>,
}

/// Why no token can be made, or used. Whoever wrote the grant is at fault, but for the last one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// What its owner calls it.
    #[error(
        "this is no name of a token; give it 1 to 100 characters without control characters, and no space around it"
    )]
    Name,
    /// It would never hold.
    #[error("a token cannot expire before it is made; give a time to come, or none")]
    Past,
    /// It would let do nothing.
    #[error("the token names no worker; name one, or give `*` for all")]
    NoWorker,
    /// Ours, so that a request is judged quickly.
    #[error("the token names {found} {what}, and {most} are allowed; put several into one by `*`")]
    TooMany {
        /// `workers`, `hosts`.
        what: &'static str,
        /// So many are allowed.
        most: usize,
        /// So many.
        found: usize,
    },
    /// No worker can be called so.
    #[error(
        "`{glob}` names no worker; write a name in lower-case letters, digits and hyphens, with `*` for any number of characters"
    )]
    Worker {
        /// As it was given.
        glob: String,
    },
    /// No request could ask for it.
    #[error("`{host}` names no host: {why}; {help}, or `*` for any host")]
    Host {
        /// As it was given.
        host: String,
        /// What is wrong with it.
        why: String,
        /// What to write.
        help: String,
    },
    /// The machine is at fault.
    #[error("no token can be made: the system gives no random numbers; start the node again")]
    NoRandom,
}

#[derive(Clone, Debug)]
struct WorkerGlob {
    text: String,
    matcher: GlobMatcher,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostGlob {
    Any,
    Those(HostPattern),
}

impl Grant {
    /// Reads a grant. Without a host it covers no route.
    ///
    /// # Errors
    /// When one of its parts can mean nothing.
    pub fn parse(scope: Scope, workers: &[impl AsRef<str>], hosts: &[impl AsRef<str>]) -> Result<Self, GrantError> {
        if workers.is_empty() {
            return Err(GrantError::NoWorker);
        }
        for (what, found, most) in [("workers", workers.len(), MOST_WORKERS), ("hosts", hosts.len(), MOST_HOSTS)] {
            if found > most {
                return Err(GrantError::TooMany { what, most, found });
            }
        }
        let workers = workers.iter().map(|glob| WorkerGlob::parse(glob.as_ref())).collect::<Result<_, _>>()?;
        let hosts = hosts.iter().map(|host| HostGlob::parse(host.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { scope, workers, hosts })
    }

    /// How much it lets do.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it lets do this much.
    #[must_use]
    pub fn allows(&self, needed: Scope) -> bool {
        self.scope.allows(needed)
    }

    /// Whether it is for this worker.
    #[must_use]
    pub fn covers_worker(&self, name: &str) -> bool {
        self.workers.iter().any(|glob| glob.matcher.is_match(name))
    }

    /// Whether it is for every host that a route with this pattern would get; `None` is any host.
    #[must_use]
    pub fn covers_host(&self, pattern: Option<&HostPattern>) -> bool {
        self.hosts.iter().any(|glob| glob.covers(pattern))
    }

    /// Whether it lets do all that another one does, so that nobody makes a token that can do more than his own. Of two globs with `*`
    /// it may say no where the truth is yes.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let host = |host: &HostGlob| match host {
            HostGlob::Any => self.covers_host(None),
            HostGlob::Those(pattern) => self.covers_host(Some(pattern)),
        };
        let worker = |worker: &WorkerGlob| self.workers.iter().any(|own| own.includes(worker));
        self.allows(other.scope) && other.workers.iter().all(worker) && other.hosts.iter().all(host)
    }

    /// As they are written down.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.workers.iter().map(|glob| glob.text.clone()).collect()
    }

    /// As they are written down, in the form in which they come over the wire.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.hosts.iter().map(HostGlob::text).collect()
    }
}

impl WorkerGlob {
    fn parse(text: &str) -> Result<Self, GrantError> {
        let refused = || GrantError::Worker { glob: text.chars().take(LONGEST).collect() };
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'*');
        if !(1..=LONGEST).contains(&text.len()) || !text.bytes().all(good) {
            return Err(refused());
        }
        // Two of them mean no more than one, and `**` is something else to the library.
        let mut text = text.to_owned();
        while text.contains("**") {
            text = text.replace("**", "*");
        }
        let glob = GlobBuilder::new(&text).literal_separator(true).build().map_err(|_| refused())?;
        Ok(Self { matcher: glob.compile_matcher(), text })
    }

    /// Whether every name that matches the other one matches this one, as far as that is easily told: the other one is this one or a
    /// name, or begins with all that this one wants, which ends in its only `*`.
    fn includes(&self, other: &Self) -> bool {
        let begin = self.text.strip_suffix('*').filter(|begin| !begin.contains('*'));
        let is_name = !other.text.contains('*');
        self.text == other.text
            || (is_name && self.matcher.is_match(&other.text))
            || begin.is_some_and(|begin| other.text.starts_with(begin))
    }
}

impl HostGlob {
    fn parse(text: &str) -> Result<Self, GrantError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let host = || text.chars().take(LONGEST).collect();
        let parsed = HostPattern::parse(text).map(Self::Those);
        parsed.map_err(|wrong| GrantError::Host { host: host(), why: wrong.why, help: wrong.help })
    }

    fn text(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            Self::Those(pattern) => pattern.to_string(),
        }
    }

    fn covers(&self, pattern: Option<&HostPattern>) -> bool {
        match (self, pattern) {
            (Self::Any, _) => true,
            (Self::Those(_), None) => false,
            (Self::Those(own), Some(HostPattern::Exact(host))) => own.matches(host),
            // All below a host are covered by all below itself or below one above it.
            (Self::Those(own @ HostPattern::Below(parent)), Some(HostPattern::Below(host))) => {
                parent == host || own.matches(host)
            }
            (Self::Those(HostPattern::Exact(_)), Some(HostPattern::Below(_))) => false,
        }
    }
}

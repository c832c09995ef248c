//! Whether a server writes to its disk before it acknowledges, by what its configuration says, and whether it can do all that is asked of it.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::scripts::MAY;

/// The oldest server that has all that is needed: scripts that say beforehand whether they write, and may while memory is full.
const OLDEST: u32 = 7;

/// What is looked at, and which value of it is safe. Redis syncs before it answers, unless it may leave that to others: to a second that
/// has passed, or to the end of a rewriting of its log.
const SAFE: [(&str, &str); 3] = [("appendonly", "yes"), ("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")];

/// Why a server is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It does not answer, or not yet.
    Away(String),
    /// It may not be used as it is.
    Refused(String),
}

impl Doubt {
    /// That something could not be asked for. What is refused for want of a right is so the next time, too.
    fn of(what: &str, error: &RedisError) -> Self {
        match error.code() {
            Some("ERR" | "NOPERM") => Self::Refused(format!("{what}: {error}")),
            _ => Self::Away(format!("{what}: {error}")),
        }
    }
}

/// Asks the server itself; `is_unsynced`: it may lose what it acknowledges.
pub(super) async fn prove(connection: &mut MultiplexedConnection, is_unsynced: bool) -> Result<(), Doubt> {
    let info: Result<String, _> = redis::cmd("INFO").arg("server").query_async(connection).await;
    let info = info.map_err(|error| Doubt::of("it does not say which version it is", &error))?;
    too_old(&info)?;
    let forbidden: Result<Option<String>, _> = MAY.key("{eyot:}").invoke_async(connection).await;
    let forbidden = forbidden.map_err(|error| Doubt::of("it runs no scripts", &error))?;
    if let Some(command) = forbidden {
        return Err(Doubt::Refused(format!("its user has no right to {command}, which queues need")));
    }
    if is_unsynced {
        return Ok(());
    }
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("maxmemory").arg("maxmemory-policy");
    SAFE.iter().for_each(|(name, _)| _ = ask.arg(name));
    let told: Result<HashMap<String, String>, _> = ask.query_async(connection).await;
    let told = told.map_err(|error| {
        Doubt::of("that it syncs cannot be proved, since it does not show its configuration", &error)
    })?;
    loses(&told).map_or(Ok(()), |why| Err(Doubt::Refused(why)))
}

fn too_old(info: &str) -> Result<(), Doubt> {
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("0").trim();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    match major >= OLDEST {
        true => Ok(()),
        false => Err(Doubt::Refused(format!("it is version {version}, and {OLDEST}.0 is needed"))),
    }
}

/// By which of its settings a server may lose what it has acknowledged.
fn loses(told: &HashMap<String, String>) -> Option<String> {
    let value = |name: &str| told.get(name).map_or("nothing", String::as_str);
    if let Some((name, safe)) = SAFE.iter().find(|(name, safe)| value(name) != *safe) {
        return Some(format!("its {name} is {}, and should be {safe}", value(name)));
    }
    let (most, policy) = (value("maxmemory"), value("maxmemory-policy"));
    (most != "0" && policy != "noeviction").then(|| {
        format!("its maxmemory-policy is {policy}, by which it forgets messages when memory is full; it should be noeviction")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changed: &[(&str, &str)]) -> HashMap<String, String> {
        let mut told: HashMap<String, String> =
            SAFE.iter().map(|(name, safe)| (name.to_string(), safe.to_string())).collect();
        let memory = [("maxmemory", "0"), ("maxmemory-policy", "noeviction")];
        told.extend(memory.iter().chain(changed).map(|(name, value)| (name.to_string(), value.to_string())));
        told
    }

    #[test]
    fn each_setting_by_which_something_is_lost_is_named() {
        assert_eq!(loses(&told(&[])), None);
        for (name, value) in [
            ("appendonly", "no"),
            ("appendfsync", "everysec"),
            ("appendfsync", "no"),
            ("no-appendfsync-on-rewrite", "yes"),
        ] {
            let why = loses(&told(&[(name, value)])).unwrap();
            assert!(why.contains(name) && why.contains(value), "{why}");
        }
        let evicts = ("maxmemory-policy", "allkeys-lru");
        assert_eq!(loses(&told(&[evicts])), None, "nothing is evicted where memory has no bound");
        assert!(loses(&told(&[evicts, ("maxmemory", "1048576")])).unwrap().contains("allkeys-lru"));
        assert_eq!(loses(&told(&[("maxmemory", "1048576")])), None);
        assert!(loses(&HashMap::new()).is_some(), "what is not told is not proved");
    }

    #[test]
    fn what_is_older_than_7_is_not_used() {
        assert_eq!(too_old("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"), Ok(()));
        assert_eq!(too_old("redis_version:10.2.0\r\n"), Ok(()));
        for info in ["redis_version:6.2.14\r\n", "redis_version:nine\r\n", ""] {
            assert!(matches!(too_old(info), Err(Doubt::Refused(_))), "{info}");
        }
    }
}

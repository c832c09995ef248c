//! What a worker may ask, and the one reading of the URL that is both checked and dialled.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::connect::AS_ORIGIN;
use crate::config::AllowedHost;
use crate::failure::Failure;
use crate::http::is_public;

/// The names below which a worker finds the origins of node.toml. They are never looked up.
pub(super) const ORIGINS: &str = ".origin.internal";

/// The names below which a worker finds the workers that it calls. They are never looked up either.
pub const WORKERS: &str = ".worker.internal";

/// Name look-ups of one worker under way at once, on all cores: fewer than a core has for all workers, so that names which are slow
/// to resolve hold up nobody but the worker that asks for them.
const LOOKUPS: usize = 4;
/// How many different refusals of one worker are told. A guest can make up any number of destinations.
const MOST_TOLD: usize = 32;

/// What one worker may ask. Without any entry: nothing.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Origins of node.toml, asked as `http://NAME.origin.internal/`.
    pub(super) origins: Vec<String>,
    /// Other hosts. `*.example.com` stands for every name below `example.com`, at any depth, and not for `example.com`.
    pub(super) hosts: Vec<AllowedHost>,
    /// Any host, private ones too, without a look at `hosts`: only for `eyot serve X.wasm`.
    pub(super) open: bool,
    /// The worker's places for look-ups.
    pub(super) lookups: Arc<Semaphore>,
    told: Arc<Mutex<HashSet<String>>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new(), false)
    }
}

/// Where a request of a worker goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// To the origin of node.toml that has this name.
    Origin(String),
    /// To this host.
    Host {
        /// `http` or `https`.
        scheme: Scheme,
        /// Host and, where it is not the scheme's default, port, as the WHATWG URL standard writes them.
        authority: Authority,
    },
}

impl Policy {
    /// What a worker may ask: the origins of these names and these hosts, or any host at all.
    #[must_use]
    pub fn new(origins: Vec<String>, hosts: Vec<AllowedHost>, open: bool) -> Self {
        Self { origins, hosts, open, lookups: Arc::new(Semaphore::new(LOOKUPS)), told: Arc::default() }
    }

    /// Whether this is the first time that the worker is refused this destination, or what else the text says.
    #[must_use]
    pub fn is_news(&self, refusal: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < MOST_TOLD && !told.contains(refusal) && told.insert(refusal.to_owned())
    }

    /// Where this URI leads, if the worker may go there.
    ///
    /// Scheme and authority are parsed once, by the URL standard, which gives numeric spellings, letter case and trailing dots
    /// one meaning; what it made of them is matched here and dialled later. Path and query have no say in that.
    pub(super) fn destination(&self, uri: &Uri) -> Result<Destination, Failure> {
        let url = parse(uri)?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(denied(format!("scheme {other} is not http or https"))),
        };
        let host = match url.host() {
            Some(Host::Domain(name)) => domain(name)?.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            // As the rest of the node writes it (RFC 5952 §5): the URL standard has another form for mapped IPv4 addresses.
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            None => return Err(denied(format!("{url} has no host"))),
        };
        if let Some(name) = host.strip_suffix(ORIGINS) {
            return self.origin(name, url.port());
        }
        if host.ends_with(WORKERS) {
            return Err(denied(format!("{host} is no host: it is a worker, which is called")));
        }
        let default = if https { 443 } else { 80 };
        let port = url.port().unwrap_or(default);
        if port == 0 {
            return Err(denied("port 0 cannot be asked".to_owned()));
        }
        let written = if port == default { host.clone() } else { format!("{host}:{port}") };
        if !self.open && !self.hosts.iter().any(|allowed| matches(allowed, https, &host, port)) {
            let place = format!("{}://{written}", url.scheme());
            let private = host.trim_matches(['[', ']']).parse().is_ok_and(|address| !is_public(address));
            let help = match private {
                true => AS_ORIGIN.to_owned(),
                false => format!("add egress = [\"{place}\"] to eyot.toml"),
            };
            return Err(denied(format!("{place} is not among what this worker may ask; {help}")));
        }
        let authority = Authority::try_from(written).map_err(|error| denied(error.to_string()))?;
        Ok(Destination::Host { scheme: if https { Scheme::HTTPS } else { Scheme::HTTP }, authority })
    }

    fn origin(&self, name: &str, port: Option<u16>) -> Result<Destination, Failure> {
        if port.is_some() {
            return Err(denied(format!("{name}{ORIGINS} takes no port: the origin has its own in node.toml")));
        }
        let found = self.origins.iter().find(|allowed| *allowed == name);
        let origin = found.ok_or_else(|| {
            denied(format!(
                "origin {name} is not among what this worker may ask; add origins = [\"{name}\"] to eyot.toml"
            ))
        })?;
        Ok(Destination::Origin(origin.clone()))
    }
}

/// The worker that a URI names, if it names one: `http://NAME.worker.internal/`.
///
/// # Errors
/// It names one by a URL that leads nowhere.
pub fn worker_of(uri: &Uri) -> Result<Option<String>, Failure> {
    let written = uri.host().unwrap_or_default().trim_end_matches('.').as_bytes();
    let is_one = written.len().checked_sub(WORKERS.len()).is_some_and(|name| {
        let (_, suffix) = written.split_at(name);
        suffix.eq_ignore_ascii_case(WORKERS.as_bytes())
    });
    if !is_one {
        return Ok(None);
    }
    if let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority())
        && let Some(name) = worker_at(authority.as_str())
    {
        return Ok(Some(name.to_owned()));
    }
    let url = parse(uri)?;
    let host = url.host_str().map(domain).transpose()?.unwrap_or_default();
    let name = host.strip_suffix(WORKERS).ok_or_else(|| denied(format!("{host} is not a host name")))?;
    if url.scheme() != "http" || url.port().is_some() {
        return Err(denied(format!("a worker is called as http://{name}{WORKERS}/, without a port")));
    }
    Ok(Some(name.to_owned()))
}

/// The worker of this authority, written in the one way that cannot be read in another: `NAME.worker.internal`.
#[must_use]
pub fn worker_at(authority: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    authority.strip_suffix(WORKERS).filter(|name| !name.is_empty() && name.bytes().all(is_plain))
}

fn denied(why: String) -> Failure {
    Failure::EgressDenied(why)
}

fn parse(uri: &Uri) -> Result<Url, Failure> {
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(denied("the URL has no scheme or no host".to_owned()));
    };
    // "http://good.example@evil.example/" is read in two ways by people, so by nobody here (RFC 9110 §4.2.4).
    if authority.as_str().contains('@') {
        return Err(denied("a URL with user information is refused".to_owned()));
    }
    Url::parse(&format!("{scheme}://{authority}/")).map_err(|error| denied(format!("the URL is not valid: {error}")))
}

/// A name with one trailing dot is the same name (RFC 1034 §3.1); an empty label is none.
fn domain(name: &str) -> Result<&str, Failure> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.split('.').any(str::is_empty) {
        return Err(denied(format!("{name} is not a host name")));
    }
    Ok(name)
}

fn matches(allowed: &AllowedHost, https: bool, host: &str, port: u16) -> bool {
    let scheme = match &allowed.scheme {
        Some(scheme) if *scheme == Scheme::HTTP => !https,
        Some(_) | None => https,
    };
    let same_port = port == allowed.port.unwrap_or(if https { 443 } else { 80 });
    scheme && same_port && allowed.host.matches(host)
}

#[cfg(test)]
mod tests {
    use super::{Destination, Policy};
    use crate::config::AllowedHost;

    fn entry(text: &str) -> AllowedHost {
        crate::egress::fuzz::entry(text).unwrap()
    }

    fn asked(allowed: &[&str], uri: &str) -> Option<String> {
        let policy = Policy::new(Vec::new(), allowed.iter().map(|text| entry(text)).collect(), false);
        match policy.destination(&uri.parse().ok()?).ok()? {
            Destination::Host { scheme, authority } => Some(format!("{scheme}://{authority}")),
            Destination::Origin(_) => None,
        }
    }

    #[test]
    fn an_empty_policy_allows_nothing() {
        for uri in ["https://a.com/", "http://127.0.0.1/", "http://api.origin.internal/", "/path", "ftp://a.com/"] {
            assert_eq!(asked(&[], uri), None, "{uri}");
        }
    }

    #[test]
    fn hosts_match_by_whole_labels() {
        assert_eq!(asked(&["a.com"], "https://a.com/x").unwrap(), "https://a.com");
        assert_eq!(asked(&["*.a.com"], "https://b.a.com/").unwrap(), "https://b.a.com");
        assert_eq!(asked(&["*.a.com"], "https://c.b.a.com/").unwrap(), "https://c.b.a.com");
        for uri in [
            "https://a.com/",
            "https://xa.com/",
            "https://b.a.com.evil/",
            "https://b.a.com.evil.org/",
            "https://.a.com/",
        ] {
            assert_eq!(asked(&["*.a.com"], uri), None, "{uri}");
        }
        for uri in ["https://b.a.com/", "https://a.com.evil/", "https://a.co/", "https://a..com/"] {
            assert_eq!(asked(&["a.com"], uri), None, "{uri}");
        }
    }

    #[test]
    fn scheme_and_port_must_match() {
        assert_eq!(asked(&["a.com"], "http://a.com/"), None, "https only where no scheme is given");
        assert_eq!(asked(&["http://a.com"], "https://a.com/"), None);
        assert_eq!(asked(&["a.com"], "https://a.com:8443/"), None);
        assert_eq!(asked(&["a.com:8443"], "https://a.com/"), None);
        assert_eq!(asked(&["http://a.com"], "http://a.com:80/").unwrap(), "http://a.com");
        assert_eq!(asked(&["http://a.com:8080"], "http://a.com:8080/").unwrap(), "http://a.com:8080");
        assert_eq!(asked(&["a.com:0"], "https://a.com:0/"), None);
        assert_eq!(asked(&["a.com"], "https://a.com:65536/"), None);
    }

    #[test]
    fn spellings_have_one_meaning() {
        for uri in ["https://A.com/", "https://a.com./", "https://a.com:443/", "https://a.com:/"] {
            assert_eq!(asked(&["a.com"], uri).as_deref(), Some("https://a.com"), "{uri}");
        }
        for uri in ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://127.0.0.1./"]
        {
            assert_eq!(asked(&["http://127.0.0.1"], uri).as_deref(), Some("http://127.0.0.1"), "{uri}");
        }
        assert_eq!(asked(&["http://[::1]"], "http://[0:0::1]/").unwrap(), "http://[::1]");
        for uri in ["https://a.com@evil.com/", "https://u:p@a.com/", "https://@a.com/", "https://a.com\\@evil.com/"] {
            assert_eq!(asked(&["a.com", "evil.com"], uri), None, "{uri}");
        }
        assert_eq!(asked(&["a.com"], "https://a%2ecom/"), None, "http does not take it for a host");
        assert_eq!(
            asked(&["xn--bcher-kva.example"], "https://XN--BCHER-KVA.example/").unwrap(),
            "https://xn--bcher-kva.example"
        );
    }

    #[test]
    fn origins_are_asked_by_name_and_never_looked_up() {
        let policy = Policy::new(vec!["api".to_owned()], vec![entry("http://*.origin.internal")], true);
        let destination = |uri: &str| policy.destination(&uri.parse().unwrap());
        assert_eq!(destination("http://api.origin.internal/x").unwrap(), Destination::Origin("api".to_owned()));
        assert_eq!(destination("http://API.origin.internal./x").unwrap(), Destination::Origin("api".to_owned()));
        let refused = destination("http://db.origin.internal/").unwrap_err().to_string();
        assert!(refused.contains("add origins = [\"db\"] to eyot.toml"), "{refused}");
        destination("http://api.origin.internal:81/").unwrap_err();
        destination("http://x.api.origin.internal/").unwrap_err();
    }

    #[test]
    fn workers_are_called_by_name_and_never_looked_up() {
        let called = |uri: &str| super::worker_of(&uri.parse().unwrap());
        for uri in
            ["http://prices.worker.internal/x", "http://Prices.Worker.Internal./", "http://prices.worker.internal:80/"]
        {
            assert_eq!(called(uri), Ok(Some("prices".to_owned())), "{uri}");
        }
        for uri in ["http://worker.internal/", "http://prices.worker.internal.evil/", "http://example.com/", "/path"] {
            assert_eq!(called(uri), Ok(None), "{uri}");
        }
        for uri in [
            "https://prices.worker.internal/",
            "http://prices.worker.internal:81/",
            "http://user@prices.worker.internal/",
            "http://prices..worker.internal/",
        ] {
            called(uri).unwrap_err();
        }
        let open = Policy::new(Vec::new(), vec![entry("http://*.worker.internal")], true);
        open.destination(&"http://prices.worker.internal/".parse().unwrap()).unwrap_err();
    }

    #[test]
    fn a_refusal_is_news_once_and_not_without_end() {
        let policy = Policy::default();
        assert!(policy.is_news("a") && !policy.is_news("a") && policy.is_news("b"));
        let told = (0..1000).filter(|number| policy.is_news(&number.to_string())).count();
        assert!(told < 100, "{told}");
    }

    #[test]
    fn a_refusal_says_what_to_add() {
        let refused = Policy::default().destination(&"http://A.com:8080/secret".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().ends_with("add egress = [\"http://a.com:8080\"] to eyot.toml"), "{refused}");
        assert!(!refused.to_string().contains("secret"));
        let refused = Policy::default().destination(&"http://10.0.0.7/".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("add it to node.toml as [[origin]]"), "{refused}");
    }
}

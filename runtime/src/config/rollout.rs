//! `[rollout]` of eyot.toml: whom a version answers while several serve, and when the node goes back by itself.

use std::time::Duration;

use http::HeaderName;
use toml::Spanned;

use super::form;
use super::reader::{Key, Table, Wrong, key};
use super::units;

/// How a new version comes to all of its worker's requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// What of a request decides which version answers it.
    pub sticky: Sticky,
    /// The share of failed requests, 0 to 1, above which the node goes back. `None`: it never does for their sake.
    pub max_failures: Option<f64>,
    /// The 99th percentile of the time to the end of a response above which it goes back. `None`: it never does for its sake.
    pub max_p99: Option<Duration>,
    /// Over how long both are measured, and for how long a new version is watched after the last step of its rollout.
    pub window: Duration,
    /// With fewer requests than this in the window nothing is judged.
    pub min_requests: u64,
}

/// What of a request decides which version answers it. Where it is missing, chance does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// Nothing: chance, for each request anew.
    Random,
    /// The value of a header field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The address of the client.
    Client,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            sticky: Sticky::Random,
            max_failures: Some(0.1),
            max_p99: None,
            window: Duration::from_secs(60),
            min_requests: 20,
        }
    }
}

const STICKY: Key = key("sticky", "what of a request decides", "\"cookie:session\"");
const FAILURES: Key = key("max_failures", "a share of all requests", "\"5%\"");
const P99: Key = key("max_p99", "a time", "\"500ms\"");
const WINDOW: Key = key("window", "a time", "\"60s\"");
const REQUESTS: Key = key("min_requests", "a number of requests", "20");

/// A window is kept in memory, and what is older than this says little of how it goes now.
const WINDOWS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60));

pub(super) fn read_rollout(root: &Table<'_>) -> Rollout {
    let default = Rollout::default();
    let Some(table) = root.table("rollout", "{ max_failures = \"5%\" }") else { return default };
    let sticky = table.optional_with(STICKY, sticky).map(Spanned::into_inner);
    let max_failures = table.optional_with(FAILURES, or_off(form::share)).map(Spanned::into_inner);
    let max_p99 = table.optional_with(P99, or_off(units::positive_time)).map(Spanned::into_inner);
    let window = table.optional_with(WINDOW, window).map(Spanned::into_inner);
    let requests = table.optional::<u64>(REQUESTS);
    if let Some(requests) = &requests
        && *requests.get_ref() == 0
    {
        table.source.fault(requests.span(), "`min_requests`: nothing can be said of no requests", "write at least 1");
    }
    Rollout {
        sticky: sticky.unwrap_or(default.sticky),
        max_failures: max_failures.unwrap_or(default.max_failures),
        max_p99: max_p99.unwrap_or(default.max_p99),
        window: window.unwrap_or(default.window),
        min_requests: requests.map_or(default.min_requests, Spanned::into_inner),
    }
}

fn sticky(text: &str) -> Result<Sticky, Wrong> {
    let help = "write \"header:NAME\", \"cookie:NAME\" or \"client\"; leave it out for chance";
    match text.split_once(':') {
        None if text == "client" => Ok(Sticky::Client),
        Some(("header", name)) => HeaderName::from_bytes(name.as_bytes())
            .map(Sticky::Header)
            .map_err(|_| Wrong::new("this is not the name of a header field", help)),
        Some(("cookie", name)) if form::is_token(name) => Ok(Sticky::Cookie(name.to_owned())),
        Some(("cookie", _)) => Err(Wrong::new("this is not the name of a cookie (RFC 6265 §4.1.1)", help)),
        _ => Err(Wrong::new("a version can stick to a header field, a cookie or a client", help)),
    }
}

fn or_off<T>(parse: fn(&str) -> Result<T, Wrong>) -> impl Fn(&str) -> Result<Option<T>, Wrong> {
    move |text| if text == "off" { Ok(None) } else { parse(text).map(Some) }
}

fn window(text: &str) -> Result<Duration, Wrong> {
    let time = units::positive_time(text)?;
    match (WINDOWS.0..=WINDOWS.1).contains(&time) {
        true => Ok(time),
        false => Err(Wrong::new("a window lasts from a second to an hour", "write, for example, \"60s\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_sticks_to_a_header_a_cookie_or_a_client_and_to_nothing_else() {
        assert_eq!(sticky("client"), Ok(Sticky::Client));
        assert_eq!(sticky("cookie:session"), Ok(Sticky::Cookie("session".to_owned())));
        assert_eq!(sticky("header:X-User"), Ok(Sticky::Header(HeaderName::from_static("x-user"))));
        for wrong in
            ["", "clients", "header", "header:", "header:a b", "cookie:", "cookie:a=b", "query:user", "client:1"]
        {
            assert!(sticky(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_of_failures_is_in_percent_and_leaves_something_that_fails() {
        assert_eq!(form::share("5%"), Ok(0.05));
        assert_eq!(form::share("0%"), Ok(0.0));
        assert_eq!(form::share("99.9%").map(|share| (share * 1000.0).round()), Ok(999.0));
        for wrong in ["5", "0.05", "100%", "-1%", "%", "nan%", "inf%", "five%"] {
            assert!(form::share(wrong).is_err(), "{wrong}");
        }
        assert_eq!(or_off(form::share)("off"), Ok(None));
    }

    #[test]
    fn a_window_lasts_from_a_second_to_an_hour() {
        assert_eq!(window("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(window("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["999ms", "3601s", "0s", "60", "soon"] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }
}

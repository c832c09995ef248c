//! What is refused at the edge, before an origin hears of it.

use std::net::IpAddr;

use eyot_sdk::prelude::*;
use eyot_sdk::{ConfigError, path};
use ipnet::IpNet;

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];

/// The answer to a request that goes no further, or `None`.
pub fn refusal(client: &Client, request: &Request) -> Result<Option<Response>, ConfigError> {
    // The origin may read more into a path than stands there: `/internal%2Fx` must not pass by what `/internal/x` does not.
    let asked = request.uri().path();
    if !METHODS.contains(request.method()) {
        let allow = [(header::ALLOW, "GET, HEAD, POST, OPTIONS")];
        return Ok(Some((StatusCode::METHOD_NOT_ALLOWED, allow, "not this method\n").into_response()));
    }
    if is_hidden(asked) || path::may_be_below(asked, "/wp-admin") {
        return Ok(Some((StatusCode::NOT_FOUND, "there is nothing here\n").into_response()));
    }
    if path::may_be_below(asked, "/internal") && !is_internal(client.address)? {
        warn!("{} asked for {asked}", client.address);
        return Ok(Some((StatusCode::FORBIDDEN, "not from your address\n").into_response()));
    }
    // A form of another site can send a POST with a visitor's cookies, but it cannot add a header (CSRF).
    if request.method() == Method::POST && !request.headers().contains_key("x-requested-with") {
        return Ok(Some((StatusCode::FORBIDDEN, "a POST needs the header X-Requested-With\n").into_response()));
    }
    Ok(None)
}

/// `.git`, `.env.local` and their kind, wherever they lie: nobody but a scanner asks for them. `/.well-known` is there to be asked for
/// (RFC 8615).
fn is_hidden(asked: &str) -> bool {
    let hidden = |path: &String| {
        let rest = path.strip_prefix("/.well-known").unwrap_or(path);
        rest.split('/').any(|segment| segment.starts_with('.'))
    };
    path::readings(asked).iter().any(hidden)
}

fn is_internal(address: IpAddr) -> Result<bool, ConfigError> {
    let blocks: Blocks = Config::get("internal")?.unwrap_or_default();
    Ok(blocks.0.iter().any(|block| block.contains(&address)))
}

/// Address blocks, separated by commas.
#[derive(Default)]
struct Blocks(Vec<IpNet>);

impl std::str::FromStr for Blocks {
    type Err = ipnet::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').map(|block| block.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, is_hidden};

    #[test]
    fn hidden_files_are_found_in_every_spelling() {
        for path in [
            "/.git",
            "/.git/config",
            "/.git;x/config",
            "/.git%2Fconfig",
            "/.env.local",
            "/a/%2Eenv",
            "/.well-known/.git",
        ] {
            assert!(is_hidden(path), "{path}");
        }
        for path in ["/", "/a.b/c", "/.well-known/acme-challenge/x", "/git"] {
            assert!(!is_hidden(path), "{path}");
        }
    }

    #[test]
    fn blocks_are_separated_by_commas() {
        let blocks: Blocks = "10.0.0.0/8, fd00::/8".parse().unwrap();
        assert_eq!(blocks.0.len(), 2);
        assert!("10.0.0.0/8,,".parse::<Blocks>().is_err());
    }
}

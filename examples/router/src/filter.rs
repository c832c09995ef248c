//! What is refused at the edge, before an origin hears of it.

use std::net::IpAddr;

use eyot_sdk::ConfigError;
use eyot_sdk::prelude::*;
use ipnet::IpNet;

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];

/// Files and folders that only scanners ask for.
const NEVER: [&str; 3] = ["/.git", "/.env", "/wp-admin"];

/// The answer to a request that goes no further, or `None`.
pub fn refusal(client: &Client, request: &Request) -> Result<Option<Response>, ConfigError> {
    let path = request.uri().path();
    if !METHODS.contains(request.method()) {
        let allow = [(header::ALLOW, "GET, HEAD, POST, OPTIONS")];
        return Ok(Some((StatusCode::METHOD_NOT_ALLOWED, allow, "not this method\n").into_response()));
    }
    if NEVER.iter().any(|folder| below(path, folder)) {
        return Ok(Some((StatusCode::NOT_FOUND, "there is nothing here\n").into_response()));
    }
    if below(path, "/internal") && !is_internal(client.address)? {
        warn!("{} asked for {path}", client.address);
        return Ok(Some((StatusCode::FORBIDDEN, "not from your address\n").into_response()));
    }
    // A form of another site can send a POST with a visitor's cookies, but it cannot add a header (CSRF).
    if request.method() == Method::POST && !request.headers().contains_key("x-requested-with") {
        return Ok(Some((StatusCode::FORBIDDEN, "a POST needs the header X-Requested-With\n").into_response()));
    }
    Ok(None)
}

/// `/internal` itself and all below it, but not `/internals`.
fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
    use super::{Blocks, below};

    #[test]
    fn a_folder_is_not_its_neighbour() {
        assert!(below("/internal", "/internal") && below("/internal/x", "/internal"));
        assert!(!below("/internals", "/internal") && !below("/", "/internal"));
    }

    #[test]
    fn blocks_are_separated_by_commas() {
        let blocks: Blocks = "10.0.0.0/8, fd00::/8".parse().unwrap();
        assert_eq!(blocks.0.len(), 2);
        assert!("10.0.0.0/8,,".parse::<Blocks>().is_err());
    }
}

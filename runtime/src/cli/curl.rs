//! A curl line that reaches a route, whatever its host, path and method are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Method;

use crate::config::{Methods, Route};

/// The command, to be pasted into a shell as it is.
pub(super) fn line(route: &Route, address: SocketAddr) -> String {
    let address = reachable(address);
    let (port, path) = (address.port(), path(&route.path.to_string()));
    let host = route.host.as_ref().map(|host| host.to_string().replacen('*', "any", 1));
    let (header, url) = match host {
        None => (String::new(), format!("http://{address}{path}")),
        // curl itself takes these for 127.0.0.1 and ::1 (RFC 6761 §6.3).
        Some(host) if is_localhost(&host) && is_local(address.ip()) => {
            (String::new(), format!("http://{host}:{port}{path}"))
        }
        Some(host) => (format!("-H {} ", quoted(&format!("Host: {host}"))), format!("http://{address}{path}")),
    };
    format!("curl {}{header}{}", method(&route.methods), quoted(&url))
}

/// Show the head, too; for HEAD show nothing else, because curl would wait for a body.
fn method(methods: &Methods) -> String {
    let Methods::Only(methods) = methods else { return "-i ".to_owned() };
    match methods.first() {
        Some(method) if !methods.contains(&Method::GET) => match *method {
            Method::HEAD => "-I ".to_owned(),
            _ => format!("-i -X {method} "),
        },
        _ => "-i ".to_owned(),
    }
}

/// A path that the pattern matches.
fn path(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment {
        "*" => "",
        parameter if parameter.starts_with('{') => "1",
        segment => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

/// An address that can be connected to: that of all interfaces is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn is_local(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// As one word of the shell. Only what every shell leaves alone stands without quotes.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/%@+,".contains(&byte);
    match text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HostPattern, PathPattern, Place, Target};

    fn of(host: Option<&str>, path: &str, methods: &[Method], address: &str) -> String {
        let route = Route {
            host: host.map(|host| HostPattern::parse(host).unwrap()),
            path: PathPattern::parse(path).unwrap(),
            methods: if methods.is_empty() { Methods::Any } else { Methods::Only(methods.to_vec()) },
            target: Target::Worker("w".to_owned()),
            auth: None,
            place: Place::default(),
        };
        line(&route, address.parse().unwrap())
    }

    #[test]
    fn names_below_localhost_stand_in_the_url_and_others_in_a_header() {
        let here = "127.0.0.1:8080";
        assert_eq!(of(Some("w.localhost"), "/*", &[], here), "curl -i http://w.localhost:8080/");
        assert_eq!(of(None, "/a", &[], here), "curl -i http://127.0.0.1:8080/a");
        assert_eq!(of(Some("shop.test"), "/*", &[], here), "curl -i -H 'Host: shop.test' http://127.0.0.1:8080/");
        assert_eq!(of(Some("*.shop.test"), "/", &[], here), "curl -i -H 'Host: any.shop.test' http://127.0.0.1:8080/");
        assert_eq!(of(Some("*.w.localhost"), "/", &[], here), "curl -i http://any.w.localhost:8080/");
    }

    #[test]
    fn an_address_that_localhost_does_not_name_is_written_out() {
        assert_eq!(of(None, "/", &[], "0.0.0.0:80"), "curl -i http://127.0.0.1:80/");
        assert_eq!(of(Some("w.localhost"), "/", &[], "[::]:81"), "curl -i http://w.localhost:81/");
        assert_eq!(
            of(Some("w.localhost"), "/", &[], "127.0.0.2:80"),
            "curl -i -H 'Host: w.localhost' http://127.0.0.2:80/"
        );
        assert_eq!(of(None, "/", &[], "[::1]:80"), "curl -i 'http://[::1]:80/'");
    }

    #[test]
    fn patterns_and_methods_become_a_request_that_they_match() {
        let here = "127.0.0.1:8080";
        assert_eq!(of(None, "/u/{id}/x/*", &[], here), "curl -i http://127.0.0.1:8080/u/1/x/");
        assert_eq!(of(None, "/", &[Method::HEAD], here), "curl -I http://127.0.0.1:8080/");
        assert_eq!(of(None, "/", &[Method::POST, Method::PUT], here), "curl -i -X POST http://127.0.0.1:8080/");
        assert_eq!(of(None, "/", &[Method::POST, Method::GET], here), "curl -i http://127.0.0.1:8080/");
        assert_eq!(of(None, "/x&y'", &[], here), r"curl -i 'http://127.0.0.1:8080/x&y'\'''");
    }
}

//! Header fields that are meant for one connection only.

use http::header::{self, HeaderMap, HeaderName};

static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Takes away what is meant for one connection only (RFC 9110 §7.6.1): the fields that `Connection` names, and those that are
/// hop-by-hop by definition.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        tokens(headers, &header::CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named {
        // Framing and Host are decided elsewhere; nobody may switch them off.
        if name != header::CONTENT_LENGTH && name != header::HOST {
            headers.remove(name);
        }
    }
    // Mostly there is none of them: each removal would look for its name by a hash.
    let found: Vec<HeaderName> = headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// The elements of a list field (RFC 9110 §5.6.1), whatever lines they stand on, and whatever bytes stand in the others.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let values = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    values.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

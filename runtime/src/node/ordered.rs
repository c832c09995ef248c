//! The certificates of a node that are ordered: which there are, and who looks after them.

use std::sync::Arc;

use super::certificates::Certificates;
use crate::acme::{Authority, Orders};
use crate::config::{self, OrderedCertificate};
use crate::ingress::{Challenges, Credentials};
use crate::observe::Metrics;

/// Each once, however many listeners have it.
fn certificates(node: &config::Node) -> Vec<OrderedCertificate> {
    let mut all: Vec<OrderedCertificate> = Vec::new();
    let tls = node.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    for one in tls.flat_map(config::ListenerTls::ordered) {
        if !all.iter().any(|other| other.file == one.file) {
            all.push(one.clone());
        }
    }
    all
}

/// Who looks after them, where there are any.
pub(super) fn orders(
    node: &config::Node,
    authority: Option<Authority>,
    challenges: Challenges,
    listeners: &Arc<Certificates>,
    metrics: &Metrics,
) -> Option<Arc<Orders>> {
    let (authority, store) = (authority?, node.store.as_deref()?);
    let listeners = Arc::clone(listeners);
    Some(Orders::new(authority, store, certificates(node), challenges, listeners, metrics.acme_orders()))
}

/// A line for each, for whoever asks before a start.
pub(super) fn would_be(node: &config::Node, listeners: &[Credentials]) -> Vec<String> {
    let Some(acme) = &node.acme else { return Vec::new() };
    let line = |one: OrderedCertificate| {
        let names = one.names.join(", ");
        let kept = listeners.iter().find_map(|listener| listener.ordered(&one.file));
        match kept.map(|validity| jiff::Timestamp::from_second(validity.not_after).unwrap_or(jiff::Timestamp::MAX)) {
            Some(until) => format!("{names}: there is a certificate until {until}"),
            None => format!("{names}: a certificate would be ordered from {}", acme.directory),
        }
    };
    certificates(node).into_iter().map(line).collect()
}

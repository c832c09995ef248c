//! What the streams of one connection have in common: what the client may still cost, and what it is told when that is over.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use h3::error::Code;
use quinn::{StoppedError, VarInt};

use super::frames::{Fault, Most};
use crate::config::NodeLimits;
use crate::ingress::glitches::{ANSWERED, Budget};
use crate::ingress::http2;
use crate::ingress::pulse::Pulse;

/// Heads that have come in part, of all streams: so many of the largest. h2 has no more than one of them.
const HEADS: u64 = 4;

/// More than a client needs: heads of the fields that `http::HeaderMap` has room for.
const MOST_FIELDS: u64 = 24_000;

/// One connection, as its streams see it.
#[derive(Debug)]
pub(super) struct Watch {
    quic: quinn::Connection,
    pulse: Arc<Pulse>,
    budget: Mutex<Budget>,
    pub(super) most: Most,
    /// Bytes of heads that have come in part.
    held: AtomicU64,
    /// What follows the highest number of a request that was taken.
    next: AtomicU64,
    /// Requests from this number on are not taken.
    closed_from: AtomicU64,
    opened: Mutex<Option<Opened>>,
}

/// Resolves when the client wants no more of a response, has all of it, or has gone.
pub(super) type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send + Sync>>;

/// A request's stream that h3 was given, with what h3 does not tell of it.
pub(super) struct Opened {
    pub(super) notes: Arc<Notes>,
    pub(super) stopped: Stopped,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.notes.fmt(f)
    }
}

/// What is noticed of a request while its stream is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    too_large: AtomicBool,
    malformed: AtomicBool,
    has_head: AtomicBool,
}

impl Notes {
    /// Its head is more than anybody looks at.
    pub(super) fn too_large(&self) {
        self.too_large.store(true, Relaxed);
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// It is none (RFC 9114 §4.1.2).
    pub(super) fn malformed(&self) {
        self.malformed.store(true, Relaxed);
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.malformed.load(Relaxed)
    }
}

impl Watch {
    pub(super) fn new(quic: quinn::Connection, limits: &NodeLimits, pulse: Arc<Pulse>) -> Arc<Self> {
        let most = Most {
            bytes: http2::head_bytes(limits) as u64,
            fields: (http2::head_fields(limits) as u64).min(MOST_FIELDS),
        };
        Arc::new(Self {
            quic,
            pulse,
            budget: Mutex::new(Budget::new(limits.h2_glitches)),
            most,
            held: AtomicU64::new(0),
            next: AtomicU64::new(0),
            closed_from: AtomicU64::new(u64::MAX),
            opened: Mutex::new(None),
        })
    }

    /// Something came that brings nothing. One too many ends the connection.
    pub(super) fn glitch(&self) {
        if !self.budget().take(Instant::now) {
            self.pulse.glitched();
            self.close(Code::H3_EXCESSIVE_LOAD, "too much that brings nothing");
        }
    }

    /// A head came: browsers tell the priority of each request in a frame of its own.
    pub(super) fn asked(&self, notes: &Notes) {
        if !notes.has_head.swap(true, Relaxed) {
            self.budget().credit(1);
        }
    }

    /// A response went out.
    pub(super) fn answered(&self) {
        self.budget().credit(ANSWERED);
    }

    /// A stream keeps so many bytes of a head, and before it kept so many others.
    pub(super) fn holds(&self, now: u64, before: u64) -> Result<(), Fault> {
        let held = self.held.load(Relaxed).saturating_add(now).saturating_sub(before);
        self.held.store(held, Relaxed);
        if now > before && held > self.most.bytes.saturating_mul(HEADS) {
            let why = "too many heads that do not end";
            return Err(Fault { code: Code::H3_EXCESSIVE_LOAD, of_connection: true, why });
        }
        Ok(())
    }

    pub(super) fn close(&self, code: Code, why: &str) {
        tracing::debug!(peer = %self.quic.remote_address(), %code, why, "connection closed");
        self.quic.close(number(code), why.as_bytes());
    }

    /// Whether this request, by the number of its stream, is still taken.
    pub(super) fn takes(&self, stream: u64) -> bool {
        let taken = stream < self.closed_from.load(Relaxed);
        if taken {
            // Streams of requests have every fourth number (RFC 9000 §2.1).
            self.next.fetch_max(stream.saturating_add(4), Relaxed);
        }
        taken
    }

    /// Takes no request but those that have come. Says whether there was any.
    pub(super) fn take_no_more(&self) -> bool {
        let next = self.next.load(Relaxed);
        self.closed_from.store(next, Relaxed);
        next > 0
    }

    /// Whether a request has come at all.
    pub(super) fn was_asked(&self) -> bool {
        self.next.load(Relaxed) > 0
    }

    pub(super) fn opens(&self, opened: Opened) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    }

    /// The stream that h3 was given last: it hands it out before it takes another.
    pub(super) fn opened(&self) -> Option<Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A code of HTTP/3 as QUIC has it.
pub(super) fn number(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

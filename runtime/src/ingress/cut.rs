//! Why a connection ends that its client would keep.

/// Why we end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// TLS did not come to an agreement in time.
    Handshake,
    /// Not a byte came, or not enough to tell the protocol.
    Silent,
    /// A request head did not come to its end.
    SlowHead,
    /// No further request came.
    Idle,
    /// The client does not read what we write.
    NotReading,
    /// It reads, and so slowly that the connection would be held for ever.
    SlowReader,
    /// The client has closed its side and takes nothing: it has gone.
    HungUp,
    /// The client takes back more requests than it lets us answer (CVE-2023-44487).
    Resets,
    /// The client sends too many frames that bring nothing; see [`super::glitches`].
    Glitches,
    /// Its address has all the connections that it may have.
    Crowd,
}

impl Cut {
    /// The label of the metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Silent => "silent",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::NotReading => "not_reading",
            Self::SlowReader => "slow_reader",
            Self::HungUp => "hung_up",
            Self::Resets => "resets",
            Self::Glitches => "glitches",
            Self::Crowd => "address",
        }
    }
}

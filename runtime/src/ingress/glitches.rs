//! Frames of HTTP/2 that cost a client nothing and bring nothing. A good client seldom sends them; one that floods us with them has
//! its connection cut. HAProxy's glitch counter is the model: one budget in place of a limit for each of the known attacks.
//!
//! What h2 bounds by itself, and with GOAWAY: CONTINUATION frames of one head (CVE-2024-27316), the size of a head (CVE-2019-9516),
//! empty and small DATA frames (CVE-2019-9518, RUSTSEC-2026-0258), streams that were reset before we saw them, and those that it was
//! made to reset (CVE-2023-44487, CVE-2025-8671). It bounds neither PING (CVE-2019-9512), SETTINGS (CVE-2019-9515), PRIORITY
//! (CVE-2019-9513) and WINDOW_UPDATE nor frames of unknown types: it answers or forgets them for as long as they come.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;

/// The client connection preface comes before the first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// What comes before the payload of each frame (RFC 9113 §4.1).
const HEAD: usize = 9;
/// A head that goes on in another frame fills this one: every client may send 16 KiB.
const FRAGMENT: usize = 1024;
/// An empty budget is full again after this long.
const REFILL: Duration = Duration::from_secs(10);
/// What a frame of a response makes up for: its client may open two windows for it (RFC 9113 §6.9), or measure the round trip with a
/// PING, as gRPC does.
pub(super) const ANSWERED: u64 = 2;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;

/// The socket of an HTTP/2 connection, of which every frame is seen in both directions. Reads nothing more once the budget is used up.
#[derive(Debug)]
pub(super) struct Watched<I> {
    io: I,
    received: Walk,
    sent: Walk,
    budget: Budget,
    pulse: Arc<Pulse>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, glitches: u64, pulse: Arc<Pulse>) -> Self {
        Self { io, received: Walk::behind(PREFACE), sent: Walk::behind(0), budget: Budget::new(glitches), pulse }
    }
}

/// What stands before a payload; nothing behind it is looked at.
#[derive(Clone, Copy, Debug)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
}

/// Goes from head to head through bytes that come in any pieces.
#[derive(Debug)]
struct Walk {
    skip: usize,
    head: [u8; HEAD],
    known: usize,
}

impl Walk {
    fn behind(skip: usize) -> Self {
        Self { skip, head: [0; HEAD], known: 0 }
    }

    fn over(&mut self, mut bytes: &[u8], mut saw: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let taken = (HEAD - self.known).min(bytes.len() - skipped);
            self.head[self.known..self.known + taken].copy_from_slice(&bytes[skipped..skipped + taken]);
            self.known += taken;
            bytes = &bytes[skipped + taken..];
            if self.known == HEAD {
                let [a, b, c, kind, flags, ..] = self.head;
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                (self.skip, self.known) = (length, 0);
                saw(Frame { length, kind, flags });
            }
        }
    }
}

/// How many glitches a client may still have. Time makes up for them, and so does what is asked and answered.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    left: u64,
    /// Up to when time has been credited.
    credited: Instant,
    /// Streams that the client opened and has not reset: it may reset each of them, as browsers do when they leave a page.
    open: u64,
}

impl Budget {
    pub(super) fn new(most: u64) -> Self {
        Self { most, left: most, credited: Instant::now(), open: 0 }
    }

    pub(super) fn credit(&mut self, glitches: u64) {
        self.left = self.left.saturating_add(glitches).min(self.most);
    }

    /// False when the client has had one too many.
    pub(super) fn take(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.left == 0 {
            let now = now();
            let passed = now.saturating_duration_since(self.credited).as_nanos();
            let earned = passed.saturating_mul(u128::from(self.most)) / REFILL.as_nanos();
            if earned > 0 {
                self.credited = now;
                self.credit(u64::try_from(earned).unwrap_or(u64::MAX));
            }
        }
        let had = self.left > 0;
        self.left = self.left.saturating_sub(1);
        had
    }

    /// Counts what the client sent; false as in [`Self::take`].
    fn received(&mut self, frame: Frame) -> bool {
        let Frame { length, kind, flags } = frame;
        let carries = match kind {
            DATA => length > 0 || flags & END_STREAM != 0,
            HEADERS | CONTINUATION => length >= FRAGMENT || length > 0 && flags & END_HEADERS != 0,
            RST_STREAM => self.open > 0,
            // PRIORITY, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, and what we do not know (RFC 9113 §5.5).
            _ => false,
        };
        match kind {
            HEADERS if carries => {
                self.open = self.open.saturating_add(1);
                // Firefox opens the window of each stream as it opens the stream.
                self.credit(1);
            }
            RST_STREAM => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        carries || self.take(Instant::now)
    }

    fn sent(&mut self, frame: Frame) {
        if matches!(frame.kind, DATA | HEADERS) {
            self.credit(ANSWERED);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        let (budget, mut good) = (&mut this.budget, true);
        this.received.over(&buffer.filled()[before..], |frame| good &= budget.received(frame));
        if good {
            return Poll::Ready(Ok(()));
        }
        // Nobody is to be woken: the connection's task, which polls us, looks at its pulse next, and ends.
        buffer.set_filled(before);
        this.pulse.glitched();
        Poll::Pending
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, sent, budget, .. } = self.get_mut();
        let written = ready!(Pin::new(io).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let part = left.min(slice.len());
            left -= part;
            sent.over(&slice[..part], |frame| budget.sent(frame));
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, flags: u8, length: usize) -> Frame {
        Frame { length, kind, flags }
    }

    #[test]
    fn heads_are_found_in_pieces_of_any_size() {
        let mut bytes = vec![b'p'; PREFACE];
        let frames = [(0, 1), (1, 0), (300, 8), (0, 4), (70_000, 9)];
        for (length, kind) in frames {
            let head = u32::try_from(length).unwrap().to_be_bytes();
            bytes.extend([head[1], head[2], head[3], kind, 5, 0, 0, 0, 1]);
            bytes.extend(vec![kind; length]);
        }
        for size in [1, 2, 8, 9, 10, 24, 33, 4096, bytes.len()] {
            let (mut walk, mut seen) = (Walk::behind(PREFACE), Vec::new());
            for piece in bytes.chunks(size) {
                walk.over(piece, |frame| seen.push((frame.length, frame.kind)));
            }
            assert_eq!(seen, frames, "{size}");
            assert_eq!((walk.skip, walk.known), (0, 0));
        }
    }

    #[test]
    fn what_carries_something_is_no_glitch() {
        let mut budget = Budget::new(1);
        budget.left = 0;
        budget.credited += REFILL;
        for good in [
            frame(DATA, 0, 1),
            frame(DATA, END_STREAM, 0),
            frame(HEADERS, 0, 16_384),
            frame(CONTINUATION, 0, 16_384),
            frame(CONTINUATION, END_HEADERS, 1),
            frame(RST_STREAM, 0, 4),
        ] {
            assert!(budget.received(good), "{good:?}");
        }
        budget.left = 0;
        for glitch in [
            frame(DATA, 0, 0),
            frame(HEADERS, END_HEADERS, 0),
            frame(HEADERS, 0, 10),
            frame(CONTINUATION, 0, 10),
            frame(RST_STREAM, 0, 4),
            frame(WINDOW_UPDATE, 0, 4),
            frame(0xfa, 0, 100),
        ] {
            assert!(!budget.received(glitch), "{glitch:?}");
        }
    }

    #[test]
    fn a_browser_that_asks_for_much_and_leaves_the_page_has_no_glitch() {
        let mut budget = Budget::new(100);
        for _ in 0..1000 {
            assert!(budget.received(frame(HEADERS, END_STREAM | END_HEADERS, 50)));
            assert!(budget.received(frame(WINDOW_UPDATE, 0, 4)));
        }
        for _ in 0..1000 {
            assert!(budget.received(frame(RST_STREAM, 0, 4)));
        }
        assert_eq!(budget.left, 100 - 1, "the last window");
    }

    #[test]
    fn a_client_that_opens_two_windows_for_each_frame_of_a_response_has_none() {
        let mut budget = Budget::new(3);
        budget.credited += Duration::from_secs(3600);
        for _ in 0..1000 {
            budget.sent(frame(DATA, 0, 10));
            assert!(budget.received(frame(WINDOW_UPDATE, 0, 4)) && budget.received(frame(WINDOW_UPDATE, 0, 4)));
        }
    }

    #[test]
    fn the_budget_is_full_again_after_a_while_and_no_fuller() {
        let mut budget = Budget::new(10);
        let start = budget.credited;
        let take = |budget: &mut Budget, after: Duration| budget.take(|| start + after);
        assert!((0..10).all(|_| take(&mut budget, Duration::ZERO)));
        assert!(!take(&mut budget, Duration::from_millis(900)));
        assert!(take(&mut budget, Duration::from_secs(1)), "a tenth of it");
        assert!(!take(&mut budget, Duration::from_secs(1)));
        let later = Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| take(&mut budget, later)).count(), 10);
    }
}

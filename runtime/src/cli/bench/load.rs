//! The load generator: one thread, connections of its own, and no task for a request.
//!
//! In the closed loop a connection asks again when it has been answered: it shows what a server can do, but one that stalls is asked
//! less meanwhile. In the open loop requests are due at fixed times, whatever has been answered, and a latency counts from the moment
//! at which its request was due: whoever waits behind a stall is counted with it (coordinated omission).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use http::StatusCode;
use tokio::sync::Semaphore;

use super::link::{Link, Request};
use crate::observe::clock;

/// So long is waited, after the end, for what is still to be answered.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The longest latency that is told apart from longer ones, in nanoseconds.
const LONGEST: u64 = 600_000_000_000;

/// Who is asked, and what is the right answer.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// They are sent in turn.
    pub(super) requests: Vec<Request>,
    pub(super) status: StatusCode,
    /// Of the body; none where it differs from answer to answer.
    pub(super) length: Option<usize>,
}

/// When a request is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// When its connection has been answered.
    Closed,
    /// At fixed times, so many in a second.
    Open(f64),
}

pub(super) struct Load<'a> {
    pub(super) target: &'a Target,
    pub(super) connections: usize,
    pub(super) pace: Pace,
    pub(super) duration: Duration,
    /// How long to wait, after the end, for what is still to be answered.
    pub(super) patience: Duration,
    /// Whether the generator has a core for itself, on which it need not sleep.
    pub(super) own_core: bool,
}

/// What came of a load.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Right ones.
    pub(super) answers: u64,
    /// Wrong ones, and those that never came.
    pub(super) wrong: u64,
    /// The first of these.
    pub(super) example: Option<String>,
    /// Requests that were due and for which no connection was free until all patience was over. Their latency is in the histogram, as
    /// far as it was known.
    pub(super) unsent: u64,
    /// From the start to the last answer.
    pub(super) lasted: Duration,
    /// In nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// CPU time of the generator.
    pub(super) cpu: Duration,
}

/// Opens all connections, then loads the target for so long.
///
/// # Errors
/// When a connection cannot be opened.
pub(super) async fn run(load: &Load<'_>) -> anyhow::Result<Loaded> {
    let mut links = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        links.push(Link::open(load.target.address).await?);
    }
    let before = clock::process_cpu();
    let run = Run::begin(load)?;
    let working = async {
        tokio::join!(run.release(), join_all(links.into_iter().map(|link| run.work(link))));
    };
    // What is not answered by then is counted at the end.
    let _ = tokio::time::timeout_at((run.end + load.patience).into(), working).await;
    Ok(run.finish(clock::process_cpu() - before))
}

struct Run<'a> {
    load: &'a Load<'a>,
    began: Instant,
    end: Instant,
    /// How many requests there are in an open loop.
    total: u64,
    /// Those of them that are due and not taken yet.
    due: Semaphore,
    taken: Cell<u64>,
    sent: Cell<usize>,
    tally: RefCell<Tally>,
}

struct Tally {
    answers: u64,
    wrong: u64,
    example: Option<String>,
    last: Instant,
    latency: Histogram<u64>,
}

impl<'a> Run<'a> {
    fn begin(load: &'a Load<'a>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let total = match load.pace {
            Pace::Closed => 0,
            Pace::Open(rate) => (rate * load.duration.as_secs_f64()).ceil() as u64,
        };
        let latency = Histogram::new_with_bounds(1, LONGEST, 3)?;
        Ok(Self {
            load,
            began,
            end: began + load.duration,
            total,
            due: Semaphore::new(0),
            taken: Cell::new(0),
            sent: Cell::new(0),
            tally: RefCell::new(Tally { answers: 0, wrong: 0, example: None, last: began, latency }),
        })
    }

    /// When the request of this number is due.
    fn due_at(&self, number: u64) -> Instant {
        match self.load.pace {
            Pace::Closed => self.began,
            Pace::Open(rate) => self.began + Duration::from_secs_f64(number as f64 / rate),
        }
    }

    /// Releases the requests of an open loop at their times, then lets each connection see that there are no more.
    async fn release(&self) {
        for number in 0..self.total {
            self.wait_until(self.due_at(number)).await;
            self.due.add_permits(1);
        }
        self.due.add_permits(self.load.connections);
    }

    /// tokio's timers have a resolution of 1 ms, and a core that sleeps takes its time to wake up: neither is the server's latency. On a
    /// core of its own, the generator looks at the clock and its sockets in turns.
    async fn wait_until(&self, due: Instant) {
        if !self.load.own_core {
            return tokio::time::sleep_until(due.into()).await;
        }
        while Instant::now() < due {
            tokio::task::yield_now().await;
        }
    }

    /// The next request's due time, or none when it is over.
    async fn next(&self) -> Option<Instant> {
        if let Pace::Closed = self.load.pace {
            let now = Instant::now();
            self.taken.update(|taken| taken + u64::from(now < self.end));
            return (now < self.end).then_some(now);
        }
        self.due.acquire().await.ok()?.forget();
        let number = self.taken.get();
        if number >= self.total {
            return None;
        }
        self.taken.set(number + 1);
        Some(self.due_at(number))
    }

    /// One connection, from its first request to its last.
    async fn work(&self, mut link: Link) {
        while let Some(due) = self.next().await {
            // A server may close a connection after an answer, and that is no fault.
            if !link.ready().await {
                match Link::open(self.load.target.address).await {
                    Ok(again) => link = again,
                    // Whoever cannot be reached is not asked again and again.
                    Err(error) => return self.tally.borrow_mut().wrong(format!("{error:#}")),
                }
            }
            let mut length = 0;
            let request = self.load.target.request(self.sent.replace(self.sent.get() + 1)).clone();
            let answer = link.ask(request, |piece| length += piece.len()).await;
            let fault = match answer {
                Ok((status, _)) => self.load.target.fault(status, length),
                Err(error) => Some(format!("no answer: {error}")),
            };
            let mut tally = self.tally.borrow_mut();
            match fault {
                None => tally.right(due),
                Some(fault) => tally.wrong(fault),
            }
        }
    }

    fn finish(self, cpu: Duration) -> Loaded {
        let now = Instant::now();
        let taken = self.taken.get();
        for number in taken..self.total {
            self.tally.borrow_mut().waited(now - self.due_at(number));
        }
        let mut tally = self.tally.into_inner();
        let unanswered = taken - tally.answers - tally.wrong;
        if unanswered > 0 {
            tally.wrong += unanswered;
            tally.example.get_or_insert_with(|| format!("{unanswered} requests had no answer so long after the end"));
        }
        Loaded {
            answers: tally.answers,
            wrong: tally.wrong,
            example: tally.example,
            unsent: self.total.saturating_sub(taken),
            lasted: tally.last - self.began,
            latency: tally.latency,
            cpu,
        }
    }
}

impl Tally {
    fn right(&mut self, due: Instant) {
        self.last = Instant::now();
        self.answers += 1;
        self.waited(self.last - due);
    }

    fn wrong(&mut self, fault: String) {
        self.wrong += 1;
        self.example.get_or_insert(fault);
    }

    fn waited(&mut self, time: Duration) {
        self.latency.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
    }
}

impl Target {
    /// The request of this number.
    pub(super) fn request(&self, number: usize) -> &Request {
        &self.requests[number % self.requests.len()]
    }

    /// What is wrong with an answer.
    pub(super) fn fault(&self, status: StatusCode, length: usize) -> Option<String> {
        if status != self.status {
            return Some(format!("status {status} in place of {}", self.status));
        }
        let expected = self.length.filter(|expected| *expected != length)?;
        Some(format!("a body of {length} bytes in place of {expected}"))
    }
}

#[cfg(test)]
mod tests;

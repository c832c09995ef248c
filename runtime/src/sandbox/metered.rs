//! Polling a guest: its time is measured, a panic of a host call ends only this guest, and its end is written down once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use super::isolate::{Isolate, Question};
use super::lane::{self, Payer};
use super::sweep::{self, Remains};
use super::ticker::{self, SHORT_TURN};
use super::waiting;
use crate::bindings::{Begun, Usage, failure_after_head, failure_of};
use crate::config::{WorkerLimits, held};
use crate::failure::Failure;

/// The isolate and what it does, as one future. It gives the isolate back: another request may want it, and to drop it may take long.
type Guest = Pin<Box<dyn Future<Output = (wasmtime::Result<()>, Isolate)> + Send>>;

/// What is left of a guest.
pub(super) enum Left {
    /// It has ended.
    Isolate(Isolate),
    /// It has not, or a host call panicked.
    Guest(Guest),
}

/// Holds what an isolate was given (permits, gauges) and is told when it is gone.
pub trait Ledger: Send {
    /// The isolate is gone; `late` is why it was ended after its response head, if it was. A failure before the head is the
    /// answer itself.
    fn close(self: Box<Self>, usage: &Usage, late: Option<&Failure>);
}

/// One guest's whole run: instantiate, handle, finish. Everything that it takes is charged to it.
pub(super) struct Metered {
    /// `None` only on the way out. While the store is there, a body that the guest has not ended does not end either.
    left: Option<Left>,
    payer: Payer,
    /// What the guest came to, once it is done.
    result: Option<wasmtime::Result<()>>,
    ledger: Option<Box<dyn Ledger>>,
    late: Option<Failure>,
    /// How many of its polls were short, and whether the last one was: what is longer ends at a tick, and waits for a turn by itself.
    short_polls: u32,
    was_short: bool,
    /// What it waits for before it is polled again.
    turn: Option<lane::Turn>,
    pub(super) usage: Arc<Usage>,
}

/// Who is woken more often than this makes the host work, by thousands of small writes or by many requests, and is held to its share
/// of the core like one that spins.
const FEW: u32 = 16;

/// A guest of WASI 0.3 answers by returning, so one that has ended well without an answer is of 0.2. The words are wasmtime's.
const SILENT: Failure = Failure::WorkerNoResponse("guest never invoked `response-outparam::set` method");

impl Metered {
    pub(super) fn new(
        isolate: Isolate,
        question: Question,
        payer: Payer,
        usage: Arc<Usage>,
        ledger: Box<dyn Ledger>,
    ) -> Self {
        Self {
            left: Some(Left::Guest(Box::pin(isolate.answer(question)))),
            payer,
            result: None,
            ledger: Some(ledger),
            late: None,
            short_polls: 0,
            was_short: false,
            turn: None,
            usage,
        }
    }

    /// Why the isolate is about to be dropped, after its response head.
    pub(super) fn fail_late(&mut self, failure: &Failure) {
        self.late.get_or_insert_with(|| failure.clone());
    }

    /// Whether the guest has returned, trapped or was ended.
    pub(super) fn is_done(&self) -> bool {
        self.result.is_some()
    }

    /// Why there is no response and none will come.
    pub(super) fn failure(&self, limits: &WorkerLimits) -> Failure {
        match &self.result {
            Some(Err(error)) => failure_of(error, &self.usage, limits),
            Some(Ok(())) | None => self.usage.met().cloned().unwrap_or(SILENT),
        }
    }

    /// What is wrong with the end of a guest that is done and has sent the head of its response.
    pub(super) fn failure_after_head(&self, limits: &WorkerLimits) -> Option<Failure> {
        failure_after_head(self.result.as_ref()?.as_ref().err()?, &self.usage, limits)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let (Some(left), Some(ledger)) = (self.left.take(), self.ledger.take()) else { return };
        let (usage, late) = (Arc::clone(&self.usage), self.late.take());
        let is_well = late.is_none() && usage.met().is_none() && usage.failure().is_none();
        let left = match (left, &self.result) {
            (Left::Isolate(isolate), Some(Ok(()))) if is_well => match waiting::keep(isolate) {
                Ok(()) => return ledger.close(&usage, None),
                Err(isolate) => Left::Isolate(isolate),
            },
            (left, _) => left,
        };
        sweep::clear(self.payer, Remains { left, usage, ledger, late });
    }
}

impl Future for Metered {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut until = None;
        while self.poll_guest(context).is_pending() {
            let begun = Begun::take();
            if begun.is_empty() {
                return Poll::Pending;
            }
            // Whom it calls runs now, and then it goes on itself: for as long as one guest may that is short.
            let until = *until.get_or_insert_with(|| Instant::now() + SHORT_TURN);
            if !begun.make(until) {
                return Poll::Pending;
            }
        }
        // What it has begun and does not wait for is not made.
        drop(Begun::take());
        Poll::Ready(())
    }
}

impl Metered {
    fn poll_guest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (Some(Left::Guest(guest)), None) = (&mut self.left, &self.result) else {
            return Poll::Ready(());
        };
        let is_woken_often = self.was_short && self.short_polls > FEW;
        if is_woken_often && self.turn.is_none() && lane::has_had_its_share(self.payer.worker) {
            self.turn = Some(lane::turn(self.payer.worker));
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(context));
            self.turn = None;
        }
        if held() {
            ticker::guest_runs();
        }
        let before = self.usage.cpu_time();
        self.usage.poll_begins(lane::is_busy());
        let polled = catch_unwind(AssertUnwindSafe(|| guest.as_mut().poll(context)));
        self.usage.poll_ends();
        let took = self.usage.cpu_time() - before;
        self.was_short = took < SHORT_TURN;
        self.short_polls = self.short_polls.saturating_add(u32::from(self.was_short));
        match is_woken_often && self.was_short {
            true => lane::charge_woken(self.payer, took),
            false => lane::charge(self.payer, took),
        }
        self.result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready((result, isolate))) => {
                self.left = Some(Left::Isolate(isolate));
                Some(result)
            }
            Err(panic) => Some(Err(panicked(&*panic).into())),
        };
        Poll::Ready(())
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    Failure::Internal(format!("a host call panicked: {}", text.unwrap_or("no message")))
}

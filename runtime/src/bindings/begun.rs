//! Calls of other workers that a guest has begun, until it waits: they are made in its own task for as long as they are short.
//!
//! Both isolates are in the processor's caches then, and the next caller takes the places that these have left. A task for each call would
//! have its turn after everything that is ready, and a crowd of callers would all be under way before the first of them is answered.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::observe;

/// So many calls are made within one another: each takes of the core's stack. What is called more deeply has a task at once.
const NESTED: usize = 2;

thread_local! {
    /// By the guest that is polled on this core.
    static BEGUN: RefCell<Vec<BoxFuture<'static, ()>>> = const { RefCell::new(Vec::new()) };
    /// How many calls are being made within one another.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The call is made when the guest waits, and comes to its end here. It goes when nobody waits any more.
pub(super) fn begin<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> oneshot::Receiver<T> {
    let (give, answer) = oneshot::channel();
    let call = Box::pin(Call { call, give: Some(give) });
    BEGUN.with_borrow_mut(|begun| begun.push(call));
    answer
}

pin_project! {
    /// A type of its own: an async block that pins what it was given has room for it twice.
    struct Call<F: Future> {
        #[pin]
        call: F,
        give: Option<oneshot::Sender<F::Output>>,
    }
}

impl<F: Future> Future for Call<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(give) = this.give else { return Poll::Ready(()) };
        if give.poll_closed(context).is_ready() {
            return Poll::Ready(());
        }
        let answer = ready!(this.call.poll(context));
        if let Some(give) = this.give.take() {
            // An error means that whoever waited has gone in this moment.
            let _ = give.send(answer);
        }
        Poll::Ready(())
    }
}

/// The calls that one guest has begun in one poll.
pub struct Begun(Vec<BoxFuture<'static, ()>>);

impl Begun {
    /// Of the guest that was polled last on this core.
    #[must_use]
    pub fn take() -> Self {
        Self(BEGUN.take())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes them. Those that are not over at once, or begin after `until`, go on in tasks of their own: their guests' time is not the
    /// caller's. Says whether one is over, so that the caller can go on.
    #[must_use]
    pub fn make(self, until: Instant) -> bool {
        let depth = DEPTH.get();
        let mut is_one_over = false;
        for mut call in self.0 {
            if depth < NESTED && Instant::now() < until {
                DEPTH.set(depth + 1);
                // The task that it gets otherwise polls it again, with a waker of its own.
                let mut context = Context::from_waker(Waker::noop());
                let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
                DEPTH.set(depth);
                // Whoever waits for a call that has panicked hears that it is gone.
                if !matches!(polled, Ok(Poll::Pending)) {
                    is_one_over = true;
                    continue;
                }
            }
            observe::spawn("call", call);
        }
        is_one_over
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[tokio::test]
    async fn a_call_that_is_over_at_once_has_no_task() {
        let mut answer = begin(async { 7 });
        assert!(answer.try_recv().is_err(), "it is not made before its guest waits");
        assert!(Begun::take().make(soon()));
        assert_eq!(answer.try_recv(), Ok(7), "no task was polled since");
    }

    #[tokio::test]
    async fn a_call_that_waits_goes_on_by_itself() {
        let answer = begin(async {
            tokio::task::yield_now().await;
            7
        });
        assert!(!Begun::take().make(soon()));
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn a_call_that_begins_too_late_is_made_by_a_task() {
        let mut answer = begin(async { 7 });
        assert!(!Begun::take().make(Instant::now()));
        assert!(answer.try_recv().is_err());
        assert_eq!(answer.await, Ok(7));
    }

    #[tokio::test]
    async fn a_call_ends_with_whoever_waits_for_it() {
        let (held, mut alive) = oneshot::channel::<()>();
        let answer = begin(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(!Begun::take().make(soon()));
        tokio::task::yield_now().await;
        assert_eq!(alive.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(answer);
        assert!((&mut alive).await.is_err(), "what it held is gone");
    }

    #[tokio::test]
    async fn a_call_that_panics_is_gone() {
        let answer = begin(async { panic!("this one") });
        let answer: oneshot::Receiver<()> = answer;
        assert!(Begun::take().make(soon()));
        assert!(answer.await.is_err());
    }

    #[tokio::test]
    async fn calls_within_calls_are_bounded() {
        fn nested(left: usize) -> oneshot::Receiver<usize> {
            begin(async move {
                if left == 0 {
                    return 0;
                }
                let mut answer = nested(left - 1);
                let _ = Begun::take().make(soon());
                match answer.try_recv() {
                    Ok(made) => made + 1,
                    Err(_) => answer.await.map_or(0, |_| 0),
                }
            })
        }
        let answer = nested(NESTED * 3);
        let _ = Begun::take().make(soon());
        assert!(answer.await.expect("it is answered") < NESTED, "the stack is as deep as there are calls");
        assert_eq!(DEPTH.get(), 0);
    }
}

//! How fast a request body has to come, and how long its reader has waited for it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::NodeLimits;

/// What a client is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Limit `request_body_idle`: for the next byte.
    pub(super) idle: Duration,
    /// Limit `request_body_rate`, in bytes a second; 0 is any.
    pub(super) rate: u64,
}

impl Pace {
    /// For so long any rate will do.
    const GRACE: Duration = Duration::from_secs(5);

    pub(super) fn of(limits: &NodeLimits) -> Self {
        Self { idle: limits.request_body_idle, rate: limits.request_body_rate }
    }

    /// How long a reader may wait now, when it has waited for so long before and so many bytes have come.
    pub(super) fn patience(self, waited: Duration, read: u64) -> Duration {
        let Some(seconds) = read.checked_div(self.rate) else { return self.idle };
        (Self::GRACE + Duration::from_secs(seconds)).saturating_sub(waited).min(self.idle)
    }
}

/// A reader waits for the client.
pub(super) struct Wait {
    since: Instant,
    came: Arc<Came>,
    timer: Pin<Box<Sleep>>,
}

/// When what was waited for came: the reader may have other things to do before it looks, and that is not the client's fault.
struct Came {
    at: OnceLock<Instant>,
    reader: Waker,
}

impl Wake for Came {
    fn wake(self: Arc<Self>) {
        let _ = self.at.set(Instant::now());
        self.reader.wake_by_ref();
    }
}

impl Wait {
    /// Polls what had nothing to give once more, so that the moment is noted in which it has. `wait` goes on from before, or begins.
    pub(super) fn poll<T>(
        wait: &mut Option<Self>,
        patience: impl FnOnce() -> Duration,
        context: &Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let came = Arc::new(Came { at: OnceLock::new(), reader: context.waker().clone() });
        let polled = poll(&mut Context::from_waker(&Waker::from(Arc::clone(&came))));
        if polled.is_pending() {
            match wait {
                Some(wait) => wait.came = came,
                None => {
                    let since = Instant::now();
                    *wait = Some(Self { since, came, timer: Box::pin(sleep_until(since + patience())) });
                }
            }
        }
        polled
    }

    /// Whether it has lasted too long.
    pub(super) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.timer.as_mut().poll(context).is_ready()
    }

    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.came.at.get().copied().unwrap_or_else(Instant::now).saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_sent_much_may_be_waited_for_and_who_has_sent_little_may_not() {
        let pace = Pace { idle: Duration::from_secs(30), rate: 100 };
        let seconds = Duration::from_secs;
        assert_eq!(pace.patience(seconds(0), 0), seconds(5), "grace");
        assert_eq!(pace.patience(seconds(4), 0), seconds(1));
        assert_eq!(pace.patience(seconds(9), 1_000), seconds(6), "five and ten seconds, less nine");
        assert_eq!(pace.patience(seconds(15), 1_000), seconds(0));
        assert_eq!(pace.patience(seconds(0), 1 << 30), seconds(30), "never longer than idle");
        assert_eq!(Pace { rate: 0, ..pace }.patience(seconds(99), 0), seconds(30), "any rate");
    }

    #[tokio::test]
    async fn a_wait_ends_when_what_it_is_for_comes_and_not_when_its_reader_looks() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let mut wait = None;
        let context = Context::from_waker(Waker::noop());
        let poll = |context: &mut Context<'_>| receiver.poll_recv(context);
        assert!(Wait::poll(&mut wait, || Duration::from_secs(60), &context, poll).is_pending());
        sender.send(()).await.unwrap();
        let took = wait.as_ref().unwrap().took();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(wait.unwrap().took(), took);
    }
}

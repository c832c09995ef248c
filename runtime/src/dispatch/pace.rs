//! How fast a request body has to come, and how long its reader has waited for it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::NodeLimits;
use crate::http::Pace;

/// What a client that sends a body is held to.
pub(super) fn of_requests(limits: &NodeLimits) -> Pace {
    Pace { idle: limits.request_body_idle, rate: limits.request_body_rate }
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

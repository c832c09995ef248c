//! What becomes of a message after its delivery.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::bindings::Verdict;
use crate::config;
use crate::failure::Failure;
use crate::observe::Delivered;
use crate::store::{Message, Settled};

/// How an invocation ended, for messages of which it has said nothing.
pub(super) type Ended = Result<(), Failure>;

/// What is to be done with a message.
pub(super) fn settled(queue: &config::Queue, message: &Message, verdict: Verdict, ended: &Ended) -> Settled {
    let (delay, reason) = match (verdict, ended) {
        (Verdict::Done, _) | (Verdict::None, Ok(())) => return Settled::Done,
        (Verdict::Again(delay, reason), _) => (delay, reason.unwrap_or_else(|| "the worker retries it".to_owned())),
        (Verdict::None, Err(failure)) => (None, format!("{}: {failure}", failure.code())),
    };
    match message.attempts >= queue.attempts {
        true => Settled::Dead(queue.dead_letter.as_str().into(), reason),
        false => Settled::Again(delay.unwrap_or_else(|| backoff(queue, message.attempts)), reason),
    }
}

/// A message that was delivered as often as it may be, and of which nobody has said anything: whoever had it is gone, maybe because of it.
pub(super) fn lost(queue: &config::Queue) -> Settled {
    let reason = "nobody has said what became of its last delivery".to_owned();
    Settled::Dead(Arc::from(queue.dead_letter.as_str()), reason)
}

/// Twice as long after each delivery, and up to twice that by chance, so that what has failed together does not come back together.
fn backoff(queue: &config::Queue, attempts: u32) -> Duration {
    let waits = ExponentialBuilder::new()
        .with_min_delay(queue.retry)
        .with_max_delay(queue.retry_max)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter();
    waits.build().nth(attempts.saturating_sub(1) as usize).unwrap_or(queue.retry_max)
}

/// How it is counted.
pub(super) fn outcome(settled: &Settled) -> Delivered {
    match settled {
        Settled::Done => Delivered::Done,
        Settled::Again(..) => Delivered::Again,
        Settled::Dead(..) => Delivered::Dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_from_its_first_to_its_longest_and_is_up_to_twice_as_long_by_chance() {
        let queue = config::Queue {
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            ..config::Queue::named("mail")
        };
        for (attempts, least) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (900, 60)] {
            let least = Duration::from_secs(least);
            for _ in 0..20 {
                let wait = backoff(&queue, attempts);
                assert!((least..=least * 2).contains(&wait), "{attempts}: {wait:?}");
            }
        }
    }
}

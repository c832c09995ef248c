//! When a certificate is ordered, and again after it went wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::trouble::Kind;
use crate::ingress::Validity;

/// What passes after a first attempt that nobody answered.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// The shortest time from one certificate to the next.
const LEAST: Duration = Duration::from_secs(2);

/// The longest wait between two attempts that nobody answered, and between two that were refused.
const LONGEST: (Duration, Duration) = (Duration::from_secs(60 * 60), Duration::from_secs(24 * 60 * 60));

/// A certificate is renewed after two thirds of its time: a month before its end, where that is 90 days.
pub(super) fn renewal(Validity { not_before, not_after }: Validity) -> SystemTime {
    let time = not_after.saturating_sub(not_before).max(0);
    let at = not_before.saturating_add(time / 3 * 2 + time % 3 * 2 / 3);
    UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or(0))
}

/// Before this nothing is ordered again, whatever the certificate says: an authority may date it back, even so far that it would be due
/// when it comes.
pub(super) fn soonest(Validity { not_after, .. }: Validity, now: SystemTime) -> SystemTime {
    let end = UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or(0));
    now + (end.duration_since(now).unwrap_or_default() / 3).max(LEAST)
}

/// How long to wait after each failure in a row. Each wait has a part by chance, so that a thousand nodes do not come at once.
pub(super) struct Waits {
    retry: Duration,
    unreachable: ExponentialBackoff,
    refused: ExponentialBackoff,
}

impl Waits {
    /// `retry` is what passes after a first refusal.
    pub(super) fn new(retry: Duration) -> Self {
        let waits = |first: Duration, factor, longest: Duration| {
            let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest.max(first));
            builder.with_factor(factor).without_max_times().with_jitter().build()
        };
        let unreachable = waits(UNREACHABLE.min(retry), 2.0, LONGEST.0);
        Self { retry, unreachable, refused: waits(retry, 3.0, LONGEST.1) }
    }

    /// All is well again.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.retry);
    }

    pub(super) fn next(&mut self, kind: Kind) -> Duration {
        match kind {
            // Another account is made soon, but not again and again.
            Kind::Unreachable | Kind::NoAccount => self.unreachable.next().unwrap_or(LONGEST.0),
            Kind::Refused => self.refused.next().unwrap_or(LONGEST.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_time() {
        let at = |not_before, not_after| {
            renewal(Validity { not_before, not_after }).duration_since(UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(at(1_000, 1_090), 1_060);
        assert_eq!(at(0, 90 * 86_400), 60 * 86_400);
        assert_eq!(at(1_000, 1_002), 1_001);
        assert_eq!(at(1_000, 900), 1_000, "what ends before it begins is renewed");
        assert_eq!(at(-5, -1), 0);
    }

    #[test]
    fn a_certificate_that_is_dated_back_is_not_renewed_at_once() {
        let now = UNIX_EPOCH + Duration::from_secs(10_000);
        let after =
            |not_after| soonest(Validity { not_before: 0, not_after }, now).duration_since(now).unwrap().as_secs();
        assert_eq!(after(10_900), 300);
        assert_eq!(after(9_000), LEAST.as_secs());
    }

    #[test]
    fn a_refusal_is_followed_by_few_attempts_an_hour_and_fewer_later() {
        let mut waits = Waits::new(Duration::from_secs(120));
        let passed: Vec<Duration> = (0..12).map(|_| waits.next(Kind::Refused)).collect();
        let within = |hour: u64| {
            let mut at = Duration::ZERO;
            let attempts = passed.iter().filter(|wait| {
                at += **wait;
                at < Duration::from_secs(hour * 60 * 60)
            });
            attempts.count() + 1
        };
        // Let's Encrypt takes five refused validations of a name an hour.
        assert!(within(1) <= 5, "{passed:?}");
        assert!(passed[8..].iter().all(|wait| *wait >= LONGEST.1), "{passed:?}");
        waits.forget();
        assert!(waits.next(Kind::Refused) <= Duration::from_secs(240));
    }

    #[test]
    fn an_authority_that_cannot_be_reached_is_asked_again_soon() {
        let mut waits = Waits::new(Duration::from_secs(120));
        assert!(waits.next(Kind::Unreachable) <= 2 * UNREACHABLE);
        assert!((0..40).all(|_| waits.next(Kind::Unreachable) <= 2 * LONGEST.0));
    }
}

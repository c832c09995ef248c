//! How fast a client has to send a body or take one: the arithmetic; who waits, and for what, is for others to know.

use std::time::Duration;

/// What a client is held to, for as long as somebody waits for it and for nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest single wait.
    pub idle: Duration,
    /// In bytes a second, all waits together; 0 is any.
    pub rate: u64,
}

impl Pace {
    /// For so long any rate will do.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// How long the next wait may last, when so many bytes have passed and earlier waits have taken so long.
    #[must_use]
    pub fn patience(self, waited: Duration, passed: u64) -> Duration {
        let Some(seconds) = passed.checked_div(self.rate) else { return self.idle };
        // What is left of the division counts, too: at a high rate it is all that there is.
        let rest = u128::from(passed % self.rate) * 1_000_000_000 / u128::from(self.rate);
        let earned = Duration::new(seconds, u32::try_from(rest).unwrap_or_default());
        (Self::GRACE.saturating_add(earned)).saturating_sub(waited).min(self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_passed_much_may_be_waited_for_and_who_has_passed_little_may_not() {
        let pace = Pace { idle: Duration::from_secs(30), rate: 100 };
        let seconds = Duration::from_secs;
        assert_eq!(pace.patience(seconds(0), 0), seconds(5), "grace");
        assert_eq!(pace.patience(seconds(4), 0), seconds(1));
        assert_eq!(pace.patience(seconds(9), 1_000), seconds(6), "five and ten seconds, less nine");
        assert_eq!(pace.patience(seconds(5), 50), Duration::from_millis(500));
        assert_eq!(pace.patience(seconds(15), 1_000), seconds(0));
        assert_eq!(pace.patience(seconds(0), 1 << 30), seconds(30), "never longer than idle");
        assert_eq!(pace.patience(seconds(0), u64::MAX), seconds(30));
        assert_eq!(Pace { rate: 0, ..pace }.patience(seconds(99), 0), seconds(30), "any rate");
        assert_eq!(
            Pace { rate: u64::MAX, ..pace }.patience(seconds(5), u64::MAX - 1),
            Duration::from_nanos(999_999_999)
        );
    }
}

//! F10 of the failure cases: a clock that jumps by an hour or a day, forward or back. Leases, delays and keys are by the wall clock, so
//! that they hold over restarts: a jump moves them, loses nothing, and gives no message to two who may both be done with it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::rows::{self, Prepared};
use crate::store::database::{self, Opening};
use crate::store::queue::model::{Delivery, Lease, Message, NewMessage, QueueLimits, QueueName, Settled};

const LIMITS: QueueLimits = QueueLimits { messages: 100, bytes: 1 << 20 };
const LEASE: Duration = Duration::from_secs(60);

/// A queue, and the time of its node.
struct Clock {
    connection: Connection,
    now: Timestamp,
    _folder: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(super::QUEUE.database);
        let connection = database::open_with(&file, super::QUEUE.migrations, Opening::Alone).unwrap();
        Self { connection, now: Timestamp::now(), _folder: folder }
    }

    fn jumps(&mut self, hours: i64) {
        self.now = self.now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    }

    fn passes(&mut self, time: Duration) {
        self.now = self.now.checked_add(SignedDuration::try_from(time).unwrap()).unwrap();
    }

    fn send(&self, delay: Duration, key: Option<&str>) {
        let key = key.map(str::to_owned);
        let message = NewMessage { body: b"x".to_vec(), content_type: None, delay, key, trace: None };
        rows::send(&self.connection, &mail(), &[Prepared::new(message)], &LIMITS, self.now).unwrap().unwrap();
    }

    fn receive(&self) -> Vec<Message> {
        let delivery = Delivery { messages: 10, bytes: u64::MAX, lease: LEASE };
        rows::receive(&self.connection, &mail(), delivery, self.now).unwrap()
    }

    /// How many were too late.
    fn done(&self, lease: Lease) -> usize {
        rows::settle(&self.connection, &mail(), &[(lease, Settled::Done)], self.now).unwrap()
    }
}

fn mail() -> QueueName {
    QueueName { worker: "shop".into(), name: "mail".into() }
}

#[test]
fn a_clock_that_jumps_forward_ends_leases_and_the_first_one_is_too_late() {
    for hours in [1, 24] {
        let mut clock = Clock::new();
        clock.send(Duration::ZERO, None);
        let first = clock.receive().remove(0);
        clock.jumps(hours);
        let second = clock.receive().remove(0);
        assert_eq!((second.id, second.attempts), (first.id, 2));
        assert_eq!(clock.done(first.lease().unwrap()), 1);
        assert_eq!(clock.done(second.lease().unwrap()), 0);
        assert!(clock.receive().is_empty());
    }
}

#[test]
fn a_clock_that_jumps_back_keeps_messages_out_for_longer_and_whoever_has_them_is_done_with_them() {
    for hours in [-1, -24] {
        let mut clock = Clock::new();
        clock.send(Duration::ZERO, None);
        let first = clock.receive().remove(0);
        clock.jumps(hours);
        clock.passes(LEASE * 2);
        assert!(clock.receive().is_empty(), "nobody else has it meanwhile");
        assert_eq!(clock.done(first.lease().unwrap()), 0);
    }
}

#[test]
fn what_is_sent_after_a_jump_back_waits_for_nothing_and_what_was_sent_before_comes_when_its_time_is_there_again() {
    let mut clock = Clock::new();
    clock.send(Duration::ZERO, None);
    clock.jumps(-1);
    assert!(clock.receive().is_empty(), "it is due in an hour");
    clock.send(Duration::ZERO, None);
    assert_eq!(clock.receive().len(), 1);
    clock.passes(Duration::from_secs(60 * 60));
    assert_eq!(clock.receive().len(), 2, "the first one, and the second one again");
}

#[test]
fn a_delay_is_over_early_after_a_jump_forward_and_no_sooner_after_one_back() {
    let hour = Duration::from_secs(60 * 60);
    let mut clock = Clock::new();
    clock.send(hour, None);
    clock.jumps(-24);
    clock.passes(hour);
    assert!(clock.receive().is_empty());
    clock.jumps(24);
    assert_eq!(clock.receive().len(), 1);
}

#[test]
fn a_key_is_remembered_for_a_day_of_the_clock() {
    let mut clock = Clock::new();
    clock.send(Duration::ZERO, Some("k"));
    for hours in [-24, 24, 23] {
        clock.jumps(hours);
        clock.send(Duration::ZERO, Some("k"));
    }
    clock.jumps(2);
    assert_eq!(clock.receive().len(), 1);
    clock.send(Duration::ZERO, Some("k"));
    assert_eq!(clock.receive().len(), 1, "after a day it is another message");
}

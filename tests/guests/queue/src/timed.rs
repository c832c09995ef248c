//! What is done at times. The first word of a schedule's name says what.

use wasip2::clocks::monotonic_clock::subscribe_duration;

use crate::Worker;
use crate::bindings::kv::{Expected, Namespace, Options};
use crate::schedule::Guest;

impl Guest for Worker {
    fn handle(schedule: String, due: u64) -> Result<(), String> {
        let seen = Namespace::open("seen").expect("eyot.toml lists it");
        let now = seen.increment(&format!("now:{schedule}"), 1).expect("it is written");
        let options = || Options { ttl: None, metadata: None, expected: Expected::Anything };
        if now > 1 {
            seen.put(&format!("overlapped:{schedule}"), b"yes", &options()).expect("it is written");
        }
        seen.put(&format!("due:{schedule}"), due.to_string().as_bytes(), &options()).expect("it is written");
        let (verb, rest) = schedule.split_once('-').unwrap_or((&schedule, ""));
        match verb {
            "sleep" => subscribe_duration(rest.parse().unwrap_or(0) * 1_000_000).block(),
            "trap" => panic!("as it was told"),
            _ => {}
        }
        seen.increment(&format!("now:{schedule}"), -1).expect("it is written");
        seen.increment(&format!("runs:{schedule}"), 1).expect("it is written");
        if verb == "fail" { Err("it does not work".to_owned()) } else { Ok(()) }
    }
}

//! Messages of queues, from the disk to a worker's handler and back.
//!
//! Each queue has as many consumers as its `concurrency` says, shared out among the cores: a task of its core, which takes a batch when there
//! is one, runs it in an isolate of its own, and settles it. A batch that nobody settles comes back by itself.

mod consumer;
mod settle;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::http::Core;
use crate::activate::Consumed;
use crate::observe;
use crate::store::QueueName;
use consumer::Consumer;

/// Tells those who work off queues that something else serves, and at last that they are to stop.
#[derive(Debug, Default)]
pub struct Serving(watch::Sender<Phase>);

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    /// How often something else began to serve.
    switches: u64,
    is_over: bool,
}

impl Serving {
    pub(super) fn changed(&self) {
        self.0.send_modify(|phase| phase.switches += 1);
    }

    /// Nothing is received any more; what is being worked off is not disturbed.
    pub fn stop(&self) {
        self.0.send_modify(|phase| phase.is_over = true);
    }
}

/// Keeps the consumers of one core of so many, until it is told to stop.
pub async fn work_off(core: Arc<Core>, cores: usize) {
    let mut serving = core.dispatcher.serving.0.subscribe();
    // Each consumer leaves when its sender goes.
    let mut consumers: HashMap<(QueueName, u32), oneshot::Sender<()>> = HashMap::new();
    loop {
        if serving.borrow_and_update().is_over {
            return;
        }
        let active = core.dispatcher.active.load_full();
        let own = active.queues.iter().flat_map(|consumed| places(consumed, cores, core.index));
        let wanted: HashMap<_, _> = own.collect();
        consumers.retain(|place, _| wanted.contains_key(place));
        for (place, consumed) in wanted {
            consumers.entry(place).or_insert_with(|| {
                let (stay, leave) = oneshot::channel();
                if let Some(consumer) = Consumer::new(&core, consumed, leave) {
                    observe::spawn("consumer", consumer.run());
                }
                stay
            });
        }
        if serving.changed().await.is_err() {
            return;
        }
    }
}

/// Those of a queue's consumers that belong on this core.
fn places(consumed: &Consumed, cores: usize, core: usize) -> impl Iterator<Item = ((QueueName, u32), &Consumed)> {
    let mut hasher = DefaultHasher::new();
    consumed.name.hash(&mut hasher);
    let first = hasher.finish() % cores as u64;
    let here = move |number: &u32| (first + u64::from(*number)) % cores as u64 == core as u64;
    (0..consumed.queue.concurrency).filter(here).map(move |number| ((consumed.name.clone(), number), consumed))
}

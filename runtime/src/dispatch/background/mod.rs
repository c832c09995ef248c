//! What no client waits for: messages of queues, from the disk to a worker's handler and back, and what schedules say, when it is due.
//!
//! Each queue has as many consumers as its `concurrency` says, and each schedule a timer; they are shared out among the cores, as tasks of
//! their core. A batch that nobody settles comes back by itself; a run that was begun is not begun again.

mod claimed;
mod consumer;
mod event;
mod settle;
mod timer;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::http::Core;
use crate::activate::Active;
use crate::observe;
use crate::store::{QueueName, ScheduleName};
use consumer::Consumer;
use timer::Timer;

/// Tells those who work in the background that something else serves, and at last that they are to stop.
#[derive(Debug, Default)]
pub struct Serving(watch::Sender<Phase>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Phase {
    /// How often something else began to serve.
    switches: u64,
    is_over: bool,
}

impl Serving {
    fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    fn is_over(&self) -> bool {
        self.0.borrow().is_over
    }

    pub(super) fn changed(&self) {
        self.0.send_modify(|phase| phase.switches += 1);
    }

    /// Nothing is begun any more; what runs is not disturbed.
    pub fn stop(&self) {
        self.0.send_modify(|phase| phase.is_over = true);
    }
}

/// One of those who work in the background.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Consumer(QueueName, u32),
    Timer(ScheduleName),
}

impl Place {
    /// All that a snapshot needs.
    fn all(active: &Active) -> impl Iterator<Item = Self> + '_ {
        let consumers = active.queues.values().flat_map(|consumed| {
            (0..consumed.queue.concurrency).map(|number| Self::Consumer(consumed.name.clone(), number))
        });
        consumers.chain(active.schedules.keys().cloned().map(Self::Timer))
    }

    /// On which of so many cores it is: the consumers of one queue are on different ones.
    fn core(&self, cores: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        let number = match self {
            Self::Consumer(name, number) => {
                name.hash(&mut hasher);
                u64::from(*number)
            }
            Self::Timer(name) => {
                name.hash(&mut hasher);
                0
            }
        };
        (hasher.finish().wrapping_add(number) % cores as u64) as usize
    }

    /// Takes it. Whoever has it leaves when what is returned is dropped.
    fn take(&self, core: &Arc<Core>) -> oneshot::Sender<()> {
        let (stay, leave) = oneshot::channel();
        match self {
            Self::Consumer(name, _) => {
                if let Some(consumer) = Consumer::new(core, name, leave) {
                    observe::spawn("consumer", consumer.run());
                }
            }
            Self::Timer(name) => {
                if let Some(timer) = Timer::new(core, name, leave) {
                    observe::spawn("timer", timer.run());
                }
            }
        }
        stay
    }
}

/// Has somebody at each place of one core of so many, until it is told to stop.
pub async fn work(core: Arc<Core>, cores: usize) {
    let mut serving = core.dispatcher.serving.subscribe();
    let mut taken: HashMap<Place, oneshot::Sender<()>> = HashMap::new();
    loop {
        if serving.borrow_and_update().is_over {
            return;
        }
        let active = core.dispatcher.active.load_full();
        let mut left = std::mem::take(&mut taken);
        for place in Place::all(&active).filter(|place| place.core(cores) == core.index) {
            let stay = left.remove(&place).unwrap_or_else(|| place.take(&core));
            taken.insert(place, stay);
        }
        drop((left, active));
        if serving.changed().await.is_err() {
            return;
        }
    }
}

//! Clearing isolates that may have left much, on a thread of its own.
//!
//! The kernel takes 128 MiB back in one call of 9 ms that nothing can interrupt, and to drop 10,000 resources takes half of that. On a
//! core's own thread every connection of that core would wait for it. Beside it, the core goes on; and its lane rests meanwhile, so
//! that there is time for the sweeper even where one core is all there is.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use tokio::sync::Notify;

use super::lane::{self, Payer};
use super::metered::{Ledger, Left};
use crate::bindings::Usage;
use crate::failure::Failure;

/// Up to here an isolate is cleared where it ran: 2 ms at worst, and mostly far less, because a guest that has so much has
/// rarely written to all of it.
const LARGE: u64 = 32 << 20;

/// A guest that has run for so long may have left much besides memory.
const LONG: Duration = Duration::from_millis(2);

/// A tenth of the time that a core's own thread may have.
const NICE: i32 = 10;

/// What is left of an isolate.
pub(super) struct Remains {
    pub(super) left: Left,
    pub(super) usage: Arc<Usage>,
    pub(super) ledger: Box<dyn Ledger>,
    pub(super) late: Option<Failure>,
}

/// Whether clearing it takes so long that it is left to the sweeper.
pub(super) fn is_large(usage: &Usage) -> bool {
    usage.peak_memory() > LARGE || usage.cpu_time() > LONG
}

thread_local! {
    /// The last isolate of this core that left little: it is cleared when the core has answered, and nothing else to do. One only, so
    /// that a core that is busy takes the same few slots of the pool again and again.
    static LATER: RefCell<Option<(Payer, Remains)>> = const { RefCell::new(None) };
}

/// Clears it: soon, or on the sweeper's thread.
pub(super) fn clear(payer: Payer, remains: Remains) {
    if is_large(&remains.usage) {
        // Without the thread it is cleared here.
        let Some(sweeper) = &*SWEEPER else { return remains.clear(true) };
        if let Err(mpsc::SendError(load)) = sweeper.send(Load { remains, _sweep: lane::sweep(payer.worker) }) {
            load.remains.clear(true);
        }
    } else if lane::is_busy() {
        clear_now(payer, remains);
    } else {
        let before = LATER.replace(Some((payer, remains)));
        before.into_iter().for_each(|(payer, remains)| clear_now(payer, remains));
    }
}

/// Clears what was left for later.
pub(super) fn clear_what_waits() {
    if let Some((payer, remains)) = LATER.take() {
        clear_now(payer, remains);
    }
}

fn clear_now(payer: Payer, remains: Remains) {
    let (before, usage) = (remains.usage.cpu_time(), Arc::clone(&remains.usage));
    remains.clear(lane::is_busy());
    lane::charge(payer, usage.cpu_time() - before);
}

impl Remains {
    /// What it takes is charged to the guest, too. Reading the thread's clock is a system call, and on a core that is not `shared` the
    /// wall clock will do.
    fn clear(self, shared: bool) {
        let Self { left, usage, ledger, late } = self;
        usage.poll_begins(shared);
        drop(left);
        usage.poll_ends();
        ledger.close(&usage, late.as_ref());
    }
}

struct Load {
    remains: Remains,
    _sweep: Sweep,
}

/// One for the process, started when it is first needed; it ends with it.
static SWEEPER: LazyLock<Option<mpsc::Sender<Load>>> = LazyLock::new(|| {
    let (sender, loads) = mpsc::channel::<Load>();
    let thread = std::thread::Builder::new().name("eyot-sweeper".into()).spawn(move || {
        // A thread has a niceness of its own on Linux. Where a core is shared, its connections come first.
        let _ = rustix::process::setpriority_process(None, NICE);
        for load in loads {
            load.remains.clear(true);
        }
    });
    thread.is_ok().then_some(sender)
});

/// How many isolates of a core are being cleared.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    pending: AtomicUsize,
    changed: Notify,
}

impl Sweeps {
    pub(super) fn begin(sweeps: &Arc<Self>) -> Sweep {
        sweeps.pending.fetch_add(1, SeqCst);
        Sweep(Arc::clone(sweeps))
    }

    /// Whether there is none.
    pub(super) fn are_finished(&self) -> bool {
        self.pending.load(SeqCst) == 0
    }

    /// Resolves when one is over, or somebody has [told](Self::tell) of another change; one waits at a time.
    pub(super) async fn change(&self) {
        self.changed.notified().await;
    }

    /// Ends that wait, or the next one.
    pub(super) fn tell(&self) {
        self.changed.notify_one();
    }
}

/// One of them.
pub(super) struct Sweep(Arc<Sweeps>);

impl Drop for Sweep {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, SeqCst);
        self.0.tell();
    }
}

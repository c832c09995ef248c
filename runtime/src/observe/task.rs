//! Named tasks. This is the one place that starts one, so that what runs can be counted and what panics is heard of.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

/// One row for each name. Names are literals in our code, so a fixed table is enough; what is beyond it shares the last row.
static TASKS: [OnceLock<Tasks>; 64] = [const { OnceLock::new() }; 64];

struct Tasks {
    name: &'static str,
    running: AtomicUsize,
    panics: AtomicU64,
}

thread_local! {
    /// The name of the task that this thread polls.
    static CURRENT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// The name of the task that the calling thread polls, for the one who tells of a panic.
pub(super) fn current() -> Option<&'static str> {
    CURRENT.get()
}

/// Starts a task on the runtime of the calling thread. A panic in it is counted, the panic hook logs it with the task's name, and
/// the handle reports it as any panic of a task.
#[allow(clippy::disallowed_methods, reason = "this is the one place that the ban points to")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    // Counted from here, not from the first poll: a task that never gets a turn is still there.
    let running = Running::start(row(name));
    tokio::spawn(Named { future, running })
}

pin_project! {
    /// A type of its own: an async block that pins what it was given has room for it twice.
    struct Named<F> {
        #[pin]
        future: F,
        running: Running,
    }
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let tasks = this.running.0;
        let before = CURRENT.replace(Some(tasks.name));
        let polled = catch_unwind(AssertUnwindSafe(|| this.future.poll(context)));
        CURRENT.set(before);
        polled.unwrap_or_else(|panic| {
            tasks.panics.fetch_add(1, Ordering::Relaxed);
            resume_unwind(panic)
        })
    }
}

/// How many tasks of each name there are; names whose tasks are all gone stand with zero.
#[must_use]
pub fn running_tasks() -> Vec<(&'static str, usize)> {
    rows().map(|tasks| (tasks.name, tasks.running.load(Ordering::Relaxed))).collect()
}

/// How many tasks of each name have panicked.
#[must_use]
pub fn task_panics() -> Vec<(&'static str, u64)> {
    rows().map(|tasks| (tasks.name, tasks.panics.load(Ordering::Relaxed))).collect()
}

/// Counts a task for as long as it, or its future, exists.
struct Running(&'static Tasks);

impl Running {
    fn start(tasks: &'static Tasks) -> Self {
        tasks.running.fetch_add(1, Ordering::Relaxed);
        Self(tasks)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn rows() -> impl Iterator<Item = &'static Tasks> {
    TASKS.iter().map_while(OnceLock::get)
}

fn row(name: &'static str) -> &'static Tasks {
    let fresh = || Tasks { name, running: AtomicUsize::new(0), panics: AtomicU64::new(0) };
    for slot in &TASKS[..TASKS.len() - 1] {
        let tasks = slot.get_or_init(fresh);
        if tasks.name == name {
            return tasks;
        }
    }
    TASKS[TASKS.len() - 1].get_or_init(|| Tasks { name: "other", ..fresh() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str) -> usize {
        running_tasks().into_iter().find(|(found, _)| *found == name).map_or(0, |(_, count)| count)
    }

    fn panics(name: &str) -> u64 {
        task_panics().into_iter().find(|(found, _)| *found == name).map_or(0, |(_, count)| count)
    }

    #[tokio::test]
    async fn a_running_task_is_counted_by_its_name_until_it_ends() {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = spawn("test-counted", async move {
            let _ = ended.await;
            42
        });
        assert_eq!(count("test-counted"), 1);
        end.send(()).unwrap();
        assert_eq!(task.await.unwrap(), 42);
        assert_eq!(count("test-counted"), 0);
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_is_no_longer_counted() {
        let task = spawn("test-aborted", std::future::pending::<()>());
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(count("test-aborted"), 0);
    }

    #[tokio::test]
    async fn a_task_is_known_by_its_name_while_it_is_polled() {
        let task = spawn("test-named", async {
            tokio::task::yield_now().await;
            current()
        });
        assert_eq!(current(), None);
        assert_eq!(task.await.unwrap(), Some("test-named"));
        assert_eq!(current(), None);
    }

    #[tokio::test]
    async fn a_panic_in_a_task_is_counted_and_reported() {
        let task = spawn("test-panic", async {
            tokio::task::yield_now().await;
            panic!("as the test wants")
        });
        let task: JoinHandle<()> = task;
        assert!(task.await.unwrap_err().is_panic());
        assert_eq!((count("test-panic"), panics("test-panic")), (0, 1));
    }
}

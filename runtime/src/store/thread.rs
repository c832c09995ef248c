//! A thread with something of its own that others ask it about, so that no core waits for a disk.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;

/// How many may have asked before the next one has to wait: more than that is no store's day.
pub(super) const MOST_WAITING: usize = 1024;

type Question<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A thread that owns something. Dropping this ends it when it has answered those who have asked.
#[derive(Debug)]
pub(super) struct Owner<T> {
    questions: Option<mpsc::Sender<Question<T>>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Owner<T> {
    /// Starts it.
    pub(super) fn start(name: &str, mut own: T) -> io::Result<Self> {
        let (questions, mut asked) = mpsc::channel::<Question<T>>(MOST_WAITING);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(question) = asked.blocking_recv() {
                question(&mut own);
            }
        })?;
        Ok(Self { questions: Some(questions), thread: Some(thread) })
    }

    /// Asks it, and waits for the answer. What was asked is done even if nobody waits any more.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut T) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let question = Box::new(move |own: &mut T| {
            let _ = answer.send(caught(|| question(own)));
        });
        let questions = self.questions.as_ref().ok_or(StoreError::Closed)?;
        questions.send(question).await.map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        drop(self.questions.take());
        if let Some(thread) = self.thread.take() {
            // It catches what panics.
            let _ = thread.join();
        }
    }
}

/// Does something long and rare on a thread of its own, so that nobody else waits for it.
pub(super) async fn apart<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    let (answer, answered) = oneshot::channel();
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || _ = answer.send(caught(work)));
    started.map_err(|error| StoreError::file("a new thread".as_ref(), "started", &error))?;
    answered.await.unwrap_or(Err(StoreError::Closed))
}

/// A panic is told by the panic hook, and ends this work alone.
pub(super) fn caught<R>(work: impl FnOnce() -> Result<R, StoreError>) -> Result<R, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(StoreError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_question_and_not_the_thread() {
        let owner = Owner::start("eyot-test", 7).unwrap();
        let panics: Result<(), _> = owner.ask(|_| panic!("as the test wants")).await;
        assert_eq!(panics, Err(StoreError::Panicked));
        assert_eq!(owner.ask(|own| Ok(*own)).await, Ok(7));
        assert_eq!(apart("eyot-test", || Ok(8)).await, Ok(8));
    }
}

//! What a worker does at times.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

/// What is due: one of the worker's `[[schedule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its name.
    pub schedule: String,
    /// When it should have begun: it begins later where the node was down or busy.
    pub due: SystemTime,
}

/// Runs a handler. Called by the code that [`schedule!`](crate::schedule) makes.
#[doc(hidden)]
pub fn run<E: Display>(
    schedule: String,
    due: u64,
    handle: impl AsyncFnOnce(Due) -> Result<(), E>,
) -> Result<(), String> {
    #[cfg(feature = "log")]
    crate::logging::start();
    let due = Due { schedule, due: SystemTime::UNIX_EPOCH + Duration::from_millis(due) };
    wstd::runtime::block_on(async { handle(due).await.map_err(|error| error.to_string()) })
}

/// Makes this component do what its worker's schedules say, by the given handler.
///
/// It takes an `async fn(Due) -> Result<(), E>`, where `E` can be displayed, and is written once, at the top level of the crate; beside
/// [`serve!`](crate::serve) and [`consume!`](crate::consume), or alone. An error stands in the history of the schedule; nothing is tried again
/// for it.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn on_schedule(due: Due) -> Result<(), KvError> {
///     info!("{} is due", due.schedule);
///     Namespace::open("counts")?.increment("nights", 1)?;
///     Ok(())
/// }
///
/// schedule!(on_schedule);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! schedule {
    ($handle:expr $(,)?) => {
        const _: () = {
            struct Exported;

            impl $crate::__private::scheduled_handler::Guest for Exported {
                fn handle(
                    schedule: ::std::string::String,
                    due: u64,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::__private::on_schedule(schedule, due, $handle)
                }
            }

            $crate::__private::export_scheduled_handler!(
                Exported with_types_in $crate::__private::bindings::scheduled
            );
        };
    };
}

//! A worker's settings: the table `[config]` of its eyot.toml, which the host serves as `wasi:config`.

use std::fmt::{self, Display};
use std::str::FromStr;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::bindings::store;

/// The worker's settings.
///
/// ```no_run
/// use eyot_sdk::prelude::*;
///
/// async fn handle() -> Result<String> {
///     let percent: u8 = Config::get("percent")?.unwrap_or(50);
///     Ok(format!("{percent} %\n"))
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Config;

impl Config {
    /// A setting, parsed; `None` if eyot.toml does not have it.
    ///
    /// # Errors
    /// The text does not parse as a `T`, or the host could not look.
    pub fn get<T: FromStr>(key: &str) -> Result<Option<T>, ConfigError>
    where
        T::Err: Display,
    {
        match store::get(key) {
            Ok(None) => Ok(None),
            Ok(Some(text)) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(why) => Err(ConfigError { key: key.to_owned(), why: format!("{text:?}: {why}") }),
            },
            Err(store::Error::Upstream(why) | store::Error::Io(why)) => Err(ConfigError { key: key.to_owned(), why }),
        }
    }
}

/// A setting that cannot be used. As a response it is 500: the fault is with whoever wrote eyot.toml, and the log says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    why: String,
}

impl Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "setting {:?}: {}", self.key, self.why)
    }
}

impl std::error::Error for ConfigError {}

impl IntoResponse for ConfigError {
    fn into_response(self) -> Response {
        #[cfg(feature = "log")]
        log::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, "this worker is not set up correctly\n").into_response()
    }
}

//! Arguments in their own notations, each with what to write where it is not understood.

use std::time::Duration;

use crate::cli::single;
use crate::config::positive_time;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    positive_time(text).map_err(|wrong| format!("{}: {}", wrong.why, wrong.help))
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write a number above 0, such as 2000".to_owned())
}

pub(super) fn path(text: &str) -> Result<String, String> {
    let is_good = text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok();
    is_good.then(|| text.to_owned()).ok_or_else(|| "write a path that begins with a slash, such as /a?b=c".to_owned())
}

pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, _) = single::header(text).map_err(|why| format!("{why}: write 'NAME: VALUE'"))?;
    let value = text.split_once(':').map(|(_, value)| value.trim()).unwrap_or_default();
    Ok((name.as_str().to_owned(), value.to_owned()))
}

/// What was typed, so that it can be typed again.
pub(super) fn command(arguments: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+~".contains(c);
    arguments.fold("eyot".to_owned(), |command, argument| match !argument.is_empty() && argument.chars().all(plain) {
        true => format!("{command} {argument}"),
        false => format!("{command} '{}'", argument.replace('\'', r"'\''")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let typed = ["bench", "a b.wasm", "-H", "x: it's", ""].map(str::to_owned);
        assert_eq!(command(typed.into_iter()), r"eyot bench 'a b.wasm' -H 'x: it'\''s' ''");
    }
}

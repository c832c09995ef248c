//! Sizes and times with their units.

use std::time::Duration;

use bytesize::ByteSize;

use super::reader::Wrong;

/// Longer than this is not a limit but a slip; it also keeps every deadline within what the clock can add.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

pub(super) fn bytes(text: &str) -> Result<u64, Wrong> {
    let help = "write a number and its unit, such as \"512KiB\", \"128MiB\" or \"1GiB\"";
    if !text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(Wrong::new("a size needs a unit", help));
    }
    let size = text.parse::<ByteSize>().map_err(|_| Wrong::new("this is not a size", help))?;
    // bytesize saturates; what reaches the end was more than 64 bits can hold.
    if size.as_u64() == u64::MAX {
        return Err(Wrong::new("this is larger than 16 EiB", help));
    }
    Ok(size.as_u64())
}

pub(super) fn time(text: &str) -> Result<Duration, Wrong> {
    let help = "write a number and its unit, such as \"50ms\", \"30s\" or \"5m\"";
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(Wrong::new("a time needs a unit", help));
    }
    let time = humantime::parse_duration(text).map_err(|error| Wrong::new(format!("not a time: {error}"), help))?;
    if time > LONGEST {
        return Err(Wrong::new("this is longer than a year", help));
    }
    Ok(time)
}

/// A time in which something is to be done: 0 would mean never.
pub(crate) fn positive_time(text: &str) -> Result<Duration, Wrong> {
    match time(text)? {
        Duration::ZERO => Err(Wrong::new("0 leaves no time at all", "write a time above 0, such as \"10s\"")),
        time => Ok(time),
    }
}

pub(super) fn show_bytes(bytes: u64) -> String {
    let shown = ByteSize(bytes).display().iec().to_string().replace(' ', "").replace(".0", "");
    // Rounded to one digit, it may not be what holds: then the plain number is the honest one.
    if shown.parse::<ByteSize>() == Ok(ByteSize(bytes)) { shown } else { format!("{bytes}B") }
}

pub(super) fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!(bytes("128MiB"), Ok(128 << 20));
        assert_eq!(bytes("1.5 KiB"), Ok(1536));
        assert_eq!(bytes("100MB"), Ok(100_000_000));
        for wrong in
            ["128", "", "MiB", "12 parsecs", "-1MiB", "16EiB", "999999999999999999999999TiB", "é", "1e9", "NaNB"]
        {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!(time("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["50", "0", "", "ms", "-1s", "2 years", "99999999999999999999s", "é"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(positive_time("0s").is_err());
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_value() {
        for value in [0, 1, 1023, 1024, 1025, 1536, 100_000_000, 128 << 20, 10 << 30, (1 << 40) + 1, 1 << 60] {
            assert_eq!(bytes(&show_bytes(value)), Ok(value), "{}", show_bytes(value));
        }
        for value in [0, 1, 50, 1000, 75_000, 300_000] {
            let value = Duration::from_millis(value);
            assert_eq!(time(&show_time(value)), Ok(value), "{}", show_time(value));
        }
    }
}

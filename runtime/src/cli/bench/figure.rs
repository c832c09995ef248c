//! Numbers as people read them.

/// Blocks of an eighth, two eighths, … of a character's width.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// With so many digits after the point, and a comma between thousands.
pub(super) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// With three digits that count.
pub(super) fn short(value: f64) -> String {
    number(value, if value < 9.995 { 2 } else { usize::from(value < 99.95) })
}

/// A time that is known in microseconds.
pub(super) fn time(micros: f64) -> String {
    match micros {
        ..1000.0 => format!("{} µs", short(micros)),
        ..1_000_000.0 => format!("{} ms", short(micros / 1000.0)),
        _ => format!("{} s", short(micros / 1_000_000.0)),
    }
}

pub(super) fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).display().iec().to_string()
}

/// A bar of so many characters at most, for a share of the longest one.
pub(super) fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// What there is, or a dash.
pub(super) fn maybe<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), shown)
}

/// One connection, or several.
pub(super) fn connections(count: usize) -> String {
    format!("{} connection{}", number(count as f64, 0), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!((number(-1234.5, 1), number(999.96, 1)), ("-1,234.5".to_owned(), "1,000.0".to_owned()));
        assert_eq!((short(3.456), short(20.24), short(1234.5)), ("3.46".into(), "20.2".into(), "1,234".into()));
        assert_eq!(
            (time(999.0), time(1234.0), time(2_500_000.0)),
            ("999 µs".into(), "1.23 ms".into(), "2.50 s".into())
        );
        assert_eq!(bytes(1536 << 10), "1.5 MiB");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!((bar(1.0, 4), bar(0.5, 4), bar(0.28, 4)), ("████".into(), "██".into(), "█▏".into()));
        assert_eq!((bar(0.0, 4), bar(2.0, 4)), (String::new(), "████".into()));
    }
}

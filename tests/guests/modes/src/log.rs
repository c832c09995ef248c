//! Modes that write logs.

use std::io::Write;

use crate::Query;

/// Bytes that a log must not pass on as they are: a terminal's escape sequences, a line that looks like another entry, NUL, a
/// lone carriage return, what is not UTF-8, and a line without an end.
const NASTY: &[u8] = b"\x1b[2J\x1b[31mred\x1b[0m \x1b]0;title\x07\n\
    first\r\nsecond {\"level\":\"ERROR\",\"message\":\"forged\"}\n\
    nul\0nul\rback\x08\x7f\n\
    invalid \xff\xfe\xc3\x28 utf-8 \xed\xa0\x80\n\
    bidi \xe2\x80\xae override, no newline at the end";

/// `log?bytes=N&to=stderr`: writes N bytes, in lines of 100, to stdout or stderr, or with `to=both` to each.
pub(crate) fn log(query: &Query) -> String {
    let line = [[b'.'; 99].as_slice(), b"\n"].concat();
    let bytes = query.size("bytes", 100);
    let mut left = bytes;
    while left > 0 {
        let part = &line[line.len() - left.min(line.len())..];
        write(query, part);
        left -= part.len();
    }
    format!("logged {bytes} bytes\n")
}

/// `log-nasty?to=stderr`: writes what a careless log would pass on to a terminal or a parser.
pub(crate) fn log_nasty(query: &Query) -> String {
    write(query, NASTY);
    "logged nasty bytes\n".to_owned()
}

/// Past its limit a log may be closed; the fixture goes on, as a program would that ignores such errors.
fn write(query: &Query, bytes: &[u8]) {
    if matches!(query.text("to"), Some("stderr" | "both")) {
        let _ = std::io::stderr().write_all(bytes);
    }
    if query.text("to") != Some("stderr") {
        let _ = std::io::stdout().write_all(bytes);
        let _ = std::io::stdout().flush();
    }
}

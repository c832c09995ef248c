//! Text that a client or a guest chose, made safe for one line of a terminal or a log.
//!
//! Escaped are all control characters but the tab (C0, DEL, C1: no ANSI sequence survives without one), what breaks a line
//! in Unicode's view, and the marks that reorder text (Unicode UAX #9; "Trojan Source", CVE-2021-42574).

use std::fmt::{self, Display, Formatter, Write};
use std::io;

/// Shows a text with its dangerous characters as `\n`, `\x1b` or `\u{202e}`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| is_dangerous(*c)) {
            f.write_str(&rest[..at])?;
            match found {
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                other if other.is_ascii() => write!(f, "\\x{:02x}", other as u32)?,
                other => write!(f, "{}", other.escape_unicode())?,
            }
            rest = &rest[at + found.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// The same for bytes that may not be UTF-8: what is not is shown as `\xNN`.
#[derive(Clone, Copy, Debug)]
pub struct EscapedBytes<'a>(pub &'a [u8]);

impl Display for EscapedBytes<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaped(chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// JSON in which the same characters are escaped as `\u202e`. JSON itself asks that of C0 only (RFC 8259 §7), and a terminal that shows
/// a log is a terminal too.
pub(super) struct EscapingJson;

impl serde_json::ser::Formatter for EscapingJson {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        // Nearly all are, and bytes are looked at many at a time.
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return out.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| is_dangerous(*c)) {
            // All of them are in the first plane, so each is one escape.
            write!(out, "{}\\u{:04x}", &rest[..at], found as u32)?;
            rest = &rest[at + found.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Shows text with its dangerous characters escaped and counts what was shown, so that columns can be padded.
pub(super) fn write_padded(out: &mut Vec<u8>, text: &str, width: usize) {
    let mut counted = Counted { out, characters: 0 };
    // Writing to a Vec cannot fail.
    let _ = write!(counted, "{}", Escaped(text));
    let missing = width.saturating_sub(counted.characters);
    out.resize(out.len() + missing, b' ');
}

struct Counted<'a> {
    out: &'a mut Vec<u8>,
    characters: usize,
}

impl Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.characters += text.chars().count();
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_survives() {
        let text = "a\x1b[31mred\x07\0\u{9b}31m\r\nb\x7f\u{202e}c\u{2028}";
        let shown = Escaped(text).to_string();
        assert_eq!(shown, "a\\x1b[31mred\\x07\\x00\\u{9b}31m\\r\\nb\\x7f\\u{202e}c\\u{2028}");
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        let text = "/grüße/世界?\t\"quoted\" C:\\path";
        assert_eq!(Escaped(text).to_string(), text);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_numbers() {
        assert_eq!(EscapedBytes(b"ok \xff\xc3( \xe2\x82").to_string(), "ok \\xff\\xc3( \\xe2\\x82");
    }

    #[test]
    fn padding_counts_what_is_shown() {
        let mut out = Vec::new();
        write_padded(&mut out, "ü\n", 5);
        assert_eq!(String::from_utf8(out).unwrap(), "ü\\n  ");
    }
}

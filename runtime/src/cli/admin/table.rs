//! Lists for a terminal.

use std::io::{self, IsTerminal};

use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};
use jiff::Timestamp;

/// A table of text. On a terminal its columns fit, and what is long goes on in further lines; elsewhere a row is a line.
pub(in crate::cli) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = ruled(header);
    table.set_content_arrangement(match io::stdout().is_terminal() {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// An empty table with a line below its header and no others.
pub(in crate::cli) fn ruled<const N: usize>(header: [&str; N]) -> Table {
    let style = TableStyle::new()
        .header_lines(ContentLineStyle::none())
        .header_separator(LineStyle::none().fill('─').junction('─'))
        .content_lines(ContentLineStyle::none());
    let mut table = Table::new();
    table.load_style(style).set_header(header);
    table
}

/// A time to the second.
pub(in crate::cli) fn when(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What others wrote must not move a cursor.
pub(in crate::cli) fn plain(text: &str) -> String {
    let escaped = |letter: char| match letter.is_control() {
        true => letter.escape_debug().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_moves_no_cursor_and_is_not_cut() {
        let note = format!("{} \u{1b}[2J\nend", "long ".repeat(60));
        let text = table(["version", "note"], [["1".to_owned(), note]]);
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nend"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}

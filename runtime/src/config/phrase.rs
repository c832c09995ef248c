//! How values and names are said in messages.

use toml::Spanned;
use toml::de::DeValue;

/// "did you mean …?" where something is near, and always the list of what there is.
pub(super) fn suggestion<'n>(wrong: &str, list: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let all = known.join(", ");
    let nearest =
        known.iter().filter(|_| wrong.len() < 64).map(|name| (strsim::damerau_levenshtein(wrong, name), *name)).min();
    match nearest {
        // Half of a short name changed is another name, not a slip.
        Some((distance, name)) if distance <= 1 + name.len() / 4 && 2 * distance < name.len().max(wrong.len()) => {
            format!("did you mean `{name}`? {list}: {all}")
        }
        _ => format!("{list}: {all}"),
    }
}

/// What stands there, for messages: its type, and its value where that is short.
pub(super) fn found(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the float {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A string of the file in a message.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// Not longer than a line can take; control characters are taken care of where a message is made.
pub(super) fn printable(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short}{dots}")
}

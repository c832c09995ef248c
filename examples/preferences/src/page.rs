//! The page with the form. Nothing a client sent is in it: every value comes from a list of ours.

use crate::preferences::{CURRENCIES, LANGUAGES, Preferences, THEMES};

pub fn of(preferences: Preferences) -> String {
    let Preferences { theme, currency, language } = preferences;
    format!(
        r#"<!doctype html>
<html lang="{language}" data-theme="{theme}">
<meta charset="utf-8">
<meta name="color-scheme" content="{scheme}">
<title>Preferences</title>
<h1>Preferences</h1>
<form method="post">
{themes}{currencies}{languages}<button>Save</button>
</form>
"#,
        scheme = if theme == "system" { "light dark" } else { theme },
        themes = select("theme", &THEMES, theme),
        currencies = select("currency", &CURRENCIES, currency),
        languages = select("language", &LANGUAGES, language),
    )
}

fn select(name: &str, values: &[&str], chosen: &str) -> String {
    let options: String = values
        .iter()
        .map(|value| format!("<option{}>{value}</option>", if *value == chosen { " selected" } else { "" }))
        .collect();
    format!("<label>{name} <select name=\"{name}\">{options}</select></label>\n")
}

//! What a visitor prefers, kept in one cookie: `theme-dark.currency-EUR.language-de`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub const COOKIE: &str = "preferences";

/// Every field is one of a short list, so whatever a client sends, only what we know is kept and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Preferences {
    pub theme: &'static str,
    pub currency: &'static str,
    pub language: &'static str,
}

pub const THEMES: [&str; 3] = ["system", "light", "dark"];
pub const CURRENCIES: [&str; 4] = ["USD", "EUR", "GBP", "JPY"];
pub const LANGUAGES: [&str; 4] = ["en", "de", "fr", "ja"];

impl Default for Preferences {
    fn default() -> Self {
        Self { theme: THEMES[0], currency: CURRENCIES[0], language: LANGUAGES[0] }
    }
}

impl Preferences {
    /// Changes one of them, or says what is allowed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let (field, allowed): (_, &[&'static str]) = match name {
            "theme" => (&mut self.theme, &THEMES),
            "currency" => (&mut self.currency, &CURRENCIES),
            "language" => (&mut self.language, &LANGUAGES),
            _ => return Err("there is theme, currency and language".to_owned()),
        };
        *field = allowed
            .iter()
            .copied()
            .find(|known| *known == value)
            .ok_or_else(|| format!("{name} is one of {}", allowed.join(", ")))?;
        Ok(())
    }

    /// Reads a cookie. What we no longer know, an old cookie or a forged one, falls back to the default.
    pub fn of_cookie(text: &str) -> Self {
        let mut preferences = Self::default();
        for (name, value) in text.split('.').filter_map(|pair| pair.split_once('-')) {
            let _ = preferences.set(name, value);
        }
        preferences
    }
}

/// The text of the cookie: only characters that need no escape in a cookie.
impl fmt::Display for Preferences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "theme-{}.currency-{}.language-{}", self.theme, self.currency, self.language)
    }
}

/// One change, as in `?set=theme:dark`.
pub struct Change(pub String, pub String);

impl FromStr for Change {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once(':').ok_or("write NAME:VALUE, such as theme:dark")?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Preferences;

    #[test]
    fn a_cookie_of_ours_is_read_as_it_was_written() {
        let preferences = Preferences { theme: "dark", currency: "EUR", language: "de" };
        assert_eq!(Preferences::of_cookie(&preferences.to_string()), preferences);
    }

    #[test]
    fn a_forged_or_old_cookie_falls_back_field_by_field() {
        for forged in ["", ".", "-", "theme", "theme-<script>", "colour-red", "a-b-c.d", "theme-dark-", "\u{0}-\u{0}"] {
            assert_eq!(Preferences::of_cookie(forged), Preferences::default(), "{forged:?}");
        }
        let mixed = Preferences::of_cookie("theme-dark.currency-XXX");
        assert_eq!(mixed, Preferences { theme: "dark", ..Preferences::default() });
    }
}

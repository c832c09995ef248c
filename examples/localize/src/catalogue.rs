//! The messages of one language, from its Fluent file.

use eyot_sdk::prelude::*;
use fluent_bundle::{FluentArgs, FluentBundle, FluentResource};
use unic_langid::LanguageIdentifier;

/// The languages that there is a file for.
pub const SUPPORTED: [&str; 4] = ["en", "de", "fr", "ja"];

/// What is spoken to somebody who asks for none of them.
pub const DEFAULT: &str = "en";

pub struct Catalogue(FluentBundle<FluentResource>);

impl Catalogue {
    /// Only the language that is needed is parsed: an isolate lives for one request.
    pub fn of(language: &str) -> Self {
        let source = match language {
            "de" => include_str!("../locales/de.ftl"),
            "fr" => include_str!("../locales/fr.ftl"),
            "ja" => include_str!("../locales/ja.ftl"),
            _ => include_str!("../locales/en.ftl"),
        };
        let locale: LanguageIdentifier = language.parse().unwrap_or_default();
        let mut bundle = FluentBundle::new(vec![locale]);
        // The marks that keep mixed writing directions apart would show in a terminal. In a page with Arabic or Hebrew, keep them.
        bundle.set_use_isolating(false);
        // A file with an error still has all its other messages.
        let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, errors)| {
            error!("{language}.ftl: {errors:?}");
            resource
        });
        bundle.add_resource_overriding(resource);
        Self(bundle)
    }

    /// A message in this language. A message that is missing shows its name: a page with a hole is better than none.
    pub fn text(&self, name: &str, args: &FluentArgs<'_>) -> String {
        let Some(pattern) = self.0.get_message(name).and_then(|message| message.value()) else {
            warn!("there is no message {name}");
            return name.to_owned();
        };
        let mut errors = Vec::new();
        let text = self.0.format_pattern(pattern, Some(args), &mut errors).into_owned();
        if !errors.is_empty() {
            warn!("{name}: {errors:?}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use fluent_bundle::FluentArgs;

    use super::{Catalogue, SUPPORTED};

    #[test]
    fn every_language_has_every_message() {
        let mut args = FluentArgs::new();
        args.set("name", "Ada");
        args.set("count", 2);
        for language in SUPPORTED {
            let catalogue = Catalogue::of(language);
            for name in ["greeting", "greeting-stranger", "unread", "choose"] {
                assert_ne!(catalogue.text(name, &args), name, "{language}");
            }
        }
    }

    #[test]
    fn numbers_take_the_plural_of_the_language() {
        let unread = |language, count: i32| {
            let mut args = FluentArgs::new();
            args.set("count", count);
            Catalogue::of(language).text("unread", &args)
        };
        assert_eq!(unread("de", 1), "Sie haben eine ungelesene Nachricht.");
        assert_eq!(unread("de", 2), "Sie haben 2 ungelesene Nachrichten.");
        assert_eq!(unread("fr", 1), "Vous avez 1 message non lu.");
        assert_eq!(unread("ja", 1), "未読メッセージが1件あります。");
    }
}

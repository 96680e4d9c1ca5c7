//! What the operator wants hidden.

use settings::{Pattern, Section};

use crate::mask::Path;

pub(crate) struct Rules {
    pub(crate) drop_headers: Vec<Pattern>,
    pub(crate) mask_fields: Vec<Path>,
    /// Names of fields, in lower case, that are masked wherever they are.
    pub(crate) mask_anywhere: Vec<String>,
    pub(crate) mask: String,
    pub(crate) withhold_omitted: bool,
    pub(crate) withhold_unreadable: bool,
}

const MASK: &str = "***";

impl Rules {
    pub(crate) fn read(settings: &Section) -> Self {
        Self {
            drop_headers: settings.patterns("drop-headers"),
            mask_fields: paths(settings),
            mask_anywhere: names(settings),
            mask: settings.text("mask").unwrap_or_else(|| MASK.to_owned()),
            withhold_omitted: settings.word("on-omitted", &["keep", "withhold"]) == "withhold",
            withhold_unreadable: settings.word("on-unreadable", &["withhold", "keep"]) == "withhold",
        }
    }

    /// Whether bodies are looked at.
    pub(crate) fn mask_bodies(&self) -> bool {
        !self.mask_fields.is_empty() || !self.mask_anywhere.is_empty()
    }
}

fn paths(settings: &Section) -> Vec<Path> {
    let texts = settings.texts("mask-fields");
    let parse = |text: &String| {
        let path = Path::parse(text);
        if path.is_none() {
            let message = format!("{text:?} is no path of a field");
            settings.mistake(
                "mask-fields",
                message,
                "write names with dots between: user.email, items.*.card",
            );
        }
        path
    };
    texts.iter().filter_map(parse).collect()
}

fn names(settings: &Section) -> Vec<String> {
    let names = settings.texts("mask-anywhere");
    if names.iter().any(String::is_empty) {
        settings.mistake("mask-anywhere", "has an empty name", "write the names of fields: password");
    }
    names.iter().map(|name| name.to_lowercase()).collect()
}

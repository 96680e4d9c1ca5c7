//! `dockerfile-templates`: Dockerfiles from templates that the operator keeps as text.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "dunnage:worlds/dockerfile", generate_all });
}

mod entrypoint;
mod language;
mod plan;
mod template;

use bindings::dunnage::plugin::types::{Call, Finding};
use bindings::exports::dunnage::build::dockerfile::{self, Plan, Source};
use bindings::exports::dunnage::plugin::guest;
use language::Language;

/// Every rule that a finding may name.
const RULES: [(&str, &str); 6] = [
    ("settings", "The settings are wrong."),
    ("version-unknown", "The language has no such version here."),
    ("entrypoint-invalid", "The entrypoint is not written as this language wants it."),
    ("entrypoint-missing", "The file that the entrypoint names is not in the archive."),
    ("value-invalid", "A value could not be put into a Dockerfile safely."),
    ("note", "Something about the source that its author should know."),
];

struct DockerfileTemplates;

bindings::export!(DockerfileTemplates with_types_in bindings);

impl guest::Guest for DockerfileTemplates {
    fn describe() -> guest::Description {
        guest::Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            settings_schema: None,
            rules: RULES.iter().map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned())).collect(),
        }
    }

    fn check_settings(settings: String) -> Result<(), Vec<Finding>> {
        let finding =
            |mistake: settings::Mistake| finding("settings", mistake.message, &mistake.path, mistake.hint);
        match settings::parse(&settings, language::read_all) {
            Ok(_) => Ok(()),
            Err(mistakes) => Err(mistakes.into_iter().map(finding).collect()),
        }
    }
}

impl dockerfile::Guest for DockerfileTemplates {
    fn languages(settings: String) -> Result<Vec<dockerfile::Language>, String> {
        Ok(languages_of(&settings)?.iter().map(Language::declaration).collect())
    }

    fn generate(settings: String, call: Call, source: Source) -> Result<Plan, Vec<Finding>> {
        let wrong = |message: String| {
            vec![finding("settings", message, "languages", "ask the operator of this host".to_owned())]
        };
        let languages = languages_of(&settings).map_err(wrong)?;
        let name = &source.function.language;
        let language = languages.iter().find(|language| language.name == *name);
        let language = language.ok_or_else(|| wrong(format!("there is no template for {name}")))?;
        plan::generate(language, &call, &source)
    }
}

fn languages_of(settings: &str) -> Result<Vec<Language>, String> {
    settings::parse(settings, language::read_all).map_err(|_| "the settings were not checked".to_owned())
}

fn finding(rule: &str, message: String, path: &str, hint: String) -> Finding {
    Finding { rule: rule.to_owned(), message, path: Some(path.to_owned()), hint: Some(hint) }
}

//! `redact`: a post-processor that drops headers of answers and masks fields of their bodies.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "dunnage:worlds/post-process", generate_all });
}

mod edit;
mod mask;
mod rules;

use bindings::dunnage::plugin::types::{Call, Finding, Function};
use bindings::exports::dunnage::plugin::guest;
use bindings::exports::dunnage::response::post_process::{self, Outcome, Response};
use rules::Rules;

struct Redact;

bindings::export!(Redact with_types_in bindings);

impl guest::Guest for Redact {
    fn describe() -> guest::Description {
        let rule = |name: &str, meaning: &str| (name.to_owned(), meaning.to_owned());
        guest::Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            settings_schema: None,
            rules: vec![
                rule("settings", "The settings are wrong."),
                rule(edit::BODY_TOO_LARGE, "The body is too large to be looked at."),
                rule(edit::BODY_UNREADABLE, "The body says that it is JSON, and is not."),
            ],
        }
    }

    fn check_settings(settings: String) -> Result<(), Vec<Finding>> {
        let finding = |mistake: settings::Mistake| Finding {
            rule: "settings".to_owned(),
            message: mistake.message,
            path: Some(mistake.path),
            hint: Some(mistake.hint),
        };
        match settings::parse(&settings, Rules::read) {
            Ok(_) => Ok(()),
            Err(mistakes) => Err(mistakes.into_iter().map(finding).collect()),
        }
    }
}

impl post_process::Guest for Redact {
    fn process(settings: String, _: Call, _: Function, response: Response) -> Result<Outcome, String> {
        let rules = settings::parse(&settings, Rules::read)
            .map_err(|_| "the settings were not checked".to_owned())?;
        Ok(edit::apply(&rules, &response))
    }
}

//! `limits-policy`: caps limits, and says which images, labels, sizes and methods are allowed.

mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "dunnage:worlds/policy", generate_all });
}

mod caps;
mod deploy;
mod images;
mod invoke;
mod labels;
mod rules;

use bindings::dunnage::admission::types::{Allowance, LimitsPatch, Verdict};
use bindings::dunnage::plugin::types::{Call, Finding, Principal};
use bindings::exports::dunnage::admission::{on_deploy, on_invoke};
use bindings::exports::dunnage::plugin::guest;
use rules::Rules;

struct LimitsPolicy;

bindings::export!(LimitsPolicy with_types_in bindings);

impl guest::Guest for LimitsPolicy {
    fn describe() -> guest::Description {
        let rule = |(name, meaning): &(&str, &str)| ((*name).to_owned(), (*meaning).to_owned());
        guest::Description {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            settings_schema: None,
            rules: rules::MEANINGS.iter().map(rule).collect(),
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

impl on_deploy::Guest for LimitsPolicy {
    fn review(
        settings: String,
        _: Call,
        _: Principal,
        what: on_deploy::Deployment,
    ) -> Result<Verdict, String> {
        Ok(deploy::review(&rules_of(&settings)?, &what))
    }
}

impl on_invoke::Guest for LimitsPolicy {
    fn review(
        settings: String,
        _: Call,
        _: Option<Principal>,
        what: on_invoke::Invocation,
    ) -> Result<Verdict, String> {
        Ok(invoke::review(&rules_of(&settings)?, &what))
    }
}

fn rules_of(settings: &str) -> Result<Rules, String> {
    settings::parse(settings, Rules::read).map_err(|_| "the settings were not checked".to_owned())
}

/// A verdict from what was found: one finding is enough for a no.
fn verdict(findings: Vec<Finding>, limits: Option<LimitsPatch>) -> Verdict {
    if findings.is_empty() {
        Verdict::Allow(Allowance { warnings: Vec::new(), limits })
    } else {
        Verdict::Deny(findings)
    }
}

fn finding(rule: &str, message: String, path: &str, hint: String) -> Finding {
    Finding { rule: rule.to_owned(), message, path: Some(path.to_owned()), hint: Some(hint) }
}

//! What a guest answers, judged before anyone believes it.

use super::Language;
use super::bindings::dunnage::admission::types::{Allowance, LimitsPatch, Verdict};
use super::bindings::dunnage::plugin::types as wit;
use super::bindings::exports::dunnage::build::dockerfile;
use super::bindings::exports::dunnage::plugin::guest;
use super::call::Broken;
use super::sanitise::{is_kebab, one_line};
use crate::limits;
use crate::model::{Finding, Limits};

/// A policy's verdict that can be acted on.
pub(super) enum Judged {
    Allow { limits: Limits, warnings: Vec<Finding> },
    Deny(Vec<Finding>),
    Abstain,
}

/// What a plugin says of itself.
pub(super) struct Description {
    pub(super) version: String,
    pub(super) summary: String,
}

pub(super) fn verdict(
    verdict: Verdict,
    plugin: &str,
    stand: Limits,
) -> Result<(&'static str, Judged), Broken> {
    Ok(match verdict {
        Verdict::Allow(allowance) => ("allow", allow(allowance, plugin, stand)?),
        Verdict::Deny(findings) => ("deny", Judged::Deny(refusal(findings)?)),
        Verdict::Abstain => ("abstain", Judged::Abstain),
    })
}

/// The findings of a no. A no without a reason is no answer.
pub(super) fn refusal(found: Vec<wit::Finding>) -> Result<Vec<Finding>, Broken> {
    if found.is_empty() {
        return Err(Broken::bad_output("it said no without a finding that says why"));
    }
    findings(found)
}

pub(super) fn findings(found: Vec<wit::Finding>) -> Result<Vec<Finding>, Broken> {
    if found.len() > limits::PLUGIN_FINDINGS_MAX {
        let reason =
            format!("it gave {} findings, over {} at most", found.len(), limits::PLUGIN_FINDINGS_MAX);
        return Err(Broken::bad_output(reason));
    }
    found.into_iter().map(finding).collect()
}

fn finding(found: wit::Finding) -> Result<Finding, Broken> {
    Ok(Finding {
        rule: rule(found.rule)?,
        message: text(found.message, "a finding's message")?,
        path: found.path.map(|t| text(t, "a finding's path")).transpose()?,
        hint: found.hint.map(|t| text(t, "a finding's hint")).transpose()?,
    })
}

fn rule(name: String) -> Result<String, Broken> {
    if is_kebab(&name) && name.len() <= limits::PLUGIN_RULE_BYTES_MAX {
        return Ok(name);
    }
    let reason = format!("a rule's name is in kebab-case, {} bytes at most", limits::PLUGIN_RULE_BYTES_MAX);
    Err(Broken::bad_output(reason))
}

/// Text that people read, made harmless.
fn text(text: String, what: &str) -> Result<String, Broken> {
    if text.len() > limits::PLUGIN_FINDING_TEXT_BYTES_MAX {
        let most = limits::PLUGIN_FINDING_TEXT_BYTES_MAX;
        return Err(Broken::bad_output(format!("{what} has {} bytes, over {most} at most", text.len())));
    }
    let clean = one_line(&text).trim().to_owned();
    if clean.is_empty() {
        return Err(Broken::bad_output(format!("{what} is empty")));
    }
    Ok(clean)
}

fn allow(allowance: Allowance, plugin: &str, stand: Limits) -> Result<Judged, Broken> {
    let mut warnings = findings(allowance.warnings)?;
    let limits = match allowance.limits {
        Some(patch) => tighten(patch, plugin, stand, &mut warnings)?,
        None => stand,
    };
    Ok(Judged::Allow { limits, warnings })
}

/// The limits that stand, lowered where the patch asks for it. What it asks to raise stays, and a
/// warning says so: a policy whose author thinks it raises limits should not fail in silence.
fn tighten(
    patch: LimitsPatch,
    plugin: &str,
    stand: Limits,
    warnings: &mut Vec<Finding>,
) -> Result<Limits, Broken> {
    let because = finding(patch.because)?;
    let mut limits = stand;
    let fields = [
        ("memory-mib", patch.memory_mib, &mut limits.memory_mib),
        ("cpu-millis", patch.cpu_millis, &mut limits.cpu_millis),
        ("timeout-ms", patch.timeout_ms, &mut limits.timeout_ms),
        ("concurrency", patch.concurrency, &mut limits.concurrency),
    ];
    for (name, asked, stands) in fields {
        match asked {
            Some(0) => return Err(Broken::bad_output(format!("it set limits.{name} to 0"))),
            Some(asked) if asked > *stands => {
                warnings.push(not_raised(&because.rule, plugin, name, asked, *stands));
            }
            Some(asked) => *stands = asked,
            None => {}
        }
    }
    if limits != stand {
        warnings.push(because);
    }
    Ok(limits)
}

fn not_raised(rule: &str, plugin: &str, name: &str, asked: u32, stands: u32) -> Finding {
    Finding {
        rule: rule.to_owned(),
        message: format!("{plugin} asked for {name} {asked}, over the {stands} that stand; they stay"),
        path: Some(format!("limits.{name}")),
        hint: Some("a policy can only lower limits".to_owned()),
    }
}

pub(super) fn plan_notes(plan: &mut dockerfile::Plan) -> Result<Vec<Finding>, Broken> {
    findings(std::mem::take(&mut plan.notes))
}

pub(super) fn description(described: guest::Description) -> Result<Description, Broken> {
    text(described.name, "its name")?;
    if semver::Version::parse(&described.version).is_err() {
        return Err(Broken::bad_output("its version is not a semantic version, as 1.2.3 is"));
    }
    if described.version.len() > limits::PLUGIN_RULE_BYTES_MAX {
        return Err(Broken::bad_output("its version is too long"));
    }
    if described.rules.len() > limits::PLUGIN_RULES_MAX {
        return Err(Broken::bad_output(format!("it has over {} rules", limits::PLUGIN_RULES_MAX)));
    }
    for (name, meaning) in described.rules {
        rule(name)?;
        text(meaning, "what a rule means")?;
    }
    if let Some(schema) = &described.settings_schema {
        check_schema(schema)?;
    }
    Ok(Description { version: described.version, summary: text(described.summary, "its summary")? })
}

fn check_schema(schema: &str) -> Result<(), Broken> {
    if schema.len() > limits::PLUGIN_SCHEMA_BYTES_MAX {
        let kib = limits::PLUGIN_SCHEMA_BYTES_MAX / limits::KIB;
        return Err(Broken::bad_output(format!("its settings' schema has over {kib} KiB")));
    }
    match serde_json::from_str::<serde_json::Value>(schema) {
        Ok(serde_json::Value::Object(_) | serde_json::Value::Bool(_)) => Ok(()),
        Ok(_) => Err(Broken::bad_output("its settings' schema is neither an object nor a boolean")),
        Err(error) => Err(Broken::bad_output(format!("its settings' schema is not JSON: {error}"))),
    }
}

pub(super) fn languages(said: Vec<dockerfile::Language>, plugin: &str) -> Result<Vec<Language>, Broken> {
    if said.len() > limits::PLUGIN_LANGUAGES_MAX {
        let most = limits::PLUGIN_LANGUAGES_MAX;
        return Err(Broken::bad_output(format!("it serves {} languages, over {most} at most", said.len())));
    }
    said.into_iter().map(|language| one_language(language, plugin)).collect()
}

fn one_language(said: dockerfile::Language, plugin: &str) -> Result<Language, Broken> {
    let most = limits::PLUGIN_LANGUAGE_WORDS_MAX;
    if [&said.aliases, &said.versions, &said.markers].iter().any(|list| list.len() > most) {
        return Err(Broken::bad_output(format!("a language has over {most} aliases, versions or markers")));
    }
    if !std::iter::once(&said.name).chain(&said.aliases).all(|name| is_language_name(name)) {
        let reason = "a language's names have 1 to 64 characters of a-z, 0-9 and . + # _ -";
        return Err(Broken::bad_output(reason));
    }
    if !said.versions.iter().all(|version| is_version(version)) {
        let reason = "a language's versions have 1 to 64 visible ASCII characters";
        return Err(Broken::bad_output(reason));
    }
    if !said.markers.iter().all(|marker| is_marker(marker)) {
        return Err(Broken::bad_output("a language's markers are relative paths of files"));
    }
    Ok(Language {
        name: said.name,
        aliases: said.aliases,
        versions: said.versions,
        markers: said.markers,
        plugin: plugin.to_owned(),
    })
}

fn is_language_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".+#_-".contains(&b);
    !name.is_empty() && name.len() <= limits::PLUGIN_LANGUAGE_WORD_BYTES_MAX && name.bytes().all(allowed)
}

fn is_version(version: &str) -> bool {
    let visible = version.bytes().all(|b| b.is_ascii_graphic());
    !version.is_empty() && version.len() <= limits::PLUGIN_LANGUAGE_WORD_BYTES_MAX && visible
}

fn is_marker(path: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..");
    let harmless = matches!(one_line(path), std::borrow::Cow::Borrowed(_));
    path.len() <= limits::PLUGIN_MARKER_BYTES_MAX && harmless && path.split('/').all(part)
}

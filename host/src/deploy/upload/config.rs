//! Config: the `config` field, checked key by key. What the host itself allows is `plan`'s to check.

use serde_json::error::Category;

use super::FunctionConfig;
use crate::limits::{self, *};
use crate::model::Finding;

/// Set by the host in every container.
const RESERVED_PREFIXES: [&str; 6] = ["DUNNAGE_", "FUNCTION_", "HTTP_", "LD_", "AWS_LAMBDA_", "DART_CLOUD_"];
/// `PATH` is the image's, which knows where its programs are.
const RESERVED: [&str; 2] = ["SHARED_PATH", "PATH"];

pub(super) fn parse(text: &str) -> Result<FunctionConfig, Finding> {
    let config: FunctionConfig = serde_json::from_str(text).map_err(|error| not_a_config(&error))?;
    objects(text)?;
    texts(&config)?;
    numbers(&config)?;
    labels(&config)?;
    environment(&config)?;
    Ok(config)
}

/// A structure is read from a list too, which no client means.
fn objects(text: &str) -> Result<(), Finding> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| not_a_config(&error))?;
    let limits_is_one = value.get("limits").is_none_or(serde_json::Value::is_object);
    if value.is_object() && limits_is_one {
        return Ok(());
    }
    Err(finding("wrong-type", "config and its limits are JSON objects".to_owned()))
}

/// The parser's message is passed on only where it names a key; others may hold a secret's value.
fn not_a_config(error: &serde_json::Error) -> Finding {
    let message = error.to_string();
    let unknown = message.starts_with("unknown field");
    if unknown || message.starts_with("duplicate field") {
        let key = message.split('`').nth(1).map(str::to_owned);
        let rule = if unknown { "unknown-key" } else { "doubled-key" };
        let shown = super::archive::shown(message.as_bytes());
        return Finding { path: key.map(|k| super::archive::shown(k.as_bytes())), ..finding(rule, shown) };
    }
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => finding("wrong-type", format!("a value is not of its key's type at {place}")),
        _ => finding("not-json", format!("the field config is not JSON at {place}")),
    }
}

fn texts(config: &FunctionConfig) -> Result<(), Finding> {
    for (path, text, most) in [
        ("language", &config.language, LANGUAGE_BYTES_MAX),
        ("language_version", &config.language_version, LANGUAGE_BYTES_MAX),
        ("entrypoint", &config.entrypoint, ENTRYPOINT_BYTES_MAX),
    ] {
        let Some(text) = text else { continue };
        if text.trim().is_empty() || text.len() > most || text.contains(char::is_control) {
            let message = format!("{path} has 1 to {most} bytes of text without control characters");
            return Err(at(path, finding("bad-text", message)));
        }
    }
    Ok(())
}

fn numbers(config: &FunctionConfig) -> Result<(), Finding> {
    let wanted = &config.limits;
    for (path, value, least, most) in [
        ("limits.memory_mib", wanted.memory_mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX),
        ("limits.cpu_millis", wanted.cpu_millis, CPU_MILLIS_MIN, CPU_MILLIS_MAX),
        ("limits.timeout_ms", wanted.timeout_ms, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX),
        ("limits.concurrency", wanted.concurrency, 1, CONCURRENCY_MAX),
        ("instances", config.instances, 0, CONCURRENCY_MAX),
    ] {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            let message = format!("{path} is {value}; it may be {least} to {most}");
            return Err(at(path, finding("out-of-range", message)));
        }
    }
    Ok(())
}

fn labels(config: &FunctionConfig) -> Result<(), Finding> {
    if config.labels.len() > limits::LABELS_MAX {
        let message = format!("there are more than {LABELS_MAX} labels");
        return Err(at("labels", finding("too-many", message)));
    }
    for (name, value) in &config.labels {
        let bad = |text: &str| text.len() > LABEL_BYTES_MAX || text.contains(char::is_control);
        if name.is_empty() || bad(name) || bad(value) {
            let message = format!(
                "a label's name and value have up to {LABEL_BYTES_MAX} bytes without control characters"
            );
            return Err(at(&format!("labels.{}", shown(name)), finding("bad-text", message)));
        }
    }
    Ok(())
}

fn environment(config: &FunctionConfig) -> Result<(), Finding> {
    if config.env.len() > limits::ENVIRONMENT_MAX {
        let message = format!("there are more than {ENVIRONMENT_MAX} variables");
        return Err(at("env", finding("too-many", message)));
    }
    for (name, value) in &config.env {
        let path = format!("env.{}", shown(name));
        if !variable_name(name) {
            let message = "a variable's name has letters, digits and '_', and begins with no digit";
            return Err(at(&path, finding("bad-name", message.to_owned())));
        }
        if reserved(name) {
            let message = format!("the variable {} is set by the host", shown(name));
            let hint = Some("choose another name".to_owned());
            return Err(Finding { hint, ..at(&path, finding("reserved-name", message)) });
        }
        if value.len() > ENVIRONMENT_VALUE_BYTES_MAX || value.contains('\0') {
            let message =
                format!("a variable's value has up to {ENVIRONMENT_VALUE_BYTES_MAX} bytes without NUL");
            return Err(at(&path, finding("bad-value", message)));
        }
    }
    Ok(())
}

fn variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well
        && name.len() <= ENVIRONMENT_NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whatever the case, as some programs do not mind it.
fn reserved(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    RESERVED.contains(&name.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn shown(text: &str) -> String {
    super::archive::shown(text.as_bytes())
}

fn finding(rule: &str, message: String) -> Finding {
    Finding { rule: rule.to_owned(), message, path: Some("config".to_owned()), hint: None }
}

fn at(path: &str, finding: Finding) -> Finding {
    Finding { path: Some(path.to_owned()), ..finding }
}

//! On invoke: method, size of the body, caps of labelled functions.

use crate::bindings::dunnage::admission::types::Verdict;
use crate::bindings::exports::dunnage::admission::on_invoke::Invocation;
use crate::caps::Caps;
use crate::rules::{Invoke, Rules};
use crate::{finding, verdict};

pub(crate) fn review(rules: &Rules, what: &Invocation) -> Verdict {
    let invoke = &rules.invoke;
    if !invoke.govern() {
        return Verdict::Abstain;
    }
    let mut findings = Vec::new();
    if !invoke.methods.is_empty() && !invoke.methods.contains(&what.method.to_ascii_uppercase()) {
        let message = format!("the method {} is not allowed", what.method);
        let hint = format!("use one of: {}", invoke.methods.join(", "));
        findings.push(finding("method", message, "method", hint));
    }
    // A body of unknown size is measured by the host, which has its own bound.
    if let (Some(most), Some(bytes)) = (invoke.max_body_bytes, what.body_bytes)
        && bytes > most
    {
        let message = format!("the body has {bytes} bytes; {most} are allowed");
        findings.push(finding("body-size", message, "body", "send less in one call".to_owned()));
    }
    let caps = caps_of(invoke, &what.function.labels);
    if rules.deny_over_cap {
        findings.extend(caps.refusals(&what.limits));
        return verdict(findings, None);
    }
    verdict(findings, caps.patch(&what.limits))
}

/// The tightest of all caps whose label the function carries.
fn caps_of(invoke: &Invoke, labels: &[(String, String)]) -> Caps {
    let carried = |label: &str, value: &str| labels.iter().any(|(n, v)| n == label && v == value);
    let of_label = invoke.caps_by_label.iter().filter(|c| carried(&c.label, &c.value));
    of_label.fold(Caps::default(), |caps, more| caps.and(more.caps))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::dunnage::plugin::types::{Function, Limits};

    const SETTINGS: &str = r#"{"invoke": {"allowed-methods": ["post"], "max-body-bytes": 10, "caps-by-label": [
        {"label": "tier", "value": "free", "timeout-ms": 100},
        {"label": "team", "value": "x", "timeout-ms": 50, "memory-mib": 64}]}}"#;

    fn verdict_on(method: &str, body_bytes: u64, labels: &[(&str, &str)]) -> Verdict {
        let what = Invocation {
            function: Function {
                namespace: "default".to_owned(),
                name: "f".to_owned(),
                version: 1,
                language: "python".to_owned(),
                labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            },
            limits: Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 5000, concurrency: 10 },
            method: method.to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            body_bytes: Some(body_bytes),
            remote: None,
        };
        review(&settings::parse(SETTINGS, Rules::read).unwrap(), &what)
    }

    #[test]
    fn methods_and_bodies_are_checked() {
        let Verdict::Deny(findings) = verdict_on("DELETE", 11, &[]) else { panic!() };
        let rules: Vec<_> = findings.iter().map(|f| f.rule.as_str()).collect();
        assert_eq!(rules, ["method", "body-size"]);
        assert!(matches!(verdict_on("POST", 10, &[]), Verdict::Allow(a) if a.limits.is_none()));
    }

    #[test]
    fn labels_bring_the_tightest_caps() {
        let labels = [("tier", "free"), ("team", "x")];
        let Verdict::Allow(allowance) = verdict_on("POST", 1, &labels) else { panic!() };
        let patch = allowance.limits.unwrap();
        assert_eq!((patch.timeout_ms, patch.memory_mib, patch.cpu_millis), (Some(50), Some(64), None));
    }

    #[test]
    fn caps_by_label_must_say_for_whom() {
        let text = r#"{"invoke": {"caps-by-label": [{"label": "tier", "timeout-ms": 0}]}}"#;
        let mistakes = settings::parse(text, Rules::read).err().unwrap();
        let paths: Vec<_> = mistakes.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["invoke.caps-by-label.0.value", "invoke.caps-by-label.0.timeout-ms"]);
    }
}

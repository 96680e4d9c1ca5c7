//! On deploy: limits, images, labels and size.

use settings::Pattern;

use crate::bindings::dunnage::admission::types::Verdict;
use crate::bindings::dunnage::plugin::types::Finding;
use crate::bindings::exports::dunnage::admission::on_deploy::Deployment;
use crate::images::{self, Image};
use crate::rules::Rules;
use crate::{finding, verdict};

pub(crate) fn review(rules: &Rules, what: &Deployment) -> Verdict {
    if !rules.govern_deploys() {
        return Verdict::Abstain;
    }
    let mut findings = image_refusals(rules, what);
    findings.extend(rules.labels.iter().filter_map(|label| label.refusal(&what.function.labels)));
    findings.extend(size_refusal(rules, what.source_bytes));
    if rules.deny_over_cap {
        findings.extend(rules.caps.refusals(&what.limits));
        return verdict(findings, None);
    }
    verdict(findings, rules.caps.patch(&what.limits))
}

fn image_refusals(rules: &Rules, what: &Deployment) -> Vec<Finding> {
    if rules.allowed_images.is_empty() && rules.forbidden_images.is_empty() {
        return Vec::new();
    }
    let mut images = what.dockerfile.as_deref().map(images::of_dockerfile).unwrap_or_default();
    images.extend(what.image.clone().map(Image::Named));
    images.iter().filter_map(|image| image_refusal(rules, image)).collect()
}

fn image_refusal(rules: &Rules, image: &Image) -> Option<Finding> {
    let named = |patterns: &[Pattern]| patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(", ");
    let allowed = match rules.allowed_images.as_slice() {
        [] => "name an image that is not forbidden".to_owned(),
        patterns => format!("use one of: {}", named(patterns)),
    };
    let (message, hint) = match image {
        Image::Unresolved(text) => (
            format!("the base image {text} is only known while building"),
            "name the image itself".to_owned(),
        ),
        Image::Named(name) if forbids(rules, name) => {
            (format!("the base image {name} is forbidden"), allowed)
        }
        Image::Named(name) if allows(rules, name) => return None,
        Image::Named(name) => (format!("the base image {name} is not among those allowed"), allowed),
    };
    Some(finding("base-image", message, "dockerfile", hint))
}

/// A short name is forbidden too by the pattern of the name it is taken for.
fn forbids(rules: &Rules, name: &str) -> bool {
    let full = images::full_name(name);
    rules.forbidden_images.iter().any(|pattern| pattern.matches(name) || pattern.matches(&full))
}

/// Only the name as written counts: what a short name leads to is the engine's configuration.
fn allows(rules: &Rules, name: &str) -> bool {
    rules.allowed_images.is_empty() || rules.allowed_images.iter().any(|pattern| pattern.matches(name))
}

fn size_refusal(rules: &Rules, bytes: u64) -> Option<Finding> {
    let most = rules.max_source_bytes.filter(|most| bytes > *most)?;
    let message = format!("the archive has {bytes} bytes; {most} are allowed");
    let hint = "leave out what the function does not need at run time".to_owned();
    Some(finding("source-size", message, "archive", hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::dunnage::plugin::types::{Function, Limits};

    fn deployment(dockerfile: &str, labels: &[(&str, &str)]) -> Deployment {
        Deployment {
            function: Function {
                namespace: "default".to_owned(),
                name: "f".to_owned(),
                version: 1,
                language: "python".to_owned(),
                labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            },
            limits: Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 5000, concurrency: 10 },
            source_digest: String::new(),
            source_bytes: 1000,
            dockerfile: Some(dockerfile.to_owned()),
            image: None,
            secrets: Vec::new(),
            environment: Vec::new(),
            replaces: None,
        }
    }

    fn rules_broken(settings: &str, what: &Deployment) -> Vec<String> {
        match review(&settings::parse(settings, Rules::read).unwrap(), what) {
            Verdict::Deny(findings) => findings.into_iter().map(|f| f.rule).collect(),
            Verdict::Allow(_) => Vec::new(),
            Verdict::Abstain => vec!["abstain".to_owned()],
        }
    }

    #[test]
    fn images_are_told_by_the_lists() {
        let settings = r#"{"allowed-base-images": ["localhost/*", "scratch"], "forbidden-base-images": ["docker.io/library/bad*", "localhost/old"]}"#;
        for good in ["FROM localhost/a", "from scratch", "FROM localhost/a AS b\nFROM b"] {
            assert_eq!(rules_broken(settings, &deployment(good, &[])), [""; 0], "{good}");
        }
        for bad in ["FROM bad:1", "FROM localhost/old", "FROM python", "ARG X\nFROM $X"] {
            assert_eq!(rules_broken(settings, &deployment(bad, &[])), ["base-image"], "{bad}");
        }
        let only_forbidden = r#"{"forbidden-base-images": "docker.io/library/bad*"}"#;
        assert_eq!(rules_broken(only_forbidden, &deployment("FROM anything", &[])), [""; 0]);
        assert_eq!(rules_broken(only_forbidden, &deployment("FROM bad", &[])), ["base-image"]);
    }

    #[test]
    fn every_broken_rule_is_told_at_once() {
        let settings = r#"{"over-cap": "deny", "caps": {"memory-mib": 64}, "max-source-bytes": 999,
            "required-labels": {"team": [], "tier": ["gold", "silver"]}}"#;
        let broken = rules_broken(settings, &deployment("FROM a", &[("tier", "lead")]));
        assert_eq!(broken, ["required-label", "required-label", "source-size", "memory-cap"]);
        let fine = deployment("FROM a", &[("tier", "gold"), ("team", "x")]);
        assert_eq!(rules_broken(&settings.replace("64", "128").replace("999", "1000"), &fine), [""; 0]);
    }

    #[test]
    fn without_rules_there_is_nothing_to_say() {
        assert_eq!(rules_broken("{}", &deployment("FROM a", &[])), ["abstain"]);
        assert_eq!(
            rules_broken(r#"{"invoke": {"max-body-bytes": 1}}"#, &deployment("FROM a", &[])),
            ["abstain"]
        );
    }
}

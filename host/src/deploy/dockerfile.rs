//! Dockerfile: what the host refuses in a plan, whatever plugin made it.
//!
//! Builders differ in how they read odd Dockerfiles. What two of them could read differently is
//! refused rather than guessed, so that the text that policies saw is what is built.

use std::collections::{BTreeMap, HashSet};

use super::archive::{EntryPath, fold, shown};
use crate::limits;
use crate::model::{Finding, Plan};

mod mount;
mod parse;
mod rules;

/// Every rule that the plan breaks, up to a number that a person reads.
pub fn check_plan(plan: &Plan) -> Result<(), Vec<Finding>> {
    let mut findings = Findings::default();
    check_dockerfile(&plan.dockerfile, &mut findings);
    check_sizes(plan, &mut findings);
    check_files(plan, &mut findings);
    check_ignore(plan, &mut findings);
    check_build_args(plan, &mut findings);
    if findings.0.is_empty() { Ok(()) } else { Err(findings.0) }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, rule: &str, path: &str, message: impl Into<String>, hint: &str) {
        if self.0.len() < limits::PLUGIN_FINDINGS_MAX {
            self.0.push(Finding {
                rule: rule.to_owned(),
                message: message.into(),
                path: Some(path.to_owned()),
                hint: Some(hint.to_owned()),
            });
        }
    }

    fn at_line(&mut self, line: usize, rule: &str, message: &str, hint: &str) {
        self.add(rule, "dockerfile", format!("line {line}: {message}"), hint);
    }
}

fn check_dockerfile(text: &str, findings: &mut Findings) {
    if text.len() > limits::DOCKERFILE_BYTES_MAX {
        let message = format!("the Dockerfile is longer than {} bytes", limits::DOCKERFILE_BYTES_MAX);
        findings.add("dockerfile-too-large", "dockerfile", message, "move what it writes into files");
        return;
    }
    for (number, line) in text.split('\n').enumerate() {
        let odd = |c: char| c != '\t' && c != ' ' && (c.is_control() || c.is_whitespace() || c == '\u{feff}');
        if line.contains(odd) {
            findings.at_line(
                number + 1,
                "dockerfile-character",
                "it has a control character, a carriage return or a space other than blank and tab",
                "end lines by a line feed alone, and use plain blanks",
            );
            return;
        }
    }
    match parse::parse(text) {
        Ok(instructions) => rules::check(&instructions, findings),
        Err(error) => findings.at_line(error.line, error.rule, &error.message, error.hint),
    }
}

fn check_sizes(plan: &Plan, findings: &mut Findings) {
    let files = plan.files.iter().map(|f| f.path.len() + f.text.len());
    let arguments = plan.build_args.iter().map(|(name, value)| name.len() + value.len());
    let bytes: usize = files.chain(arguments).chain(plan.ignore.iter().map(String::len)).sum();
    if bytes > limits::PLAN_BYTES_MAX {
        let message = format!("the plan holds more than {} bytes", limits::PLAN_BYTES_MAX);
        findings.add("plan-too-large", "files", message, "put large files into a base image");
    }
    for (path, count, most) in [
        ("files", plan.files.len(), limits::PLAN_FILES_MAX),
        ("ignore", plan.ignore.len(), limits::PLAN_IGNORE_LINES_MAX),
        ("build_args", plan.build_args.len(), limits::PLAN_BUILD_ARGS_MAX),
    ] {
        if count > most {
            let message = format!("there are {count} of {path}; {most} are the most");
            findings.add("plan-too-many", path, message, "join some of them");
        }
    }
}

fn check_files(plan: &Plan, findings: &mut Findings) {
    let hint = "name files by a relative path without `..`";
    // Folded paths of files, and of the directories that they imply, and whose they are.
    let (mut files, mut directories) = (HashSet::new(), BTreeMap::<String, String>::new());
    for (index, file) in plan.files.iter().enumerate().take(limits::PLAN_FILES_MAX) {
        let at = format!("files[{index}].path");
        match EntryPath::parse(file.path.as_bytes()) {
            Err(refusal) => findings.add("file-path", &at, refusal.to_string(), hint),
            Ok(Some(path)) if path.as_str() == file.path => {
                let mut clash = !files.insert(fold(&file.path));
                for (end, _) in file.path.match_indices('/') {
                    let parent = &file.path[..end];
                    let known = directories.entry(fold(parent)).or_insert_with(|| parent.to_owned());
                    clash |= known != parent;
                }
                if clash {
                    let message = format!("{:?} clashes with another file", shown(file.path.as_bytes()));
                    findings.add("file-clash", &at, message, "give each file a name of its own");
                }
            }
            Ok(_) => findings.add("file-path", &at, "the path is not in its shortest form", hint),
        }
    }
    if let Some(both) = directories.keys().find(|directory| files.contains(*directory)) {
        let message = format!("{:?} is a file and a directory", shown(both.as_bytes()));
        findings.add("file-clash", "files", message, "give each file a name of its own");
    }
}

fn check_ignore(plan: &Plan, findings: &mut Findings) {
    for (index, line) in plan.ignore.iter().enumerate() {
        if line.contains(char::is_control) || line.len() > limits::PATH_BYTES_MAX {
            let message = "the pattern has a control character or is too long";
            findings.add("ignore-pattern", &format!("ignore[{index}]"), message, "one pattern is one line");
        }
    }
}

fn check_build_args(plan: &Plan, findings: &mut Findings) {
    let mut names = HashSet::new();
    for (index, (name, value)) in plan.build_args.iter().enumerate() {
        let at = format!("build_args[{index}]");
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !starts_well || !plain || name.len() > limits::ENVIRONMENT_NAME_BYTES_MAX {
            let message = format!("{:?} is no name of an argument", shown(name.as_bytes()));
            findings.add("build-arg-name", &at, message, "use letters, digits and '_'");
        }
        if !names.insert(name) {
            let message = format!("the argument {:?} is there twice", shown(name.as_bytes()));
            findings.add("build-arg-doubled", &at, message, "give each argument once");
        }
        if value.contains(char::is_control) {
            let message = "the argument's value has a control character";
            findings.add("build-arg-value", &at, message, "a value is one line of text");
        }
    }
}

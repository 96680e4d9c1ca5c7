//! Rules: which instructions of a Dockerfile are let through.

use super::parse::Instruction;
use super::{Findings, mount};
use crate::deploy::archive::shown;

const NAMES: [&str; 17] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// Where an image's name begins with one of these, it names a file or a daemon of the host.
const TRANSPORTS: [&str; 14] = [
    "atomic",
    "containers-storage",
    "dir",
    "docker",
    "docker-archive",
    "docker-daemon",
    "http",
    "https",
    "oci",
    "oci-archive",
    "ostree",
    "sif",
    "tarball",
    "git",
];

/// The stages so far, the last one being built.
#[derive(Default)]
pub(super) struct Stages(Vec<Option<String>>);

impl Stages {
    /// An earlier stage, by its name or number.
    fn earlier(&self, name: &str) -> bool {
        let before = &self.0[..self.0.len().saturating_sub(1)];
        match name.parse::<usize>() {
            Ok(index) => index < before.len(),
            Err(_) => before.iter().flatten().any(|stage| stage.eq_ignore_ascii_case(name)),
        }
    }
}

pub(super) fn check(instructions: &[Instruction], findings: &mut Findings) {
    let mut stages = Stages::default();
    for instruction in instructions {
        if stages.0.is_empty() && !matches!(instruction.name.as_str(), "FROM" | "ARG") {
            tell(instruction, findings, "dockerfile-no-from", "it stands before any FROM", "begin with FROM");
            return;
        }
        one(instruction, &mut stages, findings);
    }
    if stages.0.is_empty() {
        let message = "the Dockerfile has no FROM";
        findings.add("dockerfile-no-from", "dockerfile", message, "begin with FROM");
    }
}

fn one(instruction: &Instruction, stages: &mut Stages, findings: &mut Findings) {
    match instruction.name.as_str() {
        "ONBUILD" => {
            let message = "ONBUILD would act in builds to come, unseen by their policies";
            tell(instruction, findings, "dockerfile-onbuild", message, "write the instruction where it acts");
            return;
        }
        name if !NAMES.contains(&name) => {
            let message = format!("{:?} is no instruction", shown(name.as_bytes()));
            tell(instruction, findings, "dockerfile-instruction", &message, "see the Dockerfile reference");
            return;
        }
        _ => {}
    }
    flags(instruction, stages, findings);
    match instruction.name.as_str() {
        "FROM" => from(instruction, stages, findings),
        "ADD" => add(instruction, findings),
        _ => {}
    }
    if matches!(instruction.name.as_str(), "RUN" | "COPY" | "ADD") && heredoc(&instruction.rest) {
        let message = "`<<` begins a heredoc for some builders and not for others";
        let hint = "put the text into a file of the plan and COPY it";
        tell(instruction, findings, "dockerfile-heredoc", message, hint);
    }
}

fn flags(instruction: &Instruction, stages: &Stages, findings: &mut Findings) {
    for flag in &instruction.flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match (instruction.name.as_str(), name) {
            ("FROM", "--platform") | ("COPY" | "ADD", "--chown" | "--chmod" | "--link") => {}
            ("HEALTHCHECK", _) => {}
            ("COPY", "--from") if stages.earlier(value) => {}
            ("COPY" | "ADD", "--from") => {
                let message = format!("--from={} is no earlier stage", shown(value.as_bytes()));
                let hint = "name an image by FROM … AS, where policies see it, and copy from that stage";
                tell(instruction, findings, "dockerfile-copy-from", &message, hint);
            }
            ("RUN", "--mount") => {
                if let Err(refused) = mount::check(value) {
                    tell(instruction, findings, refused.rule, refused.message, refused.hint);
                }
            }
            ("RUN", "--network") if matches!(value, "none" | "default") => {}
            ("RUN", "--network") => {
                let message = "a step asks for another network than the build's";
                tell(instruction, findings, "dockerfile-run-network", message, "remove the flag");
            }
            ("RUN", "--security") => {
                let message = "a step asks for another sandbox than the build's";
                tell(instruction, findings, "dockerfile-run-security", message, "remove the flag");
            }
            _ => {
                let message = format!("{} takes no flag {:?}", instruction.name, shown(name.as_bytes()));
                tell(instruction, findings, "dockerfile-flag", &message, "remove the flag");
            }
        }
    }
}

/// A variable in the image's name is refused: what it becomes is not what policies read.
fn from(instruction: &Instruction, stages: &mut Stages, findings: &mut Findings) {
    let words: Vec<&str> = instruction.rest.split_ascii_whitespace().collect();
    let (image, name) = match words.as_slice() {
        [image] => (*image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (*image, Some(*name)),
        _ => {
            tell(
                instruction,
                findings,
                "dockerfile-from",
                "FROM is malformed",
                "write FROM image [AS stage]",
            );
            stages.0.push(None);
            return;
        }
    };
    if image.contains('$') {
        let message = "the image's name holds a variable";
        let hint = "write the image's name out; a template can fill it in";
        tell(instruction, findings, "dockerfile-from-variable", message, hint);
    } else if !plain_image(image) {
        let message = format!("{:?} is no plain name of an image", shown(image.as_bytes()));
        let hint = "write [registry/]name[:tag][@digest]";
        tell(instruction, findings, "dockerfile-from-image", &message, hint);
    }
    if name.is_some_and(|name| !stage_name(name)) {
        let hint = "use a letter, then letters, digits, '-', '_' and '.'";
        tell(instruction, findings, "dockerfile-from", "the stage's name is not valid", hint);
    }
    stages.0.push(name.map(str::to_owned));
}

fn plain_image(image: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b);
    let first = image.split(['/', '@']).next().unwrap_or_default();
    let transport = image
        .split_once(':')
        .is_some_and(|(name, _)| TRANSPORTS.iter().any(|transport| transport.eq_ignore_ascii_case(name)));
    image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.bytes().all(plain)
        && !image.contains("//")
        && !first.ends_with(':')
        && !transport
}

fn stage_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(plain)
}

/// ADD takes what COPY would, and unpacks archives; it fetches nothing.
fn add(instruction: &Instruction, findings: &mut Findings) {
    let rest = &instruction.rest;
    let sources: Vec<String> = match serde_json::from_str::<Vec<String>>(rest) {
        Ok(words) => words,
        Err(_) if rest.contains(['\\', '"', '\'', '`']) => vec!["$".to_owned()],
        Err(_) => rest.split_ascii_whitespace().map(str::to_owned).collect(),
    };
    let remote = |source: &String| {
        let source = source.to_ascii_lowercase();
        source.contains("://")
            || source.contains('@')
            || source.contains(".git")
            || source.contains("github.com")
    };
    let unclear = |source: &String| source.contains(['$', '\\']);
    if sources.iter().any(unclear) {
        let message = "ADD has a variable, a quote or a backslash, which may spell a URL";
        tell(instruction, findings, "dockerfile-add-unclear", message, "use COPY, or plain names");
    } else if sources.iter().any(remote) {
        let message = "ADD would fetch from elsewhere";
        let hint = "put the file into the archive, or fetch it in a RUN with its checksum";
        tell(instruction, findings, "dockerfile-add-remote", message, hint);
    }
}

/// `<<` but for the shell's here-string `<<<`.
fn heredoc(rest: &str) -> bool {
    rest.replace("<<<", "").contains("<<")
}

fn tell(instruction: &Instruction, findings: &mut Findings, rule: &str, message: &str, hint: &str) {
    findings.at_line(instruction.line, rule, message, hint);
}

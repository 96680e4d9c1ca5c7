//! The images that a Dockerfile stands on or copies from.

use std::collections::HashMap;

/// An image as a Dockerfile names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    Named(String),
    /// By a variable without a default: known only while building.
    Unresolved(String),
}

/// All images, in order, stages of the Dockerfile itself left out.
///
/// When in doubt a word counts as an image: a policy had rather refuse a strange Dockerfile than
/// miss what it stands on.
pub(crate) fn of_dockerfile(text: &str) -> Vec<Image> {
    let mut reader = Reader::default();
    for instruction in instructions(text) {
        reader.read(&instruction);
    }
    reader.images
}

/// The name that a short one is usually taken for: `python` is `docker.io/library/python`.
pub(crate) fn full_name(name: &str) -> String {
    match name.split_once('/') {
        None if name == "scratch" => name.to_owned(),
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name.to_owned(),
        Some(_) => format!("docker.io/{name}"),
    }
}

#[derive(Default)]
struct Reader {
    images: Vec<Image>,
    /// In lower case.
    stages: Vec<String>,
    /// Those before the first FROM, the only ones that a FROM may use.
    arguments: HashMap<String, String>,
    in_stage: bool,
}

impl Reader {
    fn read(&mut self, instruction: &str) {
        let mut words = instruction.split_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        let words: Vec<&str> = words.collect();
        match keyword.as_str() {
            "ARG" if !self.in_stage => self.declare(&words),
            "FROM" => self.begin_stage(&words),
            _ => self.note_sources(&words),
        }
    }

    fn declare(&mut self, words: &[&str]) {
        for (name, value) in words.iter().filter_map(|word| word.split_once('=')) {
            let value = self.expand(value.trim_matches(['"', '\''])).unwrap_or_default();
            if !value.is_empty() {
                self.arguments.insert(name.to_owned(), value);
            }
        }
    }

    fn begin_stage(&mut self, words: &[&str]) {
        self.in_stage = true;
        let mut words = words.iter().skip_while(|word| word.starts_with("--"));
        if let Some(image) = words.next() {
            self.note(image);
        }
        let name = words.next().filter(|word| word.eq_ignore_ascii_case("as")).and_then(|_| words.next());
        self.stages.push(name.map_or(String::new(), |name| name.to_ascii_lowercase()));
    }

    /// `COPY --from=…` and `RUN --mount=type=bind,from=…` bring in images too.
    fn note_sources(&mut self, words: &[&str]) {
        for word in words.iter().filter(|word| word.starts_with("--")) {
            let options = word.trim_start_matches("--").trim_start_matches("mount=").split(',');
            for source in options.filter_map(|option| option.strip_prefix("from=")) {
                if source.parse::<usize>().is_err() {
                    self.note(source);
                }
            }
        }
    }

    fn note(&mut self, word: &str) {
        let image = match self.expand(word.trim_matches(['"', '\''])) {
            Some(name) if self.stages.contains(&name.to_ascii_lowercase()) => return,
            Some(name) => Image::Named(name),
            None => Image::Unresolved(word.to_owned()),
        };
        self.images.push(image);
    }

    /// The word with `$NAME`, `${NAME}` and `${NAME:-default}` replaced; none where one has no value.
    fn expand(&self, word: &str) -> Option<String> {
        let Some((before, rest)) = word.split_once('$') else { return Some(word.to_owned()) };
        let (value, after) = if let Some(rest) = rest.strip_prefix('{') {
            let (inside, after) = rest.split_once('}')?;
            let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
            (self.arguments.get(name).map_or(default, String::as_str), after)
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (self.arguments.get(&rest[..end])?.as_str(), &rest[end..])
        };
        if value.is_empty() {
            return None;
        }
        Some(format!("{before}{value}{}", self.expand(after)?))
    }
}

/// Instructions with their continuation lines joined and comments left out.
fn instructions(text: &str) -> Vec<String> {
    let escape = if escapes_by_backtick(text) { '`' } else { '\\' };
    let mut instructions = Vec::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // Parsers disagree on two escapes at the end; ended there, no FROM is missed.
        match line.strip_suffix(escape) {
            Some(part) if !part.ends_with(escape) => current.push_str(part),
            _ => instructions.push(std::mem::take(&mut current) + line),
        }
    }
    instructions.push(current);
    instructions
}

/// The directive `# escape=` counts only among the directives at the very top.
fn escapes_by_backtick(text: &str) -> bool {
    let compact = |line: &str| line.split_whitespace().collect::<String>().to_ascii_lowercase();
    let directive =
        |line: &String| ["#syntax=", "#escape=", "#check="].iter().any(|start| line.starts_with(start));
    text.lines().map(compact).take_while(directive).any(|line| line == "#escape=`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dockerfile: &str) -> Vec<String> {
        let name = |image| match image {
            Image::Named(name) => name,
            Image::Unresolved(text) => format!("?{text}"),
        };
        of_dockerfile(dockerfile).into_iter().map(name).collect()
    }

    #[test]
    fn stages_are_no_images() {
        let text = "FROM --platform=$X a:1 AS Build\nRUN x\nFROM build AS two\nCOPY --from=two / /\nCOPY --from=0 / /\nFROM scratch";
        assert_eq!(names(text), ["a:1", "scratch"]);
        // A stage has its name only from its own line on.
        assert_eq!(names("FROM later\nFROM x AS later"), ["later", "x"]);
        assert_eq!(names("FROM b AS b"), ["b"]);
    }

    #[test]
    fn arguments_stand_for_their_defaults() {
        assert_eq!(
            names("ARG BASE=python:3\nARG FULL=\"docker.io/$BASE\"\nFROM ${FULL}-slim"),
            ["docker.io/python:3-slim"]
        );
        assert_eq!(names("FROM ${BASE:-alpine}"), ["alpine"]);
        assert_eq!(names("ARG BASE\nFROM $BASE"), ["?$BASE"]);
        assert_eq!(names("FROM a\nARG B=c\nFROM $B"), ["a", "?$B"]);
        assert_eq!(names("FROM ${BASE"), ["?${BASE"]);
    }

    #[test]
    fn lines_are_joined_and_comments_skipped() {
        assert_eq!(names("# FROM no\nfrom \\\n  # a comment between\n  real\n"), ["real"]);
        assert_eq!(names("# escape=`\nFROM `\nwindows\nRUN \\\nFROM x"), ["windows", "x"]);
        assert_eq!(names("RUN a \\\nFROM b"), [""; 0]);
        assert_eq!(names("\r\nFROM x\r\n"), ["x"]);
        assert_eq!(names("FROM"), [""; 0]);
        assert_eq!(names("# a comment\n# escape=`\nRUN a `\nFROM b"), ["b"]);
        assert_eq!(names("RUN a \\\\\nFROM b"), ["b"]);
    }

    #[test]
    fn copies_and_mounts_bring_images() {
        let text = "FROM a\nCOPY --chown=1 --from=busybox /x /x\nRUN --mount=type=bind,from=tools/x,target=/t y\nADD --from=$Z a b";
        assert_eq!(names(text), ["a", "busybox", "tools/x", "?$Z"]);
    }

    #[test]
    fn short_names_are_taken_for_full_ones() {
        for (short, full) in [
            ("python:3", "docker.io/library/python:3"),
            ("me/tool", "docker.io/me/tool"),
            ("quay.io/a/b", "quay.io/a/b"),
            ("localhost/a", "localhost/a"),
            ("registry:5000/a", "registry:5000/a"),
            ("scratch", "scratch"),
        ] {
            assert_eq!(full_name(short), full);
        }
    }
}

//! A language, as the settings describe it.

use settings::Section;

use crate::bindings::exports::dunnage::build::dockerfile;
use crate::entrypoint::Kind;
use crate::template;

/// The values of the image label that tells the host how a program takes its requests.
const CONTRACTS: [&str; 2] = ["one-shot", "runtime-api"];

/// The placeholders that have a value by the time these settings are read.
const IN_BASE_IMAGE: [&str; 2] = ["language", "version"];
const IN_ENTRYPOINT_FILES: [&str; 3] = ["entrypoint", "entrypoint_module", "entrypoint_path"];

pub(crate) struct Language {
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) versions: Vec<String>,
    pub(crate) markers: Vec<String>,
    pub(crate) base_image: Option<String>,
    pub(crate) contract: &'static str,
    pub(crate) entrypoint: Kind,
    /// The first whose file is in the archive is taken.
    pub(crate) default_entrypoints: Vec<String>,
    /// One of these must be in the archive; may have placeholders.
    pub(crate) entrypoint_files: Vec<String>,
    pub(crate) dockerfile: String,
    pub(crate) files: Vec<(String, String)>,
    pub(crate) ignore: Vec<String>,
    /// File in the archive, and what its author should know.
    pub(crate) notes: Vec<(String, String)>,
}

/// All languages of the settings.
pub(crate) fn read_all(settings: &Section) -> Vec<Language> {
    let languages = settings.named_tables("languages", Language::read);
    if languages.is_empty() {
        settings.mistake("languages", "has no language", "write a table [languages.NAME] for each");
    }
    for (n, language) in languages.iter().enumerate() {
        let taken = |name: &String| {
            languages[..n].iter().any(|other| other.name == *name || other.aliases.contains(name))
        };
        for name in language.aliases.iter().chain([&language.name]).filter(|name| taken(name)) {
            let path = format!("languages.{}.aliases", language.name);
            settings.mistake(&path, format!("{name:?} is another language's name or alias"), "drop one");
        }
    }
    languages
}

impl Language {
    pub(crate) fn declaration(&self) -> dockerfile::Language {
        dockerfile::Language {
            name: self.name.clone(),
            aliases: self.aliases.clone(),
            versions: self.versions.clone(),
            markers: self.markers.clone(),
        }
    }

    fn read(name: &str, table: &Section) -> Self {
        let language = Self {
            name: name.to_owned(),
            aliases: table.texts("aliases"),
            versions: required_list(table, "versions"),
            markers: table.texts("markers"),
            base_image: table.text("base-image"),
            contract: table.word("contract", &CONTRACTS),
            entrypoint: Kind::read(table),
            default_entrypoints: required_list(table, "default-entrypoint"),
            entrypoint_files: required_list(table, "entrypoint-files"),
            dockerfile: table.text("dockerfile").unwrap_or_default(),
            files: table.named_texts("files"),
            ignore: table.texts("ignore"),
            notes: table.named_texts("notes"),
        };
        language.check(table);
        language
    }

    fn check(&self, table: &Section) {
        self.check_dockerfile(table);
        for text in &self.entrypoint_files {
            check_template(table, "entrypoint-files", text, &IN_ENTRYPOINT_FILES);
        }
        if let Some(text) = &self.base_image {
            check_template(table, "base-image", text, &IN_BASE_IMAGE);
        }
        for name in self.aliases.iter().chain([&self.name]).filter(|name| !template::is_safe(name)) {
            table.mistake(
                "aliases",
                format!("{name:?} is no name of a language"),
                "write it as in \"python\"",
            );
        }
        for version in self.versions.iter().filter(|version| !template::is_safe(version)) {
            table.mistake("versions", format!("{version:?} is no version"), "write it as in \"3.12\"");
        }
        for default in &self.default_entrypoints {
            if let Err(reason) = self.entrypoint.check(default) {
                table.mistake("default-entrypoint", format!("{default:?} {reason}"), self.entrypoint.hint());
            }
        }
        for (path, _) in self.files.iter().filter(|(path, _)| !is_inside(path)) {
            table.mistake("files", format!("{path:?} leaves the folder plan/"), "write a relative path");
        }
    }

    fn check_dockerfile(&self, table: &Section) {
        let text = &self.dockerfile;
        let instruction = |line: &str| line.split_whitespace().next().map(str::to_ascii_uppercase);
        if !text.lines().any(|line| instruction(line).as_deref() == Some("FROM")) {
            let hint = "write the Dockerfile's text, or { file = \"path\" }";
            table.mistake("dockerfile", "has no FROM", hint);
        }
        check_template(table, "dockerfile", text, &template::PLACEHOLDERS);
        if self.base_image.is_none() && template::uses(text, "base_image") {
            let message = "is missing, and the dockerfile has {{base_image}}";
            table.mistake("base-image", message, "name the image to stand on where the operator names none");
        }
    }
}

fn check_template(table: &Section, key: &str, text: &str, known: &[&str]) {
    for message in template::check(text, known) {
        table.mistake(key, message, format!("known here: {}", known.join(", ")));
    }
}

fn required_list(table: &Section, key: &'static str) -> Vec<String> {
    let list = table.texts(key);
    if list.is_empty() {
        table.mistake(key, "is missing or empty", "write one at least");
    }
    list
}

fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"languages": {"a": {
        "versions": ["1"], "default-entrypoint": "main.handler", "entrypoint-files": ["{{entrypoint_path}}.py"],
        "dockerfile": "FROM {{base_image}}\n", "base-image": "x:{{version}}"}}}"#;

    fn paths(text: &str) -> Vec<String> {
        let mistakes = settings::parse(text, read_all).err().unwrap_or_default();
        mistakes.into_iter().map(|m| m.path).collect()
    }

    #[test]
    fn mistakes_are_named_by_their_path() {
        assert_eq!(paths(GOOD), [""; 0]);
        assert_eq!(paths("{}"), ["languages"]);
        for (from, to, path) in [
            ("FROM {{base_image}}", "FROM {{base}}", "languages.a.dockerfile"),
            ("FROM {{base_image}}", "# nothing", "languages.a.dockerfile"),
            ("{{version}}", "{{base_image}}", "languages.a.base-image"),
            ("{{entrypoint_path}}", "{{base_image}}", "languages.a.entrypoint-files"),
            ("\"versions\"", "\"aliases\": \"a b\", \"versions\"", "languages.a.aliases"),
            ("\"1\"", "\"1 2\"", "languages.a.versions"),
            ("main.handler", "main", "languages.a.default-entrypoint"),
            ("\"versions\": [\"1\"],", "", "languages.a.versions"),
            ("\"versions\"", "\"files\": {\"../x\": \"\"}, \"versions\"", "languages.a.files"),
            ("\"versions\"", "\"contract\": \"lambda\", \"versions\"", "languages.a.contract"),
            (", \"base-image\": \"x:{{version}}\"", "", "languages.a.base-image"),
            ("\"versions\"", "\"verisons\": 1, \"versions\"", "languages.a.verisons"),
        ] {
            assert_eq!(paths(&GOOD.replace(from, to)), [path], "{to}");
        }
    }

    #[test]
    fn a_name_serves_one_language() {
        let other = GOOD.replace("{\"languages\": {\"a\": {", "\"b\": {\"aliases\": [\"a\"],");
        let both = format!("{}, {}", GOOD.strip_suffix("}}").unwrap(), other);
        assert_eq!(paths(&both), ["languages.b.aliases"]);
    }
}

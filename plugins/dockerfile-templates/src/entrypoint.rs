//! Where a program begins: how a client writes it, and which file it needs.

use settings::Section;

use crate::bindings::exports::dunnage::build::dockerfile::SourceFile;
use crate::template::{self, Values};

/// How the entrypoints of a language are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By AWS Lambda's convention: `module.function`.
    Handler,
    /// The path of a file in the archive.
    File,
}

impl Kind {
    pub(crate) fn read(table: &Section) -> Self {
        if table.word("entrypoint", &["module.function", "file"]) == "file" {
            Self::File
        } else {
            Self::Handler
        }
    }

    /// What is wrong with the entrypoint, to stand after it in a sentence.
    pub(crate) fn check(self, entrypoint: &str) -> Result<(), &'static str> {
        if !template::is_safe(entrypoint) {
            return Err("has characters that an entrypoint cannot have");
        }
        if entrypoint.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err("does not stay inside the archive");
        }
        match (self, entrypoint.rsplit_once('.')) {
            (Self::Handler, Some((module, function))) if is_module(module) && is_name(function) => Ok(()),
            (Self::Handler, _) => Err("does not name a module and a function"),
            (Self::File, _) => Ok(()),
        }
    }

    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Handler => "write module.function, as in main.handler",
            Self::File => "write the path of a file in the archive",
        }
    }
}

/// An entrypoint that was checked, as the values of its placeholders.
pub(crate) fn values(entrypoint: &str) -> Values {
    let (module, function) = entrypoint.rsplit_once('.').unwrap_or((entrypoint, ""));
    Values::from([
        ("entrypoint", entrypoint.to_owned()),
        ("entrypoint_module", module.to_owned()),
        ("entrypoint_path", module.replace('.', "/")),
        ("entrypoint_function", function.to_owned()),
    ])
}

/// Whether one of the paths is in the archive.
pub(crate) fn is_there(paths: &[String], files: &[SourceFile]) -> bool {
    paths.iter().any(|path| files.iter().any(|file| file.path == *path))
}

/// The folder that was packed with its name, when that is why the file is not found.
pub(crate) fn packed_folder<'a>(paths: &[String], files: &'a [SourceFile]) -> Option<&'a str> {
    let below = |file: &'a SourceFile| {
        let (folder, rest) = file.path.split_once('/')?;
        (paths.iter().any(|path| path == rest) && template::is_safe(folder)).then_some(folder)
    };
    files.iter().find_map(below)
}

fn is_module(text: &str) -> bool {
    text.split(['.', '/']).all(|part| !part.is_empty())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handlers_name_a_module_and_a_function() {
        for good in ["main.handler", "app.views.main.run_it", "src/index.handler", "my-module.f"] {
            assert_eq!(Kind::Handler.check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "main",
            ".handler",
            "main.",
            "a..b",
            "../a.b",
            "/a.b",
            "a/./b.c",
            "a b.c",
            "a.b\nRUN x",
            "a.b/c",
            "-a.b",
            "a.b-c",
        ] {
            assert!(Kind::Handler.check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn files_stay_in_the_archive() {
        for good in ["bootstrap", "bin/main.dart", "a.b.c"] {
            assert_eq!(Kind::File.check(good), Ok(()), "{good}");
        }
        for bad in ["", "../x", "/x", "a//b", "a/", "x y", "x\"]", "$(x)"] {
            assert!(Kind::File.check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_parts_have_placeholders() {
        let values = values("app.views.main.run");
        assert_eq!(values["entrypoint_module"], "app.views.main");
        assert_eq!(values["entrypoint_path"], "app/views/main");
        assert_eq!(values["entrypoint_function"], "run");
    }
}

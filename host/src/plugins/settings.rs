//! A plugin's settings on their way from TOML to the JSON text that it is given.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::LoadError;
use super::manifest::{Entry, read_text};
use crate::limits;

/// The settings as JSON, each `{ file = … }` replaced by the text of its file as it is now.
pub(super) fn resolve(entry: &Entry) -> Result<Arc<str>, LoadError> {
    let mut room = limits::PLUGIN_SETTINGS_BYTES_MAX;
    let value = table(&entry.settings, &entry.folder, &mut room)
        .map_err(|bad| LoadError::new(&entry.name, bad.code, bad.what, bad.remedy))?;
    let text = value.to_string();
    if text.len() > limits::PLUGIN_SETTINGS_BYTES_MAX {
        let bad = too_large(&format!("the settings have {} bytes", text.len()));
        return Err(LoadError::new(&entry.name, bad.code, bad.what, bad.remedy));
    }
    Ok(text.into())
}

struct Bad {
    code: &'static str,
    what: String,
    remedy: &'static str,
}

fn value(from: &toml::Value, folder: &Path, room: &mut usize) -> Result<Value, Bad> {
    Ok(match from {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => number_value(*number)?,
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => {
            let items: Result<Vec<Value>, Bad> = items.iter().map(|i| value(i, folder, room)).collect();
            Value::Array(items?)
        }
        toml::Value::Table(members) => match members.get("file") {
            Some(named) if members.len() == 1 => Value::from(file_text(named, folder, room)?),
            _ => table(members, folder, room)?,
        },
    })
}

fn table(members: &toml::Table, folder: &Path, room: &mut usize) -> Result<Value, Bad> {
    let members = members.iter().map(|(key, member)| Ok((key.clone(), value(member, folder, room)?)));
    Ok(Value::Object(members.collect::<Result<_, Bad>>()?))
}

fn number_value(number: f64) -> Result<Value, Bad> {
    serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| Bad {
        code: "settings-number",
        what: format!("the settings hold the number {number}, which JSON has not"),
        remedy: "Leave it out, or write it as a string.",
    })
}

/// The text of the one file named, or of the first of several that exists.
fn file_text(named: &toml::Value, folder: &Path, room: &mut usize) -> Result<String, Bad> {
    let paths = paths(named).ok_or_else(|| Bad {
        code: "settings-file",
        what: "a { file = … } in the settings names neither a path nor a list of paths".to_owned(),
        remedy: "Write { file = \"path\" }, or { file = [\"path\", \"another\"] } for the first that exists.",
    })?;
    for path in &paths {
        match read_text(&folder.join(path), *room) {
            Ok(text) => {
                *room -= text.len();
                return Ok(text);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Bad {
                    code: "settings-file",
                    what: format!("the file {path:?} in its settings cannot be used: {error}"),
                    remedy: "Files in settings are regular, UTF-8, and 1 MiB at most together.",
                });
            }
        }
    }
    Err(Bad {
        code: "settings-file",
        what: format!("no file {} named in its settings exists", paths.join(", ")),
        remedy: "Paths are relative to the folder of plugins.toml.",
    })
}

fn paths(named: &toml::Value) -> Option<Vec<&str>> {
    match named {
        toml::Value::String(path) => Some(vec![path]),
        toml::Value::Array(paths) if !paths.is_empty() => paths.iter().map(toml::Value::as_str).collect(),
        _ => None,
    }
}

fn too_large(what: &str) -> Bad {
    Bad { code: "settings-too-large", what: what.to_owned(), remedy: "Keep them to 1 MiB, files included." }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::manifest::Bounds;
    use super::*;

    fn entry(settings: &str, folder: &Path) -> Entry {
        let bounds = Bounds { cpu: Duration::ZERO, wall: Duration::ZERO, memory_bytes: 0 };
        Entry {
            name: "p".to_owned(),
            file: PathBuf::new(),
            settings: toml::from_str(settings).unwrap(),
            bounds,
            folder: folder.to_owned(),
        }
    }

    #[test]
    fn files_become_their_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("b"), "FROM \"x\"\n").unwrap();
        let text = "a = { file = ['a', 'b'] }\nc = [1, 2.5, true, 1979-05-27]\nd = { file = 'x', other = 1 }";
        let json: Value = serde_json::from_str(&resolve(&entry(text, folder.path())).unwrap()).unwrap();
        assert_eq!(json["a"], "FROM \"x\"\n");
        assert_eq!(json["c"], serde_json::json!([1, 2.5, true, "1979-05-27"]));
        assert_eq!(json["d"]["file"], "x");
        std::fs::write(folder.path().join("a"), "mine").unwrap();
        assert!(resolve(&entry(text, folder.path())).unwrap().contains("\"mine\""));
    }

    #[test]
    fn no_settings_are_an_empty_object() {
        assert_eq!(&*resolve(&entry("", Path::new("/"))).unwrap(), "{}");
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(folder.path().join("half"), "x".repeat(limits::PLUGIN_SETTINGS_BYTES_MAX / 2))
            .unwrap();
        let cases = [
            ("a = { file = 1 }", "settings-file"),
            ("a = { file = [] }", "settings-file"),
            ("a = { file = ['none', 2] }", "settings-file"),
            ("a = { file = 'none' }", "settings-file"),
            ("a = { file = '.' }", "settings-file"),
            ("a = { file = 'binary' }", "settings-file"),
            ("a = { file = 'half' }\nb = { file = 'half' }\nc = { file = 'half' }", "settings-file"),
            ("a = { file = 'half' }\nb = { file = 'half' }", "settings-too-large"),
            ("a = nan", "settings-number"),
        ];
        for (text, code) in cases {
            assert_eq!(resolve(&entry(text, folder.path())).unwrap_err().code, code, "{text}");
        }
    }
}

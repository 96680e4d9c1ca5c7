//! `plugins.toml`: which plugins there are, in the order in which they are asked.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::LoadError;
use super::sanitise::is_kebab;
use crate::limits;

/// One plugin as the operator wrote it, its paths resolved.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) settings: toml::Table,
    pub(super) bounds: Bounds,
    /// Where paths in the settings begin.
    pub(super) folder: PathBuf,
}

/// What one call of a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    pub(super) memory_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    plugin: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    file: PathBuf,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLimits {
    cpu_ms: Option<u64>,
    wall_ms: Option<u64>,
    memory_mib: Option<u64>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Entry>, LoadError> {
    let text = read_text(path, limits::PLUGIN_MANIFEST_BYTES_MAX).map_err(|error| {
        let what = format!("{} cannot be read: {error}", path.display());
        manifest_error("manifest-unreadable", what, "Name a readable plugins.toml, or none at all.")
    })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    parse(&text, &folder)
}

fn parse(text: &str, folder: &Path) -> Result<Vec<Entry>, LoadError> {
    let manifest: Manifest = toml::from_str(text).map_err(|error| {
        let what = format!("plugins.toml is not as it should be: {}", error.to_string().trim_end());
        let remedy = "An entry is a [[plugin]] with name, file, and where wanted settings and limits.";
        manifest_error("manifest-invalid", what, remedy)
    })?;
    if manifest.plugin.len() > limits::PLUGINS_MAX {
        let what = format!("plugins.toml names {} plugins", manifest.plugin.len());
        let remedy = format!("Keep to {} at most.", limits::PLUGINS_MAX);
        return Err(manifest_error("too-many-plugins", what, &remedy));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(manifest.plugin.len());
    for raw in manifest.plugin {
        let entry = entry(raw, folder)?;
        if entries.iter().any(|other| other.name == entry.name) {
            let what = "two entries of plugins.toml have this name".to_owned();
            return Err(LoadError::new(&entry.name, "name-doubled", what, "Give each a name of its own."));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(raw: RawEntry, folder: &Path) -> Result<Entry, LoadError> {
    if !is_kebab(&raw.name) || raw.name.len() > limits::PLUGIN_NAME_BYTES_MAX {
        let what = format!("{:?} is not a plugin's name", raw.name);
        let remedy = format!(
            "A name is in kebab-case (a-z, 0-9 and single hyphens, a letter first), {} characters at most.",
            limits::PLUGIN_NAME_BYTES_MAX
        );
        return Err(manifest_error("name-invalid", what, &remedy));
    }
    let bounds = raw.limits.bounds(&raw.name)?;
    Ok(Entry {
        file: folder.join(raw.file),
        name: raw.name,
        settings: raw.settings,
        bounds,
        folder: folder.to_owned(),
    })
}

impl RawLimits {
    fn bounds(&self, plugin: &str) -> Result<Bounds, LoadError> {
        let within = |key: &str, asked: Option<u64>, most: u64| match asked {
            Some(value) if value == 0 || value > most => {
                let what = format!("limits.{key} is {value}");
                let remedy = format!("Set it from 1 to {most}, or leave it out.");
                Err(LoadError::new(plugin, "limit-out-of-range", what, &remedy))
            }
            asked => Ok(asked.unwrap_or(most)),
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mib = limits::PLUGIN_MEMORY_BYTES_MAX / limits::MIB;
        let memory = within("memory-mib", self.memory_mib, mib as u64)?;
        Ok(Bounds {
            cpu: Duration::from_millis(within("cpu-ms", self.cpu_ms, millis(limits::PLUGIN_CPU_MAX))?),
            wall: Duration::from_millis(within("wall-ms", self.wall_ms, millis(limits::PLUGIN_WALL_MAX))?),
            memory_bytes: usize::try_from(memory).unwrap_or(mib) * limits::MIB,
        })
    }
}

/// A regular file whole, when it has at most `most` bytes. A FIFO or device in its place is refused
/// without waiting for a writer.
pub(super) fn read_file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let too_large = || io::Error::other(format!("it has more than {most} bytes"));
    if about.len() > most as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most { Err(too_large()) } else { Ok(bytes) }
}

pub(super) fn read_text(path: &Path, most: usize) -> io::Result<String> {
    String::from_utf8(read_file(path, most)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// For what is wrong with the manifest as a whole.
fn manifest_error(code: &'static str, what: String, remedy: &str) -> LoadError {
    LoadError::new("(manifest)", code, what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order_and_bounds() {
        let text = r#"
            [[plugin]]
            name = "b"
            file = "b.wasm"
            settings = { x = 1 }
            limits = { cpu-ms = 20, wall-ms = 40, memory-mib = 8 }
            [[plugin]]
            name = "a"
            file = "/plugins/a.wasm"
        "#;
        let entries = parse(text, Path::new("/etc/dunnage")).unwrap();
        assert_eq!(entries[0].name, "b");
        assert_eq!(entries[0].file, Path::new("/etc/dunnage/b.wasm"));
        assert_eq!(entries[0].bounds.cpu, Duration::from_millis(20));
        assert_eq!(entries[0].bounds.memory_bytes, 8 * limits::MIB);
        assert_eq!(entries[1].file, Path::new("/plugins/a.wasm"));
        assert_eq!(entries[1].bounds.wall, limits::PLUGIN_WALL_MAX);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("plugins = []", "manifest-invalid"),
            ("[[plugin]]\nname = 'a'", "manifest-invalid"),
            ("[[plugin]]\nname = 'a'\nfile = 'f'\norder = 1", "manifest-invalid"),
            ("[[plugin]]\nname = 'a'\nfile = 'f'\nlimits = { cpu = 1 }", "manifest-invalid"),
            ("[[plugin]]\nname = 'A b'\nfile = 'f'", "name-invalid"),
            ("[[plugin]]\nname = 'a'\nfile = 'f'\n[[plugin]]\nname = 'a'\nfile = 'g'", "name-doubled"),
            ("[[plugin]]\nname = 'a'\nfile = 'f'\nlimits = { cpu-ms = 0 }", "limit-out-of-range"),
            ("[[plugin]]\nname = 'a'\nfile = 'f'\nlimits = { memory-mib = 99999 }", "limit-out-of-range"),
        ];
        for (text, code) in cases {
            assert_eq!(parse(text, Path::new("/")).unwrap_err().code, code, "{text}");
        }
    }
}

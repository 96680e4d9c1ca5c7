//! What the kernel tells of a container's cgroup, without asking the engine.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::containers::Memory;
use crate::limits;

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup that holds a container's memory limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// Of the process, when that is in a cgroup named after the container.
    pub(super) fn of(pid: i32, container: &str) -> Option<Self> {
        let text = read(Path::new(&format!("/proc/{pid}/cgroup"))).ok()?;
        Self::parse(&text, container)
    }

    /// Lines are `number:controllers:path`; number 0 is version 2.
    fn parse(text: &str, container: &str) -> Option<Self> {
        let mut unified = None;
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let Some(path) = own_part(path, container) else { continue };
            if controllers.split(',').any(|controller| controller == "memory") {
                return Some(Self { dir: Path::new(ROOT).join("memory").join(path), version: Version::V1 });
            }
            if controllers.is_empty() {
                unified = Some(Self { dir: Path::new(ROOT).join(path), version: Version::V2 });
            }
        }
        unified
    }

    /// None when the cgroup is gone.
    pub(super) fn memory(&self) -> Option<Memory> {
        let (peak, events) = match self.version {
            Version::V1 => ("memory.max_usage_in_bytes", "memory.oom_control"),
            Version::V2 => ("memory.peak", "memory.events"),
        };
        let events = read(&self.dir.join(events)).ok()?;
        let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
        let oom_kills = events.lines().find_map(count).unwrap_or(0);
        // Kernels before 5.19 have no peak in version 2.
        let peak_bytes = read(&self.dir.join(peak)).ok().and_then(|text| text.trim().parse().ok());
        Some(Memory { peak_bytes: peak_bytes.unwrap_or(0), oom_kills })
    }
}

/// The path up to the part that is named after the container: crun puts processes below it.
fn own_part<'a>(path: &'a str, container: &str) -> Option<&'a str> {
    let at = path.find(container)?;
    let end = path[at..].find('/').map_or(path.len(), |slash| at + slash);
    Some(path[..end].trim_start_matches('/')).filter(|path| !path.split('/').any(|part| part == ".."))
}

/// Where a cgroup of this name below the root can be, in either version.
pub(super) fn named(name: &Path) -> [PathBuf; 2] {
    [Path::new(ROOT).join("pids").join(name), Path::new(ROOT).join(name)]
}

/// Names of the cgroups below the root that begin so.
pub(super) fn beginning_with(prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in [Path::new(ROOT).join("pids"), PathBuf::from(ROOT)] {
        let Ok(entries) = std::fs::read_dir(root) else { continue };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(names.filter(|name| name.starts_with(prefix)));
    }
    found.sort();
    found.dedup();
    found
}

/// The processes in a cgroup; none when it is gone.
pub(super) fn processes(dir: &Path) -> Vec<i32> {
    let text = read(&dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(limits::CGROUP_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_told_apart() {
        let v1 = "9:name=systemd:/libpod_parent/libpod-abc\n4:cpu,memory:/libpod_parent/libpod-abc\n0::/libpod_parent/libpod-abc\n";
        let found = Cgroup::parse(v1, "abc").unwrap();
        assert_eq!(found.dir, Path::new("/sys/fs/cgroup/memory/libpod_parent/libpod-abc"));
        assert_eq!(found.version, Version::V1);
        let v2 = "0::/machine.slice/libpod-abc.scope/container\n";
        let found = Cgroup::parse(v2, "abc").unwrap();
        assert_eq!(found.dir, Path::new("/sys/fs/cgroup/machine.slice/libpod-abc.scope"));
        assert_eq!(found.version, Version::V2);
    }

    #[test]
    fn a_process_of_something_else_has_none() {
        for text in ["0::/user.slice\n", "", "nonsense", "0::/../libpod-abc\n", "4:memory:/other\n"] {
            assert_eq!(Cgroup::parse(text, "abc"), None, "{text:?}");
        }
    }
}

//! The cgroup of one build: how its processes are found when it must end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{cgroup, live};
use crate::limits;

const INTERVAL: Duration = Duration::from_millis(20);
/// Between two steps of a build there is a moment without a process.
const QUIET: Duration = Duration::from_millis(200);

/// Kills what is in it when dropped, so that a build which nobody waits for any more ends too.
pub(super) struct BuildCgroup {
    path: PathBuf,
}

/// Builds of one data directory are told from another's by their cgroups' names.
fn prefix(data_dir: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::digest(data_dir.as_os_str().as_bytes());
    format!("dunnage-build-{}-", hex::encode(&digest[..8]))
}

impl BuildCgroup {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { path: PathBuf::from(format!("/{}{}", prefix(data_dir), Uuid::new_v4().simple())) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Kills what is left of the build and waits, for a bounded time, until nothing is.
    pub(super) async fn end(self) {
        end_all(self.path.clone()).await;
    }
}

impl Drop for BuildCgroup {
    fn drop(&mut self) {
        if kill_all(&self.path)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(end_all(self.path.clone()));
        }
    }
}

/// Ends builds that an earlier run of the same host left behind.
pub(super) async fn end_leftovers(data_dir: &Path) {
    for name in cgroup::beginning_with(&prefix(data_dir)) {
        tracing::warn!(cgroup = name, "A build of an earlier run is ended.");
        end_all(Path::new("/").join(name)).await;
    }
}

async fn end_all(path: PathBuf) {
    let begun = Instant::now();
    let mut quiet_since = None;
    while begun.elapsed() < limits::BUILD_KILL_TIMEOUT {
        if kill_all(&path) {
            quiet_since = None;
        } else if !exists(&path) || quiet_since.get_or_insert_with(Instant::now).elapsed() > QUIET {
            break;
        }
        sleep(INTERVAL).await;
    }
    for dir in cgroup_dirs(&path) {
        // Podman removes it; of a Podman that died nobody else would.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Whether there was any process to kill.
fn kill_all(path: &Path) -> bool {
    let mut any = false;
    for dir in cgroup_dirs(path) {
        for pid in cgroup::processes(&dir) {
            any = true;
            live::kill_if(pid, || cgroup::processes(&dir).contains(&pid));
        }
    }
    any
}

fn exists(path: &Path) -> bool {
    cgroup_dirs(path).iter().any(|dir| dir.is_dir())
}

fn cgroup_dirs(path: &Path) -> [PathBuf; 2] {
    cgroup::named(path.strip_prefix("/").unwrap_or(path))
}

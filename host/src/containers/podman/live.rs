//! A started container as the kernel knows it: its first process, its cgroup, its exit file.
//!
//! Read once, before the program runs; from then on nothing here asks the engine.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::cgroup::Cgroup;
use crate::containers::{ContainerId, Memory};

#[derive(Debug)]
pub(super) struct Live {
    /// None when the process could not be seen from here.
    process: Option<AsyncFd<OwnedFd>>,
    cgroup: Option<Cgroup>,
    exit_file: PathBuf,
    killed: AtomicBool,
    /// Cancelled when its output is of no use any more.
    pub(super) detach: CancellationToken,
}

/// The part of the engine's description that is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    conmon_pid: i32,
    #[serde(default)]
    exit_code: i32,
    #[serde(default, rename = "OOMKilled")]
    pub(super) oom_killed: bool,
}

impl State {
    /// Set once the engine has noticed the end.
    pub(super) fn exit_code(&self) -> Option<i32> {
        matches!(self.status.as_str(), "exited" | "stopped").then_some(self.exit_code)
    }
}

impl Live {
    pub(super) fn of(id: &ContainerId, state: &State) -> Self {
        let process = open(state.pid);
        // The process is pinned by now: what is read under its number is its own, or nothing.
        let cgroup = process.as_ref().and_then(|_| Cgroup::of(state.pid, &id.0));
        // A process outside the container's cgroup is not the container's.
        let process = process.filter(|_| cgroup.is_some());
        let exit_file = exit_dir(state.conmon_pid).join(&id.0);
        Self { process, cgroup, exit_file, killed: AtomicBool::new(false), detach: CancellationToken::new() }
    }

    pub(super) fn memory(&self) -> Option<Memory> {
        self.cgroup.as_ref()?.memory()
    }

    /// Kills the first process and with it the whole container; false when that cannot be done.
    pub(super) fn kill(&self) -> bool {
        match &self.process {
            Some(process) => match pidfd_send_signal(process.get_ref(), Signal::KILL) {
                Ok(()) => {
                    self.killed.store(true, Ordering::Relaxed);
                    true
                }
                Err(error) => error == rustix::io::Errno::SRCH,
            },
            None => false,
        }
    }

    /// Whether it was sent SIGKILL while it was there.
    pub(super) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Waits for the first process to end; false when that cannot be seen.
    pub(super) async fn ended(&self) -> bool {
        match &self.process {
            Some(process) => process.ready(Interest::READABLE).await.is_ok(),
            None => false,
        }
    }

    pub(super) async fn ended_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended()).await.unwrap_or(false)
    }

    /// What conmon wrote when the container ended; the engine removes it soon after.
    pub(super) fn exit_code(&self) -> Option<i32> {
        std::fs::read_to_string(&self.exit_file).ok()?.trim().parse().ok()
    }
}

#[expect(deprecated, reason = "its replacement is unsafe; an OwnedFd is what it says, so this one is sound")]
fn open(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).filter(|_| pid > 0)?;
    let process =
        pidfd_open(pid, PidfdFlags::NONBLOCK).or_else(|_| pidfd_open(pid, PidfdFlags::empty())).ok()?;
    AsyncFd::try_with_interest(process, Interest::READABLE).ok()
}

/// Conmon is told on its command line where to write exit codes.
fn exit_dir(conmon: i32) -> PathBuf {
    let arguments = std::fs::read(format!("/proc/{conmon}/cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0).skip_while(|argument| *argument != b"--exit-dir");
    match arguments.nth(1).and_then(|dir| std::str::from_utf8(dir).ok()) {
        Some(dir) => PathBuf::from(dir),
        None => Path::new("/run/libpod/exits").to_owned(),
    }
}

/// Kills a process that may have gone, or been replaced, when `still` does not hold for it.
pub(super) fn kill_if(pid: i32, still: impl Fn() -> bool) {
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return };
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && still()
    {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

//! The engine's service: found where it usually is, else started.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::live;
use super::supervisor::{self, Supervisor};
use crate::containers::Error;
use crate::limits;

const START_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Service {
    pub(super) socket: PathBuf,
    /// None when the service is not the host's own.
    own: Option<Supervisor>,
}

impl Service {
    /// The given socket, or the usual ones, or one of our own.
    pub(super) async fn find(
        given: Option<PathBuf>,
        data_dir: &Path,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        if let Some(socket) = given {
            ping(&socket).await?;
            return Ok(Self { socket, own: None });
        }
        for socket in usual_sockets() {
            if ping(&socket).await.is_ok() {
                return Ok(Self { socket, own: None });
            }
        }
        Self::own(data_dir, stop).await
    }

    async fn own(data_dir: &Path, stop: CancellationToken) -> Result<Self, Error> {
        let socket = data_dir.join("podman.sock");
        let pid_file = data_dir.join("podman.pid");
        end_stale(&pid_file, &socket).await;
        let supervisor = Supervisor::start(socket.clone(), pid_file, stop)
            .await
            .map_err(|source| Error::Io { doing: "starting podman's service", source })?;
        let service = Self { socket, own: Some(supervisor) };
        match service.answers_within(limits::SERVICE_START_TIMEOUT).await {
            Ok(()) => Ok(service),
            Err(error) => {
                service.end().await;
                Err(error)
            }
        }
    }

    async fn answers_within(&self, limit: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match ping(&self.socket).await {
                Ok(()) => return Ok(()),
                Err(error) if begun.elapsed() > limit => return Err(error),
                Err(_) => tokio::time::sleep(START_INTERVAL).await,
            }
        }
    }

    async fn end(&self) {
        if let Some(own) = &self.own {
            own.stop();
            own.ended().await;
        }
    }

    /// Waits, for a bounded time, until the host's own service has ended.
    pub(super) async fn stopped(&self) {
        if let Some(own) = &self.own {
            own.ended().await;
        }
    }
}

async fn ping(socket: &Path) -> Result<(), Error> {
    let unreachable = |source| Error::Unreachable { socket: socket.to_owned(), source };
    let api = podman_api::Podman::unix(socket);
    match tokio::time::timeout(limits::ENGINE_PING_TIMEOUT, api.ping()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(unreachable(Box::new(error))),
        Err(late) => Err(unreachable(Box::new(late))),
    }
}

fn usual_sockets() -> Vec<PathBuf> {
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("podman/podman.sock"));
    user.into_iter().chain([PathBuf::from("/run/podman/podman.sock")]).collect()
}

/// Where there is no `setpriv`, a service can outlive a host that was killed; the next start ends it.
async fn end_stale(pid_file: &Path, socket: &Path) {
    let Ok(text) = std::fs::read_to_string(pid_file) else { return };
    let Ok(pid) = text.trim().parse() else { return };
    if serves(pid, socket) {
        tracing::warn!(pid, "The podman service of an earlier run is ended.");
        live::kill_if(pid, || serves(pid, socket));
        let begun = Instant::now();
        while serves(pid, socket) && begun.elapsed() < limits::SERVICE_STOP_TIMEOUT {
            tokio::time::sleep(START_INTERVAL).await;
        }
    }
}

/// Whether the process was started to serve exactly this socket.
fn serves(pid: i32, socket: &Path) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let url = supervisor::url(socket);
    arguments.split(|byte| *byte == 0).any(|argument| argument == url.as_bytes())
}

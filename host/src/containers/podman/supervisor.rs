//! Keeps the host's own podman service alive until it is told to stop.
//!
//! A thread of its own starts the process: the kernel's parent-death signal, by which the service
//! ends with a host that is killed, is bound to the thread that started it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::limits;

/// Dropping it ends the service.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// The process that runs now.
    process: Option<OwnedFd>,
}

impl Supervisor {
    /// Returns when the process was started, not when it answers.
    pub(super) async fn start(
        socket: PathBuf,
        pid_file: PathBuf,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (ended_sender, ended) = watch::channel(false);
        let (started_sender, started) = oneshot::channel();
        let task = Task { socket, pid_file, shared: shared.clone() };
        std::thread::Builder::new().name("podman-service".to_owned()).spawn(move || {
            task.run(started_sender);
            let _ = ended_sender.send(true);
        })?;
        started.await.unwrap_or_else(|_| Err(io::Error::other("the supervising thread ended")))?;
        tokio::spawn(stop_on_cancel(shared.clone(), ended.clone(), stop));
        Ok(Self { shared, ended })
    }

    /// Asks the service to end and has it not started again.
    pub(super) fn stop(&self) {
        self.shared.stop();
    }

    /// Waits, for a bounded time, for the end; insists after half of it.
    pub(super) async fn ended(&self) {
        let mut ended = self.ended.clone();
        let limit = limits::SERVICE_STOP_TIMEOUT;
        if tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await.is_err() {
            self.shared.signal(Signal::KILL);
            let _ = tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn stop_on_cancel(shared: Arc<Shared>, mut ended: watch::Receiver<bool>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => shared.stop(),
        _ = ended.wait_for(|ended| *ended) => {}
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.lock().process {
            let _ = pidfd_send_signal(process, signal);
        }
    }

    /// False when it is time to stop, at once or while waiting.
    fn pause(&self, delay: Duration) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), delay, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        !state.stopping
    }
}

struct Task {
    socket: PathBuf,
    pid_file: PathBuf,
    shared: Arc<Shared>,
}

impl Task {
    fn run(&self, started: oneshot::Sender<io::Result<()>>) {
        let mut started = Some(started);
        let mut delay = limits::SERVICE_RESTART_DELAY_MIN;
        loop {
            let begun = Instant::now();
            let end = self.serve_once(&mut started);
            if !self.shared.pause(Duration::ZERO) {
                break;
            }
            if begun.elapsed() > limits::SERVICE_STEADY {
                delay = limits::SERVICE_RESTART_DELAY_MIN;
            }
            tracing::warn!(end, "The podman service ended; it is started again in {} ms.", delay.as_millis());
            if !self.shared.pause(delay) {
                break;
            }
            delay = (2 * delay).min(limits::SERVICE_RESTART_DELAY_MAX);
        }
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_file(&self.pid_file);
    }

    /// How it ended, for the log. That the first one cannot be started is told to the caller.
    fn serve_once(&self, started: &mut Option<oneshot::Sender<io::Result<()>>>) -> String {
        let launched = self.launch();
        let (told, mut child) = match launched {
            Ok(child) => (Ok(()), Some(child)),
            Err(error) if started.is_none() => return error.to_string(),
            Err(error) => (Err(error), None),
        };
        if let Some(started) = started.take()
            && (started.send(told).is_err() || child.is_none())
        {
            self.shared.stop();
        }
        let end = child.as_mut().map(Child::wait);
        self.shared.lock().process = None;
        match end {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            None => String::new(),
        }
    }

    /// Its own process group keeps the terminal's Ctrl-C from it while calls are drained.
    fn launch(&self) -> io::Result<Child> {
        let mut state = self.shared.lock();
        if state.stopping {
            return Err(io::Error::other("it is to stop"));
        }
        let _ = std::fs::remove_file(&self.socket);
        let child =
            command(&self.socket).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        state.process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Err(error) = std::fs::write(&self.pid_file, child.id().to_string()) {
            tracing::warn!(%error, path = %self.pid_file.display(), "The service's number could not be noted.");
        }
        Ok(child)
    }
}

fn command(socket: &Path) -> Command {
    let mut command = match set_priv() {
        Some(program) => {
            let mut command = Command::new(program);
            command.args(["--pdeathsig", "TERM", "podman"]);
            command
        }
        None => Command::new("podman"),
    };
    command.args(["--log-level=error", "system", "service", "--time=0"]).arg(url(socket));
    command
}

/// Of util-linux, which nearly every system has.
fn set_priv() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join("setpriv")).find(|path| path.is_file())
}

pub(super) fn url(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

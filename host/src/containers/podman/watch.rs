//! Follows a started container to its end: output to whoever reads, then how it ended.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::attach::{self, End};
use super::live::{Inspected, Live, State};
use super::request::Client;
use crate::containers::{ContainerId, Error, Exit, Memory, Output, Running};
use crate::limits;

const KILLED: i32 = 128 + 9;
/// The exit file is there a moment after the end; asking for it costs next to nothing.
const EXIT_FILE_INTERVAL: Duration = Duration::from_millis(2);
/// The engine is asked less often, in case the file was missed.
const INSPECT_INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Watch {
    pub(super) client: Client,
    pub(super) id: ContainerId,
    pub(super) live: Arc<Live>,
}

impl Watch {
    /// The task ends with the container, or when nobody is interested in it any more.
    pub(super) fn start(self, attached: Upgraded) -> Running {
        let (output_sender, output) = mpsc::channel(limits::OUTPUT_CHANNEL_CHUNKS);
        let (mut exit_sender, exit) = oneshot::channel();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = self.follow(attached, output_sender) => Some(ended),
                () = exit_sender.closed() => None,
            };
            if let Some(ended) = ended {
                let _ = exit_sender.send(ended);
            }
        });
        Running { output, exit }
    }

    async fn follow(&self, attached: Upgraded, output: mpsc::Sender<Output>) -> Exit {
        let mut pump = Box::pin(self.pump(attached, output));
        let mut ended = pin!(self.ended());
        let (memory, state) = tokio::select! {
            ended = &mut ended => {
                // Conmon tells the exit code once its output was taken, or nobody is there for it.
                let _ = timeout(limits::OUTPUT_AFTER_EXIT_TIMEOUT, &mut pump).await;
                ended
            }
            () = &mut pump => ended.await,
        };
        drop(pump);
        self.exit(memory, state).await
    }

    async fn pump(&self, attached: Upgraded, output: mpsc::Sender<Output>) {
        let end = tokio::select! {
            end = attach::pump(TokioIo::new(attached), output) => end,
            () = self.live.detach.cancelled() => End::Dropped,
        };
        if end == End::Broken {
            tracing::warn!(container = %self.id, "The engine sent output that was not understood; the rest is lost.");
        }
    }

    /// Waits for the end. The engine removes the cgroup some 90 ms after it: that is read first.
    async fn ended(&self) -> (Option<Memory>, Option<State>) {
        if self.live.ended().await {
            (self.live.memory(), None)
        } else {
            let state = self.ended_by_engine().await;
            (self.live.memory(), state)
        }
    }

    async fn exit(&self, memory: Option<Memory>, state: Option<State>) -> Exit {
        let code = match &state {
            Some(state) => state.exit_code(),
            // A container that is removed at once takes its exit code with it.
            None => self.exit_code().await.or(self.live.was_killed().then_some(KILLED)),
        };
        let oom_killed = match memory {
            Some(memory) => memory.oom_kills > 0,
            None => match state {
                Some(state) => state.oom_killed,
                None => self.inspect().await.is_ok_and(|state| state.oom_killed),
            },
        };
        let memory_peak_bytes = memory.map(|memory| memory.peak_bytes).filter(|peak| *peak > 0);
        Exit { code, oom_killed, memory_peak_bytes }
    }

    async fn exit_code(&self) -> Option<i32> {
        let begun = Instant::now();
        let mut inspected = begun;
        while begun.elapsed() < limits::EXIT_CODE_TIMEOUT {
            if let Some(code) = self.live.exit_code() {
                return Some(code);
            }
            if inspected.elapsed() >= INSPECT_INTERVAL {
                match self.inspect().await {
                    Ok(state) if state.exit_code().is_some() => return state.exit_code(),
                    Err(Error::NoSuchContainer(_)) => return None,
                    _ => inspected = Instant::now(),
                }
            }
            sleep(EXIT_FILE_INTERVAL).await;
        }
        None
    }

    /// Where the process cannot be seen, the engine is asked until it says that it ended.
    async fn ended_by_engine(&self) -> Option<State> {
        loop {
            match self.inspect().await {
                Ok(state) if state.exit_code().is_some() => return Some(state),
                Err(Error::NoSuchContainer(_)) => return None,
                _ => sleep(INSPECT_INTERVAL).await,
            }
        }
    }

    async fn inspect(&self) -> Result<State, Error> {
        inspect(&self.client, &self.id).await
    }
}

pub(super) async fn inspect(client: &Client, id: &ContainerId) -> Result<State, Error> {
    let doing = "inspecting a container";
    let answer = client.call(doing, Method::GET, &format!("/containers/{id}/json"), None).await?;
    if answer.status == hyper::StatusCode::NOT_FOUND {
        return Err(Error::NoSuchContainer(id.clone()));
    }
    Ok(answer.ok(doing)?.json::<Inspected>(doing)?.state)
}

//! Instance: one container with its socket, kept by one task from the first step to the last.
//!
//! ```text
//! binding ─▶ creating ─▶ starting ─▶ serving ──release──▶ ending ─▶ removed ─▶ recorded
//!    └───────────┴───────────┴── failed ─────────────────▶──┘
//! ```
//! The task outlives the call: whether that ended, failed or was dropped, the container is removed.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Error;
use super::output::Log;
use super::protocol::{self, Line, Peers, Server};
use super::record::Ticket;
use super::spec::spec;
use crate::catalog::Deployed;
use crate::containers::{self, ContainerId, ContainerSpec, Containers, Exit, Memory, Running};
use crate::limits;
use crate::metrics::Metrics;
use crate::model::Limits;

#[derive(Clone)]
pub(super) struct Instances {
    shared: Arc<Shared>,
}

struct Shared {
    containers: Arc<dyn Containers>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    run_dir: PathBuf,
    host_id: Uuid,
    peers: Peers,
    /// Containers that are being created and started.
    starts: Arc<Semaphore>,
    /// Containers that exist; more than places, since a call's end frees its place at once.
    living: Arc<Semaphore>,
}

/// The right to start a container.
pub(super) struct Turn {
    starting: OwnedSemaphorePermit,
    living: OwnedSemaphorePermit,
}

/// A started container, as the call that it is for sees it. Dropping it has the container killed.
pub struct Instance {
    pub(super) line: Line,
    pub(super) log: Log,
    pub(super) limits: Limits,
    /// In the place of Lambda's ARN.
    pub(super) function: String,
    pub(super) exit: oneshot::Receiver<Exit>,
    release: oneshot::Sender<Ending>,
    id: ContainerId,
    containers: Arc<dyn Containers>,
}

/// What is to be done with a container that is needed no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has answered or ended: it is removed shortly.
    Remove,
    /// It may still be running hard: it is killed before all else.
    Kill,
}

impl Instances {
    pub(super) fn new(options: super::Options) -> Self {
        let living = options.places + limits::INSTANCES_ENDING_MAX;
        let shared = Shared {
            containers: options.containers,
            metrics: options.metrics,
            tasks: options.tasks,
            run_dir: options.run_dir,
            host_id: options.host_id,
            peers: options.peers,
            starts: Arc::new(Semaphore::new(limits::INSTANCE_STARTS_CONCURRENT_MAX)),
            living: Arc::new(Semaphore::new(living)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Waits until a container may be started.
    pub(super) async fn turn(&self) -> Turn {
        let acquire = async |of: &Arc<Semaphore>| {
            of.clone().acquire_owned().await.expect("nobody closes these semaphores")
        };
        let living = acquire(&self.shared.living).await;
        Turn { living, starting: acquire(&self.shared.starts).await }
    }

    pub(super) async fn start(
        &self,
        turn: Turn,
        function: &Deployed,
        limits: &Limits,
        ticket: Ticket,
    ) -> Result<Instance, Error> {
        let short = short_id();
        let directory = self.shared.run_dir.join(&short);
        let spec = spec(function, limits, self.shared.host_id, &short, directory.clone());
        let keeper = Keeper {
            shared: self.shared.clone(),
            id: ContainerId(spec.name.clone()),
            directory,
            log: Log::default(),
            function: format!("dunnage:function:{}:{}", function.function.name, function.version.number),
        };
        let (told, started) = oneshot::channel();
        self.shared.tasks.spawn(keeper.keep(turn, spec, ticket, told));
        started.await.unwrap_or(Err(Error::ShuttingDown))
    }
}

/// Twelve hex digits: unique among the containers of a host, short enough for a socket's path.
fn short_id() -> String {
    let mut id = Uuid::new_v4().simple().to_string();
    id.truncate(12);
    id
}

impl Instance {
    /// What the container's cgroup tells; none when there is none, or no answer in time.
    pub(super) async fn memory(&self) -> Option<Memory> {
        let memory = self.containers.memory(&self.id);
        tokio::time::timeout(limits::MEMORY_READ_TIMEOUT, memory).await.ok().flatten()
    }

    /// The container is not needed any more.
    pub(super) fn release(self, ending: Ending) {
        let _ = self.release.send(ending);
    }
}

struct Keeper {
    shared: Arc<Shared>,
    /// The name until the engine has said the id.
    id: ContainerId,
    directory: PathBuf,
    log: Log,
    function: String,
}

impl Keeper {
    async fn keep(
        mut self,
        turn: Turn,
        spec: ContainerSpec,
        ticket: Ticket,
        told: oneshot::Sender<Result<Instance, Error>>,
    ) {
        let started = self.start(&spec).await;
        drop(turn.starting);
        match started {
            Ok((running, server, line)) => {
                let (release, released) = oneshot::channel();
                let (exited, exit) = oneshot::channel();
                let instance = Instance {
                    line,
                    log: self.log.clone(),
                    limits: spec.limits,
                    function: self.function.clone(),
                    exit,
                    release,
                    id: self.id.clone(),
                    containers: self.shared.containers.clone(),
                };
                // A caller that is gone drops the instance, which releases it.
                let _ = told.send(Ok(instance));
                let (ending, running) = self.serve(running, released, exited).await;
                self.end(ending, running).await;
                server.stop().await;
                self.remove_directory().await;
                drop(turn.living);
                ticket.hand_in(self.log.lines()).await;
            }
            Err(error) => {
                // The caller may have the image built and try again; that call is recorded.
                let to_be_tried_again = matches!(error, Error::Containers(containers::Error::NoSuchImage(_)));
                let _ = told.send(Err(error));
                if !to_be_tried_again {
                    self.end(Ending::Remove, None).await;
                }
                self.remove_directory().await;
                drop(turn.living);
                if !to_be_tried_again {
                    ticket.hand_in(Vec::new()).await;
                }
            }
        }
    }

    async fn start(&mut self, spec: &ContainerSpec) -> Result<(Running, Server, Line), Error> {
        let directory = self.directory.clone();
        let bound = tokio::task::spawn_blocking(move || protocol::bind(&directory)).await;
        let listener = bound
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| Error::Io { doing: "binding the socket of a function", source })?;
        let (server, line) = Server::start(listener, self.shared.peers);
        let begin = async {
            self.id = self.shared.containers.create(spec).await?;
            self.shared.containers.start(&self.id).await
        };
        let seconds = limits::INSTANCE_START_TIMEOUT.as_secs();
        let late = |_| containers::Error::TimedOut { doing: "starting a container", seconds };
        let running =
            tokio::time::timeout(limits::INSTANCE_START_TIMEOUT, begin).await.map_err(late).flatten()?;
        Ok((running, server, line))
    }

    /// Drains the output until the container is released; what is left to drain comes back.
    async fn serve(
        &self,
        mut running: Running,
        released: oneshot::Receiver<Ending>,
        exited: oneshot::Sender<Exit>,
    ) -> (Ending, Option<Running>) {
        let mut released = pin!(released);
        let exit = tokio::select! {
            exit = drain(&mut running, &self.log) => exit,
            ending = &mut released => return (ending.unwrap_or(Ending::Kill), Some(running)),
        };
        let _ = exited.send(exit);
        (released.await.unwrap_or(Ending::Remove), None)
    }

    /// Removes the container, reading what it still has to say.
    async fn end(&self, ending: Ending, running: Option<Running>) {
        self.shared.metrics.active_cleanup_timers.inc();
        let mut removed = pin!(self.remove(ending));
        if let Some(mut running) = running {
            let mut drained = pin!(drain(&mut running, &self.log));
            tokio::select! {
                () = &mut removed => {
                    let _ = tokio::time::timeout(limits::LOG_DRAIN_TIMEOUT, drained).await;
                }
                _ = &mut drained => removed.await,
            }
        } else {
            removed.await;
        }
        self.shared.metrics.active_cleanup_timers.dec();
    }

    async fn remove(&self, ending: Ending) {
        match ending {
            Ending::Remove => tokio::time::sleep(limits::REMOVE_DELAY).await,
            // Removing kills too; that this failed shows there.
            Ending::Kill => drop(in_time("killing", self.shared.containers.kill(&self.id)).await),
        }
        let result = self.remove_container().await;
        let label = if result.is_ok() { "ok" } else { "error" };
        self.shared.metrics.cleanups.with_label_values(&[label]).inc();
        if let Err(error) = result {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                container = %self.id,
                "A container could not be removed; the next start tries again."
            );
        }
    }

    async fn remove_container(&self) -> Result<(), containers::Error> {
        let mut delay = limits::REMOVE_RETRY_DELAY;
        for _ in 1..limits::REMOVE_ATTEMPTS {
            if in_time("removing", self.shared.containers.remove(&self.id)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
        }
        in_time("removing", self.shared.containers.remove(&self.id)).await
    }

    /// Whatever cannot be removed here is removed at the next start, with the directory above it.
    async fn remove_directory(&self) {
        let directory = self.directory.clone();
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(directory)).await;
    }
}

/// Takes in what the container writes, until it has ended.
async fn drain(running: &mut Running, log: &Log) -> Exit {
    loop {
        tokio::select! {
            biased;
            output = running.output.recv() => match output {
                Some(output) => log.push(output.stream, &output.bytes),
                None => break,
            },
            exit = &mut running.exit => {
                while let Ok(output) = running.output.try_recv() {
                    log.push(output.stream, &output.bytes);
                }
                return exit.unwrap_or_default();
            }
        }
    }
    (&mut running.exit).await.unwrap_or_default()
}

async fn in_time(
    doing: &'static str,
    ending: impl Future<Output = Result<(), containers::Error>>,
) -> Result<(), containers::Error> {
    let seconds = limits::INSTANCE_END_TIMEOUT.as_secs();
    tokio::time::timeout(limits::INSTANCE_END_TIMEOUT, ending)
        .await
        .unwrap_or(Err(containers::Error::TimedOut { doing, seconds }))
}

//! A double of the container engine that fails, delays and lies on purpose.
//!
//! For tests of what the host does then. What containers do is a closure; faults are queued for
//! the next calls of an operation.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Build, BuildEnd, ContainerId, ContainerSpec, Containers, Engine, Error, Exit, Image, Memory, Output,
    Running,
};
use crate::limits;

/// What a started container does until it ends by itself; a kill ends it at any await.
pub type Program = Arc<dyn Fn(ContainerSpec, mpsc::Sender<Output>) -> BoxFuture<'static, Exit> + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Engine,
    Build,
    Image,
    Images,
    RemoveImage,
    Create,
    Start,
    Kill,
    Remove,
    Containers,
}

/// What happens to one call.
#[derive(Debug)]
pub enum Fault {
    Fail(Error),
    /// Answers rightly, but late.
    Delay(Duration),
    /// Does what it is asked and then says that it failed.
    Lie(Error),
    /// Never answers.
    Hang,
}

pub struct Scripted {
    program: Program,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: HashMap<Operation, VecDeque<Fault>>,
    builds: VecDeque<BuildEnd>,
    images: BTreeMap<String, Image>,
    containers: HashMap<ContainerId, Container>,
}

struct Container {
    spec: ContainerSpec,
    killed: CancellationToken,
}

impl Scripted {
    pub fn new(program: Program) -> Self {
        Self { program, state: Mutex::default() }
    }

    /// Queues a fault for the next call of the operation that has none yet.
    pub fn next(&self, operation: Operation, fault: Fault) {
        self.state().faults.entry(operation).or_default().push_back(fault);
    }

    /// Queues how the next build ends; without, a build succeeds.
    pub fn next_build(&self, end: BuildEnd) {
        self.state().builds.push_back(end);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error that the call ends with after its work was done, if it is to lie.
    async fn meet(&self, operation: Operation) -> Result<Result<(), Error>, Error> {
        let fault = self.state().faults.get_mut(&operation).and_then(VecDeque::pop_front);
        match fault {
            None => Ok(Ok(())),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Lie(error)) => Ok(Err(error)),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(Ok(()))
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Containers for Scripted {
    async fn engine(&self) -> Result<Engine, Error> {
        self.meet(Operation::Engine).await??;
        Ok(Engine { description: "scripted".to_owned(), limits_hold: Ok(()) })
    }

    async fn build(&self, mut build: Build, log: mpsc::Sender<String>) -> Result<BuildEnd, Error> {
        let told = self.meet(Operation::Build).await?;
        let mut chunk = vec![0; limits::OUTPUT_CHUNK_BYTES_MAX];
        let mut size_bytes = 0;
        loop {
            let read = build.context.read(&mut chunk).await;
            match read.map_err(|source| Error::Io { doing: "reading the build context", source })? {
                0 => break,
                bytes => size_bytes += bytes as u64,
            }
        }
        let _ = log.send("STEP 1/1: FROM scratch".to_owned()).await;
        if let Some(end) = self.state().builds.pop_front() {
            return told.map(|()| end);
        }
        let image = Image {
            id: Uuid::new_v4().simple().to_string(),
            tags: vec![build.tag.clone()],
            labels: build.labels,
            entrypoint: Vec::new(),
            command: Vec::new(),
            size_bytes,
        };
        self.state().images.insert(build.tag, image.clone());
        told.map(|()| BuildEnd::Built(image))
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        self.meet(Operation::Image).await??;
        let state = self.state();
        let by_id = || state.images.values().find(|image| image.id == reference);
        Ok(state.images.get(reference).or_else(by_id).cloned())
    }

    async fn images(&self, label: &str, value: &str) -> Result<Vec<Image>, Error> {
        self.meet(Operation::Images).await??;
        let carries = |image: &&Image| image.labels.get(label).is_some_and(|have| have == value);
        Ok(self.state().images.values().filter(carries).cloned().collect())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), Error> {
        let told = self.meet(Operation::RemoveImage).await?;
        self.state().images.retain(|tag, image| tag != reference && image.id != reference);
        told
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        let told = self.meet(Operation::Create).await?;
        let mut state = self.state();
        if !state.images.contains_key(&spec.image) {
            return Err(Error::NoSuchImage(spec.image.clone()));
        }
        let id = ContainerId(Uuid::new_v4().simple().to_string());
        let container = Container { spec: spec.clone(), killed: CancellationToken::new() };
        state.containers.insert(id.clone(), container);
        told.map(|()| id)
    }

    async fn start(&self, id: &ContainerId) -> Result<Running, Error> {
        let told = self.meet(Operation::Start).await?;
        let (spec, killed) = match self.state().containers.get(id) {
            Some(container) => (container.spec.clone(), container.killed.clone()),
            None => return Err(Error::NoSuchContainer(id.clone())),
        };
        let (output_sender, output) = mpsc::channel(limits::OUTPUT_CHANNEL_CHUNKS);
        let (exit_sender, exit) = oneshot::channel();
        let program = (self.program)(spec, output_sender);
        tokio::spawn(async move {
            let exit = tokio::select! {
                exit = program => exit,
                () = killed.cancelled() => Exit { code: Some(137), ..Exit::default() },
            };
            let _ = exit_sender.send(exit);
        });
        told.map(|()| Running { output, exit })
    }

    async fn memory(&self, id: &ContainerId) -> Option<Memory> {
        self.state().containers.contains_key(id).then(Memory::default)
    }

    async fn kill(&self, id: &ContainerId) -> Result<(), Error> {
        let told = self.meet(Operation::Kill).await?;
        if let Some(container) = self.state().containers.get(id) {
            container.killed.cancel();
        }
        told
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        let told = self.meet(Operation::Remove).await?;
        if let Some(container) = self.state().containers.remove(id) {
            container.killed.cancel();
        }
        told
    }

    async fn containers(&self, label: &str, value: &str) -> Result<Vec<ContainerId>, Error> {
        self.meet(Operation::Containers).await??;
        let state = self.state();
        let carries =
            |container: &Container| container.spec.labels.get(label).is_some_and(|have| have == value);
        Ok(state
            .containers
            .iter()
            .filter(|(_, container)| carries(container))
            .map(|(id, _)| id.clone())
            .collect())
    }

    async fn stopped(&self) {}
}

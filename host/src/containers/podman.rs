//! Podman, by its libpod REST API over a Unix socket.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Build, BuildEnd, ContainerId, ContainerSpec, Containers, Engine, Error, Image, Memory, Running};

pub struct PodmanOptions {
    /// None: the usual places, else the host starts its own service.
    pub socket: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// The `dunnage-init` executable on this machine.
    pub init: PathBuf,
}

pub struct Podman {}

impl Podman {
    /// Finds or starts the service; its own service ends when `stop` is cancelled.
    pub async fn connect(options: PodmanOptions, stop: CancellationToken) -> Result<Self, Error> {
        let _ = (options.socket, options.data_dir, options.init, stop);
        todo!()
    }
}

#[async_trait]
impl Containers for Podman {
    async fn engine(&self) -> Result<Engine, Error> {
        todo!()
    }
    async fn build(&self, _build: Build, _log: mpsc::Sender<String>) -> Result<BuildEnd, Error> {
        todo!()
    }
    async fn image(&self, _reference: &str) -> Result<Option<Image>, Error> {
        todo!()
    }
    async fn images(&self, _label: &str, _value: &str) -> Result<Vec<Image>, Error> {
        todo!()
    }
    async fn remove_image(&self, _reference: &str) -> Result<(), Error> {
        todo!()
    }
    async fn create(&self, _spec: &ContainerSpec) -> Result<ContainerId, Error> {
        todo!()
    }
    async fn start(&self, _id: &ContainerId) -> Result<Running, Error> {
        todo!()
    }
    async fn memory(&self, _id: &ContainerId) -> Option<Memory> {
        todo!()
    }
    async fn kill(&self, _id: &ContainerId) -> Result<(), Error> {
        todo!()
    }
    async fn remove(&self, _id: &ContainerId) -> Result<(), Error> {
        todo!()
    }
    async fn containers(&self, _label: &str, _value: &str) -> Result<Vec<ContainerId>, Error> {
        todo!()
    }
    async fn stopped(&self) {
        todo!()
    }
}

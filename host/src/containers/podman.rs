//! Podman, by its libpod REST API over a Unix socket.
//!
//! The crate `podman-api` asks and lists ([`images`]); what it cannot do rightly goes as plain
//! requests ([`request`]): a container with all its limits ([`spec`]), its output ([`attach`]),
//! builds ([`build`]). What must be quick or must not fail asks the kernel instead ([`live`]).

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::build::Ended;
use self::build_cgroup::BuildCgroup;
use self::images::Api;
use self::live::Live;
use self::request::Client;
use self::rlimits::Rlimits;
use self::service::Service;
use self::watch::Watch;
use super::{Build, BuildEnd, ContainerId, ContainerSpec, Containers, Engine, Error, Image, Memory, Running};
use crate::limits;

mod attach;
mod build;
mod build_cgroup;
mod cgroup;
mod images;
mod live;
mod request;
mod rlimits;
mod service;
mod spec;
mod supervisor;
mod watch;

const SECCOMP: &str = include_str!("../../seccomp.json");

pub struct PodmanOptions {
    /// None: the usual places, else the host starts its own service.
    pub socket: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// The `dunnage-init` executable on this machine.
    pub init: PathBuf,
}

pub struct Podman {
    service: Service,
    api: Api,
    client: Client,
    data_dir: PathBuf,
    init: PathBuf,
    seccomp: PathBuf,
    rlimits: Rlimits,
    /// Started and not yet removed.
    live: Mutex<HashMap<ContainerId, Arc<Live>>>,
}

impl Podman {
    /// Finds or starts the service; its own service ends when `stop` is cancelled.
    pub async fn connect(options: PodmanOptions, stop: CancellationToken) -> Result<Self, Error> {
        let PodmanOptions { socket, data_dir, init } = options;
        let seccomp = data_dir.join("seccomp.json");
        write_private(&seccomp, SECCOMP)
            .map_err(|source| Error::Io { doing: "writing the seccomp profile", source })?;
        build_cgroup::end_leftovers(&data_dir).await;
        let service = Service::find(socket, &data_dir, stop).await?;
        let rlimits = Rlimits::of_service(&service.socket).await;
        let (api, client) = (Api::new(&service), Client::new(service.socket.clone()));
        Ok(Self { service, api, client, data_dir, init, seccomp, rlimits, live: Mutex::default() })
    }

    fn lives(&self) -> MutexGuard<'_, HashMap<ContainerId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self, id: &ContainerId) -> Option<Arc<Live>> {
        self.lives().get(id).cloned()
    }

    async fn delete(&self, id: &ContainerId) -> Result<(), Error> {
        let doing = "removing a container";
        let path = format!("/containers/{id}?force=true&v=true&timeout=0");
        let answer = self.client.call(doing, Method::DELETE, &path, None).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            _ => answer.ok(doing).map(|_| ()),
        }
    }

    async fn begin(&self, id: &ContainerId) -> Result<(), Error> {
        let doing = "starting a container";
        let answer = self.client.call(doing, Method::POST, &format!("/containers/{id}/start"), None).await?;
        answer.ok(doing).map(|_| ())
    }
}

#[async_trait]
impl Containers for Podman {
    async fn engine(&self) -> Result<Engine, Error> {
        self.api.engine().await
    }

    async fn build(&self, build: Build, log: mpsc::Sender<String>) -> Result<BuildEnd, Error> {
        let tag = build.tag.clone();
        match build::build(&self.client, build, BuildCgroup::new(&self.data_dir), log).await? {
            Ended::TimedOut => Ok(BuildEnd::TimedOut),
            Ended::Failed { message } => Ok(BuildEnd::Failed { message }),
            Ended::Done => match self.image(&tag).await? {
                Some(image) => Ok(BuildEnd::Built(image)),
                None => Err(Error::NoSuchImage(tag)),
            },
        }
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        self.api.image(reference).await
    }

    async fn images(&self, label: &str, value: &str) -> Result<Vec<Image>, Error> {
        self.api.images(label, value).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), Error> {
        self.api.remove_image(reference).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        let doing = "creating a container";
        if !images::is_reference(&spec.image) {
            return Err(Error::NoSuchImage(spec.image.clone()));
        }
        let files = spec::Files { init: &self.init, seccomp: &self.seccomp };
        let request = spec::create_request(spec, &files, self.rlimits);
        let answer = self.client.call(doing, Method::POST, "/containers/create", Some(&request)).await?;
        if !answer.status.is_success() && is_image_missing(&answer.message()) {
            return Err(Error::NoSuchImage(spec.image.clone()));
        }
        let created: Created = answer.ok(doing)?.json(doing)?;
        checked(&ContainerId(created.id))
            .cloned()
            .map_err(|_| Error::Protocol { doing, detail: "the id is not hexadecimal".to_owned() })
    }

    async fn start(&self, id: &ContainerId) -> Result<Running, Error> {
        checked(id)?;
        let path = format!("/containers/{id}/attach?stream=true&stdout=true&stderr=true");
        // To attach sets the container up: everything but the program is there afterwards.
        let attached = match self.client.upgrade("attaching to a container", &path).await {
            Err(Error::Refused { status: 404, .. }) => return Err(Error::NoSuchContainer(id.clone())),
            end => end?,
        };
        let live = Arc::new(Live::of(id, &watch::inspect(&self.client, id).await?));
        self.lives().insert(id.clone(), live.clone());
        if let Err(error) = self.begin(id).await {
            self.lives().remove(id);
            return Err(error);
        }
        Ok(Watch { client: self.client.clone(), id: id.clone(), live }.start(attached))
    }

    async fn memory(&self, id: &ContainerId) -> Option<Memory> {
        self.live(id)?.memory()
    }

    async fn kill(&self, id: &ContainerId) -> Result<(), Error> {
        if self.live(id).is_some_and(|live| live.kill()) {
            return Ok(());
        }
        if checked(id).is_err() {
            return Ok(());
        }
        let doing = "killing a container";
        let path = format!("/containers/{id}/kill?signal=SIGKILL");
        let answer = self.client.call(doing, Method::POST, &path, None).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(()),
            // Podman 4 answers 500 where nothing runs.
            _ if answer.message().contains("container state improper") => Ok(()),
            _ => answer.ok(doing).map(|_| ()),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        if checked(id).is_err() {
            return Ok(());
        }
        if let Some(live) = self.live(id) {
            // The engine is slow to kill, more so when it holds output that nobody reads.
            live.detach.cancel();
            if live.kill() {
                live.ended_within(limits::KILLED_EXIT_TIMEOUT).await;
            }
        }
        request::persist(|| self.delete(id)).await?;
        self.lives().remove(id);
        Ok(())
    }

    async fn containers(&self, label: &str, value: &str) -> Result<Vec<ContainerId>, Error> {
        self.api.containers(label, value).await
    }

    async fn stopped(&self) {
        self.service.stopped().await;
    }
}

#[derive(serde::Deserialize)]
struct Created {
    #[serde(rename = "Id")]
    id: String,
}

/// An id is put into paths: of the engine's form, or there is no such container.
fn checked(id: &ContainerId) -> Result<&ContainerId, Error> {
    let hex = !id.0.is_empty() && id.0.len() <= 64 && id.0.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { Ok(id) } else { Err(Error::NoSuchContainer(id.clone())) }
}

/// Podman 4 answers 500 to this, later ones 404; the words are the same.
fn is_image_missing(message: &str) -> bool {
    message.contains("image not known") || message.contains("no such image")
}

/// Whole or not at all, and for this user's eyes only.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

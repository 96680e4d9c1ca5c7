//! Containers: build an image, run a program isolated in it, tell how it ended.
//!
//! The one port to a container engine. [`podman`] is the real one; [`scripted`] fails, delays and
//! lies on purpose, for tests of what the host does then. Both pass one conformance suite.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, oneshot};

use crate::model::Limits;

pub mod podman;
pub mod scripted;

/// Marks everything that a host made: value is the host's id (`{data}/host.id`).
pub const HOST_LABEL: &str = "org.dunnage.host";
/// The function's id, on images and containers.
pub const FUNCTION_LABEL: &str = "org.dunnage.function";
/// The version's number, on images and containers.
pub const VERSION_LABEL: &str = "org.dunnage.version";

#[async_trait]
pub trait Containers: Send + Sync {
    /// What engine answers and whether it enforces limits.
    async fn engine(&self) -> Result<Engine, Error>;

    /// Builds and tags an image. Lines of the build's output go to `log` as they come; a full
    /// channel slows the build down, a closed one loses lines and nothing else.
    async fn build(&self, build: Build, log: mpsc::Sender<String>) -> Result<BuildEnd, Error>;

    /// `Ok(None)` when no image has that tag or id.
    async fn image(&self, reference: &str) -> Result<Option<Image>, Error>;

    /// Images that carry `label=value`, dangling ones included.
    async fn images(&self, label: &str, value: &str) -> Result<Vec<Image>, Error>;

    /// Removes the tag, and the image when it was its last. Absent is not an error.
    async fn remove_image(&self, reference: &str) -> Result<(), Error>;

    /// Creates, without starting, a container that holds every limit of `spec`.
    /// [`Error::NoSuchImage`] when the image is gone.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error>;

    /// Starts a created container with its output attached.
    async fn start(&self, id: &ContainerId) -> Result<Running, Error>;

    /// What the container's cgroup tells of its memory; none when there is no cgroup any more.
    async fn memory(&self, id: &ContainerId) -> Option<Memory>;

    /// SIGKILL to every process of it. Not running is not an error.
    async fn kill(&self, id: &ContainerId) -> Result<(), Error>;

    /// Kills if needed and removes. Absent is not an error.
    async fn remove(&self, id: &ContainerId) -> Result<(), Error>;

    /// Containers that carry `label=value`, running or not.
    async fn containers(&self, label: &str, value: &str) -> Result<Vec<ContainerId>, Error>;

    /// Waits, for a bounded time, until the engine's service has ended, where the host started it.
    async fn stopped(&self);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// `podman 4.3.1, runc, cgroup v1, root`: for logs and `/ready`.
    pub description: String,
    /// `Err` says which limits would be ignored and why.
    pub limits_hold: Result<(), String>,
}

pub struct Build {
    pub tag: String,
    /// A tar stream, not compressed. The Dockerfile is the entry named `Dockerfile`.
    pub context: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub build_args: Vec<(String, String)>,
    pub labels: BTreeMap<String, String>,
    /// Whether `RUN` steps get a network.
    pub network: bool,
    pub memory_bytes: u64,
    pub timeout: Duration,
}

/// How a build ended. That a Dockerfile does not build is an end, not an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEnd {
    Built(Image),
    Failed { message: String },
    TimedOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The engine's id of it: hex, no `sha256:` before.
    pub id: String,
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerId(pub String);

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container to create. It always gets no network, a read-only root, uid and gid 65534, no
/// capabilities, no-new-privileges, the host's seccomp profile and no log driver.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    pub name: String,
    pub image: String,
    /// Arguments of `dunnage-init`, which is PID 1 whatever the image says.
    pub init_args: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub limits: Limits,
    pub pids_max: i64,
    /// Bind-mounted read-only at [`RUNTIME_DIR`].
    pub runtime_dir: PathBuf,
    /// Size of the tmpfs at [`SCRATCH_DIR`] and `/tmp`, each.
    pub scratch_bytes: u64,
    pub labels: BTreeMap<String, String>,
}

/// Where the socket's directory is in the container.
pub const RUNTIME_DIR: &str = "/run/dunnage";
/// Where `dunnage-init` is in the container.
pub const INIT_PATH: &str = "/run/dunnage-init";
/// The writable tmpfs of a container: `SHARED_PATH`.
pub const SCRATCH_DIR: &str = "/shared";
/// User and group of every function.
pub const FUNCTION_UID: u32 = 65534;

/// A started container. Dropping it detaches from the output, no more.
#[derive(Debug)]
pub struct Running {
    /// What it writes, as it comes. When nobody reads, the program blocks on its writes.
    pub output: mpsc::Receiver<Output>,
    /// Told when the container has ended and all output was delivered or dropped.
    pub exit: oneshot::Receiver<Exit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub stream: Stream,
    pub bytes: bytes::Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What a cgroup tells of its memory, from its beginning until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub peak_bytes: u64,
    /// Processes that the kernel killed for the memory limit.
    pub oom_kills: u64,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// As a shell tells it: 137 is SIGKILL. None when the engine did not say.
    pub code: Option<i32>,
    /// The kernel killed a process of it for its memory limit.
    pub oom_killed: bool,
    pub memory_peak_bytes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no image {0}")]
    NoSuchImage(String),
    #[error("there is no container {0}")]
    NoSuchContainer(ContainerId),
    #[error("the container engine does not answer at {socket}")]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{doing}: the container engine answered {status}: {message}")]
    Refused { doing: &'static str, status: u16, message: String },
    #[error("{doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{doing}: no answer within {seconds} s")]
    TimedOut { doing: &'static str, seconds: u64 },
    #[error("{doing}: the answer was not understood: {detail}")]
    Protocol { doing: &'static str, detail: String },
}

//! The deploy story: from an upload to a version that answers calls.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::db::{self, DeployTarget, FunctionRecord, VersionRecord};
use crate::model::{Finding, Labels, Limits, Principal};
use crate::{blobs, containers, plugins};

pub mod upload;

/// What a client wants deployed, received and checked; nothing of it is trusted.
pub struct Request {
    pub target: DeployTarget,
    pub config: FunctionConfig,
    pub source: SourceTree,
}

/// The `config` field of a deploy. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionConfig {
    pub language: Option<String>,
    pub language_version: Option<String>,
    pub entrypoint: Option<String>,
    pub limits: LimitsConfig,
    pub env: std::collections::BTreeMap<String, String>,
    pub labels: Labels,
    pub instances: Option<u32>,
    pub public: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub memory_mib: Option<u32>,
    pub cpu_millis: Option<u32>,
    pub timeout_ms: Option<u32>,
    pub concurrency: Option<u32>,
}

/// An unpacked archive in a private temporary directory, removed when dropped.
pub struct SourceTree {
    /// Holds `src/` and `function.tar.gz`.
    pub dir: tempfile::TempDir,
    /// sha-256, hex, of the normalised tar (before compression), so that the same tree has the same
    /// digest whatever packed it.
    pub digest: String,
    /// The normalised archive: `{dir}/function.tar.gz`.
    pub archive: PathBuf,
    pub archive_bytes: u64,
    /// Every regular file, sorted by path, relative to `src/`.
    pub files: Vec<SourceEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    pub path: String,
    pub bytes: u64,
}

/// A deploy that came to its end.
#[derive(Clone, Debug)]
pub struct Deployed {
    pub function: FunctionRecord,
    pub version: VersionRecord,
    /// The function has no other version.
    pub first: bool,
    /// The function was made by this deploy.
    pub new_function: bool,
    /// The same archive, configuration and plan were deployed before: nothing was built.
    pub known: bool,
    pub warnings: Vec<Finding>,
}

/// What a client that follows a deploy is told, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    Step { step: &'static str, message: String },
    Log { line: String },
}

/// Where events go; a full or closed channel loses them and nothing else.
pub type Events = tokio::sync::mpsc::Sender<Event>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Upload(#[from] upload::Error),
    #[error("there is no function {0}")]
    NoSuchFunction(String),
    #[error("the configuration is not valid: {}", .0.message)]
    Config(Finding),
    #[error("no language was named, and no file of the archive shows one")]
    LanguageUnknown { known: Vec<String> },
    #[error("no plugin builds {language:?}")]
    NoSuchLanguage {
        language: String,
        known: Vec<String>,
    },
    /// A plugin or the host refuses what the Dockerfile says.
    #[error("the build plan was refused")]
    PlanRefused { by: String, findings: Vec<Finding> },
    #[error("a policy denied the deploy")]
    Denied(plugins::Denied),
    #[error(transparent)]
    Plugin(#[from] plugins::Failure),
    /// The Dockerfile does not build; the last lines of its output.
    #[error("the build failed: {message}")]
    BuildFailed {
        message: String,
        log_tail: Vec<String>,
    },
    #[error("the build took longer than {seconds} s")]
    BuildTimedOut { seconds: u64, log_tail: Vec<String> },
    #[error("the function was deleted during the deploy")]
    FunctionGone,
    #[error("there is no such version")]
    NoSuchVersion,
    #[error("the host is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    Containers(#[from] containers::Error),
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error("{doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Deploys a received request for `by`. Until it returns `Ok` nothing of it is visible.
pub async fn deploy(
    app: &App,
    by: &Principal,
    request: Request,
    events: Events,
) -> Result<Deployed, Error> {
    let _ = (app, by, request, events);
    todo!()
}

/// Makes an earlier version the current one; its image is built again when it is gone.
pub async fn rollback(app: &App, function: Uuid, to: RollbackTo) -> Result<VersionRecord, Error> {
    let _ = (app, function, to);
    todo!()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackTo {
    Number(u64),
    Id(Uuid),
}

/// Deletes a function with all that it has: rows, archives, images, containers.
pub async fn delete(app: &App, function: Uuid) -> Result<(), Error> {
    let _ = (app, function);
    todo!()
}

/// Builds the image of a version again from its stored archive and plan, when the engine has it no more.
pub async fn ensure_image(app: &App, version: &VersionRecord) -> Result<(), Error> {
    let _ = (app, version);
    todo!()
}

#[expect(dead_code, reason = "until the story is told")]
type Unused = Limits;

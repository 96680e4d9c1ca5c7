//! The deploy story: from an upload to a version that answers calls.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::db::{self, DeployTarget, FunctionRecord, VersionRecord};
use crate::model::{Finding, Labels, Principal};
use crate::{blobs, containers, plugins};

pub mod archive;
pub mod context;
pub mod dockerfile;
pub mod upload;

mod image;
mod plan;
mod publish;
mod review;

use publish::Reserved;
pub(crate) use publish::{remove_traces, settle};

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
    #[error("files of the archive show more than one language")]
    LanguageAmbiguous { found: Vec<String> },
    #[error("no plugin builds {language:?}")]
    NoSuchLanguage { language: String, known: Vec<String> },
    /// A plugin or the host refuses what the Dockerfile says.
    #[error("the build plan was refused")]
    PlanRefused { by: String, findings: Vec<Finding> },
    #[error("a policy denied the deploy")]
    Denied(plugins::Denied),
    #[error(transparent)]
    Plugin(#[from] plugins::Failure),
    /// The Dockerfile does not build; the last lines of its output.
    #[error("the build failed: {message}")]
    BuildFailed { message: String, log_tail: Vec<String> },
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

/// Deploys a received request for `by`. Until it returns `Ok` nothing of it is visible, and what
/// it made is removed when it fails; after a crash, by `reconcile`.
pub async fn deploy(app: &App, by: &Principal, request: Request, events: Events) -> Result<Deployed, Error> {
    let Request { target, config, source } = request;
    let progress = Progress(events);
    let subject = plan::resolve(app, &target).await?;
    progress.step("plan", format!("{} files, {} bytes packed", source.files.len(), source.archive_bytes));
    let planned = plan::plan(app, &subject, &config, &source).await?;
    progress.step("review", format!("language {}", planned.language));
    let draft = review::review(app, by, &subject, config, planned, &source).await?;
    if let Some(version) = publish::known(app, &subject, &draft).await? {
        progress.step("known", format!("the same as version {}", version.number));
        ensure_image(app, &version).await?;
        return publish::again(app, version, draft.warnings).await;
    }
    let reserved = Reserved::new(app, &target).await?;
    progress.step("build", format!("version {}", reserved.intent.number));
    let result = build_and_publish(app, &reserved, draft, &source, &progress).await;
    if let Err(error) = &result {
        reserved.abandon(app, error).await;
    }
    result
}

async fn build_and_publish(
    app: &App,
    reserved: &Reserved,
    draft: review::Draft,
    source: &SourceTree,
    progress: &Progress,
) -> Result<Deployed, Error> {
    let image = image::build_from_tree(app, reserved, &draft, source, progress).await?;
    progress.step("publish", format!("image {}", &image.id[..image.id.len().min(12)]));
    let version = reserved.version(app, &draft, image, source);
    publish::publish(app, reserved, version, draft.warnings, &source.archive).await
}

/// Makes an earlier version the current one; its image is built again when it is gone.
pub async fn rollback(app: &App, function: Uuid, to: RollbackTo) -> Result<VersionRecord, Error> {
    let version = match to {
        RollbackTo::Number(number) => app.db.version(function, number).await?,
        RollbackTo::Id(id) => app.db.version_by_id(id).await?,
    };
    let version = version.filter(|v| v.function_id == function).ok_or(Error::NoSuchVersion)?;
    ensure_image(app, &version).await?;
    publish::make_current(app, &version).await?;
    Ok(version)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackTo {
    Number(u64),
    Id(Uuid),
}

/// Deletes a function with all that it has: containers, images, archives, rows. From the first step
/// on it is not to be found; a crash in between is ended by `reconcile`.
pub async fn delete(app: &App, function: Uuid) -> Result<(), Error> {
    if !app.db.mark_deleted(function).await? {
        return Err(Error::NoSuchFunction(function.to_string()));
    }
    app.catalog.remove(function);
    remove_function(app, function).await
}

/// The rows go last, since they name the rest.
pub(crate) async fn remove_function(app: &App, function: Uuid) -> Result<(), Error> {
    for id in app.containers.containers(containers::FUNCTION_LABEL, &function.to_string()).await? {
        app.containers.remove(&id).await?;
    }
    for version in app.db.versions(function).await? {
        app.containers.remove_image(&version.image_tag).await?;
    }
    for object in app.blobs.list(&blobs::function_prefix(function)).await? {
        app.blobs.delete(&object.key).await?;
    }
    app.db.remove_function(function).await?;
    Ok(())
}

/// Builds the image of a version again from its stored archive and plan, when the engine has it no more.
pub async fn ensure_image(app: &App, version: &VersionRecord) -> Result<(), Error> {
    if app.containers.image(&version.image_tag).await?.is_none() {
        image::rebuild(app, version).await?;
    }
    Ok(())
}

/// Tells whoever follows the deploy how far it is; nobody has to listen.
struct Progress(Events);

impl Progress {
    fn step(&self, step: &'static str, message: String) {
        tracing::debug!(step, message, "Deploy goes on.");
        // A follower that is slow or gone misses a line; the deploy does not wait for it.
        let _ = self.0.try_send(Event::Step { step, message });
    }
}

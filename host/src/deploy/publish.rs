//! Publish: the blob first, then one transaction whose last row makes the version current, then
//! whoever serves calls is told.

use std::path::Path;

use super::plan::Subject;
use super::review::Draft;
use super::{Deployed, Error, SourceTree};
use crate::app::App;
use crate::blobs::Key;
use crate::catalog;
use crate::clock;
use crate::containers::Image;
use crate::db::{
    DeployIntent, DeployTarget, FunctionRecord, LogKind, LogRecord, Published, Reservation, VersionRecord,
};
use crate::model::{CONTRACT_LABEL, Contract, Finding};

/// A deploy that has its number: noted in the database before anything is made.
pub(super) struct Reserved {
    pub(super) function: FunctionRecord,
    pub(super) intent: DeployIntent,
    pub(super) image_tag: String,
}

impl Reserved {
    pub(super) async fn new(app: &App, target: &DeployTarget) -> Result<Self, Error> {
        match app.db.reserve(target, app.host_id).await? {
            Reservation::Reserved { function, intent } => {
                let image_tag = image_tag(app, function.id, intent.number);
                Ok(Self { function, intent, image_tag })
            }
            Reservation::NoSuchFunction => Err(Error::FunctionGone),
        }
    }

    pub(super) fn version(
        &self,
        app: &App,
        draft: &Draft,
        image: Image,
        source: &SourceTree,
    ) -> VersionRecord {
        let config = &draft.config;
        VersionRecord {
            id: self.intent.id,
            function_id: self.function.id,
            number: self.intent.number,
            is_current: true,
            content_digest: draft.content_digest.clone(),
            archive_digest: source.digest.clone(),
            archive_bytes: source.archive_bytes,
            archive_key: Key::version(self.function.id, self.intent.number).to_string(),
            image_tag: image_tag(app, self.function.id, self.intent.number),
            contract: contract(&image),
            image_digest: image.id,
            language: draft.language.clone(),
            entrypoint: config.entrypoint.clone().unwrap_or_default(),
            command: [image.entrypoint, image.command].concat(),
            limits: draft.limits,
            labels: config.labels.clone(),
            environment: config.env.clone().into_iter().collect(),
            instances: config.instances.unwrap_or(0),
            // A deploy that says nothing of it leaves the function as `init` or the last deploy made it.
            public: config.public.unwrap_or(self.function.skip_signing),
            plan: draft.plan.clone(),
            deployed_at: clock::now_millis(),
        }
    }

    /// Takes back what a failed deploy made. What cannot be taken back now is found by `reconcile`
    /// at the next start, since the intent is removed last.
    pub(super) async fn abandon(&self, app: &App, why: &Error) {
        self.log_failure(app, why).await;
        if let Err(error) = remove_traces(app, &self.intent).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                function = %self.function.id,
                "What a failed deploy made could not be removed; the next start tries again."
            );
        }
    }

    async fn log_failure(&self, app: &App, why: &Error) {
        let record = LogRecord {
            function_id: self.function.id,
            version: Some(self.intent.number),
            kind: LogKind::Deploy,
            invocation_id: None,
            level: "error".to_owned(),
            message: why.to_string(),
            at: clock::now_millis(),
        };
        if let Err(error) = app.db.append_logs(&[record]).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "A deploy's failure could not be logged."
            );
        }
    }
}

/// Removes image, archive and intent of a deploy that was not published.
pub(crate) async fn remove_traces(app: &App, intent: &DeployIntent) -> Result<(), Error> {
    app.containers.remove_image(&image_tag(app, intent.function_id, intent.number)).await?;
    app.blobs.delete(&Key::version(intent.function_id, intent.number)).await?;
    app.db.abandon(intent.id).await?;
    Ok(())
}

pub(crate) fn image_tag(app: &App, function: uuid::Uuid, number: u64) -> String {
    format!("{}/dunnage-function-{function}:v{number}", app.config.podman.registry)
}

/// The version that holds the same archive, configuration and plan, if there is one.
pub(super) async fn known(
    app: &App,
    subject: &Subject,
    draft: &Draft,
) -> Result<Option<VersionRecord>, Error> {
    match &subject.existing {
        Some(function) => Ok(app.db.version_by_content(function.id, &draft.content_digest).await?),
        None => Ok(None),
    }
}

/// Deploys a known version again: it becomes current, nothing is built.
pub(super) async fn again(
    app: &App,
    version: VersionRecord,
    warnings: Vec<Finding>,
) -> Result<Deployed, Error> {
    make_current(app, &version).await?;
    let function = app.db.function(version.function_id).await?.ok_or(Error::FunctionGone)?;
    Ok(Deployed { function, version, first: false, new_function: false, known: true, warnings })
}

pub(super) async fn publish(
    app: &App,
    reserved: &Reserved,
    mut version: VersionRecord,
    mut warnings: Vec<Finding>,
    archive: &Path,
) -> Result<Deployed, Error> {
    app.blobs.put(&Key::version(version.function_id, version.number), archive).await?;
    let first = match app.db.publish(&version).await? {
        Published::Current { first } => {
            // The intent is still there: should the host die here, the next start does this.
            finish(app, &version).await;
            first
        }
        Published::Superseded { by } => {
            version.is_current = false;
            warnings.push(superseded(version.number, by));
            app.db.abandon(reserved.intent.id).await?;
            false
        }
        Published::FunctionGone => return Err(Error::FunctionGone),
    };
    let function = app.db.function(version.function_id).await?.ok_or(Error::FunctionGone)?;
    let new_function = first && reserved.function.status == crate::db::FunctionStatus::Building;
    Ok(Deployed { function, version, first, new_function, known: false, warnings })
}

/// What follows the row that made a version current: the copy under the current key, the intent,
/// the catalog. The version is published by now, so a failure here is logged and mended later.
async fn finish(app: &App, version: &VersionRecord) {
    if let Err(error) = settle(app, version).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            function = %version.function_id,
            "The archive under the current key is not renewed; the next start does it."
        );
    }
    if let Err(error) = tell_catalog(app, version.function_id).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "The catalog was not told of a new version."
        );
    }
}

/// Renews the copy under the current key and removes the intent.
pub(crate) async fn settle(app: &App, version: &VersionRecord) -> Result<(), Error> {
    let current = app.db.current_version(version.function_id).await?;
    if current.is_some_and(|c| c.id == version.id) {
        copy_to_current(app, version).await?;
    }
    app.db.abandon(version.id).await?;
    Ok(())
}

pub(super) async fn make_current(app: &App, version: &VersionRecord) -> Result<(), Error> {
    if !app.db.make_current(version.function_id, version.number).await? {
        return Err(Error::NoSuchVersion);
    }
    tell_catalog(app, version.function_id).await?;
    copy_to_current(app, version).await
}

async fn copy_to_current(app: &App, version: &VersionRecord) -> Result<(), Error> {
    let from = Key::version(version.function_id, version.number);
    app.blobs.copy(&from, &Key::current(version.function_id)).await?;
    Ok(())
}

/// The database decides what is current, whatever order the deploys of a function end in.
async fn tell_catalog(app: &App, function: uuid::Uuid) -> Result<(), Error> {
    let record = app.db.function(function).await?;
    let version = app.db.current_version(function).await?;
    if let (Some(function), Some(version)) = (record, version) {
        app.catalog.insert(catalog::Deployed { function, version });
    }
    Ok(())
}

/// A program is one-shot unless its image says that it speaks the Runtime API itself.
fn contract(image: &Image) -> Contract {
    match image.labels.get(CONTRACT_LABEL).map(String::as_str) {
        Some("runtime-api") => Contract::RuntimeApi,
        _ => Contract::OneShot,
    }
}

fn superseded(number: u64, by: u64) -> Finding {
    Finding {
        rule: "superseded".to_owned(),
        message: format!("version {number} was published after version {by}, which stays current"),
        path: None,
        hint: Some("roll back to it if it is the one you want".to_owned()),
    }
}

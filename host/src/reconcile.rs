//! Reconcile: at start, what no row names is removed, and what a crash cut off is ended.
//!
//! Only what this host or this database made is ever looked at: a bucket may hold other things.
//! An intent is read before the version it becomes: [`crate::db::Db::publish`] writes the version
//! while the intent still stands, so that one of the two is always there for a living deploy.

use std::sync::Arc;

use uuid::Uuid;

use crate::app::App;
use crate::clock;
use crate::containers::{FUNCTION_LABEL, HOST_LABEL, VERSION_LABEL};
use crate::deploy::{self, remove_traces, settle};
use crate::limits;

/// What was found and removed, for the log and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub containers: usize,
    pub deploys: usize,
    pub images: usize,
    pub deletes: usize,
}

/// Runs before the first request is served: nothing of this host is under way.
pub async fn reconcile(app: &App) -> Result<Report, deploy::Error> {
    let report = Report {
        containers: remove_containers(app).await?,
        deploys: end_deploys(app).await?,
        deletes: end_deletes(app).await?,
        images: remove_images(app).await?,
    };
    if report != Report::default() {
        tracing::info!(?report, "What an earlier run left behind was removed.");
    }
    Ok(report)
}

async fn remove_containers(app: &App) -> Result<usize, deploy::Error> {
    let left = app.containers.containers(HOST_LABEL, &app.host_id.to_string()).await?;
    for id in &left {
        app.containers.remove(id).await?;
    }
    Ok(left.len())
}

/// A deploy of this host that was cut off is taken back, or ended where its version was published.
async fn end_deploys(app: &App) -> Result<usize, deploy::Error> {
    let stale = clock::now_millis() - limits::INTENT_STALE.as_millis() as i64;
    let intents = app.db.intents(app.host_id, stale).await?;
    for intent in &intents {
        match app.db.version_by_id(intent.id).await? {
            Some(version) => settle(app, &version).await?,
            None => remove_traces(app, intent).await?,
        }
    }
    Ok(intents.len())
}

async fn remove_images(app: &App) -> Result<usize, deploy::Error> {
    let mut removed = 0;
    for image in app.containers.images(HOST_LABEL, &app.host_id.to_string()).await? {
        let function = image.labels.get(FUNCTION_LABEL).and_then(|id| Uuid::parse_str(id).ok());
        let number = image.labels.get(VERSION_LABEL).and_then(|n| n.parse().ok());
        let named = match (function, number) {
            (Some(function), Some(number)) => is_named(app, function, number).await?,
            _ => false,
        };
        if !named || image.tags.is_empty() {
            app.containers.remove_image(&image.id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A delete that was cut off is ended; whoever asked for it was not answered.
async fn end_deletes(app: &App) -> Result<usize, deploy::Error> {
    let deleted = app.db.deleted_functions().await?;
    for id in &deleted {
        deploy::remove_function(app, *id).await?;
    }
    Ok(deleted.len())
}

/// Keeps the records within their bounds until the host stops.
pub async fn prune_records_for_ever(app: Arc<App>) {
    let mut ticks = tokio::time::interval(limits::PRUNE_INTERVAL);
    while app.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let before = clock::now_millis() - limits::INVOCATIONS_KEPT.as_millis() as i64;
        if let Err(error) = app.db.prune_records(limits::LOG_ROWS_PER_FUNCTION_MAX, before).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "Old records could not be removed.");
        }
    }
}

async fn is_named(app: &App, function: Uuid, number: u64) -> Result<bool, deploy::Error> {
    Ok(app.db.intent_exists(function, number).await? || app.db.version(function, number).await?.is_some())
}

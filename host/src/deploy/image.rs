//! Image: the build context is streamed to the engine, its output to whoever follows the deploy.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use tokio::sync::mpsc;

use super::publish::Reserved;
use super::review::Draft;
use super::{Error, Event, Progress, SourceTree, archive, context};
use crate::app::App;
use crate::clock;
use crate::containers::{Build, BuildEnd, FUNCTION_LABEL, HOST_LABEL, Image, VERSION_LABEL};
use crate::db::{LogKind, LogRecord, VersionRecord};
use crate::limits;
use crate::model::Plan;

/// What an image is built as.
pub(super) struct Target<'a> {
    pub(super) function: uuid::Uuid,
    pub(super) number: u64,
    pub(super) tag: &'a str,
}

pub(super) async fn build_from_tree(
    app: &App,
    reserved: &Reserved,
    draft: &Draft,
    source: &SourceTree,
    progress: &Progress,
) -> Result<Image, Error> {
    let target =
        Target { function: reserved.function.id, number: reserved.intent.number, tag: &reserved.image_tag };
    build(app, &target, &draft.plan, &source.dir.path().join("src"), Some(progress)).await
}

/// Builds a published version's image again, from its stored archive and plan.
pub(super) async fn rebuild(app: &App, version: &VersionRecord) -> Result<(), Error> {
    let key = crate::blobs::Key::version(version.function_id, version.number);
    tracing::info!(function = %version.function_id, version = version.number, "The image is gone; it is built again.");
    let stored = app.blobs.get(&key).await?;
    let tree = archive::restore(stored, &app.uploads_dir()).await?;
    let target = Target { function: version.function_id, number: version.number, tag: &version.image_tag };
    build(app, &target, &version.plan, &tree.path().join("src"), None).await?;
    Ok(())
}

async fn build(
    app: &App,
    target: &Target<'_>,
    plan: &Plan,
    tree: &Path,
    progress: Option<&Progress>,
) -> Result<Image, Error> {
    let _turn = app.builds.acquire().await.map_err(|_| Error::ShuttingDown)?;
    // While this one waited for its turn, another call may have built the same image.
    if progress.is_none()
        && let Some(image) = app.containers.image(target.tag).await?
    {
        return Ok(image);
    }
    let context = context::stream(tree.to_owned(), plan.clone());
    let build = Build {
        tag: target.tag.to_owned(),
        context: Box::new(context),
        build_args: plan.build_args.clone(),
        labels: labels(app, target),
        network: app.config.podman.build_network,
        memory_bytes: limits::BUILD_MEMORY_BYTES,
        timeout: limits::BUILD_TIMEOUT,
    };
    let (lines, follow) = mpsc::channel(limits::BUILD_LOG_CHANNEL_LINES);
    let (end, log) = tokio::join!(app.containers.build(build, lines), BuildLog::follow(follow, progress));
    log.keep(app, target).await;
    match end? {
        BuildEnd::Built(image) => Ok(image),
        BuildEnd::Failed { message } => Err(Error::BuildFailed { message, log_tail: log.tail() }),
        BuildEnd::TimedOut => {
            Err(Error::BuildTimedOut { seconds: limits::BUILD_TIMEOUT.as_secs(), log_tail: log.tail() })
        }
    }
}

pub(super) fn labels(app: &App, target: &Target<'_>) -> BTreeMap<String, String> {
    BTreeMap::from([
        (HOST_LABEL.to_owned(), app.host_id.to_string()),
        (FUNCTION_LABEL.to_owned(), target.function.to_string()),
        (VERSION_LABEL.to_owned(), target.number.to_string()),
    ])
}

/// The last lines of a build's output, within a bound.
#[derive(Default)]
struct BuildLog {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: usize,
}

impl BuildLog {
    /// Reads until the engine has no more to say.
    async fn follow(mut lines: mpsc::Receiver<String>, progress: Option<&Progress>) -> Self {
        let mut log = Self::default();
        while let Some(line) = lines.recv().await {
            if let Some(progress) = progress {
                let _ = progress.0.try_send(Event::Log { line: line.clone() });
            }
            log.push(line);
        }
        log
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > limits::BUILD_LOG_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            self.dropped += 1;
        }
    }

    fn tail(&self) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(limits::PROBLEM_LOG_LINES);
        self.lines.iter().skip(skip).cloned().collect()
    }

    /// Keeps the output for the function's logs. That it could not be kept fails no build.
    async fn keep(&self, app: &App, target: &Target<'_>) {
        let at = clock::now_millis();
        let record = |message: String| LogRecord {
            function_id: target.function,
            version: Some(target.number),
            kind: LogKind::Deploy,
            invocation_id: None,
            level: "info".to_owned(),
            message,
            at,
        };
        let dropped = (self.dropped > 0).then(|| format!("({} earlier lines were dropped)", self.dropped));
        let records: Vec<_> = dropped.into_iter().chain(self.lines.iter().cloned()).map(record).collect();
        if let Err(error) = app.db.append_logs(&records).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "A build's log could not be kept.");
        }
    }
}

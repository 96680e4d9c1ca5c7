//! Deploy: the upload is received while the client is there; the story itself is never cut off by a
//! client that goes, since what it began would have to be taken back.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream;
use hyper::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{Answer, Api, Call};
use crate::app::App;
use crate::deploy::{self, Event, upload};
use crate::http::body;
use crate::http::problem::{Code, Context, Problem, overloaded};
use crate::http::wire::Deployed;
use crate::limits;
use crate::model::Principal;

/// How soon a client may try again when all deploys are taken: about the time of one.
const RETRY_AFTER_SECONDS: u64 = 15;

pub(super) async fn deploy(api: &Arc<Api>, call: Call) -> Answer {
    let follow = call.accepts("application/x-ndjson");
    let by = call.by.ok_or_else(|| Problem::new(Code::Unauthorized, "send a token"))?;
    let place = api.deploys.clone().try_acquire_owned();
    let place = place.map_err(|_| overloaded("too many deploys are under way", RETRY_AFTER_SECONDS))?;
    call.body.refuse_announced(limits::DEPLOY_BODY_BYTES_MAX).map_err(|_| too_large())?;
    let content_type =
        call.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let request = upload::receive(content_type, call.body, &api.app.uploads_dir()).await?;
    let (events, follower) = mpsc::channel(limits::DEPLOY_EVENT_CHANNEL);
    let story = run(api.app.clone(), by, request, events, place);
    let task = api.app.tasks.spawn(story.in_current_span());
    if follow {
        let path = call.parts.uri.path().to_owned();
        let follow = Follow { follower, task: Some(task), path, request_id: call.request_id };
        return Ok(body::lines(stream::unfold(follow, |mut follow| async move {
            let line = follow.next().await?;
            Some((line, follow))
        })));
    }
    drop(follower);
    let deployed = Deployed::new(&ended(task).await?);
    Ok(body::json(deployed.status(), &deployed))
}

fn too_large() -> Problem {
    let max = limits::ARCHIVE_BYTES_MAX / limits::MIB as u64;
    Problem::new(Code::UploadTooLarge, format!("an archive has {max} MiB at most"))
}

/// The story, counted. It holds its place for as long as its tree is on the disk.
async fn run(
    app: Arc<App>,
    by: Arc<Principal>,
    request: deploy::Request,
    events: deploy::Events,
    _place: OwnedSemaphorePermit,
) -> Result<deploy::Deployed, Problem> {
    let begun = Instant::now();
    let result = deploy::deploy(&app, &by, request, events).await.map_err(Problem::from);
    let outcome = result.as_ref().map_or_else(|problem| problem.code().as_str(), |_| "ok");
    app.metrics.deploys.with_label_values(&[outcome]).inc();
    app.metrics.deploy_seconds.observe(begun.elapsed().as_secs_f64());
    result
}

async fn ended(task: JoinHandle<Result<deploy::Deployed, Problem>>) -> Result<deploy::Deployed, Problem> {
    task.await.unwrap_or_else(|error| {
        Err(Problem::new(Code::Internal, "something went wrong within the host").caused_by(error))
    })
}

/// A client that follows its deploy line by line.
struct Follow {
    follower: mpsc::Receiver<Event>,
    task: Option<JoinHandle<Result<deploy::Deployed, Problem>>>,
    path: String,
    request_id: crate::http::trace::RequestId,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Event(Event),
    Last(LastLine),
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum LastLine {
    Done(Box<Deployed>),
    Failed(Map<String, Value>),
}

impl Follow {
    async fn next(&mut self) -> Option<Line> {
        if let Some(event) = self.follower.recv().await {
            return Some(Line::Event(event));
        }
        let last = match ended(self.task.take()?).await {
            Ok(deployed) => LastLine::Done(Box::new(Deployed::new(&deployed))),
            Err(problem) => {
                problem.log();
                LastLine::Failed(problem.members(&Context { path: &self.path, request_id: &self.request_id }))
            }
        };
        Some(Line::Last(last))
    }
}

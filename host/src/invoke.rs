//! The invoke story: from a request to its function's answer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::app::App;
use crate::catalog::Deployed;
use crate::containers::Containers;
use crate::db::InvocationRecord;
use crate::metrics::Metrics;
use crate::model::{Finding, FunctionResponse, Limits, Principal};
use crate::{containers, db, plugins};

mod call;
mod instance;
mod observe;
mod output;
mod place;
mod place_state;
pub mod protocol;
mod record;
mod respond;
mod review;
mod spec;

pub use call::Ended;
pub use instance::Instance;
use instance::Instances;
pub use observe::{Observed, Verdict};
pub use place::Place;
use place::Places;
use protocol::Peers;
use record::Recorder;

/// One call, as the function gets it.
#[derive(Debug)]
pub struct Request {
    pub id: Uuid,
    pub request_id: String,
    /// `{body, query, headers, method, path}`, as JSON text.
    pub event: Box<RawValue>,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body_bytes: u64,
    pub remote: Option<String>,
}

/// A call that came to its end, whatever the function made of it.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub version: u64,
    pub start: Start,
    /// Microseconds that the call waited for a place and an instance.
    pub wait_us: u64,
    /// Microseconds from the event handed over to the answer complete.
    pub run_us: u64,
    pub memory_peak_bytes: Option<u64>,
    pub warnings: Vec<Finding>,
}

/// What came of it. A function's failure is a value.
#[derive(Debug)]
pub enum Outcome {
    Answered(Output),
    Failed(Failure),
}

/// What the function answered.
#[derive(Debug)]
pub enum Output {
    /// Any JSON: the result itself.
    Json(Bytes),
    /// `{statusCode, headers, body}`.
    Full(FunctionResponse),
}

/// How a function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// A sentence for the caller.
    pub message: String,
    /// As the function gave it.
    pub error_type: Option<String>,
    pub exit_code: Option<i32>,
    /// The last lines that it wrote.
    pub log_tail: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It said so itself, or exited with a code other than 0.
    FunctionError,
    OutOfMemory,
    Timeout,
    /// Its process ended without an answer.
    Exited,
    /// It did not become ready in time, or its start failed.
    InitError,
    /// It answered what cannot be passed on: no JSON, a bad status or header.
    BadResponse,
    ResponseTooLarge,
}

impl FailureKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FunctionError => "function-error",
            Self::OutOfMemory => "out-of-memory",
            Self::Timeout => "timeout",
            Self::Exited => "exited",
            Self::InitError => "init-error",
            Self::BadResponse => "bad-response",
            Self::ResponseTooLarge => "response-too-large",
        }
    }
}

/// How the instance that served a call was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Cold,
}

impl Start {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
        }
    }
}

/// Why a call did not reach its function, or its answer not the caller.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no function {0}")]
    NoSuchFunction(String),
    #[error("nothing is deployed under {0} yet")]
    NotDeployed(String),
    #[error("a policy denied the call")]
    Denied(plugins::Denied),
    #[error(transparent)]
    Plugin(#[from] plugins::Failure),
    #[error("all places are taken; try again in {retry_after_seconds} s")]
    Full { retry_after_seconds: u64 },
    #[error("the answer was withheld by a policy")]
    Withheld(plugins::Denied),
    #[error(transparent)]
    Containers(#[from] containers::Error),
    #[error("{doing}")]
    Io {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the host is shutting down")]
    ShuttingDown,
}

/// What calls share: places, containers, the queue of records.
pub struct Invoker {
    places: Places,
    instances: Instances,
    recorder: Recorder,
}

/// What an [`Invoker`] works with.
pub struct Options {
    pub containers: Arc<dyn Containers>,
    pub metrics: Arc<Metrics>,
    /// Tracks what outlives a call: the end of its container, the writer of records.
    pub tasks: TaskTracker,
    /// Where each container's socket gets a directory of its own.
    pub run_dir: PathBuf,
    pub host_id: Uuid,
    /// Calls under way at once.
    pub places: usize,
    pub wait_max: Duration,
    pub peers: Peers,
}

impl Invoker {
    /// Starts the task that writes records; it ends, with all written, when `flush` is cancelled and
    /// every container is removed.
    pub fn start<W, F>(options: Options, write: W, flush: CancellationToken) -> Self
    where
        W: Fn(Arc<[InvocationRecord]>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), db::Error>> + Send + 'static,
    {
        Self {
            places: Places::new(options.places, options.wait_max, options.metrics.clone()),
            recorder: Recorder::start(write, options.metrics.clone(), &options.tasks, flush),
            instances: Instances::new(options),
        }
    }

    /// Waits for a place among all calls and among those of the function.
    pub async fn place(&self, function: &Deployed, limits: &Limits) -> Result<Place, Error> {
        self.places.enter(function.function.id, limits.concurrency).await
    }

    /// Creates and starts a container for one call. `verdict` tells what became of that, and is
    /// recorded when the container is gone.
    pub async fn instance(
        &self,
        function: &Deployed,
        limits: &Limits,
        request: &Request,
        verdict: oneshot::Receiver<Verdict>,
    ) -> Result<Instance, Error> {
        let Some(turn) = self.places.within_wait(self.instances.turn()).await else {
            return Err(self.places.full(function.function.id, limits.concurrency));
        };
        let ticket = self.recorder.ticket(function, request, verdict);
        self.instances.start(turn, function, limits, ticket).await
    }
}

/// Serves one call of `function`; `by` is none when the function is public and nobody signed in.
///
/// It may be dropped at any moment: the place is free at once, the container is killed and removed.
pub async fn invoke(
    app: &App,
    function: &Deployed,
    by: Option<&Principal>,
    request: &Request,
) -> Result<Answer, Error> {
    let (observed, verdict) = Observed::begin(app.metrics.clone());
    let result = serve(app, function, by, request, verdict).await;
    observed.end(&result);
    result
}

async fn serve(
    app: &App,
    function: &Deployed,
    by: Option<&Principal>,
    request: &Request,
    verdict: oneshot::Receiver<Verdict>,
) -> Result<Answer, Error> {
    if app.shutdown.is_cancelled() {
        return Err(Error::ShuttingDown);
    }
    let plugin_call = review::plugin_call(request);
    let admitted = review::review(app, &plugin_call, function, by, request).await?;
    let waiting = Instant::now();
    let place = app.invoker.place(function, &admitted.limits).await?;
    let instance = app.invoker.instance(function, &admitted.limits, request, verdict).await?;
    let ended = instance.call(request).await;
    drop(place);
    let outcome = respond::post_process(app, &plugin_call, function, ended.run_us, ended.outcome).await?;
    Ok(Answer {
        outcome,
        version: function.version.number,
        start: Start::Cold,
        wait_us: call::micros(ended.started.duration_since(waiting)),
        run_us: ended.run_us,
        memory_peak_bytes: ended.memory_peak_bytes,
        warnings: admitted.warnings,
    })
}

//! The invoke story: from a request to its function's answer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::app::App;
use crate::catalog::Deployed;
use crate::config::Config;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::model::{Finding, FunctionResponse, Principal};
use crate::{containers, plugins};

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

/// What calls share: places, starts, the queue of records.
pub struct Invoker {}

impl Invoker {
    /// Starts the task that writes records; it ends, with all written, when `flush` is cancelled.
    pub fn start(
        config: &Config,
        db: Db,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        flush: CancellationToken,
    ) -> Self {
        let _ = (config, db, metrics, tasks, flush);
        todo!()
    }
}

/// Serves one call of `function`; `by` is none when the function is public and nobody signed in.
pub async fn invoke(
    app: &App,
    function: &Deployed,
    by: Option<&Principal>,
    request: &Request,
) -> Result<Answer, Error> {
    let _ = (app, function, by, request);
    todo!()
}

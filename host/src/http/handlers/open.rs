//! What anyone may read: whether the host lives, is ready, how it does, and its contract.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::{CACHE_CONTROL, HeaderValue, VARY};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{Answer, Api, Call};
use crate::app::App;
use crate::http::body::{self, JSON, ResponseBody, TEXT};
use crate::http::problem::{Code, Problem};
use crate::limits;

pub(super) fn health() -> Response<ResponseBody> {
    body::full(StatusCode::OK, TEXT, "OK")
}

/// The last checks; made anew when they are old, by one request for all that ask meanwhile.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Ready)>>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Ready {
    ready: bool,
    database: Part,
    object_store: Part,
    container_engine: Part,
    draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Part {
    Ready,
    NotReady,
}

pub(super) async fn ready(api: &Api) -> Answer {
    let mut ready = api.readiness.current(&api.app).await;
    ready.draining = api.app.shutdown.is_cancelled();
    ready.ready = ready.ready && !ready.draining;
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = body::json(status, &ready);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Readiness {
    async fn current(&self, app: &App) -> Ready {
        let mut last = self.0.lock().await;
        if let Some((at, ready)) = &*last
            && at.elapsed() < limits::READY_KEPT
        {
            return ready.clone();
        }
        let was_ready = last.as_ref().is_none_or(|(_, ready)| ready.ready);
        let ready = check(app, was_ready).await;
        if ready.ready && !was_ready {
            tracing::info!("Ready again.");
        }
        *last = Some((Instant::now(), ready.clone()));
        ready
    }
}

/// Asks all three at once. Causes are for the log, and only when the host was ready before.
async fn check(app: &App, log: bool) -> Ready {
    let (database, object_store, container_engine) = tokio::join!(
        part("database", log, app.db.ping()),
        part("object store", log, app.blobs.check()),
        part("container engine", log, app.containers.engine()),
    );
    let ready = [database, object_store, container_engine] == [Part::Ready; 3];
    Ready { ready, database, object_store, container_engine, draining: false }
}

async fn part<T, E: Error + 'static>(
    name: &'static str,
    log: bool,
    check: impl Future<Output = Result<T, E>>,
) -> Part {
    match timeout(limits::READY_CHECK_TIMEOUT, check).await {
        Ok(Ok(_)) => return Part::Ready,
        Ok(Err(error)) if log => tracing::warn!(name, error = &error as &dyn Error, "Not ready."),
        Err(_) if log => tracing::warn!(name, "Not ready: no answer in time."),
        _ => {}
    }
    Part::NotReady
}

/// Open, as scrapers expect it: the labels hold templates, plugin names and outcomes, nothing of clients.
pub(super) fn metrics(api: &Arc<Api>) -> Answer {
    const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let text =
        api.app.metrics.encode().map_err(|error| {
            Problem::new(Code::Internal, "the metrics cannot be written").caused_by(error)
        })?;
    Ok(body::full(StatusCode::OK, PROMETHEUS, text))
}

pub(super) fn openapi(api: &Api) -> Response<ResponseBody> {
    body::full(StatusCode::OK, JSON, api.openapi.clone())
}

/// A code's page: as it is for programs, within plain HTML for browsers.
pub(super) fn problem_page(call: &Call) -> Answer {
    const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");
    const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
    let code = Code::parse(&call.argument)
        .ok_or_else(|| Problem::new(Code::NotFound, "there is no problem of that name"))?;
    let mut response = if call.accepts("text/html") {
        body::full(StatusCode::OK, HTML, html(code))
    } else {
        body::full(StatusCode::OK, MARKDOWN, code.page())
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn html(code: Code) -> String {
    let escaped = code.page().replace('&', "&amp;").replace('<', "&lt;");
    let title = code.title();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><pre>{escaped}</pre></html>"
    )
}

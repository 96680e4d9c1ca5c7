//! Invoke: the call's JSON becomes the function's event, its outcome the caller's answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Answer, Api, Call, function_not_found, parse_object};
use crate::app::App;
use crate::catalog::Deployed;
use crate::containers;
use crate::http::auth;
use crate::http::body::{self, JSON, ResponseBody};
use crate::http::problem::{Code, Context, Problem};
use crate::http::route::{self, FunctionId};
use crate::http::server::Remote;
use crate::http::trace::RequestId;
use crate::invoke::{self, Failure, Outcome, Output};
use crate::model::{Finding, FunctionResponse, Principal, Scope};

const RAW: &str = "application/vnd.dunnage.raw";

pub(super) async fn invoke(api: &Api, mut call: Call) -> Answer {
    let app = &api.app;
    let function = admitted(app, &call).await?;
    let raw = call.accepts(RAW);
    let by = call.by.take();
    let path = call.parts.uri.path().to_owned();
    let remote = call.parts.extensions.get::<Remote>().map(|remote| remote.0.ip().to_string());
    let bytes = call.body.read(app.config.functions.max_request_bytes()).await?;
    let request = request(&bytes, &call.request_id, remote)?;
    let answer = run(app, &function, by.as_deref(), &request).await?;
    let context = Context { path: &path, request_id: &call.request_id };
    let mut response = match &answer.outcome {
        Outcome::Failed(failure) => failed(failure, &answer, &context),
        Outcome::Answered(output) if raw => passed_through(output, &context),
        Outcome::Answered(output) => answered(output, &answer, &context),
    };
    describe(&answer, response.headers_mut());
    Ok(response)
}

/// The function, when the caller may call it. Who may not learns nothing of what there is.
async fn admitted(app: &App, call: &Call) -> Result<Arc<Deployed>, Problem> {
    let id = route::function_id(&call.argument);
    let deployed = match &id {
        Some(FunctionId::Id(id)) => app.catalog.by_id(*id),
        Some(FunctionId::Name(name)) => app.catalog.by_name(name),
        None => None,
    };
    if !deployed.as_ref().is_some_and(|d| d.version.public) {
        auth::require(call.by.as_ref(), Scope::Invoke)?;
    }
    match deployed {
        Some(deployed) => Ok(deployed),
        None if id.is_none() => Err(function_not_found(&call.argument)),
        None => {
            let function = call.function(app).await?;
            Err(Problem::new(Code::NotDeployed, format!("nothing is deployed under {} yet", function.name)))
        }
    }
}

/// Calls; where the version's image went away, it is built again, once.
async fn run(
    app: &App,
    function: &Deployed,
    by: Option<&Principal>,
    request: &invoke::Request,
) -> Result<invoke::Answer, Problem> {
    match invoke::invoke(app, function, by, request).await {
        Err(invoke::Error::Containers(containers::Error::NoSuchImage(_))) => {
            crate::deploy::ensure_image(app, &function.version).await?;
            Ok(invoke::invoke(app, function, by, request).await?)
        }
        result => Ok(result?),
    }
}

/// A call as the client sends it. What it has beside these members is left out.
#[derive(Default, Deserialize)]
struct Sent<'a> {
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path: Option<String>,
}

/// What the function is given: these members, whatever was sent.
#[derive(Serialize)]
struct Event<'a> {
    body: Option<&'a RawValue>,
    query: &'a RawValue,
    headers: &'a BTreeMap<String, String>,
    method: &'a str,
    path: &'a str,
}

fn request(bytes: &[u8], request_id: &RequestId, remote: Option<String>) -> Result<invoke::Request, Problem> {
    let empty = bytes.trim_ascii().is_empty();
    let sent: Sent<'_> = if empty { Sent::default() } else { parse_object(bytes)? };
    let headers = text_headers(sent.headers.unwrap_or_default())?;
    let method = sent.method.unwrap_or_else(|| "POST".to_owned());
    let path = sent.path.unwrap_or_else(|| "/".to_owned());
    let none = RawValue::from_string("{}".to_owned()).expect("an empty object is JSON");
    let event = Event {
        body: sent.body,
        query: sent.query.unwrap_or(&none),
        headers: &headers,
        method: &method,
        path: &path,
    };
    Ok(invoke::Request {
        id: Uuid::now_v7(),
        request_id: request_id.as_str().to_owned(),
        event: to_raw_value(&event).expect("texts and JSON are JSON"),
        headers: headers.into_iter().collect(),
        body_bytes: sent.body.map_or(0, |body| body.get().len() as u64),
        method,
        path,
        remote,
    })
}

/// Policies and functions are to see the same headers, so that there is one form of them: text.
fn text_headers(headers: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Problem> {
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Number(_) | Value::Bool(_) => Ok((name, value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Problem::new(Code::InvalidRequest, "the values of headers are texts"))
        }
    };
    headers.into_iter().map(text).collect()
}

#[derive(Serialize)]
struct Success<'a> {
    success: bool,
    result: Box<RawValue>,
    error: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_base64_encoded: bool,
    duration_ms: f64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
    warnings: &'a [Finding],
}

fn answered(output: &Output, answer: &invoke::Answer, context: &Context<'_>) -> Response<ResponseBody> {
    let (bytes, full) = match output {
        Output::Json(bytes) => (bytes, None),
        Output::Full(response) => (&response.body, Some(response)),
    };
    let (result, is_base64_encoded) = result(bytes);
    let success = Success {
        success: true,
        result,
        error: None,
        status_code: full.map(|response| response.status),
        headers: full.map(|response| header_members(&response.headers)),
        is_base64_encoded,
        duration_ms: duration_ms(answer),
        request_id: context.request_id.as_str(),
        warnings: &answer.warnings,
    };
    body::json(StatusCode::OK, &success)
}

/// JSON as it is, else text; bytes that are no text go out in base64.
fn result(bytes: &Bytes) -> (Box<RawValue>, bool) {
    let raw = |value: &str| to_raw_value(value).expect("text is JSON");
    match std::str::from_utf8(bytes) {
        Ok(text) => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => (json.to_owned(), false),
            Err(_) => (raw(text), false),
        },
        Err(_) => (raw(&STANDARD.encode(bytes)), true),
    }
}

/// A header that was given more than once becomes an array.
fn header_members(headers: &[(String, String)]) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in headers {
        match members.get_mut(name) {
            None => {
                members.insert(name.clone(), value.as_str().into());
            }
            Some(Value::Array(all)) => all.push(value.as_str().into()),
            Some(one) => *one = Value::Array(vec![one.take(), value.as_str().into()]),
        }
    }
    members
}

/// A function's failure is told apart from the host's problems by `success` and `kind`.
fn failed(failure: &Failure, answer: &invoke::Answer, context: &Context<'_>) -> Response<ResponseBody> {
    let mut problem = Problem::new(Code::FunctionFailed, failure.message.clone())
        .with("success", false)
        .with("kind", failure.kind.as_str())
        .with("duration_ms", duration_ms(answer));
    if let Some(error_type) = &failure.error_type {
        problem = problem.with("error_type", error_type);
    }
    if let Some(exit_code) = failure.exit_code {
        problem = problem.with("exit_code", exit_code);
    }
    if !failure.log_tail.is_empty() {
        problem = problem.with("logs", &failure.log_tail);
    }
    problem.response(context)
}

/// The function's status, headers and body as they are, but for what belongs to the connection.
fn passed_through(output: &Output, context: &Context<'_>) -> Response<ResponseBody> {
    let response = match output {
        Output::Json(bytes) => return body::full(StatusCode::OK, JSON, bytes.clone()),
        Output::Full(response) => response,
    };
    raw_response(response).unwrap_or_else(|| {
        Problem::new(Code::BadGateway, "the function gave a status or a header that HTTP does not have")
            .response(context)
    })
}

fn raw_response(function: &FunctionResponse) -> Option<Response<ResponseBody>> {
    let status = StatusCode::from_u16(function.status).ok().filter(|s| !s.is_informational())?;
    let mut response =
        body::full(status, HeaderValue::from_static("application/octet-stream"), function.body.clone());
    let headers = response.headers_mut();
    if function.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.remove(header::CONTENT_TYPE);
    } else if serde_json::from_slice::<&RawValue>(&function.body).is_ok() {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    for (name, value) in &function.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        if !belongs_to_connection(&name) {
            headers.append(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(response)
}

fn belongs_to_connection(name: &HeaderName) -> bool {
    let named = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    named.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// What every answer of a call tells of it.
fn describe(answer: &invoke::Answer, headers: &mut HeaderMap) {
    headers.insert("x-dunnage-version", HeaderValue::from(answer.version));
    headers.insert("x-dunnage-instance", HeaderValue::from_static(answer.start.as_str()));
    headers.insert("x-dunnage-queue-us", HeaderValue::from(answer.wait_us));
    headers.insert("x-dunnage-run-us", HeaderValue::from(answer.run_us));
    headers.remove("x-dunnage-memory-peak-bytes");
    if let Some(bytes) = answer.memory_peak_bytes {
        headers.insert("x-dunnage-memory-peak-bytes", HeaderValue::from(bytes));
    }
}

fn duration_ms(answer: &invoke::Answer) -> f64 {
    answer.run_us as f64 / 1000.0
}

#[cfg(test)]
mod tests;

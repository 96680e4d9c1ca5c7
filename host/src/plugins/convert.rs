//! The host's values as WIT values and back. No judgement is made here: see `answer` and `edit`.

use bytes::Bytes;

use super::bindings::dunnage::admission::types as admission;
use super::bindings::dunnage::plugin::types as wit;
use super::bindings::exports::dunnage::admission::{on_deploy, on_invoke};
use super::bindings::exports::dunnage::build::dockerfile;
use super::bindings::exports::dunnage::response::post_process::{self, Body};
use super::{Call, Deployment, Invocation, Source};
use crate::limits;
use crate::model::{Finding, FunctionRef, FunctionResponse, Limits, Plan, PlanFile, Principal, Scope};

/// All functions are here: there are no namespaces yet.
const NAMESPACE: &str = "default";

pub(super) type Verdict = admission::Verdict;

pub(super) fn call(call: &Call) -> wit::Call {
    wit::Call { id: call.id.to_string(), at: call.at, dry_run: false, attributes: call.attributes.clone() }
}

pub(super) fn principal(by: &Principal) -> wit::Principal {
    let scope = |scope: &Scope| scope.as_str().to_owned();
    wit::Principal { id: by.id.clone(), groups: by.scopes.iter().map(scope).collect() }
}

pub(super) fn function(function: &FunctionRef) -> wit::Function {
    wit::Function {
        namespace: NAMESPACE.to_owned(),
        name: function.name.as_str().to_owned(),
        version: function.version,
        language: function.language.clone(),
        labels: function.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

pub(super) fn wit_limits(limits: Limits) -> wit::Limits {
    wit::Limits {
        memory_mib: limits.memory_mib,
        cpu_millis: limits.cpu_millis,
        timeout_ms: limits.timeout_ms,
        concurrency: limits.concurrency,
    }
}

pub(super) fn deployment(what: &Deployment) -> on_deploy::Deployment {
    on_deploy::Deployment {
        function: function(&what.function),
        limits: wit_limits(what.limits),
        source_digest: what.source_digest.clone(),
        source_bytes: what.source_bytes,
        dockerfile: Some(what.dockerfile.clone()),
        image: None,
        secrets: Vec::new(),
        environment: what.environment.clone(),
        replaces: what.replaces,
    }
}

pub(super) fn invocation(what: &Invocation) -> on_invoke::Invocation {
    on_invoke::Invocation {
        function: function(&what.function),
        limits: wit_limits(what.limits),
        method: what.method.clone(),
        path: what.path.clone(),
        headers: what.headers.clone(),
        body_bytes: what.body_bytes,
        remote: what.remote.clone(),
    }
}

pub(super) fn source(source: &Source) -> dockerfile::Source {
    let file = |file: &crate::model::SourceFile| dockerfile::SourceFile {
        path: file.path.clone(),
        bytes: file.bytes,
        text: file.text.clone(),
    };
    dockerfile::Source {
        function: function(&source.function),
        language_version: source.language_version.clone(),
        entrypoint: source.entrypoint.clone(),
        files: source.files.iter().map(file).collect(),
    }
}

/// With the body moved and not copied where it can be; one that is too large to be shown is kept aside.
pub(super) fn response(
    response: FunctionResponse,
    duration_us: u64,
) -> (post_process::Response, Option<Bytes>) {
    let (body, unseen) = if response.body.len() > limits::POST_PROCESS_BODY_BYTES_MAX {
        (Body::Omitted(Some(response.body.len() as u64)), Some(response.body))
    } else {
        (Body::Bytes(response.body.into()), None)
    };
    let FunctionResponse { status, headers, .. } = response;
    (post_process::Response { status, headers, body, duration_us }, unseen)
}

pub(super) fn function_response(response: post_process::Response, unseen: Option<Bytes>) -> FunctionResponse {
    let body = match response.body {
        Body::Bytes(bytes) => bytes.into(),
        Body::Omitted(_) => unseen.unwrap_or_default(),
    };
    FunctionResponse { status: response.status, headers: response.headers, body }
}

/// The notes are judged apart.
pub(super) fn plan(plan: dockerfile::Plan, notes: Vec<Finding>) -> Plan {
    let file =
        |file: dockerfile::File| PlanFile { path: file.path, text: file.text, executable: file.executable };
    Plan {
        dockerfile: plan.dockerfile,
        files: plan.files.into_iter().map(file).collect(),
        ignore: plan.ignore,
        build_args: plan.build_args,
        notes,
    }
}

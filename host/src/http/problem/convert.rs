//! Which problem an error of the stories is. The matches are exhaustive on purpose: a new way to
//! fail has to be given an answer here.

use hyper::header::{HeaderValue, RETRY_AFTER};

use super::{Code, Problem};
use crate::http::body::ReadError;
use crate::limits;
use crate::model::{Finding, InvalidName};
use crate::{blobs, containers, db, deploy, invoke, plugins};

impl From<deploy::Error> for Problem {
    fn from(error: deploy::Error) -> Self {
        use deploy::Error::{
            Blobs, BuildFailed, BuildTimedOut, Config, Containers, Db, Denied, FunctionGone, Io,
            LanguageAmbiguous, LanguageUnknown, NoSuchFunction, NoSuchLanguage, NoSuchVersion, PlanRefused,
            Plugin, ShuttingDown, Upload,
        };
        let text = error.to_string();
        match error {
            Upload(error) => upload(error),
            NoSuchFunction(_) => Self::new(Code::FunctionNotFound, text),
            Config(finding) => Self::new(Code::ConfigInvalid, text).with("findings", [finding]),
            LanguageUnknown { known } => Self::new(Code::LanguageUnknown, text).with("known", known),
            LanguageAmbiguous { found } => Self::new(Code::LanguageAmbiguous, text).with("found", found),
            NoSuchLanguage { known, .. } => Self::new(Code::LanguageUnsupported, text).with("known", known),
            PlanRefused { by, findings } => {
                let detail = with_first(&text, &findings);
                Self::new(Code::PlanRefused, detail).with("plugin", by).with("findings", findings)
            }
            Denied(denied) => refused_by(Code::PolicyDenied, &text, denied),
            Plugin(failure) => plugin(failure),
            BuildFailed { log_tail, .. } => Self::new(Code::BuildFailed, text).with("log", log_tail),
            BuildTimedOut { log_tail, .. } => Self::new(Code::BuildTimedOut, text).with("log", log_tail),
            FunctionGone => Self::new(Code::FunctionDeleted, text),
            NoSuchVersion => Self::new(Code::VersionNotFound, text),
            ShuttingDown => Self::new(Code::ShuttingDown, text),
            Containers(error) => error.into(),
            Blobs(error) => error.into(),
            Db(error) => error.into(),
            error @ Io { .. } => internal(error),
        }
    }
}

/// The one place that knows how an upload can be wrong.
fn upload(error: deploy::upload::Error) -> Problem {
    use deploy::upload::Error;
    let error = match error {
        // The body itself failed: its own reason is the better one.
        Error::Body(source) => match source.downcast::<ReadError>() {
            Ok(read) => return (*read).into(),
            Err(other) => Error::Body(other),
        },
        error => error,
    };
    let code = match &error {
        Error::Target { .. } => Code::InvalidName,
        error if error.too_large() => Code::UploadTooLarge,
        _ => Code::UploadInvalid,
    };
    let detail = match &error {
        Error::Target { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    };
    Problem::new(code, detail).with("reason", error.code())
}

impl From<invoke::Error> for Problem {
    fn from(error: invoke::Error) -> Self {
        use invoke::Error::{
            Containers, Denied, Full, Io, NoSuchFunction, NotDeployed, Plugin, ShuttingDown, Withheld,
        };
        let text = error.to_string();
        match error {
            NoSuchFunction(_) => Self::new(Code::FunctionNotFound, text),
            NotDeployed(_) => Self::new(Code::NotDeployed, text),
            Denied(denied) => refused_by(Code::PolicyDenied, &text, denied),
            Plugin(failure) => plugin(failure),
            Full { retry_after_seconds } => overloaded(text, retry_after_seconds),
            Withheld(denied) => refused_by(Code::ResponseWithheld, &text, denied),
            Containers(error) => error.into(),
            error @ Io { .. } => internal(error),
            ShuttingDown => Self::new(Code::ShuttingDown, text),
        }
    }
}

impl From<containers::Error> for Problem {
    fn from(error: containers::Error) -> Self {
        use containers::Error::{Io, NoSuchContainer, NoSuchImage, Protocol, Refused, TimedOut, Unreachable};
        match &error {
            Unreachable { .. } | TimedOut { .. } => {
                Self::new(Code::EngineUnavailable, "the container engine does not answer").caused_by(error)
            }
            NoSuchImage(_) | NoSuchContainer(_) | Refused { .. } | Io { .. } | Protocol { .. } => {
                internal(error)
            }
        }
    }
}

impl From<blobs::Error> for Problem {
    fn from(error: blobs::Error) -> Self {
        use blobs::Error::{Denied, Failed, InvalidKey, NotFound};
        match &error {
            Denied { .. } | Failed { .. } => {
                Self::new(Code::StorageUnavailable, "the object store cannot be used").caused_by(error)
            }
            InvalidKey(_) | NotFound(_) => internal(error),
        }
    }
}

impl From<db::Error> for Problem {
    fn from(error: db::Error) -> Self {
        use db::Error::{Connect, Corrupt, Query, SchemaNew, SchemaOld, TokenExists};
        match &error {
            Connect(_) | Query { .. } | SchemaOld { .. } | SchemaNew { .. } => {
                Self::new(Code::DatabaseUnavailable, "the database cannot be used").caused_by(error)
            }
            Corrupt { .. } | TokenExists(_) => internal(error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Idle => Self::new(Code::RequestTimeout, text),
            ReadError::TooLarge { bytes, max } => Self::new(Code::RequestTooLarge, text)
                .with("requestSizeMb", mebibytes(bytes))
                .with("maxSizeMb", mebibytes(max)),
            error @ ReadError::Broken(_) => Self::new(Code::InvalidRequest, text).caused_by(error),
        }
    }
}

impl From<InvalidName> for Problem {
    fn from(rule: InvalidName) -> Self {
        Self::new(Code::InvalidName, rule.to_string())
    }
}

pub fn overloaded(detail: impl Into<String>, retry_after_seconds: u64) -> Problem {
    Problem::new(Code::Overloaded, detail)
        .with("retry_after_seconds", retry_after_seconds)
        .header(RETRY_AFTER, HeaderValue::from(retry_after_seconds))
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::new(Code::Internal, "something went wrong within the host").caused_by(error)
}

/// A plugin's failure is the operator's affair: the client learns its name and the kind, no more.
fn plugin(failure: plugins::Failure) -> Problem {
    let detail = format!("the plugin {} failed", failure.plugin);
    Problem::new(Code::PluginFailed, detail)
        .with("plugin", &failure.plugin)
        .with("class", failure.class)
        .caused_by(failure)
}

fn refused_by(code: Code, text: &str, denied: plugins::Denied) -> Problem {
    Problem::new(code, with_first(text, &denied.findings))
        .with("plugin", denied.plugin)
        .with("findings", denied.findings)
}

fn with_first(text: &str, findings: &[Finding]) -> String {
    match findings.first() {
        Some(finding) => format!("{text}: {}", finding.message),
        None => text.to_owned(),
    }
}

/// MiB, to a hundredth.
fn mebibytes(bytes: u64) -> f64 {
    (bytes as f64 / limits::MIB as f64 * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::io;

    use hyper::HeaderMap;
    use serde_json::{Value, json};

    use super::super::Context;
    use super::*;
    use crate::http::trace::RequestId;

    fn shown(problem: Problem) -> (u16, String, Value) {
        let id = RequestId::from_headers(&HeaderMap::new());
        let context = Context { path: "/x", request_id: &id };
        let members = Value::from(problem.members(&context));
        (problem.response(&context).status().as_u16(), problem.code().as_str().to_owned(), members)
    }

    fn finding() -> Finding {
        Finding { rule: "no-latest".into(), message: "pin the image".into(), path: None, hint: None }
    }

    #[test]
    fn a_no_and_a_failure_never_look_alike() {
        let denied = plugins::Denied { plugin: "limits-policy".into(), findings: vec![finding()] };
        let (status, code, body) = shown(invoke::Error::Denied(denied.clone()).into());
        assert_eq!((status, code.as_str()), (403, "policy-denied"));
        assert_eq!(body["plugin"], "limits-policy");
        assert_eq!(body["findings"], json!([{"rule": "no-latest", "message": "pin the image"}]));
        assert!(body["error"].as_str().unwrap().contains("pin the image"));
        let (status, code, _) = shown(invoke::Error::Withheld(denied).into());
        assert_eq!((status, code.as_str()), (502, "response-withheld"));
        let failure = plugins::Failure {
            plugin: "p".into(),
            point: "on-invoke",
            class: "trap",
            reason: "unreachable at 0x7f".into(),
        };
        let (status, code, body) = shown(deploy::Error::Plugin(failure).into());
        assert_eq!((status, code.as_str()), (503, "plugin-failed"));
        assert!(!body.to_string().contains("0x7f"), "{body}");
    }

    #[test]
    fn what_happened_within_the_host_is_not_told() {
        let source = || io::Error::other("/var/secret: permission denied");
        let problems: Vec<Problem> = vec![
            deploy::Error::Io { doing: "writing /var/secret", source: source() }.into(),
            db::Error::Query { doing: "reading /var/secret", source: source().into() }.into(),
            blobs::Error::Failed { doing: "putting", key: "/var/secret".into(), source: source().into() }
                .into(),
            containers::Error::Unreachable { socket: "/var/secret".into(), source: source().into() }.into(),
            containers::Error::Refused { doing: "creating", status: 500, message: "/var/secret".into() }
                .into(),
        ];
        for problem in problems {
            let (status, code, body) = shown(problem);
            assert!(status >= 500, "{code}");
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[test]
    fn full_says_when_to_come_again() {
        let problem: Problem = invoke::Error::Full { retry_after_seconds: 7 }.into();
        let id = RequestId::from_headers(&HeaderMap::new());
        let response = problem.response(&Context { path: "/x", request_id: &id });
        assert_eq!(response.status().as_u16(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn too_large_tells_both_sizes() {
        let (status, _, body) = shown(ReadError::TooLarge { bytes: 2_621_440, max: 1 << 20 }.into());
        assert_eq!(status, 413);
        assert_eq!(body["requestSizeMb"], 2.5);
        assert_eq!(body["maxSizeMb"], 1.0);
    }
}

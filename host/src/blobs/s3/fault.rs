//! Fault: what the SDK reports, as this port's errors. Nothing of a request is kept, since its
//! headers are signed with the secret and may hold a session token.

use std::error::Error as StdError;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::blobs::{Error, Key};
use crate::limits;

/// What "not found" would mean.
#[derive(Clone, Copy)]
pub(super) enum Missing<'a> {
    /// The object of this key is not there: an answer, not a failure.
    Key(&'a Key),
    /// The bucket, or something else that should be there.
    Other(&'a str),
}

/// What the server answered, in short.
#[derive(Debug, thiserror::Error)]
#[error("the object store answered {status} {code}: {message}")]
struct Answer {
    status: u16,
    code: String,
    message: String,
}

impl Answer {
    fn is_denial(&self) -> bool {
        // AWS tells of a token with 400, like of a malformed request.
        let token = matches!(self.code.as_str(), "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired");
        token || matches!(self.status, 401 | 403)
    }
}

pub(super) fn fault<E>(doing: &'static str, missing: Missing<'_>, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let what = match missing {
        Missing::Key(key) if is_no_such_key(&error) => return Error::NotFound(key.clone()),
        Missing::Key(key) => key.as_str(),
        Missing::Other(what) => what,
    };
    match answer(&error) {
        Some(answer) if answer.is_denial() => {
            Error::Denied { doing, detail: format!("{}: {}", answer.code, answer.message) }
        }
        Some(answer) => failed(doing, what, answer),
        None => failed(doing, what, error.into_source().unwrap_or_else(Into::into)),
    }
}

/// A bucket that is missing has another code, and a server that is no object store has none.
pub(super) fn is_no_such_key<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error.code(), Some("NoSuchKey" | "NotFound"))
}

pub(super) fn failed(
    doing: &'static str,
    what: impl std::fmt::Display,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error::Failed { doing, key: what.to_string(), source: source.into() }
}

fn answer<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Answer> {
    let SdkError::ServiceError(service) = error else { return None };
    Some(Answer {
        status: service.raw().status().as_u16(),
        code: short(service.err().code().unwrap_or("without a code")),
        message: short(service.err().message().unwrap_or("without a message")),
    })
}

/// The server's words are bounded and stay on one line.
fn short(text: &str) -> String {
    let safe = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    safe.take(limits::S3_MESSAGE_CHARS_MAX).collect()
}

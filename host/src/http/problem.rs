//! Problem: every error that a client can see, as RFC 9457 has it, each with a code and a page.

use std::error::Error as StdError;

use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::body::{self, ResponseBody};
use super::trace::RequestId;

mod convert;

pub use convert::overloaded;

/// Declares the codes: each has a status, a title and a page in `host/problems/`.
macro_rules! problems {
    ($($variant:ident $code:literal $status:ident $title:literal;)*) => {
        /// What went wrong, as clients tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),* }
            }

            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status),* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }

            /// What happened and what to do, as Markdown.
            pub fn page(self) -> &'static str {
                match self {
                    $(Code::$variant => include_str!(concat!("../../problems/", $code, ".md"))),*
                }
            }
        }
    };
}

problems! {
    InvalidRequest "invalid-request" BAD_REQUEST "The request is not valid";
    InvalidName "invalid-name" BAD_REQUEST "The function's name is not valid";
    ConfigInvalid "config-invalid" BAD_REQUEST "The function's configuration is not valid";
    UploadInvalid "upload-invalid" BAD_REQUEST "The upload is not valid";
    LanguageUnknown "language-unknown" BAD_REQUEST "The function's language is not known";
    LanguageAmbiguous "language-ambiguous" BAD_REQUEST "The archive shows more than one language";
    LanguageUnsupported "language-unsupported" BAD_REQUEST "No plugin builds the language";
    FunctionFailed "function-failed" BAD_REQUEST "The function failed";
    Unauthorized "unauthorized" UNAUTHORIZED "A valid token is needed";
    Forbidden "forbidden" FORBIDDEN "The token may not do this";
    PolicyDenied "policy-denied" FORBIDDEN "A policy denied the request";
    NotFound "not-found" NOT_FOUND "There is nothing here";
    FunctionNotFound "function-not-found" NOT_FOUND "There is no such function";
    VersionNotFound "version-not-found" NOT_FOUND "There is no such version";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The method is not allowed here";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The request's body did not come in time";
    NotDeployed "not-deployed" CONFLICT "Nothing is deployed yet";
    FunctionDeleted "function-deleted" CONFLICT "The function was deleted meanwhile";
    RequestTooLarge "request-too-large" PAYLOAD_TOO_LARGE "The request is too large";
    UploadTooLarge "upload-too-large" PAYLOAD_TOO_LARGE "The upload is too large";
    PlanRefused "plan-refused" UNPROCESSABLE_ENTITY "The build plan was refused";
    BuildFailed "build-failed" UNPROCESSABLE_ENTITY "The build failed";
    BuildTimedOut "build-timed-out" UNPROCESSABLE_ENTITY "The build took too long";
    Overloaded "overloaded" TOO_MANY_REQUESTS "All places are taken";
    Internal "internal" INTERNAL_SERVER_ERROR "Something went wrong within the host";
    ResponseWithheld "response-withheld" BAD_GATEWAY "The function's answer was withheld";
    BadGateway "bad-response" BAD_GATEWAY "The function's answer cannot be passed on";
    PluginFailed "plugin-failed" SERVICE_UNAVAILABLE "A plugin failed";
    DatabaseUnavailable "database-unavailable" SERVICE_UNAVAILABLE "The database does not answer";
    StorageUnavailable "storage-unavailable" SERVICE_UNAVAILABLE "The object store does not answer";
    EngineUnavailable "engine-unavailable" SERVICE_UNAVAILABLE "The container engine does not answer";
    ShuttingDown "shutting-down" SERVICE_UNAVAILABLE "The host is shutting down";
}

impl Code {
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

/// One error on its way to a client. Its cause goes to the log, never to the client.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: Code,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// The request that a problem is the answer to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub path: &'a str,
    pub request_id: &'a RequestId,
}

impl Problem {
    /// `detail` is a sentence for the client, about this very case.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// Adds a member of its own to the answer.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or_default();
        self.0.members.insert(name.to_owned(), value);
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// What an operator should read about it.
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The members of the answer, in the order in which a person reads them.
    pub fn members(&self, context: &Context<'_>) -> Map<String, Value> {
        let code = self.0.code;
        let mut all = Map::new();
        all.insert("type".to_owned(), format!("/problems/{}", code.as_str()).into());
        all.insert("title".to_owned(), code.title().into());
        all.insert("status".to_owned(), code.status().as_u16().into());
        all.insert("detail".to_owned(), self.0.detail.as_str().into());
        all.insert("instance".to_owned(), context.path.into());
        all.insert("error".to_owned(), self.0.detail.as_str().into());
        all.insert("message".to_owned(), self.0.detail.as_str().into());
        all.insert("request_id".to_owned(), context.request_id.as_str().into());
        all.extend(self.0.members.clone());
        all
    }

    /// Tells the log what the client is not told; called once, where the problem is handed out.
    pub fn log(&self) {
        let Some(cause) = &self.0.cause else { return };
        let (code, error) = (self.0.code.as_str(), cause.as_ref() as &dyn StdError);
        match self.0.code {
            Code::PluginFailed => tracing::warn!(code, error, "A plugin failed."),
            _ if self.0.code.status().is_server_error() => {
                tracing::error!(code, error, "A request could not be served.");
            }
            _ => tracing::debug!(code, error, "A request was refused."),
        }
    }

    pub fn response(&self, context: &Context<'_>) -> Response<ResponseBody> {
        const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
        let members = self.members(context);
        let mut response = body::json(self.0.code.status(), &members);
        let headers = response.headers_mut();
        headers.insert(hyper::header::CONTENT_TYPE, PROBLEM);
        headers.extend(self.0.headers.iter().cloned());
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn each_code_has_one_page_and_each_page_a_code() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("problems");
        let files = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let pages: HashSet<String> = files.map(|f| f.strip_suffix(".md").unwrap().to_owned()).collect();
        let codes: HashSet<String> = Code::ALL.iter().map(|c| c.as_str().to_owned()).collect();
        assert_eq!(codes.len(), Code::ALL.len(), "a code is used twice");
        assert_eq!(pages, codes);
    }

    #[test]
    fn pages_are_about_their_code_and_say_what_to_do() {
        for code in Code::ALL {
            let page = code.page();
            assert!(page.starts_with(&format!("# {}\n", code.title())), "{code:?}");
            let status = format!("`{}` · {}", code.as_str(), code.status().as_u16());
            assert!(page.contains(&status), "{code:?} lacks {status}");
            for heading in ["\n## What happened\n", "\n## What to do\n"] {
                assert!(page.contains(heading), "{code:?} lacks {heading:?}");
            }
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }

    #[test]
    fn an_answer_has_the_members_of_old_and_new_clients_and_no_cause() {
        let id = RequestId::from_headers(&HeaderMap::new());
        let problem = Problem::new(Code::Overloaded, "all places are taken")
            .with("retry_after_seconds", 3)
            .caused_by("the password is hunter2");
        let members = Value::from(problem.members(&Context { path: "/api/x", request_id: &id }));
        assert_eq!(members["type"], "/problems/overloaded");
        assert_eq!(members["title"], "All places are taken");
        assert_eq!(members["status"], 429);
        assert_eq!(members["detail"], "all places are taken");
        assert_eq!(members["error"], "all places are taken");
        assert_eq!(members["instance"], "/api/x");
        assert_eq!(members["request_id"], id.as_str());
        assert_eq!(members["retry_after_seconds"], 3);
        assert!(!members.to_string().contains("hunter2"));
    }
}

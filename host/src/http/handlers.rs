//! Handlers: each translates one request into a call of a story or of the database, and its outcome
//! into an answer.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::auth::{self, Tokens};
use super::body::{RequestBody, ResponseBody};
use super::openapi;
use super::problem::{Code, Context, Problem};
use super::route::{self, Access, Endpoint, FunctionId, NoRoute};
use super::trace::RequestId;
use crate::app::App;
use crate::db::FunctionRecord;
use crate::limits;
use crate::model::Principal;

mod open;

mod functions;

mod deploy;

mod logs;

mod invoke;

/// What handlers share.
pub(super) struct Api {
    app: Arc<App>,
    tokens: Tokens,
    readiness: open::Readiness,
    openapi: Bytes,
    followers: Arc<Semaphore>,
    deploys: Arc<Semaphore>,
}

impl Api {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self {
            tokens: Tokens::new(app.db.clone()),
            readiness: open::Readiness::default(),
            openapi: openapi::document(),
            followers: Arc::new(Semaphore::new(limits::FOLLOWERS_MAX)),
            deploys: Arc::new(Semaphore::new(limits::DEPLOYS_CONCURRENT_MAX)),
            app,
        }
    }
}

/// A request that has an endpoint, on its way to a handler.
struct Call {
    parts: Parts,
    body: RequestBody,
    request_id: RequestId,
    /// What the path's variable segment says.
    argument: String,
    /// None when nobody signed in.
    by: Option<Arc<Principal>>,
}

type Answer = Result<Response<ResponseBody>, Problem>;

/// Answers a request. A problem is made an answer, and logged, here and nowhere else.
pub(super) async fn answer(api: Arc<Api>, request: Request<RequestBody>) -> Response<ResponseBody> {
    let path = request.uri().path().to_owned();
    let id = request.extensions().get::<RequestId>().cloned();
    let id = id.unwrap_or_else(|| RequestId::from_headers(request.headers()));
    dispatch(&api, request, id.clone()).await.unwrap_or_else(|problem| {
        problem.log();
        problem.response(&Context { path: &path, request_id: &id })
    })
}

/// Who may call is settled before anything of the body is read.
async fn dispatch(api: &Arc<Api>, request: Request<RequestBody>, request_id: RequestId) -> Answer {
    let route = route::route(request.method(), request.uri().path())?;
    let by = match route.endpoint.access() {
        Access::Anyone => None,
        Access::Scope(scope) => {
            let by = api.tokens.authenticate(request.headers()).await?;
            auth::require(by.as_ref(), scope)?;
            by
        }
        // Whether the function is public is for the handler to find out.
        Access::PublicFunctionOr(_) => api.tokens.authenticate(request.headers()).await?,
    };
    let (parts, body) = request.into_parts();
    let call = Call { parts, body, request_id, argument: route.argument, by };
    match route.endpoint {
        Endpoint::Health => Ok(open::health()),
        Endpoint::Ready => open::ready(api).await,
        Endpoint::Metrics => open::metrics(api),
        Endpoint::OpenApi => Ok(open::openapi(api)),
        Endpoint::ProblemPage => open::problem_page(&call),
        Endpoint::InitFunction => functions::init(api, call).await,
        Endpoint::ListFunctions => functions::list(api, &call).await,
        Endpoint::ShowFunction => functions::show(api, &call).await,
        Endpoint::DeleteFunction | Endpoint::DeleteFunctionAlias => functions::delete(api, call).await,
        Endpoint::ListDeployments => functions::deployments(api, &call).await,
        Endpoint::Rollback => functions::rollback(api, call).await,
        Endpoint::DeployFunction => deploy::deploy(api, call).await,
        Endpoint::Logs => logs::logs(api, &call).await,
        Endpoint::Invoke => invoke::invoke(api, call).await,
        Endpoint::ListPlugins => functions::plugins(api),
    }
}

impl From<NoRoute> for Problem {
    fn from(refusal: NoRoute) -> Self {
        match refusal {
            NoRoute::UnknownPath => Self::new(Code::NotFound, "there is nothing at this path"),
            NoRoute::WrongMethod { allow } => {
                let header = HeaderValue::from_str(&allow).expect("methods are header text");
                Self::new(Code::MethodNotAllowed, format!("the methods of this path are {allow}"))
                    .header(ALLOW, header)
            }
        }
    }
}

impl Call {
    /// The function that the path names, as the database has it.
    async fn function(&self, app: &App) -> Result<FunctionRecord, Problem> {
        let found = match route::function_id(&self.argument) {
            Some(FunctionId::Id(id)) => app.db.function(id).await?,
            Some(FunctionId::Name(name)) => app.db.function_by_name(&name).await?,
            None => None,
        };
        found.ok_or_else(|| function_not_found(&self.argument))
    }

    fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or("")
    }

    fn accepts(&self, media_type: &str) -> bool {
        let accept = self.parts.headers.get_all(hyper::header::ACCEPT);
        let ranges = accept.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
        ranges.filter_map(|range| range.split(';').next()).any(|t| t.trim().eq_ignore_ascii_case(media_type))
    }
}

fn function_not_found(name: &str) -> Problem {
    let shown: String = name.chars().take(limits::ECHO_CHARS_MAX).collect();
    Problem::new(Code::FunctionNotFound, format!("there is no function {shown:?}"))
}

/// Reads a body of JSON, whatever its `Content-Type` says.
async fn read_json<T: DeserializeOwned>(body: RequestBody) -> Result<T, Problem> {
    let bytes = body.read(limits::JSON_BODY_BYTES_MAX).await?;
    parse_object(&bytes)
}

/// Only an object will do: serde would take an array for a structure, too.
fn parse_object<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("the body is not a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| invalid(format!("the body is not valid: {error}")))
}

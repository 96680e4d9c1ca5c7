//! Plain libpod REST requests on the engine's Unix socket, each with a bound on time and bytes.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use crate::containers::Error;
use crate::limits;

/// Podman 5 still answers for this version.
const VERSION: &str = "/v4.0.0/libpod";

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = BoxBody<Bytes, BoxError>;

/// One connection a request: they are local, and none is ever stale.
#[derive(Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

/// An answer whose body is still to come. Dropping it closes the connection.
pub(super) struct Open {
    pub(super) response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn call(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        json: Option<&Value>,
    ) -> Result<Answer, Error> {
        within(doing, limits::ENGINE_REQUEST_TIMEOUT, async {
            let mut request = Request::builder().method(method).uri(format!("{VERSION}{path}"));
            let mut body = Bytes::new();
            if let Some(json) = json {
                request = request.header(header::CONTENT_TYPE, "application/json");
                body = json.to_string().into();
            }
            let body = Full::new(body).map_err(|never| match never {}).boxed();
            self.send(doing, request, body).await?.whole(doing).await
        })
        .await
    }

    /// Asks to have the connection for a stream of the engine's own.
    pub(super) async fn upgrade(&self, doing: &'static str, path: &str) -> Result<Upgraded, Error> {
        within(doing, limits::ENGINE_REQUEST_TIMEOUT, async {
            let request = Request::post(format!("{VERSION}{path}"))
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp");
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
            let open = self.send(doing, request, body).await?;
            if open.response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(open.whole(doing).await?.refused(doing));
            }
            let Open { response, _connection } = open;
            hyper::upgrade::on(response)
                .await
                .map_err(|error| Error::Protocol { doing, detail: error.to_string() })
        })
        .await
    }

    /// Sends a body as it comes. The caller bounds the time.
    pub(super) async fn stream(
        &self,
        doing: &'static str,
        path_and_query: &str,
        content_type: &str,
        body: Body,
    ) -> Result<Open, Error> {
        let request =
            Request::post(format!("{VERSION}{path_and_query}")).header(header::CONTENT_TYPE, content_type);
        self.send(doing, request, body).await
    }

    async fn send(
        &self,
        doing: &'static str,
        request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Open, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // Its error is told to whoever waits for the answer.
            let _ = connection.with_upgrades().await;
        }));
        let request = request
            .header(header::HOST, "podman")
            .body(body)
            .map_err(|error| Error::Protocol { doing, detail: error.to_string() })?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(doing, error))?;
        Ok(Open { response, _connection: connection })
    }

    fn unreachable(&self, source: impl Into<BoxError>) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source: source.into() }
    }

    fn broken(&self, doing: &'static str, error: hyper::Error) -> Error {
        if error.is_parse() {
            Error::Protocol { doing, detail: error.to_string() }
        } else {
            self.unreachable(error)
        }
    }
}

impl Open {
    pub(super) async fn whole(self, doing: &'static str) -> Result<Answer, Error> {
        let status = self.response.status();
        let body = Limited::new(self.response.into_body(), limits::ENGINE_ANSWER_BYTES_MAX);
        match body.collect().await {
            Ok(body) => Ok(Answer { status, body: body.to_bytes() }),
            Err(error) => Err(Error::Protocol { doing, detail: error.to_string() }),
        }
    }
}

impl Answer {
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, doing: &'static str) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::Protocol { doing, detail: error.to_string() })
    }

    pub(super) fn ok(self, doing: &'static str) -> Result<Self, Error> {
        if self.status.is_success() { Ok(self) } else { Err(self.refused(doing)) }
    }

    pub(super) fn refused(&self, doing: &'static str) -> Error {
        Error::Refused { doing, status: self.status.as_u16(), message: self.message() }
    }

    /// The engine's sentence, made fit for a log.
    pub(super) fn message(&self) -> String {
        let json: Option<Value> = serde_json::from_slice(&self.body).ok();
        match json.as_ref().and_then(|json| json["message"].as_str()) {
            Some(message) => clean(message),
            None => clean(&String::from_utf8_lossy(&self.body)),
        }
    }
}

/// Control characters out, and not too long.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().take(limits::ENGINE_MESSAGE_CHARS_MAX).map(visible).collect()
}

pub(super) async fn within<T>(
    doing: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Error::TimedOut { doing, seconds: limit.as_secs() }))
}

/// Tries again what the engine refuses: for a moment after a container's end its own cleaning up is
/// in the way.
pub(super) async fn persist<F: Future<Output = Result<(), Error>>>(
    work: impl Fn() -> F,
) -> Result<(), Error> {
    for _ in 1..limits::ENGINE_REMOVE_ATTEMPTS {
        match work().await {
            Err(Error::Refused { .. }) => tokio::time::sleep(limits::ENGINE_REMOVE_INTERVAL).await,
            end => return end,
        }
    }
    work().await
}

/// `?a=b&c=d`, encoded.
pub(super) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut encoded = form_urlencoded::Serializer::new("?".to_owned());
    encoded.extend_pairs(pairs);
    encoded.finish()
}

//! Protocol: the host's side of the Runtime API, one server for one instance.
//!
//! Paths and headers are those of AWS Lambda's Runtime API, version 2018-06-01, over a Unix socket.
//! Whoever talks here is hostile: every body, head and number of connections is bounded, and what is
//! said out of turn is refused. Waiting needs no clock of its own: the server ends with its instance.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::containers::FUNCTION_UID;
use crate::limits;

mod session;

pub use session::{Event, Report, Said};
use session::{Refused, Session};

const BASE: &str = "/2018-06-01/runtime/";

/// Which users may talk to a function's socket. Its directory keeps out all but the host's own user,
/// root, and the container that it is mounted into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Nobody else's processes but this user's.
    Only(u32),
    /// Where the engine is rootless, the function's user is some id of the range that the host's user
    /// owns, which only the engine knows. It is never the host's user itself.
    AllBut(u32),
}

impl Peers {
    /// As this process and the engine see a function's processes.
    pub fn of_functions() -> Self {
        let own = rustix::process::geteuid();
        if own.is_root() { Self::Only(FUNCTION_UID) } else { Self::AllBut(own.as_raw()) }
    }

    fn include(self, uid: u32) -> bool {
        match self {
            Self::Only(only) => uid == only,
            Self::AllBut(own) => uid != own,
        }
    }
}

/// The running server of one instance. Dropping it ends every connection.
pub struct Server {
    session: Arc<Session>,
    /// Ends accepting; connections go on.
    accepting: CancellationToken,
    connections: TaskTracker,
    _stop: DropGuard,
}

/// The host's end of the conversation.
pub struct Line {
    session: Arc<Session>,
    said: mpsc::Receiver<Said>,
    accepting: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    /// Serves the listener until the server is dropped.
    pub fn start(listener: UnixListener, peers: Peers) -> (Self, Line) {
        let (session, said) = Session::new();
        let session = Arc::new(session);
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let accepting = stop.child_token();
        let acceptor = Acceptor {
            peers,
            session: session.clone(),
            connections: connections.clone(),
            places: Arc::new(Semaphore::new(limits::INSTANCE_CONNECTIONS_MAX)),
            bodies: Arc::default(),
            stop: stop.clone(),
        };
        connections.spawn(accepting.clone().run_until_cancelled_owned(acceptor.run(listener)));
        let line = Line {
            session: session.clone(),
            said,
            accepting: accepting.clone(),
            connections: connections.clone(),
        };
        (Self { session, accepting, connections, _stop: stop.drop_guard() }, line)
    }

    /// Ends every connection, and waits until all are ended.
    pub async fn stop(self) {
        self.session.end();
        self.accepting.cancel();
        let connections = self.connections.clone();
        drop(self);
        connections.close();
        connections.wait().await;
    }
}

impl Line {
    /// What the function says next that moves its call on. Never ends by itself.
    pub async fn heard(&mut self) -> Said {
        match self.said.recv().await {
            Some(said) => said,
            // The session holds a sender for as long as this line holds the session.
            None => std::future::pending().await,
        }
    }

    /// Hands the event to whoever asked, or will ask, for the next one.
    pub fn offer(&self, event: Event) {
        self.session.offer(event);
    }

    /// When its processes have ended: what they had sent before is still read.
    pub async fn last_words(&mut self, within: Duration) -> Option<Said> {
        self.accepting.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(within, self.connections.wait()).await;
        self.said.try_recv().ok()
    }
}

struct Acceptor {
    peers: Peers,
    session: Arc<Session>,
    connections: TaskTracker,
    places: Arc<Semaphore>,
    /// One body is read at a time: an instance cannot have the host hold eight.
    bodies: Arc<Mutex<()>>,
    stop: CancellationToken,
}

impl Acceptor {
    async fn run(self, listener: UnixListener) {
        loop {
            let place = self.places.clone().acquire_owned().await.expect("nobody closes the places");
            match listener.accept().await {
                Ok((stream, _)) if self.may_talk(&stream) => {
                    let served = serve(stream, self.session.clone(), self.bodies.clone());
                    let stop = self.stop.clone();
                    self.connections.spawn(async move {
                        stop.run_until_cancelled(served).await;
                        drop(place);
                    });
                }
                Ok(_) => {}
                // Out of descriptors, or the peer is gone already.
                Err(_) => tokio::time::sleep(limits::RUNTIME_ACCEPT_BACKOFF).await,
            }
        }
    }

    fn may_talk(&self, stream: &UnixStream) -> bool {
        match stream.peer_cred() {
            Ok(peer) if self.peers.include(peer.uid()) => true,
            Ok(peer) => {
                tracing::warn!(
                    uid = peer.uid(),
                    "A process of another user was refused at a function's socket."
                );
                false
            }
            Err(_) => false,
        }
    }
}

/// One connection to its end; how it ends is its client's affair.
async fn serve(stream: UnixStream, session: Arc<Session>, bodies: Arc<Mutex<()>>) {
    let service = service_fn(|request| answer(request, &session, &bodies));
    let served = http1::Builder::new()
        // A function may think between two requests for as long as its call may last.
        .header_read_timeout(None)
        .max_buf_size(limits::RUNTIME_BUFFER_BYTES)
        .max_header_size(limits::RUNTIME_HEAD_BYTES_MAX)
        .max_headers(limits::RUNTIME_HEADERS_MAX)
        // A program may post its answer, close and end at once; the answer counts.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    drop(served);
}

#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Next,
    Response(&'a str),
    Error(&'a str),
    InitError,
    WrongMethod,
    Unknown,
}

fn route<'a>(method: &Method, path: &'a str) -> Route<'a> {
    let Some(rest) = path.strip_prefix(BASE) else { return Route::Unknown };
    let parts: Vec<&str> = rest.splitn(4, '/').collect();
    match (method, parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => Route::Next,
        (&Method::POST, ["invocation", id, "response"]) => Route::Response(id),
        (&Method::POST, ["invocation", id, "error"]) => Route::Error(id),
        (&Method::POST, ["init", "error"]) => Route::InitError,
        (_, ["invocation", "next"] | ["invocation", _, "response" | "error"] | ["init", "error"]) => {
            Route::WrongMethod
        }
        _ => Route::Unknown,
    }
}

async fn answer(
    request: Request<Incoming>,
    session: &Session,
    bodies: &Mutex<()>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    Ok(match route(&head.method, head.uri.path()) {
        Route::Next => next(session).await,
        Route::Response(id) => finish(respond(session, id, body, bodies).await),
        Route::Error(id) => finish(fail(session, id, body, bodies).await),
        Route::InitError => finish(fail_init(session, body, bodies).await),
        Route::WrongMethod => refuse(StatusCode::METHOD_NOT_ALLOWED, "Method", "not by this method"),
        Route::Unknown => refuse(StatusCode::NOT_FOUND, "NotFound", "there is no such path"),
    })
}

async fn next(session: &Session) -> Response<Full<Bytes>> {
    let event = session.next().await;
    let headers = [
        ("lambda-runtime-aws-request-id", event.id.as_str()),
        ("lambda-runtime-deadline-ms", &event.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", &event.function),
        ("lambda-runtime-trace-id", &event.trace),
    ];
    let mut response = json(StatusCode::OK, event.body.clone());
    for (name, value) in headers {
        // What is no header value is left out; a request id was checked where it came in.
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn respond(session: &Session, id: &str, body: Incoming, bodies: &Mutex<()>) -> Result<(), Refused> {
    session.check(id)?;
    match read(body, limits::RESPONSE_BYTES_MAX, bodies).await {
        Ok(bytes) => session.answer(id, Said::Answered(bytes)),
        Err(Refused::TooLarge) => {
            session.answer(id, Said::TooLarge)?;
            Err(Refused::TooLarge)
        }
        Err(refused) => Err(refused),
    }
}

async fn fail(session: &Session, id: &str, body: Incoming, bodies: &Mutex<()>) -> Result<(), Refused> {
    session.check(id)?;
    let bytes = read(body, limits::ERROR_REPORT_BYTES_MAX, bodies).await?;
    session.answer(id, Said::Failed(Report::parse(&bytes)))
}

async fn fail_init(session: &Session, body: Incoming, bodies: &Mutex<()>) -> Result<(), Refused> {
    let bytes = read(body, limits::ERROR_REPORT_BYTES_MAX, bodies).await?;
    session.fail_init(Report::parse(&bytes))
}

async fn read(body: Incoming, bytes_max: usize, bodies: &Mutex<()>) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Refused::TooLarge);
    }
    let _turn = bodies.lock().await;
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::TooLarge),
        Err(_) => Err(Refused::CutOff),
    }
}

fn finish(done: Result<(), Refused>) -> Response<Full<Bytes>> {
    match done {
        Ok(()) => json(StatusCode::ACCEPTED, Bytes::from_static(b"{\"status\":\"OK\"}")),
        Err(Refused::TooLarge) => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the body is too large")
        }
        Err(Refused::WrongId) => {
            refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "no call with this id is under way here")
        }
        Err(Refused::Answered) => {
            refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", "this call is answered already")
        }
        Err(Refused::Started) => {
            refuse(StatusCode::FORBIDDEN, "InvalidStateTransition", "the start is over already")
        }
        Err(Refused::CutOff) => refuse(StatusCode::BAD_REQUEST, "CutOff", "the body ended too early"),
    }
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "errorMessage": message, "errorType": kind });
    json(status, body.to_string().into())
}

fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Binds the socket where the container finds it: the directory is readable, the socket writable by
/// the function's user, who sees nothing else of the host.
pub fn bind(directory: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(SOCKET_NAME);
    if path.as_os_str().len() > limits::SOCKET_PATH_BYTES_MAX {
        let reason = format!("{} is too long for a socket; choose a shorter data directory", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    std::fs::create_dir(directory)?;
    std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755))?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
    Ok(listener)
}

/// The socket's name in its directory.
pub const SOCKET_NAME: &str = "runtime.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_whole() {
        let get = |path| route(&Method::GET, path);
        let post = |path| route(&Method::POST, path);
        assert_eq!(get("/2018-06-01/runtime/invocation/next"), Route::Next);
        assert_eq!(post("/2018-06-01/runtime/invocation/a-b/response"), Route::Response("a-b"));
        assert_eq!(post("/2018-06-01/runtime/invocation/a-b/error"), Route::Error("a-b"));
        assert_eq!(post("/2018-06-01/runtime/init/error"), Route::InitError);
        assert_eq!(post("/2018-06-01/runtime/invocation/next"), Route::WrongMethod);
        assert_eq!(get("/2018-06-01/runtime/invocation/a/response"), Route::WrongMethod);
        for unknown in ["/", "/2018-06-01/runtime/", "/2018-06-01/runtime/invocation/x/../y/response"] {
            assert_eq!(post(unknown), Route::Unknown, "{unknown}");
        }
        assert_eq!(get("/../../etc/passwd"), Route::Unknown);
    }

    #[test]
    fn peers_are_told_apart_by_user() {
        assert!(Peers::Only(FUNCTION_UID).include(FUNCTION_UID));
        assert!(!Peers::Only(FUNCTION_UID).include(0));
        assert!(Peers::AllBut(1000).include(165_533) && !Peers::AllBut(1000).include(1000));
    }
}

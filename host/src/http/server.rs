//! Server: accepts connections, holds every one of them within limits, and drains them at the end.
//!
//! It knows nothing of the API: a handler makes an answer of a request.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::body::{RequestBody, ResponseBody};
use super::problem::{Code, Context, Problem};
use super::trace::{Observed, REQUEST_ID, RequestId};
use super::write_timeout::WriteTimeout;
use crate::limits;
use crate::metrics::Metrics;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub SocketAddr);

/// Makes an answer of a request, whose extensions hold its [`RequestId`] and [`Remote`].
pub trait Handler: Clone + Send + Sync + 'static {
    fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send + 'static;
}

impl<H, F> Handler for H
where
    H: Fn(Request<RequestBody>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<ResponseBody>> + Send + 'static {
        self(request)
    }
}

/// Serves until `shutdown`; then idle connections are closed at once, those with a request under way
/// when it is answered, and what is left after [`limits::DRAIN_TIMEOUT`] is cut off.
///
/// Over [`limits::CONNECTIONS_MAX`] no connection is accepted until one ends: the kernel keeps a
/// bounded number of them waiting.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    shutdown: CancellationToken,
    metrics: Arc<Metrics>,
    handler: H,
) {
    let connections = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let mut backoff = Backoff::default();
    while let Some((accepted, place)) = shutdown.run_until_cancelled(next(&listener, &places)).await {
        match accepted {
            Ok((stream, remote)) => {
                backoff = Backoff::default();
                let connection = Connection {
                    remote,
                    metrics: metrics.clone(),
                    shutdown: shutdown.clone(),
                    cut_off: cut_off.clone(),
                    _place: place,
                };
                connections.spawn(connection.serve(stream, handler.clone()));
            }
            Err(error) => backoff.after(&error).await,
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits::DRAIN_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "Requests did not end in time; they are cut off.");
        cut_off.cancel();
        connections.wait().await;
    }
}

async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit) {
    let place = places.clone().acquire_owned().await.expect("nobody closes the places");
    (listener.accept().await, place)
}

/// How long to wait after `accept` failed.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    async fn after(&mut self, error: &io::Error) {
        if let Some(wait) = self.next(error) {
            // Out of descriptors or memory: what is open goes on, and may free some.
            if self.0 == Some(limits::ACCEPT_BACKOFF_MIN) {
                tracing::warn!(%error, "No connection can be accepted; trying again.");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// None when only the one connection failed, which is its client's affair.
    fn next(&mut self, error: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        let wait = self.0.map_or(limits::ACCEPT_BACKOFF_MIN, |last| last * 2).min(limits::ACCEPT_BACKOFF_MAX);
        self.0 = Some(wait);
        self.0
    }
}

struct Connection {
    remote: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    cut_off: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve<H: Handler>(self, stream: TcpStream, handler: H) {
        self.metrics.http_connections.inc();
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(WriteTimeout::new(stream, limits::WRITE_IDLE_TIMEOUT));
        let service = service_fn(|request| answer(&self, handler.clone(), request));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HEADER_READ_TIMEOUT)
                .max_header_size(limits::HEADER_BYTES_MAX)
                .max_buf_size(2 * limits::HEADER_BYTES_MAX)
                .max_headers(limits::HEADERS_MAX)
                .serve_connection(io, service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                self.cut_off.run_until_cancelled(connection.as_mut()).await
            }
        };
        if let Some(Err(error)) = ended {
            // Slow, broken or hasty clients: nothing that an operator could mend.
            tracing::debug!(error = &error as &dyn std::error::Error, "A connection ended early.");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.http_connections.dec();
    }
}

/// Answers one request. A handler that panics costs its own request and no other.
async fn answer<H: Handler>(
    connection: &Connection,
    handler: H,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, std::convert::Infallible> {
    let id = RequestId::from_headers(request.headers());
    let path = request.uri().path().to_owned();
    let observed = Observed::begin(connection.metrics.clone(), request.method(), &path, &id);
    let waits_to_be_asked = request.headers().contains_key(EXPECT);
    let mut request = request.map(|incoming| RequestBody::new(incoming, waits_to_be_asked));
    let body_ended = request.body().ended();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(Remote(connection.remote));
    let handled = AssertUnwindSafe(async move { handler.handle(request).await }).catch_unwind();
    let mut response = handled.instrument(observed.span.clone()).await.unwrap_or_else(|_| {
        observed.span.in_scope(|| tracing::error!("A handler panicked."));
        Problem::new(Code::Internal, "something went wrong within the host")
            .response(&Context { path: &path, request_id: &id })
    });
    response.headers_mut().insert(REQUEST_ID, id.header());
    if !body_ended.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    observed.answered(&response);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_waits_longer_each_time_but_not_for_one_clients_failure() {
        let mut backoff = Backoff::default();
        let no_descriptors = io::Error::from_raw_os_error(24);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(backoff.next(&io::ErrorKind::ConnectionAborted.into()), None);
            waits.push(backoff.next(&no_descriptors).unwrap());
        }
        assert_eq!(waits[0], limits::ACCEPT_BACKOFF_MIN);
        assert!(waits.is_sorted());
        assert_eq!(waits[9], limits::ACCEPT_BACKOFF_MAX);
    }
}

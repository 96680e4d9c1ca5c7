//! Body: what comes in is read within bounds of size and time, what goes out has one type.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::time::{Sleep, sleep};

use crate::limits;

/// What every answer carries.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A request's body. A client that sends nothing for [`limits::BODY_IDLE_TIMEOUT`] is given up.
///
/// When it is dropped unread, the rest is read and thrown away within bounds: a client that is still
/// sending would else have its connection reset before it reads the answer.
pub struct RequestBody {
    incoming: Option<Incoming>,
    /// Runs while a read waits for the client.
    idle: Option<Pin<Box<Sleep>>>,
    /// The client sends nothing before it is told to go on, which happens with the first read.
    waits_to_be_asked: bool,
    ended: Arc<AtomicBool>,
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("nothing of the request's body came for {} s", limits::BODY_IDLE_TIMEOUT.as_secs())]
    Idle,
    #[error("the request's body has more than {max} bytes")]
    TooLarge {
        /// As announced, or as far as it was read.
        bytes: u64,
        max: u64,
    },
    #[error("the request's body was cut off or is not valid HTTP")]
    Broken(#[source] hyper::Error),
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, waits_to_be_asked: bool) -> Self {
        let ended = Arc::new(AtomicBool::new(incoming.is_end_stream()));
        Self { incoming: Some(incoming), idle: None, waits_to_be_asked, ended }
    }

    /// Tells, after this was dropped, whether it was read to its end.
    pub(super) fn ended(&self) -> Arc<AtomicBool> {
        self.ended.clone()
    }

    /// The bytes that `Content-Length` announces.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.incoming.as_ref().and_then(|incoming| incoming.size_hint().exact())
    }

    /// Reads all of it; stops as soon as it is known to be larger than `max`.
    pub async fn read(mut self, max: usize) -> Result<Bytes, ReadError> {
        self.refuse_announced(max as u64)?;
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            let bytes = all.len() + chunk.len();
            if bytes > max {
                return Err(ReadError::TooLarge { bytes: bytes as u64, max: max as u64 });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// Refuses, before anything is read, a body that is announced as too large.
    pub fn refuse_announced(&self, max: u64) -> Result<(), ReadError> {
        match self.announced_bytes() {
            Some(bytes) if bytes > max => Err(ReadError::TooLarge { bytes, max }),
            _ => Ok(()),
        }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        this.waits_to_be_asked = false;
        loop {
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.idle = None;
                    // Trailers are of no use here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Ready(Some(Err(error))) => {
                    this.incoming = None;
                    return Poll::Ready(Some(Err(ReadError::Broken(error))));
                }
                Poll::Ready(None) => {
                    this.ended.store(true, Ordering::Relaxed);
                    this.incoming = None;
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        let idle = this.idle.get_or_insert_with(|| Box::pin(sleep(limits::BODY_IDLE_TIMEOUT)));
        ready!(idle.as_mut().poll(cx));
        this.incoming = None;
        Poll::Ready(Some(Err(ReadError::Idle)))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if incoming.is_end_stream() {
            self.ended.store(true, Ordering::Relaxed);
        } else if !self.waits_to_be_asked
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(limits::REFUSED_BODY_DRAIN_TIMEOUT, discard(incoming)));
        }
    }
}

async fn discard(mut incoming: Incoming) {
    let mut left = limits::REFUSED_BODY_DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = incoming.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left == 0 {
            return;
        }
    }
}

pub fn full(
    status: StatusCode,
    content_type: HeaderValue,
    bytes: impl Into<Bytes>,
) -> Response<ResponseBody> {
    respond(status, content_type, Full::new(bytes.into()).boxed_unsync())
}

pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<ResponseBody> {
    full(status, JSON, to_json(value))
}

/// An answer of one JSON value a line, as the stream gives them; dropped when the client goes.
pub fn lines<T: Serialize>(values: impl Stream<Item = T> + Send + 'static) -> Response<ResponseBody> {
    let frames = values.map(|value| {
        let mut line = to_json(&value);
        line.push(b'\n');
        Ok(Frame::data(Bytes::from(line)))
    });
    respond(StatusCode::OK, NDJSON, StreamBody::new(frames).boxed_unsync())
}

fn respond(status: StatusCode, content_type: HeaderValue, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("wire shapes have text keys and no failing parts")
}

//! Form: the fields of a multipart body, one after the other, never more of it in memory than a
//! chunk and a field's head.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use multer::{Field, Multipart};

use super::Error;
use crate::limits;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const BOUNDARY_BYTES_MAX: usize = 70;

pub(super) struct Form {
    multipart: Multipart<'static>,
    waiting: Waiting,
}

impl Form {
    pub(super) fn new<S, E>(content_type: &str, body: S) -> Result<Self, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let boundary = multer::parse_boundary(content_type).map_err(|_| Error::NotMultipart)?;
        if !(1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) {
            return Err(Error::NotMultipart);
        }
        let waiting = Waiting::default();
        let paced =
            Paced { body: Box::pin(body), rest: Bytes::new(), waiting: waiting.clone(), given: false };
        Ok(Self { multipart: Multipart::new(paced, boundary), waiting })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Part<'_>>, Error> {
        let field = self.multipart.next_field().await.map_err(error)?;
        self.waiting.clear();
        Ok(field.map(|field| Part { field, waiting: &self.waiting }))
    }
}

pub(super) struct Part<'a> {
    field: Field<'static>,
    waiting: &'a Waiting,
}

impl Part<'_> {
    pub(super) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.field.chunk().await.map_err(error)?;
        self.waiting.clear();
        Ok(chunk)
    }

    pub(super) async fn text(mut self, field: &'static str, bytes_max: usize) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > bytes_max {
                return Err(Error::FieldTooLong { field, bytes_max });
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| Error::NotText(field))
    }
}

/// Bytes that were given to the parser since it last answered with something.
#[derive(Clone, Default)]
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The body in small chunks, with a pause after each. The parser takes all that is ready before it
/// looks at it, which without pauses could be all of the body; and it searches from the start of what
/// it holds each time, so what it may hold without an answer is bounded too.
struct Paced<S> {
    body: Pin<Box<S>>,
    rest: Bytes,
    waiting: Waiting,
    given: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the parser holds too much")]
struct HeadTooLong;

impl<S, E> Stream for Paced<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            match self.body.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.waiting.0.load(Ordering::Relaxed) > limits::FIELD_HEAD_BYTES_MAX + limits::CHUNK_BYTES {
            return Poll::Ready(Some(Err(HeadTooLong.into())));
        }
        let length = self.rest.len().min(limits::CHUNK_BYTES);
        let chunk = self.rest.split_to(length);
        self.waiting.0.fetch_add(length, Ordering::Relaxed);
        self.given = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}

fn error(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(source) if source.is::<HeadTooLong>() => Error::HeadTooLong,
        multer::Error::StreamReadFailed(source) => Error::Body(source),
        multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders => Error::CutOff,
        other => Error::Malformed(other),
    }
}

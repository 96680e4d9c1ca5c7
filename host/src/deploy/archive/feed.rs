//! Feed: bytes between tasks and threads that block, through a bounded channel. An end that was not
//! told is an error on the other side, never a short but whole stream.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::poll_fn;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use crate::limits::{CHUNK_BYTES, CHUNKS_WAITING};

/// No bytes tell the end.
type Chunk = io::Result<Bytes>;

/// Writes from a thread that may block; [`Chunks::end`] must be called.
pub(in crate::deploy) struct Chunks {
    sender: mpsc::Sender<Chunk>,
    buffer: BytesMut,
    discarding: bool,
}

/// What is written is read on the other side; the first error or a lost writer is an error there.
pub(in crate::deploy) fn chunks() -> (Chunks, impl AsyncRead + Send + Sync + Unpin + 'static) {
    let (sender, mut receiver) = mpsc::channel::<Chunk>(CHUNKS_WAITING);
    let mut ended = false;
    let stream = poll_fn(move |cx| {
        if ended {
            return std::task::Poll::Ready(None);
        }
        receiver.poll_recv(cx).map(|chunk| {
            let chunk = chunk.unwrap_or_else(broken_off);
            ended = !matches!(&chunk, Ok(bytes) if !bytes.is_empty());
            Some(chunk)
        })
    });
    (Chunks { sender, buffer: BytesMut::new(), discarding: false }, StreamReader::new(stream))
}

impl Chunks {
    /// Whatever is written from here on goes nowhere.
    pub(in crate::deploy) fn discard(&mut self) {
        self.buffer.clear();
        self.discarding = true;
    }

    pub(in crate::deploy) fn end(mut self, result: io::Result<()>) {
        let end = result.and_then(|()| self.flush()).map(|()| Bytes::new());
        // Nobody reads any more: nobody needs to know.
        let _ = self.sender.blocking_send(end);
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.discarding {
            return Ok(bytes.len());
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads on a thread that may block what [`pour`] pours.
pub(super) struct BlockingReader {
    receiver: mpsc::Receiver<Chunk>,
    current: Bytes,
    ended: bool,
}

pub(super) fn blocking_reader() -> (mpsc::Sender<Chunk>, BlockingReader) {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    (sender, BlockingReader { receiver, current: Bytes::new(), ended: false })
}

/// Reads `source` to its end, or for as long as somebody takes it.
pub(super) async fn pour(mut source: impl AsyncRead + Unpin, chunks: mpsc::Sender<Chunk>) {
    loop {
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        let chunk = source.read_buf(&mut buffer).await.map(|_| buffer.freeze());
        let more = matches!(&chunk, Ok(bytes) if !bytes.is_empty());
        if chunks.send(chunk).await.is_err() || !more {
            return;
        }
    }
}

impl Read for BlockingReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            self.current = self.receiver.blocking_recv().unwrap_or_else(broken_off)?;
            self.ended = self.current.is_empty();
        }
        let count = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}

fn broken_off() -> Chunk {
    Err(io::Error::new(io::ErrorKind::BrokenPipe, "the stream broke off"))
}

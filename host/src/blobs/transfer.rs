//! Transfer: what every store does alike while bytes pass: each upload and download is counted
//! once, and what arrives is checked against what was announced.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use crate::metrics::Metrics;

/// An upload under way. One that is dropped before its end has failed.
pub(super) struct Upload {
    metrics: Arc<Metrics>,
    ok: bool,
}

impl Upload {
    pub(super) fn begin(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: metrics.clone(), ok: false }
    }

    pub(super) fn end<E>(mut self, result: Result<(), E>) -> Result<(), E> {
        self.ok = result.is_ok();
        result
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.metrics.count_upload(self.ok);
    }
}

/// A download under way. It has succeeded when its last byte arrived and all of them are right;
/// one that is dropped before has failed, whoever's fault that was.
pub(super) struct Download {
    metrics: Arc<Metrics>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Counted,
}

impl Download {
    pub(super) fn begin(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: metrics.clone(), end: End::Open }
    }

    fn end(&mut self, ok: bool) {
        if self.end == End::Open {
            self.end = End::Counted;
            self.metrics.count_download(ok);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// What an object is expected to be.
pub(super) struct Expected {
    pub(super) bytes: u64,
    /// In hexadecimal; none where the store does not know it.
    pub(super) sha256: Option<String>,
}

/// Passes an object's bytes on; fails where they end early, go on too long or are not those that
/// were put.
pub(super) struct Checked<R> {
    inner: R,
    left: u64,
    digest: Option<(Sha256, String)>,
    download: Download,
}

impl<R: AsyncRead + Unpin> Checked<R> {
    pub(super) fn new(inner: R, expected: Expected, download: Download) -> Self {
        let digest = expected.sha256.map(|sha256| (Sha256::new(), sha256));
        Self { inner, left: expected.bytes, digest, download }
    }

    fn accept(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() && self.left > 0 {
            let text = format!("the object was cut off {} bytes before its end", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the object is longer than announced")
        })?;
        if let Some((digest, _)) = &mut self.digest {
            digest.update(bytes);
        }
        if self.left == 0 {
            self.verify()?;
            self.download.end(true);
        }
        Ok(())
    }

    fn verify(&mut self) -> io::Result<()> {
        let Some((digest, expected)) = self.digest.take() else { return Ok(()) };
        if hex::encode(digest.finalize()).eq_ignore_ascii_case(&expected) {
            return Ok(());
        }
        let text = "the object's bytes are not those that were stored";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Checked<R> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(Pin::new(&mut this.inner).poll_read(cx, buf));
        let result = read.and_then(|()| this.accept(&buf.filled()[before..]));
        if result.is_err() {
            buf.set_filled(before);
            this.download.end(false);
        }
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn read(
        bytes: &'static [u8],
        announced: u64,
        sha256: Option<&str>,
    ) -> (io::Result<Vec<u8>>, String) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let expected = Expected { bytes: announced, sha256: sha256.map(str::to_owned) };
        let mut reader = Checked::new(bytes, expected, Download::begin(&metrics));
        let mut all = Vec::new();
        let result = reader.read_to_end(&mut all).await.map(|_| all);
        drop(reader);
        let counted = |name| metrics.s3_downloads.with_label_values(&[name]).get();
        (result, format!("{} ok, {} error", counted("ok"), counted("error")))
    }

    #[tokio::test]
    async fn what_arrives_is_held_against_what_was_announced() {
        let abc = hex::encode(Sha256::digest(b"abc"));
        let (read_whole, counted) = read(b"abc", 3, Some(&abc)).await;
        assert_eq!((read_whole.unwrap().as_slice(), counted.as_str()), (&b"abc"[..], "1 ok, 0 error"));

        for (bytes, announced, sha256, kind) in [
            (&b"ab"[..], 3, None, io::ErrorKind::UnexpectedEof),
            (b"", 3, None, io::ErrorKind::UnexpectedEof),
            (b"abcd", 3, None, io::ErrorKind::InvalidData),
            (b"abd", 3, Some(abc.as_str()), io::ErrorKind::InvalidData),
            (b"", 0, Some(abc.as_str()), io::ErrorKind::InvalidData),
        ] {
            let (result, counted) = read(bytes, announced, sha256).await;
            assert_eq!(result.unwrap_err().kind(), kind, "{bytes:?}");
            assert_eq!(counted, "0 ok, 1 error", "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn an_empty_object_is_whole_and_a_reader_that_gives_up_is_a_failure() {
        let (empty, counted) = read(b"", 0, None).await;
        assert_eq!((empty.unwrap().len(), counted.as_str()), (0, "1 ok, 0 error"));

        let metrics = Arc::new(Metrics::new().unwrap());
        let expected = Expected { bytes: 3, sha256: None };
        let mut reader = Checked::new(&b"abc"[..], expected, Download::begin(&metrics));
        reader.read_exact(&mut [0; 2]).await.unwrap();
        drop(reader);
        assert_eq!(metrics.s3_downloads.with_label_values(&["error"]).get(), 1);
    }
}

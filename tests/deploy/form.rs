//! Multipart bodies, and a place to receive them.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dunnage::deploy::{self, Request};
use futures_util::{Stream, stream};

pub(crate) const CONTENT_TYPE: &str = "multipart/form-data; boundary=XbX";

/// A directory for uploads, which must be empty whenever nothing was received.
pub(crate) struct Uploads(tempfile::TempDir);

impl Uploads {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("dn-uploads-").tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) async fn receive(&self, body: Vec<u8>) -> Result<Request, deploy::Error> {
        deploy::upload::receive(CONTENT_TYPE, chunked(body, 1000), self.path()).await
    }

    pub(crate) async fn receive_archive(&self, archive: &[u8]) -> Result<Request, deploy::Error> {
        self.receive(body(&[("name", b"hello"), ("archive", archive)])).await
    }

    /// Receives what must be refused, and that nothing is left of it.
    pub(crate) async fn refused(&self, body: Vec<u8>) -> deploy::upload::Error {
        let result = self.receive(body).await;
        self.assert_empty();
        match result {
            Err(deploy::Error::Upload(error)) => error,
            Err(other) => panic!("not the client's fault: {other:?}"),
            Ok(request) => panic!("it was taken: {:?}", request.source.files),
        }
    }

    pub(crate) async fn refused_archive(&self, archive: &[u8]) -> deploy::upload::Error {
        self.refused(body(&[("name", b"hello"), ("archive", archive)])).await
    }

    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Work that was dropped ends soon, not at once.
    pub(crate) async fn assert_empty_soon(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while std::fs::read_dir(self.path()).unwrap().next().is_some() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.assert_empty();
    }
}

pub(crate) fn body(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--XbX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XbX--\r\n");
    body
}

pub(crate) fn chunked(
    body: Vec<u8>,
    size: usize,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let chunks: Vec<_> = body.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks)
}

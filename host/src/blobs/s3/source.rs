//! Source: the file that is being uploaded, read in parts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::limits;

#[derive(Clone)]
pub(super) struct Source {
    file: Arc<File>,
    bytes: u64,
    sha256: String,
}

impl Source {
    /// Reads the file once, for its digest; blocks.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; limits::MIB];
        loop {
            match file.read_at(&mut buffer, bytes)? {
                0 => break,
                n => {
                    digest.update(&buffer[..n]);
                    bytes += n as u64;
                }
            }
        }
        Ok(Self { file: Arc::new(file), bytes, sha256: hex::encode(digest.finalize()) })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// A file that has become shorter meanwhile is an error.
    pub(super) async fn read(&self, offset: u64, bytes: u64) -> io::Result<Bytes> {
        let file = self.file.clone();
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        blocking(move || {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, offset)?;
            Ok(buffer.into())
        })
        .await
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

//! Blobs: archives kept under keys, on this machine or in S3.
//!
//! [`local`] is the default, [`s3`] the one for production; [`memory`] fails and delays on purpose
//! in tests. All pass one conformance suite.

use std::path::Path;
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::io::AsyncRead;

pub mod local;
pub mod memory;
pub mod s3;
mod transfer;

/// An object store in which a `put` is seen whole or not at all.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Stores the file's bytes under `key`, replacing what was there. When it returns they are durable.
    async fn put(&self, key: &Key, file: &Path) -> Result<(), Error>;

    /// The bytes of `key` as a stream. [`Error::NotFound`] when there are none.
    async fn get(&self, key: &Key) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, Error>;

    /// Copies within the store, without passing the bytes through the host where it can.
    async fn copy(&self, from: &Key, to: &Key) -> Result<(), Error>;

    /// Absent is not an error.
    async fn delete(&self, key: &Key) -> Result<(), Error>;

    /// Every object whose key begins with `prefix`, in no order.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error>;

    /// Proves that the store can be reached and written: for `/ready`.
    async fn check(&self) -> Result<(), Error>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: Key,
    pub bytes: u64,
    pub modified: SystemTime,
}

/// A key: `/`-separated segments of `A-Z a-z 0-9 . _ -`, none empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The archive of one version.
    pub fn version(function: uuid::Uuid, number: u64) -> Self {
        Self(format!("functions/{function}/v{number}/function.tar.gz"))
    }

    /// The archive of the current version.
    pub fn current(function: uuid::Uuid) -> Self {
        Self(format!("functions/{function}/function.tar.gz"))
    }

    pub fn parse(text: &str) -> Result<Self, Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let segment = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(allowed);
        if text.len() <= crate::limits::BLOB_KEY_BYTES_MAX && text.split('/').all(segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::InvalidKey(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What every key of a function begins with.
pub fn function_prefix(function: uuid::Uuid) -> String {
    format!("functions/{function}/")
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not a valid object key")]
    InvalidKey(String),
    #[error("there is no object {0}")]
    NotFound(Key),
    #[error("the object store refused the credentials while {doing}: {detail}")]
    Denied { doing: &'static str, detail: String },
    #[error("{doing} {key}")]
    Failed {
        doing: &'static str,
        key: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

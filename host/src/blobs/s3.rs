//! S3

use std::path::Path;

use async_trait::async_trait;
use tokio::io::AsyncRead;

use super::{Blobs, Error, Key, Listed};

pub struct S3 {}

impl S3 {
    pub fn connect(
        _config: &crate::config::S3,
        _metrics: std::sync::Arc<crate::metrics::Metrics>,
    ) -> Result<Self, Error> {
        todo!()
    }
}

#[async_trait]
impl Blobs for S3 {
    async fn put(&self, _key: &Key, _file: &Path) -> Result<(), Error> {
        todo!()
    }
    async fn get(&self, _key: &Key) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, Error> {
        todo!()
    }
    async fn copy(&self, _from: &Key, _to: &Key) -> Result<(), Error> {
        todo!()
    }
    async fn delete(&self, _key: &Key) -> Result<(), Error> {
        todo!()
    }
    async fn list(&self, _prefix: &str) -> Result<Vec<Listed>, Error> {
        todo!()
    }
    async fn check(&self) -> Result<(), Error> {
        todo!()
    }
}

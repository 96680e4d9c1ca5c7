//! Receive: multipart to a bounded temporary tree.

use std::path::Path;

use bytes::Bytes;
use futures_util::Stream;

use super::Request;

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Receives a deploy's multipart body into a private directory below `uploads_dir`.
pub async fn receive<S, E>(content_type: &str, body: S, uploads_dir: &Path) -> Result<Request, super::Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let _ = (content_type, body, uploads_dir);
    todo!()
}

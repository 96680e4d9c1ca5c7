//! Archive: tar.gz or zip to a bounded tree, and the tree to its normalised tar.gz.

use std::path::Path;

use tokio::io::AsyncRead;

use super::Error;

/// Unpacks a stored, normalised archive again: a private directory in `dir` that holds `src/`.
pub async fn restore(
    stored: Box<dyn AsyncRead + Send + Sync + Unpin>,
    dir: &Path,
) -> Result<tempfile::TempDir, Error> {
    let _ = (stored, dir);
    todo!()
}

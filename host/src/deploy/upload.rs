//! Receive: multipart to a bounded temporary tree.

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

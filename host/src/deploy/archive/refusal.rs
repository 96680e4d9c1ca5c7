//! Why an archive is refused, and what else can end the work on it.

use std::io;

use super::path::PathRule;
use crate::limits;

/// Why an archive is refused. All of it is the client's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the archive is neither a tar.gz nor a zip")]
    UnknownFormat,
    #[error("the archive holds no file")]
    Empty,
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    #[error("data follows the archive's end")]
    TrailingData,
    #[error("the archive holds more than {} entries", limits::ARCHIVE_FILES_MAX)]
    TooManyEntries,
    #[error("the archive unpacks to more than {} bytes", limits::UNPACKED_BYTES_MAX)]
    TooManyBytes,
    #[error("the archive's directory or a header of it is longer than any real one")]
    HeadersTooLong,
    #[error("the path {path:?} {rule}")]
    Path { path: String, rule: PathRule },
    #[error("{0:?} is there twice")]
    Duplicate(String),
    #[error("{path:?} and {other:?} are the same name where case does not count")]
    CaseClash { path: String, other: String },
    #[error("{0:?} is a directory and something else too")]
    FileAndDirectory(String),
    #[error("{0:?} would be written through a symbolic link")]
    ThroughLink(String),
    #[error("the link {path:?} leads out of the archive, to {target:?}")]
    LinkOutside { path: String, target: String },
    #[error("the hard link {0:?} names no file before it")]
    HardLinkTarget(String),
    #[error("{path:?} is {kind}: only files, directories and links are taken")]
    Special { path: String, kind: &'static str },
    #[error("{0:?} is encrypted")]
    Encrypted(String),
    #[error("{0:?} is packed by a method other than stored or deflate")]
    Compression(String),
}

impl Refusal {
    /// Stable, kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownFormat => "archive-format",
            Self::Empty => "archive-empty",
            Self::Damaged(_) | Self::TrailingData => "archive-damaged",
            Self::TooManyEntries | Self::TooManyBytes | Self::HeadersTooLong => "archive-too-large",
            Self::Path { .. } => "archive-path",
            Self::Duplicate(_) | Self::CaseClash { .. } | Self::FileAndDirectory(_) => "archive-name-clash",
            Self::ThroughLink(_) | Self::LinkOutside { .. } | Self::HardLinkTarget(_) => "archive-link",
            Self::Special { .. } => "archive-special-file",
            Self::Encrypted(_) | Self::Compression(_) => "archive-method",
        }
    }

    pub fn too_large(&self) -> bool {
        self.code() == "archive-too-large"
    }
}

/// What ends the work on an archive before its time.
#[derive(Debug)]
pub(in crate::deploy) enum Failure {
    Refused(Refusal),
    Io {
        doing: &'static str,
        source: io::Error,
    },
    /// Nobody waits for it any more.
    Stopped,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Failure {
    pub(in crate::deploy) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Of an archive that this host itself stored: a refusal is not a client's fault then.
    pub(in crate::deploy) fn into_platform_error(self) -> crate::deploy::Error {
        let (doing, source) = match self {
            Self::Io { doing, source } => (doing, source),
            Self::Refused(refusal) => {
                ("unpacking a stored archive", io::Error::new(io::ErrorKind::InvalidData, refusal))
            }
            Self::Stopped => ("working on an archive", io::ErrorKind::Interrupted.into()),
        };
        crate::deploy::Error::Io { doing, source }
    }
}

/// A text from a client, short enough for an error.
pub(in crate::deploy) fn shown(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * limits::SHOWN_TEXT_CHARS_MAX)];
    let mut shown: String =
        String::from_utf8_lossy(start).chars().take(limits::SHOWN_TEXT_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

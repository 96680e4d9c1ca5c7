//! Receive: multipart to a bounded temporary tree.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::Stream;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{FunctionConfig, Request, archive};
use crate::db::DeployTarget;
use crate::limits;
use crate::model::InvalidName;

mod config;
mod form;

pub use archive::{PathRule, Refusal};
use form::{Form, Part};

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the request is not multipart/form-data with a boundary of 1 to 70 characters")]
    NotMultipart,
    #[error("the body is not well-formed multipart")]
    Malformed(#[source] multer::Error),
    #[error("the body ends before its last boundary")]
    CutOff,
    #[error("the body could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("what stands between two fields is longer than {} bytes", limits::FIELD_HEAD_BYTES_MAX)]
    HeadTooLong,
    #[error("a field has no name")]
    UnnamedField,
    #[error("there is no field {0:?}: name or function_id, archive and config are the fields")]
    UnknownField(String),
    #[error("the field {0} is there twice")]
    DoubledField(&'static str),
    #[error("the field {0} is missing")]
    MissingField(&'static str),
    #[error("there are both name and function_id; one of them names the function")]
    NameAndId,
    #[error("the field {field} is longer than {bytes_max} bytes")]
    FieldTooLong { field: &'static str, bytes_max: usize },
    #[error("the field {0} is not UTF-8 text")]
    NotText(&'static str),
    #[error("the archive is longer than {} bytes", limits::ARCHIVE_BYTES_MAX)]
    ArchiveTooLong,
    #[error("the field {field} is neither a UUID nor a function's name")]
    Target {
        field: &'static str,
        #[source]
        source: InvalidName,
    },
    #[error(transparent)]
    Archive(#[from] Refusal),
}

impl Error {
    /// Stable, kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotMultipart => "not-multipart",
            Self::Malformed(_) | Self::HeadTooLong => "multipart-malformed",
            Self::CutOff | Self::Body(_) => "body-cut-off",
            Self::UnnamedField | Self::UnknownField(_) => "field-unknown",
            Self::DoubledField(_) | Self::NameAndId => "field-doubled",
            Self::MissingField(_) => "field-missing",
            Self::FieldTooLong { .. } => "field-too-long",
            Self::NotText(_) => "field-not-text",
            Self::ArchiveTooLong => "archive-too-large",
            Self::Target { .. } => "function-name",
            Self::Archive(refusal) => refusal.code(),
        }
    }

    /// A bound was passed, rather than a rule broken.
    pub fn too_large(&self) -> bool {
        match self {
            Self::HeadTooLong | Self::FieldTooLong { .. } | Self::ArchiveTooLong => true,
            Self::Archive(refusal) => refusal.too_large(),
            _ => false,
        }
    }
}

/// Receives a deploy's multipart body into a private directory below `uploads_dir`. Whenever it does
/// not end with `Ok`, also because it is dropped, the directory is removed.
pub async fn receive<S, E>(content_type: &str, body: S, uploads_dir: &Path) -> Result<Request, super::Error>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let mut form = Form::new(content_type, body)?;
    let mut received = Received::default();
    while let Some(part) = form.next().await? {
        received.take(part, uploads_dir).await?;
    }
    let Received { target, config, archive } = received;
    let target = target.ok_or(Error::MissingField("name"))?;
    let (dir, upload) = archive.ok_or(Error::MissingField("archive"))?;
    let source = archive::open(dir, upload).await?;
    Ok(Request { target, config: config.unwrap_or_default(), source })
}

/// What the fields so far said; they come in any order.
#[derive(Default)]
struct Received {
    target: Option<DeployTarget>,
    config: Option<FunctionConfig>,
    archive: Option<(TempDir, PathBuf)>,
}

impl Received {
    async fn take(&mut self, part: Part<'_>, uploads_dir: &Path) -> Result<(), super::Error> {
        match part.name().ok_or(Error::UnnamedField)? {
            "name" => self.take_target("name", part).await,
            "function_id" => self.take_target("function_id", part).await,
            "config" if self.config.is_some() => Err(Error::DoubledField("config").into()),
            "config" => {
                let text = part.text("config", limits::CONFIG_FIELD_BYTES_MAX).await?;
                self.config = Some(config::parse(&text).map_err(super::Error::Config)?);
                Ok(())
            }
            "archive" if self.archive.is_some() => Err(Error::DoubledField("archive").into()),
            "archive" => {
                self.archive = Some(store(part, uploads_dir).await?);
                Ok(())
            }
            other => Err(Error::UnknownField(archive::shown(other.as_bytes())).into()),
        }
    }

    async fn take_target(&mut self, field: &'static str, part: Part<'_>) -> Result<(), super::Error> {
        let text = part.text(field, limits::TARGET_FIELD_BYTES_MAX).await?;
        let target = match text.parse::<Uuid>() {
            Ok(id) if field == "function_id" => DeployTarget::Id(id),
            _ => DeployTarget::Name(text.parse().map_err(|source| Error::Target { field, source })?),
        };
        let twice = |known: &DeployTarget| {
            let same = matches!(known, DeployTarget::Id(_)) == matches!(target, DeployTarget::Id(_));
            if same { Error::DoubledField(field) } else { Error::NameAndId }
        };
        match &self.target {
            Some(known) => Err(twice(known).into()),
            None => {
                self.target = Some(target);
                Ok(())
            }
        }
    }
}

/// Writes the archive to a file of a directory of its own, chunk by chunk.
async fn store(mut part: Part<'_>, uploads_dir: &Path) -> Result<(TempDir, PathBuf), super::Error> {
    let uploads_dir = uploads_dir.to_owned();
    let make = move || {
        let dir = archive::private_dir(&uploads_dir)?;
        let path = dir.path().join("upload");
        let file =
            std::fs::File::create_new(&path).map_err(archive::Failure::io("making the upload's file"))?;
        Ok::<_, archive::Failure>((dir, path, file))
    };
    // Made as a whole on one thread: were this future dropped meanwhile, nothing would be left.
    let made = tokio::task::spawn_blocking(make).await;
    let made = made.map_err(|e| io("making the upload's directory")(e.into()))?;
    let (dir, path, file) = made.map_err(archive::Failure::into_platform_error)?;
    let mut file = File::from_std(file);
    let mut length = 0;
    while let Some(chunk) = part.chunk().await? {
        length += chunk.len() as u64;
        if length > limits::ARCHIVE_BYTES_MAX {
            return Err(Error::ArchiveTooLong.into());
        }
        file.write_all(&chunk).await.map_err(io("writing the upload"))?;
    }
    file.flush().await.map_err(io("writing the upload"))?;
    Ok((dir, path))
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> super::Error {
    move |source| super::Error::Io { doing, source }
}

//! Archive: tar.gz or zip to a bounded tree, and the tree to its normalised tar.gz.
//!
//! The work blocks, so it runs on threads of its own. It owns the directory that it fills, and stops
//! soon after the future that waits for it is dropped; whoever drops the directory last removes it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use tempfile::TempDir;
use tokio::io::AsyncRead;

use super::{SourceEntry, SourceTree};
use crate::limits;

mod feed;
mod pack;
mod path;
mod refusal;
mod stop;
mod tar;
mod tree;
mod zip;

pub(super) use feed::{Chunks, chunks};
pub(super) use pack::{Directories, append_tree, normal_header};
pub use path::PathRule;
pub(super) use path::{EntryPath, fold};
pub(super) use refusal::Failure;
pub use refusal::Refusal;
pub(super) use refusal::shown;
use stop::{Stop, in_background};
use tree::Tree;

/// The unpacked files.
const TREE: &str = "src";
/// The normalised archive.
const PACKED: &str = "function.tar.gz";

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// A zip without entries has only its end.
const EMPTY_ZIP_MAGIC: &[u8] = b"PK\x05\x06";

/// Unpacks the file `upload` of `dir`, removes it, and packs the tree again in its normal form.
pub(super) async fn open(dir: TempDir, upload: PathBuf) -> Result<SourceTree, super::Error> {
    let work = move |stop: &Stop| {
        let root = dir.path().join(TREE);
        unpack(&upload, &root, stop)?;
        std::fs::remove_file(&upload).map_err(Failure::io("removing the received archive"))?;
        let files = regular_files(&root)?;
        let archive = dir.path().join(PACKED);
        let packed = pack::pack(&root, &archive, stop)?;
        Ok(SourceTree { dir, digest: packed.digest, archive, archive_bytes: packed.bytes, files })
    };
    in_background(work).await.map_err(|failure| match failure {
        Failure::Refused(refusal) => super::Error::Upload(super::upload::Error::Archive(refusal)),
        other => other.into_platform_error(),
    })
}

/// Unpacks a stored, normalised archive again: a private directory in `dir` that holds `src/`. The
/// store is trusted no more than a client: the same checks hold.
pub async fn restore(
    stored: Box<dyn AsyncRead + Send + Sync + Unpin>,
    dir: &Path,
) -> Result<TempDir, super::Error> {
    let dir = dir.to_owned();
    let (chunks, source) = feed::blocking_reader();
    let work = move |stop: &Stop| {
        let private = private_dir(&dir)?;
        let root = private.path().join(TREE);
        unpack_tar_gz(stop.watch(source), &root, stop)?;
        Ok(private)
    };
    let ((), restored) = tokio::join!(feed::pour(stored, chunks), in_background(work));
    restored.map_err(Failure::into_platform_error)
}

/// A directory that only this user can enter, removed when dropped.
pub(super) fn private_dir(parent: &Path) -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("upload-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(Failure::io("making a directory for the archive"))
}

fn unpack(upload: &Path, root: &Path, stop: &Stop) -> Result<(), Failure> {
    let mut file = File::open(upload).map_err(Failure::io("opening the received archive"))?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(Failure::io("reading the received archive"))?;
    let file = File::open(upload).map_err(Failure::io("opening the received archive"))?;
    if magic.starts_with(GZIP_MAGIC) {
        unpack_tar_gz(stop.watch(file), root, stop)
    } else if magic == ZIP_MAGIC || magic == EMPTY_ZIP_MAGIC {
        let mut tree = Tree::create(root, stop)?;
        zip::unpack(stop.watch(file), &mut tree)?;
        tree.finish()
    } else {
        Err(Refusal::UnknownFormat.into())
    }
}

/// Reads the compressed bytes to their very end, so that the last checksum is checked too.
fn unpack_tar_gz(source: impl Read, root: &Path, stop: &Stop) -> Result<(), Failure> {
    let mut tree = Tree::create(root, stop)?;
    let source = BufReader::with_capacity(limits::CHUNK_BYTES, source);
    tar::unpack(MultiGzDecoder::new(source), &mut tree)?;
    tree.finish()
}

fn regular_files(root: &Path) -> Result<Vec<SourceEntry>, Failure> {
    let entries = pack::walk(root).map_err(Failure::io("listing the unpacked files"))?;
    let files = entries.into_iter().filter_map(|entry| match entry.kind {
        pack::Kind::File { bytes, .. } => Some(SourceEntry { path: entry.path, bytes }),
        _ => None,
    });
    Ok(files.collect())
}

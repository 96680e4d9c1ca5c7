//! Pack: a tree in its normal form, so that the same tree always gives the same bytes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::refusal::Failure;
use super::stop::Stop;

pub(super) struct Packed {
    pub(super) digest: String,
    pub(super) bytes: u64,
}

pub(super) struct Entry {
    /// Relative to the tree's root, `/`-separated.
    pub(super) path: String,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    File { bytes: u64, executable: bool },
    Directory { empty: bool },
    Link { target: String },
}

/// Which directories get entries of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::deploy) enum Directories {
    All,
    Empty,
}

/// Writes the tree as a tar.gz. The digest is of the tar, so that a better compressor changes nothing.
pub(super) fn pack(root: &Path, archive: &Path, stop: &Stop) -> Result<Packed, Failure> {
    let file = File::create_new(archive).map_err(Failure::io("making the normalised archive"))?;
    let mut tar = Builder::new(Hashed {
        // Fast: the tree is packed while a client waits.
        inner: GzEncoder::new(BufWriter::new(file), Compression::fast()),
        hash: Sha256::new(),
    });
    let go_on = || stop.check().map_err(|_| io::ErrorKind::Interrupted.into());
    let written = append_tree(&mut tar, root, "", Directories::Empty, go_on);
    stop.check()?;
    let finish = |tar: Builder<Hashed<GzEncoder<BufWriter<File>>>>| {
        let Hashed { inner, hash } = tar.into_inner()?;
        let file = inner.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Packed { digest: hex::encode(hash.finalize()), bytes: file.metadata()?.len() })
    };
    written.and_then(|()| finish(tar)).map_err(Failure::io("writing the normalised archive"))
}

/// Appends all of a tree, sorted by path, under `prefix`. Links are kept as links.
pub(in crate::deploy) fn append_tree<W: Write>(
    tar: &mut Builder<W>,
    root: &Path,
    prefix: &str,
    directories: Directories,
    go_on: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    for entry in walk(root)? {
        go_on()?;
        let name = format!("{prefix}{}", entry.path);
        match entry.kind {
            Kind::File { bytes, executable } => {
                let file = open_file(&root.join(&entry.path))?;
                let mut header = normal_header(EntryType::Regular, bytes, executable);
                tar.append_data(&mut header, name, Exactly { file, left: bytes })?;
            }
            Kind::Directory { empty } if empty || directories == Directories::All => {
                let mut header = normal_header(EntryType::Directory, 0, true);
                tar.append_data(&mut header, name + "/", io::empty())?;
            }
            Kind::Directory { .. } => {}
            Kind::Link { target } => {
                let mut header = normal_header(EntryType::Symlink, 0, true);
                tar.append_link(&mut header, name, target)?;
            }
        }
    }
    Ok(())
}

/// Owner, group and time are zero.
pub(in crate::deploy) fn normal_header(kind: EntryType, bytes: u64, executable: bool) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Everything below `root`, sorted by path.
pub(super) fn walk(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for found in std::fs::read_dir(root.join(&directory))? {
            let found = found?;
            let path = format!("{directory}{}", text(found.file_name())?);
            let kind = kind(&found)?;
            if matches!(kind, Kind::Directory { .. }) {
                directories.push(format!("{path}/"));
            }
            entries.push(Entry { path, kind });
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn kind(found: &std::fs::DirEntry) -> io::Result<Kind> {
    let metadata = found.metadata()?;
    if metadata.is_dir() {
        Ok(Kind::Directory { empty: std::fs::read_dir(found.path())?.next().is_none() })
    } else if metadata.is_symlink() {
        Ok(Kind::Link { target: text(std::fs::read_link(found.path())?.into_os_string())? })
    } else if metadata.is_file() {
        Ok(Kind::File { bytes: metadata.len(), executable: metadata.mode() & 0o100 != 0 })
    } else {
        Err(io::Error::other("something in the tree is neither file, directory nor link"))
    }
}

fn text(name: std::ffi::OsString) -> io::Result<String> {
    name.into_string().map_err(|_| io::Error::other("a name in the tree is not UTF-8"))
}

/// Never through a link.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// As many bytes as the header tells; a file that changed its length is an error, not a broken tar.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.file.read(&mut into[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of the tree became shorter"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

struct Hashed<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

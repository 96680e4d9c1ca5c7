//! Local: blobs as files below one directory of this machine.
//!
//! An object is written to a temporary file, made durable, then renamed to its place, so that a
//! reader sees the old bytes or the new ones. Paths are walked one directory at a time and symbolic
//! links are never followed: whatever stands below the root, a key cannot lead out of it. A key
//! cannot also be a directory of another's, as it could in S3.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::{NamedTempFile, TempPath};
use tokio::io::AsyncRead;

use super::transfer::{Checked, Download, Expected, Upload};
use super::{Blobs, Error, Key, Listed};
use crate::limits;
use crate::metrics::Metrics;

/// No key can name it: `+` is not among a key's characters.
const TEMPORARY: &str = "+temporary";

pub struct Local {
    tree: Arc<Tree>,
    metrics: Arc<Metrics>,
}

struct Tree {
    root: PathBuf,
    /// Held to write while emptied directories are removed, so that none goes between a put's
    /// making it and its putting a file in.
    layout: RwLock<()>,
}

impl Local {
    /// Makes the root where it is missing, and removes what a crash left half written.
    pub fn open(root: PathBuf, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let tree = Tree { root, layout: RwLock::default() };
        tree.prepare().map_err(failed("opening the object directory", tree.root.display()))?;
        Ok(Self { tree: Arc::new(tree), metrics })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let tree = self.tree.clone();
        tokio::task::spawn_blocking(move || work(&tree)).await.map_err(io::Error::other)?
    }
}

#[async_trait]
impl Blobs for Local {
    async fn put(&self, key: &Key, file: &Path) -> Result<(), Error> {
        let upload = Upload::begin(&self.metrics);
        let (place, source) = (key.clone(), file.to_owned());
        let stored = self.run(move |tree| tree.store(&place, File::open(source)?)).await;
        upload.end(stored.map_err(failed("storing the object", key)))
    }

    async fn get(&self, key: &Key) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, Error> {
        let download = Download::begin(&self.metrics);
        let place = key.clone();
        let file = self.run(move |tree| tree.open(&place)).await;
        let (file, bytes) = file.map_err(missing_or("reading the object", key))?;
        let expected = Expected { bytes, sha256: None };
        Ok(Box::new(Checked::new(tokio::fs::File::from_std(file), expected, download)))
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), Error> {
        let (source, place) = (from.clone(), to.clone());
        let opened = self.run(move |tree| tree.open(&source)).await;
        let (file, _) = opened.map_err(missing_or("copying the object", from))?;
        let copied = self.run(move |tree| tree.store(&place, file)).await;
        copied.map_err(failed("copying the object", from))
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let place = key.clone();
        let deleted = self.run(move |tree| tree.delete(&place)).await;
        deleted.map_err(failed("deleting the object", key))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let wanted = prefix.to_owned();
        let listed = self.run(move |tree| tree.list(&wanted)).await;
        listed.map_err(failed("listing the objects under", prefix))
    }

    async fn check(&self) -> Result<(), Error> {
        let checked = self.run(|tree| tree.temporary()?.as_file().sync_all()).await;
        checked.map_err(failed("writing to the object directory", self.tree.root.display()))
    }
}

impl Tree {
    fn prepare(&self) -> io::Result<()> {
        let temporary = self.root.join(TEMPORARY);
        DirBuilder::new().recursive(true).mode(0o700).create(&temporary)?;
        for entry in std::fs::read_dir(&temporary)? {
            std::fs::remove_file(entry?.path())?;
        }
        File::open(&self.root)?.sync_all()?;
        self.root.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    fn temporary(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.root.join(TEMPORARY))
    }

    fn store(&self, key: &Key, mut source: File) -> io::Result<()> {
        let mut temporary = self.temporary()?;
        io::copy(&mut source, temporary.as_file_mut())?;
        temporary.as_file().sync_all()?;
        self.place(key, temporary.into_temp_path())
    }

    fn place(&self, key: &Key, temporary: TempPath) -> io::Result<()> {
        let _layout = self.layout.read().unwrap_or_else(PoisonError::into_inner);
        let (folders, name) = split(key);
        let opened = self.descend(&folders, true)?;
        let parent = opened.last().expect("the root is always among them");
        rustix::fs::renameat(CWD, &*temporary, parent, name)?;
        // The file is no more where the guard would remove it.
        let _ = temporary.keep();
        // All the way up: another put may have made a directory and not have got so far yet.
        for folder in opened.iter().rev() {
            rustix::fs::fsync(folder)?;
        }
        Ok(())
    }

    fn open(&self, key: &Key) -> io::Result<(File, u64)> {
        let (folders, name) = split(key);
        let opened = self.descend(&folders, false)?;
        let parent = opened.last().expect("the root is always among them");
        // NONBLOCK so that a FIFO, which has no business here, does not block the thread.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "not a regular file"));
        }
        Ok((file, metadata.len()))
    }

    fn delete(&self, key: &Key) -> io::Result<()> {
        let _layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
        let (folders, name) = split(key);
        let opened = match self.descend(&folders, false) {
            Err(error) if is_absence(&error) => return Ok(()),
            opened => opened?,
        };
        let last = opened.last().expect("the root is always among them");
        match rustix::fs::unlinkat(last, name, AtFlags::empty()) {
            Err(Errno::NOENT | Errno::ISDIR | Errno::NAMETOOLONG) => return Ok(()),
            removed => removed?,
        }
        rustix::fs::fsync(prune(&opened, &folders)?)?;
        Ok(())
    }

    /// The directories on the way to a key's file, the root first.
    fn descend(&self, folders: &[&str], make: bool) -> io::Result<Vec<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut opened = vec![rustix::fs::open(&self.root, flags, Mode::empty())?];
        for folder in folders {
            let parent = opened.last().expect("the root was pushed first");
            if make {
                match rustix::fs::mkdirat(parent, *folder, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let next = rustix::fs::openat(parent, *folder, flags | OFlags::NOFOLLOW, Mode::empty());
            match next {
                Ok(next) => opened.push(next),
                // Where nothing is to be made, a file or a link in the way means that the key is not there.
                Err(Errno::NOTDIR | Errno::LOOP) if !make => return Err(io::ErrorKind::NotFound.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(opened)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Listed>> {
        let start = match prefix.rsplit_once('/') {
            None => String::new(),
            Some((folder, _)) => match Key::parse(folder) {
                Ok(folder) => folder.0,
                // No key begins like that.
                Err(_) => return Ok(Vec::new()),
            },
        };
        let folders: Vec<&str> = start.split('/').filter(|s| !s.is_empty()).collect();
        match self.descend(&folders, false) {
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            opened => drop(opened?),
        }
        self.walk(start, prefix)
    }

    fn walk(&self, start: String, prefix: &str) -> io::Result<Vec<Listed>> {
        let (mut found, mut folders) = (Vec::new(), vec![start]);
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(self.root.join(&folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let Some(key) = child(&folder, &entry) else { continue };
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    folders.push(key.0);
                } else if kind.is_file() && key.as_str().starts_with(prefix) {
                    found.extend(listed(key, &entry)?);
                }
                if found.len() > limits::BLOBS_LISTED_MAX {
                    return Err(io::Error::other("there are too many objects to list"));
                }
            }
        }
        Ok(found)
    }
}

/// Removes directories that are empty now, the lowest first; gives the lowest that stays.
fn prune<'a>(opened: &'a [OwnedFd], folders: &[&str]) -> io::Result<&'a OwnedFd> {
    for depth in (0..folders.len()).rev() {
        match rustix::fs::unlinkat(&opened[depth], folders[depth], AtFlags::REMOVEDIR) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(&opened[depth + 1]),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(&opened[0])
}

/// The directories of a key's path and the file's name.
fn split(key: &Key) -> (Vec<&str>, &str) {
    let mut segments: Vec<&str> = key.as_str().split('/').collect();
    let name = segments.pop().expect("splitting gives at least one segment");
    (segments, name)
}

/// The key of a directory's entry; none for what no put has made.
fn child(folder: &str, entry: &std::fs::DirEntry) -> Option<Key> {
    let name = entry.file_name();
    let name = name.to_str()?;
    let text = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    Key::parse(&text).ok()
}

/// None for a file that was deleted meanwhile.
fn listed(key: Key, entry: &std::fs::DirEntry) -> io::Result<Option<Listed>> {
    match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => {
            let metadata = metadata?;
            Ok(Some(Listed { key, bytes: metadata.len(), modified: metadata.modified()? }))
        }
    }
}

fn failed(doing: &'static str, what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Failed { doing, key: what.to_string(), source: Box::new(source) }
}

fn missing_or(doing: &'static str, key: &Key) -> impl FnOnce(io::Error) -> Error {
    let key = key.clone();
    move |error| if is_absence(&error) { Error::NotFound(key) } else { failed(doing, key)(error) }
}

/// A name that the file system could not hold was never stored.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidFilename)
}

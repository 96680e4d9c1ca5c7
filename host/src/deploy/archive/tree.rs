//! Tree: entries of a hostile archive become files below one directory, and nowhere else.
//!
//! Every directory is made here, every file is new, and links are made when all else is written: so
//! no link can stand in the way of a file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use super::path::{EntryPath, fold};
use super::refusal::{Failure, Refusal};
use super::stop::{Stop, reading};
use crate::limits;

pub(super) struct Tree {
    root: PathBuf,
    stop: Stop,
    nodes: HashMap<String, Node>,
    /// Folded paths and which path each is of.
    folded: HashMap<String, String>,
    links: Vec<(String, String)>,
    bytes: u64,
    files: usize,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    File,
    Link,
    /// Made because something is in it; its own entry may follow.
    ImpliedDirectory,
    Directory,
}

impl Tree {
    pub(super) fn create(root: &Path, stop: &Stop) -> Result<Self, Failure> {
        std::fs::create_dir(root).map_err(Failure::io("making the tree's directory"))?;
        Ok(Self {
            root: root.to_owned(),
            stop: stop.clone(),
            nodes: HashMap::new(),
            folded: HashMap::new(),
            links: Vec::new(),
            bytes: 0,
            files: 0,
            buffer: vec![0; limits::CHUNK_BYTES],
        })
    }

    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<(), Failure> {
        self.parents(path)?;
        match self.nodes.get_mut(path.as_str()) {
            Some(node @ Node::ImpliedDirectory) => {
                *node = Node::Directory;
                Ok(())
            }
            Some(Node::Directory) => Err(Refusal::Duplicate(path.as_str().to_owned()).into()),
            Some(_) => Err(Refusal::FileAndDirectory(path.as_str().to_owned()).into()),
            None => self.make_directory(path.as_str(), Node::Directory),
        }
    }

    /// Writes a file from `data` and tells its length.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        executable: bool,
        data: &mut dyn Read,
    ) -> Result<u64, Failure> {
        self.claim(path, Node::File)?;
        self.files += 1;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(if executable { 0o755 } else { 0o644 })
            .open(self.root.join(path.as_str()))
            .map_err(Failure::io("making a file of the archive"))?;
        self.copy(data, &mut file)
    }

    pub(super) fn symbolic_link(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), Failure> {
        let target = path.link_target(target)?;
        self.claim(path, Node::Link)?;
        self.links.push((path.as_str().to_owned(), target));
        Ok(())
    }

    /// Becomes a copy, whose bytes count.
    pub(super) fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        if self.nodes.get(target.as_str()) != Some(&Node::File) {
            return Err(Refusal::HardLinkTarget(path.as_str().to_owned()).into());
        }
        let again = Failure::io("reading a file of the archive again");
        let mut source = File::open(self.root.join(target.as_str())).map_err(again)?;
        let again = Failure::io("reading a file of the archive again");
        let mode = source.metadata().map_err(again)?.permissions().mode();
        self.file(path, mode & 0o100 != 0, &mut source)?;
        Ok(())
    }

    /// Makes the links; an archive without any file is refused.
    pub(super) fn finish(self) -> Result<(), Failure> {
        if self.files == 0 {
            return Err(Refusal::Empty.into());
        }
        for (path, target) in &self.links {
            self.stop.check()?;
            symlink(target, self.root.join(path)).map_err(Failure::io("making a link of the archive"))?;
        }
        Ok(())
    }

    fn claim(&mut self, path: &EntryPath, node: Node) -> Result<(), Failure> {
        self.parents(path)?;
        match self.nodes.get(path.as_str()) {
            None => self.insert(path.as_str(), node),
            Some(Node::File | Node::Link) => Err(Refusal::Duplicate(path.as_str().to_owned()).into()),
            Some(_) => Err(Refusal::FileAndDirectory(path.as_str().to_owned()).into()),
        }
    }

    fn parents(&mut self, path: &EntryPath) -> Result<(), Failure> {
        for parent in path.parents() {
            match self.nodes.get(parent) {
                Some(Node::Directory | Node::ImpliedDirectory) => {}
                Some(Node::Link) => return Err(Refusal::ThroughLink(path.as_str().to_owned()).into()),
                Some(Node::File) => return Err(Refusal::FileAndDirectory(parent.to_owned()).into()),
                None => self.make_directory(parent, Node::ImpliedDirectory)?,
            }
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &str, node: Node) -> Result<(), Failure> {
        self.insert(path, node)?;
        std::fs::create_dir(self.root.join(path)).map_err(Failure::io("making a directory of the archive"))
    }

    /// Directories count as entries whether the archive names them or not.
    fn insert(&mut self, path: &str, node: Node) -> Result<(), Failure> {
        self.stop.check()?;
        if self.nodes.len() == limits::ARCHIVE_FILES_MAX {
            return Err(Refusal::TooManyEntries.into());
        }
        if let Some(other) = self.folded.insert(fold(path), path.to_owned()) {
            return Err(Refusal::CaseClash { path: path.to_owned(), other }.into());
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    fn copy(&mut self, data: &mut dyn Read, file: &mut File) -> Result<u64, Failure> {
        let mut length = 0;
        loop {
            self.stop.check()?;
            let count = match data.read(&mut self.buffer) {
                Ok(0) => return Ok(length),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(error)),
            };
            length += count as u64;
            self.bytes += count as u64;
            if self.bytes > limits::UNPACKED_BYTES_MAX {
                return Err(Refusal::TooManyBytes.into());
            }
            file.write_all(&self.buffer[..count]).map_err(Failure::io("writing a file of the archive"))?;
        }
    }
}

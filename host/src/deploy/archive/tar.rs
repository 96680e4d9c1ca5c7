//! Tar: entries one by one, each header checked before anything is made of it.
//!
//! The crate's reader holds extension headers and sparse maps in memory without bound, so only its
//! header type is used; sparse files are refused.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::path::EntryPath;
use super::refusal::{Failure, Refusal, shown};
use super::stop::reading;
use super::tree::Tree;
use crate::limits;

const BLOCK: usize = 512;

pub(super) fn unpack(input: impl Read, tree: &mut Tree) -> Result<(), Failure> {
    let mut blocks = Blocks { input, read: 0 };
    let mut extensions = Extensions::default();
    while let Some(header) = blocks.header()? {
        let size = header.entry_size().map_err(reading)?;
        match header.entry_type() {
            EntryType::GNULongName => set_once(&mut extensions.path, blocks.text(size)?)?,
            EntryType::GNULongLink => set_once(&mut extensions.link, blocks.text(size)?)?,
            EntryType::XHeader => extensions.read_pax(&blocks.extension(size)?)?,
            EntryType::XGlobalHeader => refuse_global(&blocks.extension(size)?)?,
            _ => entry(&header, size, std::mem::take(&mut extensions), &mut blocks, tree)?,
        }
    }
    if !extensions.is_empty() {
        return Err(damaged("its last header describes no entry"));
    }
    blocks.rest_is_empty()
}

fn entry<R: Read>(
    header: &Header,
    size: u64,
    extensions: Extensions,
    blocks: &mut Blocks<R>,
    tree: &mut Tree,
) -> Result<(), Failure> {
    if extensions.size.is_some_and(|told| told != size) {
        return Err(damaged("an entry has two sizes"));
    }
    let name = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let Some(path) = EntryPath::parse(&name)? else {
        // `./`, the root itself.
        return if size == 0 { Ok(()) } else { Err(damaged("the root has data")) };
    };
    let kind = header.entry_type();
    let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
    if is_file && !name.ends_with(b"/") {
        let executable = header.mode().map_err(reading)? & 0o111 != 0;
        return blocks.data(size, |data| tree.file(&path, executable, data));
    }
    if size != 0 {
        return Err(damaged("an entry that is no file has data"));
    }
    let link =
        || extensions.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
    match kind {
        // Before there were directory entries, a slash at the end said so.
        EntryType::Directory | EntryType::Regular => tree.directory(&path),
        EntryType::Symlink => tree.symbolic_link(&path, &link()),
        EntryType::Link => {
            let target = EntryPath::parse(&link())?;
            let target = target.ok_or_else(|| Refusal::HardLinkTarget(path.as_str().to_owned()))?;
            tree.hard_link(&path, &target)
        }
        other => Err(Refusal::Special { path: shown(&name), kind: special(other) }.into()),
    }
}

fn special(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a FIFO",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown type",
    }
}

/// What the headers before an entry say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    pax: bool,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && !self.pax
    }

    fn read_pax(&mut self, records: &[u8]) -> Result<(), Failure> {
        if std::mem::replace(&mut self.pax, true) {
            return Err(damaged("an entry has two PAX headers"));
        }
        for record in PaxRecords(records) {
            let (key, value) = record?;
            match key {
                b"path" => set_once(&mut self.path, value.to_vec())?,
                b"linkpath" => set_once(&mut self.link, value.to_vec())?,
                b"size" => set_once(&mut self.size, number(value)?)?,
                _ if key.starts_with(b"GNU.sparse.") => {
                    let path = self.path.as_deref().unwrap_or_default();
                    return Err(Refusal::Special { path: shown(path), kind: "a sparse file" }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A header for all entries may carry a comment, such as a commit; it may not name or measure them.
fn refuse_global(records: &[u8]) -> Result<(), Failure> {
    for record in PaxRecords(records) {
        let (key, _) = record?;
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse.") {
            return Err(damaged("a global header names entries"));
        }
    }
    Ok(())
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), Failure> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(damaged("an entry has two names or sizes")),
    }
}

fn number(text: &[u8]) -> Result<u64, Failure> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| damaged("a size is no number"))
}

fn damaged(what: &str) -> Failure {
    Refusal::Damaged(what.to_owned()).into()
}

/// Records `LENGTH KEY=VALUE\n`; a value may hold anything, so only the length ends it.
struct PaxRecords<'a>(&'a [u8]);

impl<'a> Iterator for PaxRecords<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.split();
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or_else(|| damaged("a PAX header is malformed")))
    }
}

impl<'a> PaxRecords<'a> {
    fn split(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let space = self.0.iter().take(20).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&self.0[..space]).ok()?.parse().ok()?;
        let record = self.0.get(space + 1..length)?.strip_suffix(b"\n")?;
        self.0 = &self.0[length..];
        let equals = record.iter().position(|b| *b == b'=')?;
        Some((&record[..equals], &record[equals + 1..]))
    }
}

/// The input in blocks, with a bound on all of it.
struct Blocks<R> {
    input: R,
    read: u64,
}

impl<R: Read> Blocks<R> {
    /// None at the block of zeros that ends an archive.
    fn header(&mut self) -> Result<Option<Header>, Failure> {
        let mut header = Header::new_old();
        self.read_exact(header.as_mut_bytes()).map_err(reading)?;
        self.within_bound()?;
        if header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let mut again = header.clone();
        again.set_cksum();
        if again.cksum().map_err(reading)? != header.cksum().map_err(reading)? {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn data<T>(
        &mut self,
        size: u64,
        take: impl FnOnce(&mut dyn Read) -> Result<T, Failure>,
    ) -> Result<(), Failure> {
        if size > limits::UNPACKED_BYTES_MAX {
            return Err(Refusal::TooManyBytes.into());
        }
        let mut data = Exactly { blocks: self, left: size };
        take(&mut data)?;
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        let mut unused = [0; BLOCK];
        self.read_exact(&mut unused[..padding as usize]).map_err(reading)?;
        self.within_bound()
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Failure> {
        if size > limits::TAR_EXTENSION_BYTES_MAX {
            return Err(Refusal::HeadersTooLong.into());
        }
        let mut bytes = Vec::new();
        self.data(size, |data| data.read_to_end(&mut bytes).map_err(reading))?;
        Ok(bytes)
    }

    /// A GNU long name, which ends at its first NUL.
    fn text(&mut self, size: u64) -> Result<Vec<u8>, Failure> {
        let mut text = self.extension(size)?;
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        text.truncate(end);
        Ok(text)
    }

    /// Zeros fill the last record up; anything else was hidden there.
    fn rest_is_empty(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; 16 * BLOCK];
        loop {
            let count = match self.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(error)),
            };
            self.within_bound()?;
            if buffer[..count].iter().any(|b| *b != 0) {
                return Err(Refusal::TrailingData.into());
            }
        }
    }

    fn within_bound(&self) -> Result<(), Failure> {
        if self.read > limits::TAR_BYTES_MAX { Err(Refusal::TooManyBytes.into()) } else { Ok(()) }
    }
}

impl<R: Read> Read for Blocks<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.read += count as u64;
        Ok(count)
    }
}

/// The data of one entry; an end before its end is an error.
struct Exactly<'a, R> {
    blocks: &'a mut Blocks<R>,
    left: u64,
}

impl<R: Read> Read for Exactly<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.blocks.read(&mut into[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

//! Zip: its directory is measured before it is read, then its entries are read one by one.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zip::read::{ArchiveOffset, Config, ZipFile};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::path::EntryPath;
use super::refusal::{Failure, Refusal, shown};
use super::stop::reading;
use super::tree::Tree;
use crate::limits;

const END_MAGIC: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: u64 = u16::MAX as u64;

const FILE_TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMBOLIC_LINK: u32 = 0o120_000;

pub(super) fn unpack(source: impl Read + Seek, tree: &mut Tree) -> Result<(), Failure> {
    let mut source = BufReader::with_capacity(limits::CHUNK_BYTES, source);
    if measure(&mut source)? == 0 {
        return Err(Refusal::Empty.into());
    }
    // What stands before the archive belongs to no entry, so nothing may.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, source).map_err(zip_failure)?;
    if archive.has_duplicate_names() {
        return Err(Refusal::Duplicate("a name".to_owned()).into());
    }
    for index in 0..archive.len() {
        refuse_method(&archive.by_index_data(index).map_err(zip_failure)?)?;
    }
    if archive.has_overlapping_entries().map_err(zip_failure)? {
        return Err(damaged("its entries overlap"));
    }
    for index in 0..archive.len() {
        entry(&mut archive.by_index(index).map_err(zip_failure)?, tree)?;
    }
    Ok(())
}

/// How many entries the end of the archive tells of. It must be the real end, name all that stands
/// right before it as the directory, and be of the plain form, which any archive within the bounds is.
fn measure(source: &mut (impl Read + Seek)) -> Result<u64, Failure> {
    let length = source.seek(SeekFrom::End(0)).map_err(reading)?;
    let start = length.saturating_sub(END_BYTES as u64 + COMMENT_BYTES_MAX);
    source.seek(SeekFrom::Start(start)).map_err(reading)?;
    let mut tail = Vec::new();
    source.take(END_BYTES as u64 + COMMENT_BYTES_MAX).read_to_end(&mut tail).map_err(reading)?;
    let at = tail.windows(END_MAGIC.len()).rposition(|window| window == END_MAGIC);
    let at = at.ok_or_else(|| damaged("its end is missing"))?;
    let end = tail.get(at..at + END_BYTES).ok_or_else(|| damaged("its end is cut off"))?;
    let short = |offset: usize| u64::from(u16::from_le_bytes([end[offset], end[offset + 1]]));
    let long = |offset: usize| short(offset) | short(offset + 2) << 16;
    let (entries, directory_bytes, directory_start) = (short(10), long(12), long(16));
    if at + END_BYTES + short(20) as usize != tail.len() {
        return Err(Refusal::TrailingData.into());
    }
    if entries > limits::ARCHIVE_FILES_MAX as u64 {
        return Err(Refusal::TooManyEntries.into());
    }
    if directory_start + directory_bytes != start + at as u64 {
        return Err(damaged("its directory is not where its end says"));
    }
    if short(4) != 0 || short(6) != 0 || short(8) != entries {
        return Err(damaged("it is one part of several"));
    }
    if directory_bytes > limits::ZIP_DIRECTORY_BYTES_MAX {
        return Err(Refusal::HeadersTooLong.into());
    }
    Ok(entries)
}

fn refuse_method(entry: &zip::read::ZipFileEntry<'_>) -> Result<(), Failure> {
    let name = || shown(entry.name_raw());
    if entry.encrypted() {
        return Err(Refusal::Encrypted(name()).into());
    }
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(()),
        _ => Err(Refusal::Compression(name()).into()),
    }
}

/// Names are taken as UTF-8 whatever the entry's flag says, since many tools do not set it.
fn entry<R: Read>(file: &mut ZipFile<'_, R>, tree: &mut Tree) -> Result<(), Failure> {
    let name = file.name_raw().to_vec();
    let Some(path) = EntryPath::parse(&name)? else {
        return if file.size() == 0 { Ok(()) } else { Err(damaged("the root has data")) };
    };
    let mode = file.unix_mode().unwrap_or(0);
    let told = file.size();
    match mode & FILE_TYPE {
        0 | REGULAR | DIRECTORY if name.ends_with(b"/") => empty_directory(told, &path, tree),
        DIRECTORY => empty_directory(told, &path, tree),
        0 | REGULAR => {
            let length = tree.file(&path, mode & 0o111 != 0, file)?;
            as_told(told, length)
        }
        SYMBOLIC_LINK => {
            let mut target = Vec::new();
            let most = limits::PATH_BYTES_MAX as u64 + 1;
            // Read to its end where it is of a sane length, so that the checksum is checked.
            file.take(most).read_to_end(&mut target).map_err(reading)?;
            as_told(told, target.len() as u64)?;
            tree.symbolic_link(&path, &target)
        }
        _ => Err(Refusal::Special { path: shown(&name), kind: "a device, FIFO or socket" }.into()),
    }
}

fn empty_directory(told: u64, path: &EntryPath, tree: &mut Tree) -> Result<(), Failure> {
    if told != 0 {
        return Err(damaged("a directory has data"));
    }
    tree.directory(path)
}

fn as_told(told: u64, length: u64) -> Result<(), Failure> {
    if told == length { Ok(()) } else { Err(damaged("an entry is not as long as it says")) }
}

fn zip_failure(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => reading(error),
        other => reading(io::Error::new(io::ErrorKind::InvalidData, other)),
    }
}

fn damaged(what: &str) -> Failure {
    Refusal::Damaged(what.to_owned()).into()
}

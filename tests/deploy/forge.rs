//! Archives that no honest tool makes.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// One tar entry, whatever its name: header, data, padding.
pub(crate) fn entry(kind: u8, name: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, link, data.len() as u64, 0o644);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn header(kind: u8, name: &[u8], link: &[u8], size: u64, mode: u32) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(1000);
    header.set_gid(1000);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header.as_bytes().to_vec()
}

pub(crate) fn file(name: &str, text: &str) -> Vec<u8> {
    entry(b'0', name.as_bytes(), b"", text.as_bytes())
}

pub(crate) fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length.to_string().len() + rest.len() != length {
            length += 1;
        }
        data.extend_from_slice(format!("{length}{rest}").as_bytes());
    }
    data
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

pub(crate) fn tar_gz(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&tar(entries))
}

/// A zip of files; a name with a slash at its end is a directory, a mode of a link makes one.
pub(crate) fn zip(files: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, text) in files {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        if name.ends_with('/') {
            zip.add_directory(*name, options).unwrap();
        } else if mode & 0o170_000 == 0o120_000 {
            zip.add_symlink(*name, *text, options).unwrap();
        } else {
            zip.start_file(*name, options).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
    }
    zip.finish().unwrap().into_inner()
}

/// All places of `from` overwritten.
pub(crate) fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

fn overwrite(mut bytes: Vec<u8>, magic: &[u8], nth: usize, offset: usize, value: &[u8]) -> Vec<u8> {
    let mut places = (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(magic));
    let at = places.nth(nth).unwrap() + offset;
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// Overwrites a field of the nth local header.
pub(crate) fn in_local(bytes: Vec<u8>, nth: usize, offset: usize, value: &[u8]) -> Vec<u8> {
    overwrite(bytes, LOCAL, nth, offset, value)
}

/// Overwrites a field of the directory's nth entry.
pub(crate) fn in_central(bytes: Vec<u8>, nth: usize, offset: usize, value: &[u8]) -> Vec<u8> {
    overwrite(bytes, CENTRAL, nth, offset, value)
}

/// Overwrites a field of the directory's end.
pub(crate) fn in_end(bytes: Vec<u8>, offset: usize, value: &[u8]) -> Vec<u8> {
    overwrite(bytes, END, 0, offset, value)
}

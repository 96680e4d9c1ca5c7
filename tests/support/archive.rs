//! Archives of functions, made in memory.

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

/// A tar.gz of text files; a path that ends in `*` is executable.
pub(crate) fn of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        append(&mut tar, path.trim_end_matches('*'), text.as_bytes(), path.ends_with('*'));
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A tar.gz of one executable.
pub(crate) fn of_program(name: &str, program: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    append(&mut tar, name, &std::fs::read(program).unwrap(), true);
    tar.into_inner().unwrap().finish().unwrap()
}

/// A tar.gz of a folder of the repository.
pub(crate) fn of_folder(folder: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append_dir_all("", folder).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8], executable: bool) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    tar.append_data(&mut header, path, bytes).unwrap();
}

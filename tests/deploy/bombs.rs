//! Bombs: they stop at the bound, in bounded time and on bounded disk.

use std::io::{Cursor, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dunnage::limits::{ARCHIVE_BYTES_MAX, ARCHIVE_FILES_MAX, UNPACKED_BYTES_MAX};
use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::forge::{entry, file, header, in_central, in_local, tar_gz, zip};
use super::form::Uploads;

const BIG: u64 = 300 << 20;

fn zeros(bytes: u64, into: &mut dyn Write) {
    std::io::copy(&mut std::io::repeat(0).take(bytes), into).unwrap();
}

/// Bytes on disk below a directory.
fn disk_use(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_use(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// Watches the directory while the archive is refused.
async fn refused_within(archive: Vec<u8>, most: u64, code: &str) {
    let uploads = Uploads::new();
    let (dir, done) = (uploads.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let watched = done.clone();
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        while !watched.load(Ordering::Relaxed) {
            peak = disk_use(&dir).max(peak);
            std::thread::sleep(Duration::from_millis(50));
        }
        peak
    });
    // Far more than it takes: only an end is asked for, as machines differ.
    let refused = tokio::time::timeout(Duration::from_secs(300), uploads.refused_archive(&archive));
    let refused = refused.await;
    done.store(true, Ordering::Relaxed);
    let peak = watcher.join().unwrap();
    let error = refused.expect("it ends");
    assert_eq!(error.code(), code, "{error}");
    assert!(peak <= most, "{peak} bytes of disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    for name in [b"a", b"b"] {
        gz.write_all(&header(b'0', name, b"", BIG, 0o644)).unwrap();
        zeros(BIG, &mut gz);
    }
    let most = UNPACKED_BYTES_MAX + ARCHIVE_BYTES_MAX;
    refused_within(gz.finish().unwrap(), most, "archive-too-large").await;
    // It says what it is, and is believed at once.
    refused_within(
        tar_gz(&[header(b'0', b"a", b"", UNPACKED_BYTES_MAX + 1, 0o644)]),
        1 << 20,
        "archive-too-large",
    )
    .await;
    // Zeros after the end are read, but not for ever.
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&file("a", "x")).unwrap();
    zeros(UNPACKED_BYTES_MAX + (100 << 20), &mut gz);
    refused_within(gz.finish().unwrap(), 16 << 20, "archive-too-large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_count_as_copies() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&header(b'0', b"a", b"", BIG, 0o644)).unwrap();
    zeros(BIG, &mut gz);
    gz.write_all(&entry(b'1', b"b", b"a", b"")).unwrap();
    refused_within(gz.finish().unwrap(), UNPACKED_BYTES_MAX + ARCHIVE_BYTES_MAX, "archive-too-large").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_bomb() {
    let mut bomb = ZipWriter::new(Cursor::new(Vec::new()));
    for name in ["a", "b"] {
        bomb.start_file(name, SimpleFileOptions::default().compression_level(Some(1))).unwrap();
        zeros(BIG, &mut bomb);
    }
    let bomb = bomb.finish().unwrap().into_inner();
    refused_within(bomb.clone(), UNPACKED_BYTES_MAX + ARCHIVE_BYTES_MAX, "archive-too-large").await;
    // It says that it is small: it is let to unpack no more than it says.
    let small = 1000_u32.to_le_bytes();
    let lying = in_local(in_central(bomb, 0, 24, &small), 0, 22, &small);
    refused_within(lying, 16 << 20, "archive-damaged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_counted() {
    let names = |n: usize| (0..n).map(|i| file(&format!("f{i}"), "x")).collect::<Vec<_>>();
    let uploads = Uploads::new();
    let request = uploads.receive_archive(&tar_gz(&names(ARCHIVE_FILES_MAX))).await.unwrap();
    assert_eq!(request.source.files.len(), ARCHIVE_FILES_MAX);
    drop(request);
    uploads.assert_empty();
    let error = uploads.refused_archive(&tar_gz(&names(ARCHIVE_FILES_MAX + 1))).await;
    assert_eq!(error.code(), "archive-too-large", "{error}");
    // Directories count, also those that only paths tell of.
    let deep: Vec<_> = (0..2000).map(|i| file(&format!("{i}{}", "/d".repeat(20)), "x")).collect();
    let error = uploads.refused_archive(&tar_gz(&deep)).await;
    assert_eq!(error.code(), "archive-too-large", "{error}");
    let names: Vec<_> = (0..=ARCHIVE_FILES_MAX).map(|i| format!("f{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 0o644, "")).collect();
    refused_within(zip(&many), 16 << 20, "archive-too-large").await;
}

//! The normal form: the same tree has the same digest, whatever packed it, and comes back as it was.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dunnage::deploy::archive::restore;
use dunnage::deploy::{Error, Request};

use super::forge::{entry, file, gzip, header, pax, tar, tar_gz, zip};
use super::form::Uploads;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

async fn stored(request: &Request) -> Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin> {
    Box::new(tokio::fs::File::open(&request.source.archive).await.unwrap())
}

/// A tree with a program, an empty directory and a link, as `setuid` bits and all.
fn tree() -> Vec<Vec<u8>> {
    let mut program = header(b'0', b"bin/run", b"", 3, 0o6755);
    program.extend_from_slice(b"run");
    program.resize(1024, 0);
    vec![
        entry(b'5', b"./", b"", b""),
        program,
        file("./a-b.txt", "text"),
        entry(b'5', b"empty/", b"", b""),
        entry(b'2', b"bin/link", b"./../a-b.txt", b""),
    ]
}

#[tokio::test]
async fn tar_and_zip_of_one_tree_have_one_digest() {
    let (uploads, mut entries) = (Uploads::new(), tree());
    let first = uploads.receive_archive(&tar_gz(&entries)).await.unwrap();
    entries.reverse();
    let reversed = uploads.receive_archive(&tar_gz(&entries)).await.unwrap();
    let zipped = zip(&[
        ("empty/", 0o700, ""),
        ("bin/link", 0o120_777, "../a-b.txt"),
        ("bin/", 0o755, ""),
        ("bin/run", 0o700, "run"),
        ("a-b.txt", 0o600, "text"),
    ]);
    let zipped = uploads.receive_archive(&zipped).await.unwrap();
    assert_eq!(first.source.digest.len(), 64);
    assert_eq!(first.source.digest, reversed.source.digest);
    assert_eq!(first.source.digest, zipped.source.digest);
    let packed = |r: &Request| std::fs::read(&r.source.archive).unwrap();
    assert_eq!(packed(&first), packed(&zipped));
    let other = uploads.receive_archive(&tar_gz(&[file("a-b.txt", "texT")])).await.unwrap();
    assert_ne!(first.source.digest, other.source.digest);
    drop((first, reversed, zipped, other));
    uploads.assert_empty();
}

#[tokio::test]
async fn a_tree_is_unpacked_plainly_and_restored() {
    let uploads = Uploads::new();
    let request = uploads.receive_archive(&tar_gz(&tree())).await.unwrap();
    let files: Vec<_> = request.source.files.iter().map(|f| (f.path.as_str(), f.bytes)).collect();
    assert_eq!(files, [("a-b.txt", 4), ("bin/run", 3)]);
    assert!(!request.source.dir.path().join("upload").exists());
    assert_eq!(mode(request.source.dir.path()), 0o700);
    let length = std::fs::metadata(&request.source.archive).unwrap().len();
    assert_eq!(request.source.archive_bytes, length);
    let packed = std::fs::read(&request.source.archive).unwrap();
    assert_eq!(packed[3..8], [0; 5], "neither name nor time");

    let restored = restore(stored(&request).await, uploads.path()).await.unwrap();
    for root in [request.source.dir.path().join("src"), restored.path().join("src")] {
        assert_eq!(std::fs::read_to_string(root.join("a-b.txt")).unwrap(), "text");
        assert_eq!(mode(&root.join("a-b.txt")), 0o644);
        assert_eq!(mode(&root.join("bin/run")), 0o755, "no set-uid bit");
        assert_eq!(std::fs::read_link(root.join("bin/link")).unwrap(), Path::new("../a-b.txt"));
        assert_eq!(std::fs::read_dir(root.join("empty")).unwrap().count(), 0);
    }
    let again = uploads.receive_archive(&packed).await.unwrap();
    assert_eq!(again.source.digest, request.source.digest);
    drop((request, restored, again));
    uploads.assert_empty();
}

#[tokio::test]
async fn what_tools_really_write_is_taken() {
    let uploads = Uploads::new();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let xattr = "binary\nwith\nlines".to_owned();
    let archive = tar_gz(&[
        entry(b'g', b"pax_global_header", b"", &pax(&[("comment", "0123abcd")])),
        entry(b'x', b"p", b"", &pax(&[("mtime", "1.5"), ("path", &long), ("SCHILY.xattr.x", &xattr)])),
        file("short", "long"),
        entry(b'L', b"././@LongLink", b"", format!("{long}2\0").as_bytes()),
        file("short", "long"),
        file(".git/config", "kept"),
        file("ünï", "kept"),
        entry(b'1', b"hard", b"./.git/config", b""),
        entry(b'\0', b"old/", b"", b""),
    ]);
    let request = uploads.receive_archive(&archive).await.unwrap();
    let paths: Vec<_> = request.source.files.iter().map(|f| f.path.clone()).collect();
    let expected = [".git/config".to_owned(), long.clone(), format!("{long}2"), "hard".into(), "ünï".into()];
    assert_eq!(paths, expected);
    let src = request.source.dir.path().join("src");
    assert_eq!(std::fs::read_to_string(src.join("hard")).unwrap(), "kept");
    let restored = restore(stored(&request).await, uploads.path()).await.unwrap();
    assert_eq!(std::fs::read_to_string(restored.path().join("src").join(&long)).unwrap(), "long");
    // Several gzip members are one stream.
    let raw = tar(&[file("a", "x")]);
    let members = [gzip(&raw[..700]), gzip(&raw[700..])].concat();
    let several = uploads.receive_archive(&members).await.unwrap();
    assert_eq!(several.source.files.len(), 1);
    // A comment, as `git archive` writes one.
    let mut zipped = zip(&[("top/a", 0o644, "x")]);
    let end = zipped.len();
    zipped[end - 2] = 4;
    zipped.extend_from_slice(b"0123");
    let zipped = uploads.receive_archive(&zipped).await.unwrap();
    assert_eq!(zipped.source.files[0].path, "top/a", "the only directory is kept");
}

#[tokio::test]
async fn a_bad_stored_archive_is_the_hosts_fault_and_leaves_nothing() {
    let uploads = Uploads::new();
    let good = tar_gz(&[file("a", "x")]);
    let escaping = tar_gz(&[file("../a", "x")]);
    for bytes in [good[..good.len() - 3].to_vec(), escaping, vec![], zip(&[("a", 0o644, "x")])] {
        let error = restore(Box::new(std::io::Cursor::new(bytes)), uploads.path()).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        uploads.assert_empty();
    }
    let broken = tokio_util::io::StreamReader::new(futures_util::stream::iter([
        Ok(bytes::Bytes::copy_from_slice(&good[..20])),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]));
    let error = restore(Box::new(broken), uploads.path()).await.unwrap_err();
    assert!(matches!(error, Error::Io { doing: "reading the archive", .. }), "{error:?}");
    uploads.assert_empty();
}

//! What is particular to the store in a directory.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// Every path below a directory, links not followed.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

fn open(root: &Path) -> Result<Local, Error> {
    Local::open(root.to_owned(), Arc::new(Metrics::new().unwrap()))
}

#[tokio::test]
async fn what_it_makes_is_for_its_own_user_only() {
    let corner = Corner::local();
    corner.put(&corner.key("a/b/object"), b"x").await.unwrap();
    let root = corner.dir.path().join("blobs");
    let paths = below(&root);
    assert_eq!(paths.len(), 5, "{paths:?}");
    for path in paths.iter().chain([&root]) {
        let metadata = path.metadata().unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
    }
}

#[tokio::test]
async fn deleting_leaves_no_empty_directory() {
    let corner = Corner::local();
    let (deep, beside) = (corner.key("a/a/a/object"), corner.key("a/object"));
    corner.put(&deep, b"x").await.unwrap();
    corner.put(&beside, b"x").await.unwrap();
    let root = corner.dir.path().join("blobs");
    corner.blobs.delete(&deep).await.unwrap();
    assert_eq!(below(&root.join(&corner.prefix)).len(), 2);
    corner.blobs.delete(&beside).await.unwrap();
    assert!(!root.join(&corner.prefix).exists() && root.exists());
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed_at_open() {
    let corner = Corner::local();
    let key = corner.key("object");
    corner.put(&key, b"whole").await.unwrap();
    let root = corner.dir.path().join("blobs");
    // A put that was killed before its rename leaves its file where an unfinished one has it.
    let leftover = root.join("+temporary/left");
    std::fs::write(&leftover, b"hal").unwrap();
    assert_eq!(corner.blobs.list("").await.unwrap().len(), 1);
    let reopened = open(&root).unwrap();
    assert!(!leftover.exists());
    assert_eq!(reopened.list("").await.unwrap()[0].key, key);
}

#[tokio::test]
async fn a_failed_put_leaves_no_temporary_file() {
    let corner = Corner::local();
    corner.put(&corner.key("object"), b"x").await.unwrap();
    // A file stands where the key needs a directory.
    let put = corner.put(&corner.key("object/below"), b"x").await;
    assert!(matches!(put, Err(Error::Failed { .. })), "{put:?}");
    let left = below(&corner.dir.path().join("blobs/+temporary"));
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let corner = Corner::local();
    let outside = corner.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), b"secret").unwrap();
    corner.put(&corner.key("object"), b"x").await.unwrap();
    let folder = corner.dir.path().join("blobs").join(&corner.prefix);
    symlink(&outside, folder.join("link")).unwrap();
    symlink(outside.join("secret"), folder.join("file")).unwrap();

    assert_eq!(corner.names("").await, ["object"]);
    assert_eq!(corner.names("link/").await, [""; 0]);
    assert!(matches!(corner.blobs.get(&corner.key("link/secret")).await, Err(Error::NotFound(_))));
    assert!(corner.blobs.get(&corner.key("file")).await.is_err());
    assert!(corner.put(&corner.key("link/new"), b"x").await.is_err());
    corner.blobs.delete(&corner.key("link/secret")).await.unwrap();
    // The link itself gives way to the object.
    corner.put(&corner.key("file"), b"own").await.unwrap();
    assert_eq!(corner.read(&corner.key("file")).await.unwrap(), b"own");
    assert_eq!(std::fs::read(outside.join("secret")).unwrap(), b"secret");
    assert_eq!(below(&outside).len(), 1);
}

#[tokio::test]
async fn a_root_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = open(&dir.path().join("file/blobs")).err().unwrap();
    assert!(error.to_string().starts_with("opening the object directory"), "{error}");
}

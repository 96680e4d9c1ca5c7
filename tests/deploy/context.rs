//! The build context: laid out as told, links kept, and never short without an error.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use dunnage::deploy::context;
use dunnage::model::{Plan, PlanFile};
use tokio::io::AsyncReadExt;

fn plan() -> Plan {
    let file = |path: &str, executable| PlanFile { path: path.into(), text: path.to_uppercase(), executable };
    Plan {
        dockerfile: "FROM scratch\n".into(),
        files: vec![file("run.sh", true), file("a/b/conf", false), file("a/c", false)],
        ignore: vec!["*".into(), "!src".into()],
        build_args: vec![],
        notes: vec![],
    }
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    std::fs::create_dir_all(at("dir/empty")).unwrap();
    std::fs::write(at("dir/main.py"), "print(1)").unwrap();
    std::os::unix::fs::symlink("main.py", at("dir/link")).unwrap();
    std::os::unix::fs::symlink("/etc", at("etc")).unwrap();
    tree
}

#[tokio::test]
async fn it_has_what_it_should() {
    let tree = tree();
    let mut bytes = Vec::new();
    context::stream(tree.path().to_owned(), plan()).read_to_end(&mut bytes).await.unwrap();
    let mut entries = BTreeMap::new();
    let mut order = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map(|l| l.display().to_string());
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        order.push(path.clone());
        entries.insert(path, (header.mode().unwrap(), link.unwrap_or(text)));
    }
    let expected = [
        ("Dockerfile", 0o644, "FROM scratch\n"),
        (".dockerignore", 0o644, "*\n!src\n!Dockerfile\n"),
        ("plan/", 0o755, ""),
        ("plan/run.sh", 0o755, "RUN.SH"),
        ("plan/a/", 0o755, ""),
        ("plan/a/b/", 0o755, ""),
        ("plan/a/b/conf", 0o644, "A/B/CONF"),
        ("plan/a/c", 0o644, "A/C"),
        ("src/", 0o755, ""),
        ("src/dir/", 0o755, ""),
        ("src/dir/empty/", 0o755, ""),
        ("src/dir/link", 0o755, "main.py"),
        ("src/dir/main.py", 0o644, "print(1)"),
        ("src/etc", 0o755, "/etc"),
    ];
    assert_eq!(order, expected.map(|(path, ..)| path));
    for (path, mode, text) in expected {
        assert_eq!(entries[path], (mode, text.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_tree_that_cannot_be_read_is_an_error() {
    let tree = tree();
    let fifo = tree.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for tree in [tree.path().to_owned(), tree.path().join("nowhere")] {
        let mut bytes = Vec::new();
        assert!(context::stream(tree, plan()).read_to_end(&mut bytes).await.is_err());
    }
    // A file that shrinks while it is read: the stream stops, and says so.
    std::fs::remove_file(&fifo).unwrap();
    let large = tree.path().join("large");
    std::fs::write(&large, vec![7; 16 << 20]).unwrap();
    let mut stream = context::stream(tree.path().to_owned(), plan());
    let mut bytes = vec![0; 100_000];
    stream.read_exact(&mut bytes).await.unwrap();
    std::fs::File::options().write(true).open(&large).unwrap().set_len(10).unwrap();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

fn open_below(dir: &Path) -> bool {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok()).any(|target| target.starts_with(dir))
}

#[tokio::test]
async fn a_dropped_reader_ends_the_writer() {
    let tree = tree();
    std::fs::write(tree.path().join("large"), vec![7; 16 << 20]).unwrap();
    let mut stream = context::stream(tree.path().to_owned(), plan());
    stream.read_exact(&mut vec![0; 100_000]).await.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !open_below(tree.path()) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(open_below(tree.path()), "it is being read");
    drop(stream);
    while open_below(tree.path()) && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!open_below(tree.path()), "it is read no more");
}

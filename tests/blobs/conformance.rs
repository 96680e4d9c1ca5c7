//! What every store does alike.

use std::time::{Duration, SystemTime};

use super::*;

/// Each check is a test on each store.
macro_rules! on_every_store {
    ($($check:ident),+ $(,)?) => {
        mod local { $(#[tokio::test] async fn $check() { super::$check(super::Corner::local()).await })+ }
        mod memory { $(#[tokio::test] async fn $check() { super::$check(super::Corner::memory()).await })+ }
        mod s3 { $(#[tokio::test] async fn $check() { super::$check(super::Corner::s3()).await })+ }
    };
}

on_every_store!(
    what_was_put_is_got,
    a_put_replaces_what_was_there,
    what_is_absent_is_not_found,
    a_copy_is_independent,
    deleting_is_idempotent_and_takes_nothing_else,
    a_list_has_what_begins_with_the_prefix,
    a_large_file_comes_back_byte_for_byte,
    a_reader_sees_one_put_whole,
    puts_and_deletes_beside_each_other_do_not_fail,
    a_file_that_is_not_there_stores_nothing,
    transfers_are_counted_once,
    the_store_can_be_checked,
);

async fn what_was_put_is_got(corner: Corner) {
    for (name, bytes) in [("some", &b"some bytes"[..]), ("a/b-c/d_e.f", b"\0\xff"), ("empty", b"")] {
        let key = corner.key(name);
        corner.put(&key, bytes).await.unwrap();
        assert_eq!(corner.read(&key).await.unwrap(), bytes, "{name}");
    }
    corner.clear().await;
    assert_eq!(corner.names("").await, [""; 0]);
}

async fn a_put_replaces_what_was_there(corner: Corner) {
    let key = corner.key("object");
    corner.put(&key, b"a long first version").await.unwrap();
    corner.put(&key, b"second").await.unwrap();
    assert_eq!(corner.read(&key).await.unwrap(), b"second");
    assert_eq!(corner.names("").await, ["object"]);
    corner.clear().await;
}

async fn what_is_absent_is_not_found(corner: Corner) {
    corner.put(&corner.key("file"), b"x").await.unwrap();
    let long = "n".repeat(400);
    for name in ["other", "folder/other", "file/below", long.as_str()] {
        let key = corner.key(name);
        let got = corner.blobs.get(&key).await.err();
        assert!(matches!(&got, Some(Error::NotFound(k)) if *k == key), "{name}: {got:?}");
        let copied = corner.blobs.copy(&key, &corner.key("copy")).await;
        assert!(matches!(&copied, Err(Error::NotFound(k)) if *k == key), "{name}: {copied:?}");
    }
    assert_eq!(corner.names("").await, ["file"]);
    corner.clear().await;
}

async fn a_copy_is_independent(corner: Corner) {
    let (one, two) = (corner.key("v1/object"), corner.key("object"));
    let bytes = bytes_of(100_000, 1);
    corner.put(&one, &bytes).await.unwrap();
    corner.put(&two, b"is replaced").await.unwrap();
    corner.blobs.copy(&one, &two).await.unwrap();
    corner.blobs.copy(&one, &two).await.unwrap();
    corner.put(&one, b"changed").await.unwrap();
    assert_eq!(corner.read(&two).await.unwrap(), bytes);
    corner.blobs.delete(&one).await.unwrap();
    assert_eq!(corner.read(&two).await.unwrap(), bytes);
    corner.clear().await;
}

async fn deleting_is_idempotent_and_takes_nothing_else(corner: Corner) {
    let (one, two) = (corner.key("a/one"), corner.key("a/two"));
    corner.blobs.delete(&one).await.unwrap();
    corner.put(&one, b"1").await.unwrap();
    corner.put(&two, b"2").await.unwrap();
    corner.blobs.delete(&corner.key("a")).await.unwrap();
    corner.blobs.delete(&one).await.unwrap();
    corner.blobs.delete(&one).await.unwrap();
    assert_eq!(corner.names("").await, ["a/two"]);
    assert_eq!(corner.read(&two).await.unwrap(), b"2");
    corner.clear().await;
}

async fn a_list_has_what_begins_with_the_prefix(corner: Corner) {
    let names = ["f/v1/x", "f/v10/x", "f/v2/x", "f/x", "g/x"];
    for name in names {
        corner.put(&corner.key(name), name.as_bytes()).await.unwrap();
    }
    assert_eq!(corner.names("").await, names);
    assert_eq!(corner.names("f/").await, &names[..4]);
    assert_eq!(corner.names("f/v1").await, ["f/v1/x", "f/v10/x"]);
    assert_eq!(corner.names("f/v1/").await, ["f/v1/x"]);
    assert_eq!(corner.names("none/").await, [""; 0]);
    for outside in ["../", "/", "f//", "../../etc/"] {
        let listed = corner.blobs.list(&format!("{}/{outside}", corner.prefix)).await.unwrap();
        assert_eq!(listed, [], "{outside}");
    }
    let listed = corner.blobs.list(&format!("{}/f/x", corner.prefix)).await.unwrap();
    assert_eq!(listed[0].bytes, 3);
    let age = SystemTime::now().duration_since(listed[0].modified).unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
    corner.clear().await;
}

async fn a_large_file_comes_back_byte_for_byte(corner: Corner) {
    let part = limits::S3_PART_BYTES;
    for (length, seed) in [(LARGE_BYTES, 2), (part, 3), (part + 1, 4), (2 * part, 5)] {
        let (key, bytes) = (corner.key("large"), bytes_of(length, seed));
        corner.put(&key, &bytes).await.unwrap();
        assert!(corner.read(&key).await.unwrap() == bytes, "{length} bytes came back changed");
    }
    let (copy, bytes) = (corner.key("copy"), bytes_of(2 * part, 5));
    corner.blobs.copy(&corner.key("large"), &copy).await.unwrap();
    assert!(corner.read(&copy).await.unwrap() == bytes);
    corner.clear().await;
}

async fn a_reader_sees_one_put_whole(corner: Corner) {
    let key = corner.key("contested");
    let versions: Vec<Vec<u8>> = (0..4).map(|i| vec![i; 50_000 + usize::from(i)]).collect();
    corner.put(&key, &versions[0]).await.unwrap();
    let (key, corner_ref) = (&key, &corner);
    let puts = versions.iter().cycle().take(20).map(|bytes| async move {
        corner_ref.put(key, bytes).await.unwrap();
    });
    let seen = std::sync::Mutex::new(Vec::new());
    let reads = (0..20).map(|_| async {
        let bytes = corner_ref.read(key).await.unwrap();
        seen.lock().unwrap().push(bytes);
    });
    tokio::join!(futures_util::future::join_all(puts), futures_util::future::join_all(reads));
    for bytes in seen.into_inner().unwrap() {
        assert!(versions.contains(&bytes), "{} bytes, {:?}…", bytes.len(), &bytes[..4]);
    }
    corner.clear().await;
}

/// The last delete of a folder's objects and the first put into it meet.
async fn puts_and_deletes_beside_each_other_do_not_fail(corner: Corner) {
    let corner = &corner;
    let rounds = (0..8).map(|i| async move {
        let key = corner.key(&format!("deep/er/object-{}", i % 4));
        for _ in 0..10 {
            corner.put(&key, b"x").await.unwrap();
            corner.blobs.delete(&key).await.unwrap();
        }
    });
    futures_util::future::join_all(rounds).await;
    assert_eq!(corner.names("").await, [""; 0]);
}

async fn a_file_that_is_not_there_stores_nothing(corner: Corner) {
    let key = corner.key("object");
    let put = corner.blobs.put(&key, &corner.dir.path().join("absent")).await;
    assert!(matches!(put, Err(Error::Failed { .. })), "{put:?}");
    assert_eq!(corner.names("").await, [""; 0]);
    assert_eq!(corner.counted(), [0, 1, 0, 0]);
}

async fn transfers_are_counted_once(corner: Corner) {
    let key = corner.key("object");
    assert_eq!(corner.metrics.download_success_rate.get(), 1.0);
    corner.put(&key, &bytes_of(LARGE_BYTES, 6)).await.unwrap();
    corner.put(&key, b"bytes").await.unwrap();
    corner.read(&key).await.unwrap();
    corner.read(&corner.key("absent")).await.unwrap_err();
    let mut given_up = corner.blobs.get(&key).await.unwrap();
    assert_eq!(given_up.read_u8().await.unwrap(), b'b');
    drop(given_up);
    corner.blobs.copy(&key, &corner.key("copy")).await.unwrap();
    assert_eq!(corner.counted(), [2, 0, 1, 2]);
    assert_eq!(corner.metrics.upload_success_rate.get(), 1.0);
    corner.clear().await;
}

async fn the_store_can_be_checked(corner: Corner) {
    corner.blobs.check().await.unwrap();
    corner.blobs.check().await.unwrap();
    assert_eq!(corner.blobs.list("dunnage-check").await.unwrap(), []);
    assert_eq!(corner.counted(), [0; 4]);
}

#[test]
fn keys_never_leave_the_store() {
    let long = "k".repeat(limits::BLOB_KEY_BYTES_MAX + 1);
    for text in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        "..",
        "a/../b",
        "./a",
        "a\0b",
        "a\nb",
        "a b",
        "ä",
        "+temporary/x",
        "a\\b",
        "a%2e",
        &long,
    ] {
        assert!(matches!(Key::parse(text), Err(Error::InvalidKey(_))), "{text:?}");
    }
    for text in ["a", "...", ".a/b.", "A-Z_0/9", &long[1..]] {
        assert_eq!(Key::parse(text).unwrap().as_str(), text);
    }
}

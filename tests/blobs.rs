//! Blobs: one suite that every store passes, and what befalls the real ones.

use std::io;
use std::path::Path;
use std::sync::Arc;

use dunnage::blobs::local::Local;
use dunnage::blobs::memory::Memory;
use dunnage::blobs::s3::S3;
use dunnage::blobs::{Blobs, Error, Key};
use dunnage::config::{S3 as S3Config, Secret};
use dunnage::limits;
use dunnage::metrics::Metrics;
use tokio::io::AsyncReadExt;

use crate::support::required;

mod conformance;
mod faults;
mod folder;
mod proxy;

/// A store and a corner of it that no other test uses.
struct Corner {
    blobs: Arc<dyn Blobs>,
    metrics: Arc<Metrics>,
    prefix: String,
    /// Files to upload, and the local store.
    dir: tempfile::TempDir,
}

impl Corner {
    fn of(make: impl FnOnce(&Path, Arc<Metrics>) -> Arc<dyn Blobs>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let blobs = make(dir.path(), metrics.clone());
        Self { blobs, metrics, prefix: format!("test-{}", uuid::Uuid::new_v4()), dir }
    }

    fn local() -> Self {
        Self::of(|dir, metrics| Arc::new(Local::open(dir.join("blobs"), metrics).unwrap()))
    }

    fn memory() -> Self {
        Self::of(|_, metrics| Arc::new(Memory::new(metrics)))
    }

    fn s3() -> Self {
        Self::of_s3(&s3_config())
    }

    fn of_s3(config: &S3Config) -> Self {
        Self::of(|_, metrics| Arc::new(S3::connect(config, metrics).unwrap()))
    }

    fn key(&self, name: &str) -> Key {
        Key::parse(&format!("{}/{name}", self.prefix)).unwrap()
    }

    async fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), Error> {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        self.blobs.put(key, file.path()).await
    }

    /// The object's bytes; fails as the stream does.
    async fn read(&self, key: &Key) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut stream = self.blobs.get(key).await.map_err(io::Error::other)?;
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    /// The names below this corner, in order.
    async fn names(&self, prefix: &str) -> Vec<String> {
        let start = format!("{}/", self.prefix);
        let listed = self.blobs.list(&format!("{start}{prefix}")).await.unwrap();
        let name = |listed: &dunnage::blobs::Listed| {
            listed.key.as_str().strip_prefix(&start).expect("only what was asked for").to_owned()
        };
        let mut names: Vec<String> = listed.iter().map(name).collect();
        names.sort();
        names
    }

    /// Uploads and downloads so far: ok, error, ok, error.
    fn counted(&self) -> [u64; 4] {
        let count = |counter: &prometheus::IntCounterVec, result| counter.with_label_values(&[result]).get();
        let (up, down) = (&self.metrics.s3_uploads, &self.metrics.s3_downloads);
        [count(up, "ok"), count(up, "error"), count(down, "ok"), count(down, "error")]
    }

    /// Nothing stays in the bucket, which all tests share.
    async fn clear(&self) {
        for object in self.blobs.list(&format!("{}/", self.prefix)).await.unwrap() {
            self.blobs.delete(&object.key).await.unwrap();
        }
    }
}

fn s3_config() -> S3Config {
    S3Config {
        endpoint: Some(required("DUNNAGE_TEST_S3_ENDPOINT")),
        bucket: required("DUNNAGE_TEST_S3_BUCKET"),
        access_key_id: required("DUNNAGE_TEST_S3_ACCESS_KEY_ID"),
        secret_access_key: Secret::new(required("DUNNAGE_TEST_S3_SECRET_ACCESS_KEY")),
        ..S3Config::default()
    }
}

/// Bytes that no two offsets have alike for long, so that parts in a wrong order show.
fn bytes_of(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ (state >> 32)).to_le_bytes()
    };
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| next()).collect();
    bytes.truncate(length);
    bytes
}

/// Two whole parts and the beginning of a third.
const LARGE_BYTES: usize = 2 * limits::S3_PART_BYTES + 12_345;

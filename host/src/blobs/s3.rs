//! S3: blobs in a bucket of AWS, Cloudflare R2 or any server that speaks the same protocol.
//!
//! Integrity does not rest on S3's flexible checksums, which R2 and other servers know only in
//! part. Instead, every request with a body is signed over its SHA-256, so that a server refuses
//! bytes that are not those sent; and each object carries the SHA-256 of the whole as metadata,
//! against which a download is held. Both work on every server, and for uploads in parts too.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::Object;
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;

use super::transfer::{Checked, Download, Expected, Upload};
use super::{Blobs, Error, Key, Listed};
use crate::limits;
use crate::metrics::Metrics;

mod connect;
mod fault;
mod multipart;
mod source;

use fault::{Missing, failed, fault};
use source::Source;

/// The metadata that holds an object's SHA-256 in hexadecimal.
const DIGEST: &str = "sha256";
/// Written and removed again by [`Blobs::check`].
const CHECK_KEY: &str = "dunnage-check";

pub struct S3 {
    bucket: Arc<Bucket>,
    metrics: Arc<Metrics>,
}

struct Bucket {
    client: Client,
    name: String,
    /// One permit for each part that is in memory.
    parts: Semaphore,
}

impl S3 {
    /// Sends nothing yet: [`Blobs::check`] proves that the bucket is there.
    pub fn connect(config: &crate::config::S3, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let bucket = Bucket {
            client: connect::client(config)?,
            name: config.bucket.clone(),
            parts: Semaphore::new(limits::S3_PARTS_CONCURRENT_MAX),
        };
        Ok(Self { bucket: Arc::new(bucket), metrics })
    }
}

#[async_trait]
impl Blobs for S3 {
    async fn put(&self, key: &Key, file: &Path) -> Result<(), Error> {
        let upload = Upload::begin(&self.metrics);
        upload.end(self.bucket.put(key, file).await)
    }

    async fn get(&self, key: &Key) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, Error> {
        let download = Download::begin(&self.metrics);
        let object = self.bucket.get(key).await?;
        let expected = expected(key, &object)?;
        let body = Box::pin(object.body.into_async_read());
        Ok(Box::new(Checked::new(body, expected, download)))
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), Error> {
        let bucket = &self.bucket;
        let source = format!("{}/{from}", bucket.name);
        let request = bucket.client.copy_object().bucket(&bucket.name).copy_source(source).key(to.as_str());
        let answer = request.send().await;
        let copied = answer.map_err(|e| fault("copying the object", Missing::Key(from), e))?;
        match copied.copy_object_result {
            Some(_) => Ok(()),
            // The status comes before the copy is made, and does not say how it ended.
            None => Err(failed("copying the object", from, "the answer does not say that it was copied")),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.bucket.delete(key.as_str(), "deleting the object").await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let doing = "listing the objects under";
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.name).prefix(prefix);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| fault(doing, Missing::Other(prefix), e))?;
            let objects = page.contents.unwrap_or_default().into_iter().filter_map(listed);
            // Callers delete what they are told of, and some servers normalise a prefix.
            found.extend(objects.filter(|object| object.key.as_str().starts_with(prefix)));
            if found.len() > limits::BLOBS_LISTED_MAX {
                return Err(failed(doing, prefix, "there are too many"));
            }
        }
        Ok(found)
    }

    async fn check(&self) -> Result<(), Error> {
        let doing = "writing to the object store";
        let request = self.bucket.client.put_object().bucket(&self.bucket.name).key(CHECK_KEY);
        let written = request.body(ByteStream::from_static(b"")).send().await;
        written.map_err(|e| fault(doing, Missing::Other(CHECK_KEY), e))?;
        self.bucket.delete(CHECK_KEY, doing).await
    }
}

impl Bucket {
    async fn put(self: &Arc<Self>, key: &Key, file: &Path) -> Result<(), Error> {
        let unreadable = |error: std::io::Error| failed("reading the file to store as", key, error);
        let path = file.to_owned();
        let source = source::blocking(move || Source::open(File::open(path)?)).await.map_err(unreadable)?;
        if source.bytes() <= limits::S3_PART_BYTES as u64 {
            self.put_whole(key, &source).await
        } else {
            multipart::put(self, key, &source).await
        }
    }

    async fn put_whole(&self, key: &Key, source: &Source) -> Result<(), Error> {
        let doing = "storing the object";
        let _permit = self.parts.acquire().await.map_err(|e| failed(doing, key, e))?;
        let bytes = source.read(0, source.bytes()).await.map_err(|e| failed(doing, key, e))?;
        let request = self.client.put_object().bucket(&self.name).key(key.as_str());
        let request = request.metadata(DIGEST, source.sha256()).body(bytes.into());
        request.send().await.map_err(|e| fault(doing, Missing::Other(key.as_str()), e))?;
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<GetObjectOutput, Error> {
        let request = self.client.get_object().bucket(&self.name).key(key.as_str());
        request.send().await.map_err(|e| fault("reading the object", Missing::Key(key), e))
    }

    async fn delete(&self, key: &str, doing: &'static str) -> Result<(), Error> {
        let request = self.client.delete_object().bucket(&self.name).key(key);
        match request.send().await {
            Ok(_) => Ok(()),
            // S3 itself does not mind, some servers do.
            Err(error) if fault::is_no_such_key(&error) => Ok(()),
            Err(error) => Err(fault(doing, Missing::Other(key), error)),
        }
    }
}

/// An object of which the server does not tell the length could be cut off unnoticed.
fn expected(key: &Key, object: &GetObjectOutput) -> Result<Expected, Error> {
    let bytes = object.content_length.and_then(|n| u64::try_from(n).ok());
    let bytes =
        bytes.ok_or_else(|| failed("reading the object", key, "the answer does not tell its length"))?;
    let sha256 = object.metadata.as_ref().and_then(|all| all.get(DIGEST)).cloned();
    Ok(Expected { bytes, sha256 })
}

/// None for what is not ours: a bucket may hold other things.
fn listed(object: Object) -> Option<Listed> {
    let key = Key::parse(object.key.as_deref()?).ok()?;
    let bytes = u64::try_from(object.size?).ok()?;
    let modified = object.last_modified?.try_into().ok()?;
    Some(Listed { key, bytes, modified })
}

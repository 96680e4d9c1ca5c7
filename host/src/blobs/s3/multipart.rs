//! Multipart: a large file goes up in parts, a few at a time, and is seen when all are there.
//!
//! What is given up is taken back: parts of an upload that was neither completed nor aborted are
//! invisible, stay for ever and cost money.

use std::sync::Arc;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::fault::{Missing, failed, fault};
use super::source::Source;
use super::{Bucket, DIGEST};
use crate::blobs::{Error, Key};
use crate::limits;

const DOING: &str = "storing the object in parts as";

const NO_SUCH_UPLOAD: &str = "NoSuchUpload";

pub(super) async fn put(bucket: &Arc<Bucket>, key: &Key, source: &Source) -> Result<(), Error> {
    let upload = Upload::create(bucket, key, source).await?;
    let ended = match upload.send_parts(source).await {
        Ok(parts) => upload.complete(parts, source.sha256()).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => upload.keep(),
        Err(_) => upload.abort().await,
    }
    ended
}

/// An upload that the server has begun; aborted when it is dropped.
struct Upload {
    bucket: Arc<Bucket>,
    key: Key,
    id: String,
    open: bool,
}

impl Upload {
    /// In a task of its own: a caller that goes away leaves nobody to hear the new upload's id, so
    /// that the task drops, and thereby aborts, what it got.
    async fn create(bucket: &Arc<Bucket>, key: &Key, source: &Source) -> Result<Self, Error> {
        let request = bucket.client.create_multipart_upload().bucket(&bucket.name).key(key.as_str());
        let request = request.metadata(DIGEST, source.sha256());
        let (bucket, owned) = (bucket.clone(), key.clone());
        let created = tokio::spawn(async move {
            let answer = request.send().await;
            let answer = answer.map_err(|e| fault(DOING, Missing::Other(owned.as_str()), e))?;
            match answer.upload_id {
                Some(id) => Ok(Self { bucket, key: owned, id, open: true }),
                None => Err(failed(DOING, &owned, "the answer names no upload")),
            }
        });
        created.await.map_err(|e| failed(DOING, key, e))?
    }

    /// The parts in their order.
    async fn send_parts(&self, source: &Source) -> Result<Vec<CompletedPart>, Error> {
        let part = limits::S3_PART_BYTES as u64;
        let sends: Vec<_> = (0..source.bytes().div_ceil(part))
            .map(|index| {
                let offset = index * part;
                self.send_part(source, index, offset, part.min(source.bytes() - offset))
            })
            .collect();
        stream::iter(sends).buffered(limits::S3_PARTS_CONCURRENT_MAX).try_collect().await
    }

    async fn send_part(
        &self,
        source: &Source,
        index: u64,
        offset: u64,
        bytes: u64,
    ) -> Result<CompletedPart, Error> {
        let number = i32::try_from(index + 1).map_err(|e| failed(DOING, &self.key, e))?;
        let _permit = self.bucket.parts.acquire().await.map_err(|e| failed(DOING, &self.key, e))?;
        let bytes = source.read(offset, bytes).await.map_err(|e| failed(DOING, &self.key, e))?;
        let request = self.bucket.client.upload_part().bucket(&self.bucket.name).key(self.key.as_str());
        let request = request.upload_id(&self.id).part_number(number).body(bytes.into());
        let sent = request.send().await.map_err(|e| self.fault(e))?;
        let tag = sent.e_tag.ok_or_else(|| failed(DOING, &self.key, "the answer does not name the part"))?;
        Ok(CompletedPart::builder().part_number(number).e_tag(tag).build())
    }

    async fn complete(&self, parts: Vec<CompletedPart>, sha256: &str) -> Result<(), Error> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.bucket.client.complete_multipart_upload().bucket(&self.bucket.name);
        let request = request.key(self.key.as_str()).upload_id(&self.id).multipart_upload(parts);
        match request.send().await {
            Ok(completed) if completed.e_tag.is_some() => Ok(()),
            // The status comes before the parts are joined, and does not say how that ended.
            Ok(_) => Err(failed(DOING, &self.key, "the answer does not say that the parts were joined")),
            // The answer to an earlier attempt may have been lost.
            Err(error) if error.code() == Some(NO_SUCH_UPLOAD) && self.is_stored(sha256).await => Ok(()),
            Err(error) => Err(self.fault(error)),
        }
    }

    async fn is_stored(&self, sha256: &str) -> bool {
        let request = self.bucket.client.head_object().bucket(&self.bucket.name).key(self.key.as_str());
        let metadata = request.send().await.ok().and_then(|object| object.metadata);
        metadata.is_some_and(|all| all.get(DIGEST).is_some_and(|stored| stored == sha256))
    }

    fn keep(mut self) {
        self.open = false;
    }

    /// Failing to abort does not change what the caller is told: the upload failed.
    async fn abort(mut self) {
        self.open = false;
        abort(&self.bucket, &self.key, &self.id).await;
    }

    fn fault<E>(&self, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        fault(DOING, Missing::Other(self.key.as_str()), error)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Without a runtime the program is ending, and nothing can be sent any more.
        if let (true, Ok(runtime)) = (self.open, tokio::runtime::Handle::try_current()) {
            let (bucket, key, id) = (self.bucket.clone(), self.key.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { abort(&bucket, &key, &id).await });
        }
    }
}

async fn abort(bucket: &Bucket, key: &Key, id: &str) {
    let request = bucket.client.abort_multipart_upload().bucket(&bucket.name).key(key.as_str());
    let aborted = request.upload_id(id).send().await;
    if let Err(error) = aborted
        && error.code() != Some(NO_SUCH_UPLOAD)
    {
        let error = fault("aborting the upload of", Missing::Other(key.as_str()), error);
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "Parts of an upload may be left in the bucket."
        );
    }
}

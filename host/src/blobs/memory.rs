//! Memory: a store that fails, delays and cuts off on purpose, for tests of those who use one.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;

use super::transfer::{Checked, Download, Expected, Upload};
use super::{Blobs, Error, Key, Listed};
use crate::metrics::Metrics;

/// What befalls one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Delay(Duration),
    Fail,
    Deny,
    /// A read ends after so many bytes; other operations are spared.
    CutOff(usize),
}

pub struct Memory {
    metrics: Arc<Metrics>,
    objects: Mutex<BTreeMap<Key, (Bytes, SystemTime)>>,
    script: Mutex<VecDeque<Fault>>,
}

impl Memory {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, objects: Mutex::default(), script: Mutex::default() }
    }

    /// The next operations meet these, one each, in this order.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, (Bytes, SystemTime)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn meet_fault(&self, doing: &'static str, key: &str) -> Result<Fault, Error> {
        let next = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match next.unwrap_or(Fault::None) {
            Fault::Fail => {
                Err(Error::Failed { doing, key: key.to_owned(), source: "the script says so".into() })
            }
            Fault::Deny => Err(Error::Denied { doing, detail: "the script says so".to_owned() }),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Ok(Fault::None)
            }
            fault => Ok(fault),
        }
    }

    async fn store(&self, key: &Key, file: &Path) -> Result<(), Error> {
        self.meet_fault("storing the object", key.as_str()).await?;
        let bytes = tokio::fs::read(file).await.map_err(|error| Error::Failed {
            doing: "storing the object",
            key: key.to_string(),
            source: error.into(),
        })?;
        self.objects().insert(key.clone(), (bytes.into(), SystemTime::now()));
        Ok(())
    }

    fn find(&self, key: &Key) -> Result<Bytes, Error> {
        let found = self.objects().get(key).map(|(bytes, _)| bytes.clone());
        found.ok_or_else(|| Error::NotFound(key.clone()))
    }
}

#[async_trait]
impl Blobs for Memory {
    async fn put(&self, key: &Key, file: &Path) -> Result<(), Error> {
        let upload = Upload::begin(&self.metrics);
        upload.end(self.store(key, file).await)
    }

    async fn get(&self, key: &Key) -> Result<Box<dyn AsyncRead + Send + Sync + Unpin>, Error> {
        let download = Download::begin(&self.metrics);
        let fault = self.meet_fault("reading the object", key.as_str()).await?;
        let mut bytes = self.find(key)?;
        let expected = Expected { bytes: bytes.len() as u64, sha256: None };
        if let Fault::CutOff(after) = fault {
            bytes.truncate(after);
        }
        Ok(Box::new(Checked::new(std::io::Cursor::new(bytes), expected, download)))
    }

    async fn copy(&self, from: &Key, to: &Key) -> Result<(), Error> {
        self.meet_fault("copying the object", from.as_str()).await?;
        let bytes = self.find(from)?;
        self.objects().insert(to.clone(), (bytes, SystemTime::now()));
        Ok(())
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.meet_fault("deleting the object", key.as_str()).await?;
        self.objects().remove(key);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.meet_fault("listing the objects under", prefix).await?;
        let listed = |(key, (bytes, modified)): (&Key, &(Bytes, SystemTime))| Listed {
            key: key.clone(),
            bytes: bytes.len() as u64,
            modified: *modified,
        };
        let objects = self.objects();
        Ok(objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix)).map(listed).collect())
    }

    async fn check(&self) -> Result<(), Error> {
        self.meet_fault("writing to the object store", "").await.map(drop)
    }
}

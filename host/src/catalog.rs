//! The catalog: name or id → current version, in memory, so that a call does no SQL.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use crate::db::{FunctionRecord, VersionRecord};
use crate::model::FunctionName;

/// A function with its current version, shared by every call of it.
#[derive(Debug)]
pub struct Deployed {
    pub function: FunctionRecord,
    pub version: VersionRecord,
}

#[derive(Default)]
pub struct Catalog {
    entries: RwLock<Entries>,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Uuid, Arc<Deployed>>,
    by_name: HashMap<FunctionName, Uuid>,
}

impl Catalog {
    /// What is now current: an older version never replaces a newer entry by itself, so callers
    /// tell the catalog only after the database has agreed.
    pub fn insert(&self, deployed: Deployed) {
        let mut entries = self.entries.write().expect("no panic holds this lock");
        let id = deployed.function.id;
        entries.by_name.insert(deployed.function.name.clone(), id);
        entries.by_id.insert(id, Arc::new(deployed));
    }

    pub fn remove(&self, id: Uuid) {
        let mut entries = self.entries.write().expect("no panic holds this lock");
        if let Some(gone) = entries.by_id.remove(&id) {
            // The name of a deleted function is free: another may have it by now.
            if entries.by_name.get(&gone.function.name) == Some(&id) {
                entries.by_name.remove(&gone.function.name);
            }
        }
    }

    pub fn by_id(&self, id: Uuid) -> Option<Arc<Deployed>> {
        let entries = self.entries.read().expect("no panic holds this lock");
        entries.by_id.get(&id).cloned()
    }

    pub fn by_name(&self, name: &FunctionName) -> Option<Arc<Deployed>> {
        let entries = self.entries.read().expect("no panic holds this lock");
        let id = entries.by_name.get(name)?;
        entries.by_id.get(id).cloned()
    }
}

//! What is kept in the database, by sea-orm: SQLite by default, PostgreSQL in production.
//!
//! The only module that names sea-orm. Callers see the plain records below.

use uuid::Uuid;

use crate::model::{Contract, FunctionName, Labels, Limits, Plan, Scope};

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionStatus {
    /// Made by `init`; nothing deployed yet.
    Init,
    /// Its first deploy is under way. Not listed.
    Building,
    Active,
    /// Being deleted: not to be found any more, its rows go when all it names is gone.
    Deleted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    pub id: Uuid,
    pub name: FunctionName,
    pub status: FunctionStatus,
    pub skip_signing: bool,
    pub language: Option<String>,
    pub labels: Labels,
    pub created_at: Millis,
    pub updated_at: Millis,
}

/// One immutable version, as it was published.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRecord {
    pub id: Uuid,
    pub function_id: Uuid,
    /// Counts from 1; a failed deploy leaves a gap.
    pub number: u64,
    pub is_current: bool,
    /// sha-256, hex, of archive digest, configuration and plan: the same again is the same version.
    pub content_digest: String,
    /// sha-256, hex, of the normalised archive.
    pub archive_digest: String,
    pub archive_bytes: u64,
    pub archive_key: String,
    pub image_tag: String,
    pub image_digest: String,
    pub language: String,
    pub entrypoint: String,
    pub contract: Contract,
    /// The image's entrypoint and command, one after the other.
    pub command: Vec<String>,
    pub limits: Limits,
    pub labels: Labels,
    pub environment: Vec<(String, String)>,
    pub instances: u32,
    pub public: bool,
    pub plan: Plan,
    pub deployed_at: Millis,
}

/// The note made before a deploy touches image or object store, so that what a crash leaves
/// behind can be found. Removed by [`Db::abandon`], last of all, also after a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeployIntent {
    /// Becomes the version's id.
    pub id: Uuid,
    pub function_id: Uuid,
    pub number: u64,
    pub host_id: Uuid,
    pub started_at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationRecord {
    pub id: Uuid,
    pub function_id: Uuid,
    pub version: u64,
    pub request_id: String,
    pub started_at: Millis,
    pub wait_us: u64,
    pub run_us: u64,
    /// `ok`, `function-error`, `timeout`, …
    pub outcome: String,
    pub status: u16,
    pub error: Option<String>,
    pub memory_peak_bytes: Option<u64>,
    pub logs: Vec<LogRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    Invocation,
    Deploy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub function_id: Uuid,
    pub version: Option<u64>,
    pub kind: LogKind,
    pub invocation_id: Option<Uuid>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    pub message: String,
    pub at: Millis,
}

/// Which log rows to give, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub since: Option<Millis>,
    pub until: Option<Millis>,
    pub limit: u64,
    pub level: Option<String>,
    pub invocation: Option<Uuid>,
    pub version: Option<u64>,
    pub kind: Option<LogKind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Millis,
    pub expires_at: Option<Millis>,
    pub revoked_at: Option<Millis>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEvent {
    pub plugin: String,
    pub digest: Option<String>,
    /// `loaded`, `refused`, …
    pub event: String,
    pub detail: String,
    pub at: Millis,
}

/// What [`Db::publish`] did with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the current version now.
    Current { first: bool },
    /// A version with a higher number was published before it, and stays current.
    Superseded { by: u64 },
    /// The function was deleted meanwhile; nothing was written.
    FunctionGone,
}

#[derive(Clone)]
pub struct Db {}

impl Db {
    /// Connects; `url` is `sqlite:///path?mode=rwc` or `postgres://…`. Runs no migration.
    pub async fn connect(url: &str) -> Result<Db, Error> {
        let _ = url;
        todo!()
    }

    /// Brings the schema up to this program's version. Safe on many hosts at once.
    pub async fn migrate(&self) -> Result<(), Error> {
        todo!()
    }

    /// Whether the database has no schema at all.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        todo!()
    }

    /// [`Error::SchemaOld`] or [`Error::SchemaNew`] when the schema is not this program's.
    pub async fn check_schema(&self) -> Result<(), Error> {
        todo!()
    }

    /// A cheap query, for `/ready`.
    pub async fn ping(&self) -> Result<(), Error> {
        todo!()
    }

    /// Makes a function with status `init`; `Err` of the inner result is the existing one.
    pub async fn create_function(
        &self,
        name: &FunctionName,
        skip_signing: bool,
        language: Option<&str>,
        labels: &Labels,
    ) -> Result<Result<FunctionRecord, FunctionRecord>, Error> {
        let _ = (name, skip_signing, language, labels);
        todo!()
    }

    pub async fn function(&self, id: Uuid) -> Result<Option<FunctionRecord>, Error> {
        let _ = id;
        todo!()
    }

    pub async fn function_by_name(&self, name: &FunctionName) -> Result<Option<FunctionRecord>, Error> {
        let _ = name;
        todo!()
    }

    /// Functions but those in status `building`, by name, after `after`; with their current
    /// version's number and the count of all such functions.
    pub async fn functions(
        &self,
        limit: u64,
        after: Option<&FunctionName>,
    ) -> Result<(Vec<(FunctionRecord, Option<u64>)>, u64), Error> {
        let _ = (limit, after);
        todo!()
    }

    /// First step of a delete: from here on the function is not found by any other call, and its
    /// name is free again. `false` when there is no such function.
    pub async fn mark_deleted(&self, id: Uuid) -> Result<bool, Error> {
        let _ = id;
        todo!()
    }

    /// Functions that are marked deleted: what a cut-off delete left.
    pub async fn deleted_functions(&self) -> Result<Vec<Uuid>, Error> {
        todo!()
    }

    /// Last step of a delete: removes the function with all its rows.
    pub async fn remove_function(&self, id: Uuid) -> Result<(), Error> {
        let _ = id;
        todo!()
    }

    /// The number that the next deploy of the function gets, unless another is faster.
    pub async fn next_number(&self, id: Uuid) -> Result<u64, Error> {
        let _ = id;
        todo!()
    }

    /// Notes a deploy and reserves its version number; a function of that name is made with status
    /// `building` when there is none. [`Reservation::NoSuchFunction`] for an unknown id.
    pub async fn reserve(&self, function: &DeployTarget, host_id: Uuid) -> Result<Reservation, Error> {
        let _ = (function, host_id);
        todo!()
    }

    /// In one transaction: writes the version, makes it current unless a higher number is, sets the
    /// function active with its language, labels and `skip_signing` (the version's `public`). The
    /// intent with the version's id stays; `abandon` removes it when the rest is done.
    pub async fn publish(&self, version: &VersionRecord) -> Result<Published, Error> {
        let _ = version;
        todo!()
    }

    /// Removes the intent, and the function when it is still `building` and has no other intent.
    pub async fn abandon(&self, intent: Uuid) -> Result<(), Error> {
        let _ = intent;
        todo!()
    }

    /// Intents of this host, and those of any host older than `stale_before`.
    pub async fn intents(&self, host_id: Uuid, stale_before: Millis) -> Result<Vec<DeployIntent>, Error> {
        let _ = (host_id, stale_before);
        todo!()
    }

    /// Whether an intent of that function and number exists, whatever host's.
    pub async fn intent_exists(&self, function_id: Uuid, number: u64) -> Result<bool, Error> {
        let _ = (function_id, number);
        todo!()
    }

    pub async fn version(&self, function_id: Uuid, number: u64) -> Result<Option<VersionRecord>, Error> {
        let _ = (function_id, number);
        todo!()
    }

    pub async fn version_by_id(&self, id: Uuid) -> Result<Option<VersionRecord>, Error> {
        let _ = id;
        todo!()
    }

    pub async fn version_by_content(
        &self,
        function_id: Uuid,
        content_digest: &str,
    ) -> Result<Option<VersionRecord>, Error> {
        let _ = (function_id, content_digest);
        todo!()
    }

    pub async fn current_version(&self, function_id: Uuid) -> Result<Option<VersionRecord>, Error> {
        let _ = function_id;
        todo!()
    }

    /// Newest first.
    pub async fn versions(&self, function_id: Uuid) -> Result<Vec<VersionRecord>, Error> {
        let _ = function_id;
        todo!()
    }

    /// Every function that has a current version: for the catalog at start.
    pub async fn current_versions(&self) -> Result<Vec<(FunctionRecord, VersionRecord)>, Error> {
        todo!()
    }

    /// Makes that version the current one; `false` when it does not exist.
    pub async fn make_current(&self, function_id: Uuid, number: u64) -> Result<bool, Error> {
        let _ = (function_id, number);
        todo!()
    }

    /// Writes a batch, records and their logs, in one transaction. Those of deleted functions are left out.
    pub async fn record_invocations(&self, batch: &[InvocationRecord]) -> Result<(), Error> {
        let _ = batch;
        todo!()
    }

    pub async fn append_logs(&self, logs: &[LogRecord]) -> Result<(), Error> {
        let _ = logs;
        todo!()
    }

    pub async fn logs(&self, function_id: Uuid, query: &LogQuery) -> Result<Vec<LogRecord>, Error> {
        let _ = (function_id, query);
        todo!()
    }

    /// Invocations of the function, newest first: the `logs` answer tells their status and error.
    pub async fn invocations(&self, function_id: Uuid, limit: u64) -> Result<Vec<InvocationRecord>, Error> {
        let _ = (function_id, limit);
        todo!()
    }

    /// Drops log rows over the bound per function and invocations older than `before`.
    pub async fn prune_records(&self, log_rows_kept: u64, before: Millis) -> Result<u64, Error> {
        let _ = (log_rows_kept, before);
        todo!()
    }

    /// `secret_hash` is the sha-256, hex, of a token of 256 random bits.
    pub async fn create_token(
        &self,
        name: &str,
        secret_hash: &str,
        scopes: &[Scope],
        expires_at: Option<Millis>,
    ) -> Result<TokenRecord, Error> {
        let _ = (name, secret_hash, scopes, expires_at);
        todo!()
    }

    pub async fn token_by_hash(&self, secret_hash: &str) -> Result<Option<TokenRecord>, Error> {
        let _ = secret_hash;
        todo!()
    }

    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        todo!()
    }

    /// `false` when there is no such token or it was revoked before.
    pub async fn revoke_token(&self, name: &str, at: Millis) -> Result<bool, Error> {
        let _ = (name, at);
        todo!()
    }

    pub async fn add_plugin_event(&self, event: &PluginEvent) -> Result<(), Error> {
        let _ = event;
        todo!()
    }

    pub async fn plugin_events(&self, limit: u64) -> Result<Vec<PluginEvent>, Error> {
        let _ = limit;
        todo!()
    }
}

/// What a deploy names: `function_id` or `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeployTarget {
    Id(Uuid),
    Name(FunctionName),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    Reserved { function: FunctionRecord, intent: DeployIntent },
    NoSuchFunction,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database cannot be reached")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database's schema is older than this program: run `dunnage migrate`")]
    SchemaOld { pending: Vec<String> },
    #[error("the database's schema is newer than this program (it has {unknown:?}): update dunnage")]
    SchemaNew { unknown: Vec<String> },
    #[error("{doing}")]
    Query {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{doing}: a row holds what this program did not write: {detail}")]
    Corrupt { doing: &'static str, detail: String },
}

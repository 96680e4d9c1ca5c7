//! Rows to records and back, in one place. A row that this program did not write gives
//! [`super::Error::Corrupt`] with the column's name, never its content: that may be a secret.

use sea_orm::ActiveValue::{NotSet, Set};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::entities::{event, function, intent, invocation, log, token, version};
use super::transaction::Failure;
use super::{
    DeployIntent, FunctionRecord, FunctionStatus, InvocationRecord, LogKind, LogRecord, PluginEvent,
    TokenRecord, VersionRecord,
};
use crate::model::{Contract, Scope};

impl FunctionStatus {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Building => "building",
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

impl LogKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invocation => "invocation",
            Self::Deploy => "deploy",
        }
    }
}

fn contract_name(contract: Contract) -> &'static str {
    match contract {
        Contract::RuntimeApi => "runtime-api",
        Contract::OneShot => "one-shot",
    }
}

fn corrupt(column: &str, what: &str) -> Failure {
    Failure::Corrupt(format!("column {column} {what}"))
}

fn unsigned<T: TryFrom<i64>>(column: &str, value: i64) -> Result<T, Failure> {
    T::try_from(value).map_err(|_| corrupt(column, "is out of range"))
}

/// The parser's own message is left out: it may quote the value.
fn json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        corrupt(column, &format!("is not the expected JSON, seen at its character {}", error.column()))
    })
}

fn one_of<T: Copy>(column: &str, value: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, Failure> {
    let found = all.iter().copied().find(|candidate| name(*candidate) == value);
    found.ok_or_else(|| corrupt(column, "has an unknown value"))
}

/// What does not fit a signed column is its highest value: no count of ours gets there, and a
/// number asked for from outside is then simply not found.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A version number, as it stands in a row.
pub(super) fn number(value: i64) -> Result<u64, Failure> {
    unsigned("number", value)
}

/// Text as both databases take it: PostgreSQL refuses NUL, which a function may well print.
pub(super) fn text(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("these have only text keys and cannot fail")
}

pub(super) fn function(row: function::Model) -> Result<FunctionRecord, Failure> {
    use FunctionStatus::{Active, Building, Deleted, Init};
    let all = [Init, Building, Active, Deleted];
    Ok(FunctionRecord {
        id: row.id,
        name: row.name.parse().map_err(|_| corrupt("name", "is no function name"))?,
        status: one_of("status", &row.status, &all, FunctionStatus::as_str)?,
        skip_signing: row.skip_signing,
        language: row.language,
        labels: json("labels", &row.labels)?,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub(super) fn new_function(record: &FunctionRecord) -> function::ActiveModel {
    function::ActiveModel {
        id: Set(record.id),
        name: Set(record.name.to_string()),
        status: Set(record.status.as_str().to_owned()),
        skip_signing: Set(record.skip_signing),
        language: Set(record.language.as_deref().map(text)),
        labels: Set(to_json(&record.labels)),
        last_number: Set(0),
        created_at: Set(record.created_at),
        updated_at: Set(record.updated_at),
    }
}

pub(super) fn version(row: version::Model) -> Result<VersionRecord, Failure> {
    let contracts = [Contract::RuntimeApi, Contract::OneShot];
    Ok(VersionRecord {
        id: row.id,
        function_id: row.function_id,
        number: number(row.number)?,
        is_current: row.is_current,
        content_digest: row.content_digest,
        archive_digest: row.archive_digest,
        archive_bytes: unsigned("archive_bytes", row.archive_bytes)?,
        archive_key: row.archive_key,
        image_tag: row.image_tag,
        image_digest: row.image_digest,
        language: row.language,
        entrypoint: row.entrypoint,
        contract: one_of("contract", &row.contract, &contracts, contract_name)?,
        command: json("command", &row.command)?,
        limits: json("limits", &row.limits)?,
        labels: json("labels", &row.labels)?,
        environment: json("environment", &row.environment)?,
        instances: unsigned("instances", row.instances)?,
        public: row.public,
        plan: json("plan", &row.plan)?,
        deployed_at: row.deployed_at,
    })
}

pub(super) fn new_version(record: &VersionRecord, is_current: bool) -> version::ActiveModel {
    version::ActiveModel {
        id: Set(record.id),
        function_id: Set(record.function_id),
        number: Set(signed(record.number)),
        is_current: Set(is_current),
        content_digest: Set(text(&record.content_digest)),
        archive_digest: Set(text(&record.archive_digest)),
        archive_bytes: Set(signed(record.archive_bytes)),
        archive_key: Set(text(&record.archive_key)),
        image_tag: Set(text(&record.image_tag)),
        image_digest: Set(text(&record.image_digest)),
        language: Set(text(&record.language)),
        entrypoint: Set(text(&record.entrypoint)),
        contract: Set(contract_name(record.contract).to_owned()),
        command: Set(to_json(&record.command)),
        limits: Set(to_json(&record.limits)),
        labels: Set(to_json(&record.labels)),
        environment: Set(to_json(&record.environment)),
        instances: Set(i64::from(record.instances)),
        public: Set(record.public),
        plan: Set(to_json(&record.plan)),
        deployed_at: Set(record.deployed_at),
    }
}

pub(super) fn intent(row: intent::Model) -> Result<DeployIntent, Failure> {
    Ok(DeployIntent {
        id: row.id,
        function_id: row.function_id,
        number: number(row.number)?,
        host_id: row.host_id,
        started_at: row.started_at,
    })
}

pub(super) fn new_intent(record: &DeployIntent) -> intent::ActiveModel {
    intent::ActiveModel {
        id: Set(record.id),
        function_id: Set(record.function_id),
        number: Set(signed(record.number)),
        host_id: Set(record.host_id),
        started_at: Set(record.started_at),
    }
}

pub(super) fn invocation(row: invocation::Model) -> Result<InvocationRecord, Failure> {
    let memory = row.memory_peak_bytes.map(|bytes| unsigned("memory_peak_bytes", bytes));
    Ok(InvocationRecord {
        id: row.id,
        function_id: row.function_id,
        version: unsigned("version", row.version)?,
        request_id: row.request_id,
        started_at: row.started_at,
        wait_us: unsigned("wait_us", row.wait_us)?,
        run_us: unsigned("run_us", row.run_us)?,
        outcome: row.outcome,
        status: unsigned("status", i64::from(row.status))?,
        error: row.error,
        memory_peak_bytes: memory.transpose()?,
        logs: Vec::new(),
    })
}

pub(super) fn new_invocation(record: &InvocationRecord) -> invocation::ActiveModel {
    invocation::ActiveModel {
        id: Set(record.id),
        function_id: Set(record.function_id),
        version: Set(signed(record.version)),
        request_id: Set(text(&record.request_id)),
        started_at: Set(record.started_at),
        wait_us: Set(signed(record.wait_us)),
        run_us: Set(signed(record.run_us)),
        outcome: Set(text(&record.outcome)),
        status: Set(i32::from(record.status)),
        error: Set(record.error.as_deref().map(text)),
        memory_peak_bytes: Set(record.memory_peak_bytes.map(signed)),
    }
}

pub(super) fn log(row: log::Model) -> Result<LogRecord, Failure> {
    let version = row.version.map(|number| unsigned("version", number));
    Ok(LogRecord {
        function_id: row.function_id,
        version: version.transpose()?,
        kind: one_of("kind", &row.kind, &[LogKind::Invocation, LogKind::Deploy], LogKind::as_str)?,
        invocation_id: row.invocation_id,
        level: row.level,
        message: row.message,
        at: row.at,
    })
}

pub(super) fn new_log(record: &LogRecord) -> log::ActiveModel {
    log::ActiveModel {
        id: NotSet,
        function_id: Set(record.function_id),
        version: Set(record.version.map(signed)),
        kind: Set(record.kind.as_str().to_owned()),
        invocation_id: Set(record.invocation_id),
        level: Set(text(&record.level)),
        message: Set(text(&record.message)),
        at: Set(record.at),
    }
}

pub(super) fn token(row: token::Model) -> Result<TokenRecord, Failure> {
    let scope = |name: &str| one_of("scopes", name, &Scope::ALL, Scope::as_str);
    Ok(TokenRecord {
        id: row.id,
        name: row.name,
        scopes: row.scopes.split_terminator(',').map(scope).collect::<Result<_, _>>()?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    })
}

pub(super) fn new_token(record: &TokenRecord, secret_hash: &str) -> token::ActiveModel {
    let scopes: Vec<_> = record.scopes.iter().map(|scope| scope.as_str()).collect();
    token::ActiveModel {
        id: Set(record.id),
        name: Set(record.name.clone()),
        secret_hash: Set(secret_hash.to_owned()),
        scopes: Set(scopes.join(",")),
        created_at: Set(record.created_at),
        expires_at: Set(record.expires_at),
        revoked_at: Set(record.revoked_at),
    }
}

pub(super) fn event(row: event::Model) -> PluginEvent {
    PluginEvent { plugin: row.plugin, digest: row.digest, event: row.event, detail: row.detail, at: row.at }
}

pub(super) fn new_event(record: &PluginEvent) -> event::ActiveModel {
    event::ActiveModel {
        id: NotSet,
        plugin: Set(text(&record.plugin)),
        digest: Set(record.digest.as_deref().map(text)),
        event: Set(text(&record.event)),
        detail: Set(text(&record.detail)),
        at: Set(record.at),
    }
}

/// A row made now: ids grow with time, which keeps their index compact.
pub(super) fn new_id() -> Uuid {
    Uuid::now_v7()
}

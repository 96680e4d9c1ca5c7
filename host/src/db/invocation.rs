//! Invocations, written in batches together with their logs.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::entities::invocation;
use super::function::existing;
use super::log::insert_logs;
use super::{Db, Error, LogRecord, Millis, rows};
use crate::limits;

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
    /// Only on the way in; [`Db::logs`] gives them.
    pub logs: Vec<LogRecord>,
}

impl Db {
    /// Writes a batch, records and their logs, in one transaction. Those of deleted functions are left out.
    pub async fn record_invocations(&self, batch: &[InvocationRecord]) -> Result<(), Error> {
        self.write("recording invocations", move |transaction| async move {
            let ids = batch.iter().map(|record| record.function_id);
            let of_logs = batch.iter().flat_map(|record| &record.logs).map(|line| line.function_id);
            let existing = existing(&transaction, ids.chain(of_logs).collect::<BTreeSet<_>>()).await?;
            let kept: Vec<_> = batch.iter().filter(|record| existing.contains(&record.function_id)).collect();
            for chunk in kept.chunks(limits::DB_BATCH_ROWS) {
                let chunk = chunk.iter().map(|record| rows::new_invocation(record));
                invocation::Entity::insert_many(chunk).exec_without_returning(&*transaction).await?;
            }
            let lines = kept.iter().flat_map(|record| &record.logs);
            insert_logs(&transaction, lines.filter(|line| existing.contains(&line.function_id))).await
        })
        .await
    }

    /// Invocations of the function, newest first: the `logs` answer tells their status and error.
    pub async fn invocations(&self, function_id: Uuid, limit: u64) -> Result<Vec<InvocationRecord>, Error> {
        self.read("listing invocations", async {
            let found = invocation::Entity::find()
                .filter(invocation::Column::FunctionId.eq(function_id))
                .order_by_desc(invocation::Column::StartedAt)
                .order_by_desc(invocation::Column::Id)
                .limit(limit.min(limits::DB_LIST_ROWS_MAX))
                .all(&self.connection)
                .await?;
            found.into_iter().map(rows::invocation).collect()
        })
        .await
    }
}

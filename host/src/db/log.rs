//! What functions and deploys wrote, one row a line.

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
};
use uuid::Uuid;

use super::entities::log;
use super::function::existing;
use super::transaction::Failure;
use super::{Db, Error, Millis, rows};
use crate::limits;

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
    /// This moment or later.
    pub since: Option<Millis>,
    /// Before this moment.
    pub until: Option<Millis>,
    pub limit: u64,
    pub level: Option<String>,
    pub invocation: Option<Uuid>,
    pub version: Option<u64>,
    pub kind: Option<LogKind>,
}

impl Db {
    /// Lines of functions that are deleted are left out.
    pub async fn append_logs(&self, logs: &[LogRecord]) -> Result<(), Error> {
        self.write("writing logs", move |transaction| async move {
            let ids = logs.iter().map(|line| line.function_id);
            let existing = existing(&transaction, ids.collect::<BTreeSet<_>>()).await?;
            insert_logs(&transaction, logs.iter().filter(|line| existing.contains(&line.function_id))).await
        })
        .await
    }

    /// Newest first; lines of one moment in the reverse of the order in which they were written.
    pub async fn logs(&self, function_id: Uuid, query: &LogQuery) -> Result<Vec<LogRecord>, Error> {
        self.read("reading logs", async {
            let found = selected(function_id, query)
                .order_by_desc(log::Column::At)
                .order_by_desc(log::Column::Id)
                .limit(query.limit.min(limits::DB_LIST_ROWS_MAX))
                .all(&self.connection)
                .await?;
            found.into_iter().map(rows::log).collect()
        })
        .await
    }
}

fn selected(function_id: Uuid, query: &LogQuery) -> Select<log::Entity> {
    log::Entity::find()
        .filter(log::Column::FunctionId.eq(function_id))
        .apply_if(query.since, |rows, at| rows.filter(log::Column::At.gte(at)))
        .apply_if(query.until, |rows, at| rows.filter(log::Column::At.lt(at)))
        .apply_if(query.level.as_deref(), |all, level| all.filter(log::Column::Level.eq(rows::text(level))))
        .apply_if(query.invocation, |rows, id| rows.filter(log::Column::InvocationId.eq(id)))
        .apply_if(query.version, |all, number| all.filter(log::Column::Version.eq(rows::signed(number))))
        .apply_if(query.kind, |rows, kind| rows.filter(log::Column::Kind.eq(kind.as_str())))
}

pub(super) async fn insert_logs<'a>(
    transaction: &DatabaseTransaction,
    lines: impl Iterator<Item = &'a LogRecord>,
) -> Result<(), Failure> {
    let lines: Vec<_> = lines.collect();
    for chunk in lines.chunks(limits::DB_BATCH_ROWS) {
        let chunk = chunk.iter().map(|line| rows::new_log(line));
        log::Entity::insert_many(chunk).exec_without_returning(transaction).await?;
    }
    Ok(())
}

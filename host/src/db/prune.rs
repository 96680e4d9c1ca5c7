//! Keeps records within their bounds, a few rows at a time: whoever writes meanwhile waits little.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use uuid::Uuid;

use super::entities::{event, invocation, log};
use super::{Db, Error, Millis, rows};
use crate::limits;

impl Db {
    /// Drops log rows over the bound per function, and invocations and plugin events older than
    /// `before`; gives how many rows went.
    pub async fn prune_records(&self, log_rows_kept: u64, before: Millis) -> Result<u64, Error> {
        let mut pruned = 0;
        for function in self.functions_with_more_logs(log_rows_kept).await? {
            pruned += self.prune_logs(function, log_rows_kept).await?;
        }
        pruned += self.prune_invocations(before).await?;
        Ok(pruned + self.prune_events(before).await?)
    }

    async fn functions_with_more_logs(&self, rows_kept: u64) -> Result<Vec<Uuid>, Error> {
        self.read("looking for logs over their bound", async {
            Ok(log::Entity::find()
                .select_only()
                .column(log::Column::FunctionId)
                .group_by(log::Column::FunctionId)
                .having(Expr::col(log::Column::Id).count().gt(rows::signed(rows_kept)))
                .into_tuple()
                .all(&self.connection)
                .await?)
        })
        .await
    }

    async fn prune_logs(&self, function: Uuid, rows_kept: u64) -> Result<u64, Error> {
        let mut pruned = 0;
        loop {
            let some = self.prune_some_logs(function, rows_kept).await?;
            pruned += some;
            if some < limits::DB_BATCH_ROWS as u64 {
                return Ok(pruned);
            }
        }
    }

    async fn prune_some_logs(&self, function: Uuid, rows_kept: u64) -> Result<u64, Error> {
        self.write("removing old logs", move |transaction| async move {
            let over = log::Entity::find()
                .filter(log::Column::FunctionId.eq(function))
                .order_by_desc(log::Column::At)
                .order_by_desc(log::Column::Id)
                .select_only()
                .column(log::Column::Id)
                .offset(rows::signed(rows_kept).unsigned_abs())
                .limit(limits::DB_BATCH_ROWS as u64)
                .into_query();
            let removed = log::Entity::delete_many().filter(log::Column::Id.in_subquery(over));
            Ok(removed.exec(&*transaction).await?.rows_affected)
        })
        .await
    }

    async fn prune_invocations(&self, before: Millis) -> Result<u64, Error> {
        let mut pruned = 0;
        loop {
            let some = self.prune_some_invocations(before).await?;
            pruned += some;
            if some < limits::DB_BATCH_ROWS as u64 {
                return Ok(pruned);
            }
        }
    }

    async fn prune_some_invocations(&self, before: Millis) -> Result<u64, Error> {
        self.write("removing old invocations", move |transaction| async move {
            let old = invocation::Entity::find()
                .filter(invocation::Column::StartedAt.lt(before))
                .select_only()
                .column(invocation::Column::Id)
                .limit(limits::DB_BATCH_ROWS as u64)
                .into_query();
            let removed = invocation::Entity::delete_many().filter(invocation::Column::Id.in_subquery(old));
            Ok(removed.exec(&*transaction).await?.rows_affected)
        })
        .await
    }

    async fn prune_events(&self, before: Millis) -> Result<u64, Error> {
        self.write("removing old plugin events", move |transaction| async move {
            let removed = event::Entity::delete_many().filter(event::Column::At.lt(before));
            Ok(removed.exec(&*transaction).await?.rows_affected)
        })
        .await
    }
}

//! Functions: made, found, listed, deleted.

use std::collections::{BTreeSet, HashMap};

use sea_orm::sea_query::{LockType, OnConflict};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use super::entities::{function, invocation, log, version};
use super::transaction::Failure;
use super::{Db, Error, Millis, rows};
use crate::clock;
use crate::limits;
use crate::model::{FunctionName, Labels};

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

impl Db {
    /// Makes a function with status `init`; `Err` of the inner result is the existing one.
    pub async fn create_function(
        &self,
        name: &FunctionName,
        skip_signing: bool,
        language: Option<&str>,
        labels: &Labels,
    ) -> Result<Result<FunctionRecord, FunctionRecord>, Error> {
        let mut record = new_record(name, FunctionStatus::Init);
        record.skip_signing = skip_signing;
        record.language = language.map(rows::text);
        record.labels = labels.clone();
        let record = &record;
        self.write("making a function", move |transaction| async move {
            for _ in 0..limits::DB_TRANSACTION_ATTEMPTS {
                if insert_unless_named(&transaction, record).await? {
                    return Ok(Ok(record.clone()));
                }
                if let Some(row) = locked_by_name(&transaction, name).await? {
                    return Ok(Err(rows::function(row)?));
                }
            }
            Err(Failure::Contended)
        })
        .await
    }

    pub async fn function(&self, id: Uuid) -> Result<Option<FunctionRecord>, Error> {
        self.read("looking up a function", async {
            let row = function::Entity::find_by_id(id).filter(living()).one(&self.connection).await?;
            row.map(rows::function).transpose()
        })
        .await
    }

    pub async fn function_by_name(&self, name: &FunctionName) -> Result<Option<FunctionRecord>, Error> {
        self.read("looking up a function by name", async {
            let found = function::Entity::find().filter(named(name)).one(&self.connection).await?;
            found.map(rows::function).transpose()
        })
        .await
    }

    /// Functions but those in status `building`, by name, after `after`; with their current
    /// version's number and the count of all such functions.
    pub async fn functions(
        &self,
        limit: u64,
        after: Option<&FunctionName>,
    ) -> Result<(Vec<(FunctionRecord, Option<u64>)>, u64), Error> {
        self.read("listing functions", async {
            let listed = function::Entity::find()
                .filter(living())
                .filter(function::Column::Status.ne(FunctionStatus::Building.as_str()));
            let total = listed.clone().count(&self.connection).await?;
            let page = listed
                .apply_if(after, |query, name| query.filter(function::Column::Name.gt(name.as_str())))
                .order_by_asc(function::Column::Name)
                .limit(limit.min(limits::DB_LIST_ROWS_MAX))
                .all(&self.connection)
                .await?;
            let numbers = current_numbers(&self.connection, page.iter().map(|row| row.id)).await?;
            let with_number = |row: function::Model| {
                let number = numbers.get(&row.id).copied();
                Ok((rows::function(row)?, number))
            };
            Ok((page.into_iter().map(with_number).collect::<Result<_, Failure>>()?, total))
        })
        .await
    }

    /// First step of a delete: from here on the function is not found by any other call, and its
    /// name is free again. `false` when there is no such function.
    pub async fn mark_deleted(&self, id: Uuid) -> Result<bool, Error> {
        self.write("marking a function as deleted", move |transaction| async move {
            let marked = function::Entity::update_many()
                .col_expr(function::Column::Status, FunctionStatus::Deleted.as_str().into())
                .col_expr(function::Column::UpdatedAt, clock::now_millis().into())
                .filter(function::Column::Id.eq(id))
                .filter(living())
                .exec(&*transaction)
                .await?;
            Ok(marked.rows_affected > 0)
        })
        .await
    }

    /// Functions that are marked deleted: what a cut-off delete left.
    pub async fn deleted_functions(&self) -> Result<Vec<Uuid>, Error> {
        self.read("looking for deletes that were cut off", async {
            Ok(function::Entity::find()
                .filter(function::Column::Status.eq(FunctionStatus::Deleted.as_str()))
                .order_by_asc(function::Column::Id)
                .select_only()
                .column(function::Column::Id)
                .into_tuple()
                .all(&self.connection)
                .await?)
        })
        .await
    }

    /// Last step of a delete: removes the function with its versions and records. The intent of a
    /// deploy that is still under way stays, since it names what that deploy makes.
    pub async fn remove_function(&self, id: Uuid) -> Result<(), Error> {
        // Many rows go in many short transactions, so that nobody waits long.
        while self.remove_some_logs(id).await? > 0 {}
        while self.remove_some_invocations(id).await? > 0 {}
        self.write("removing a function", move |transaction| async move {
            function::Entity::delete_by_id(id).exec(&*transaction).await?;
            Ok(())
        })
        .await
    }

    async fn remove_some_logs(&self, id: Uuid) -> Result<u64, Error> {
        self.write("removing a function's log", move |transaction| async move {
            let some = log::Entity::find()
                .filter(log::Column::FunctionId.eq(id))
                .select_only()
                .column(log::Column::Id)
                .limit(limits::DB_BATCH_ROWS as u64)
                .into_query();
            let removed = log::Entity::delete_many().filter(log::Column::Id.in_subquery(some));
            Ok(removed.exec(&*transaction).await?.rows_affected)
        })
        .await
    }

    async fn remove_some_invocations(&self, id: Uuid) -> Result<u64, Error> {
        self.write("removing a function's invocations", move |transaction| async move {
            let some = invocation::Entity::find()
                .filter(invocation::Column::FunctionId.eq(id))
                .select_only()
                .column(invocation::Column::Id)
                .limit(limits::DB_BATCH_ROWS as u64)
                .into_query();
            let removed = invocation::Entity::delete_many().filter(invocation::Column::Id.in_subquery(some));
            Ok(removed.exec(&*transaction).await?.rows_affected)
        })
        .await
    }
}

pub(super) fn new_record(name: &FunctionName, status: FunctionStatus) -> FunctionRecord {
    let now = clock::now_millis();
    FunctionRecord {
        id: rows::new_id(),
        name: name.clone(),
        status,
        skip_signing: false,
        language: None,
        labels: Labels::new(),
        created_at: now,
        updated_at: now,
    }
}

/// `false` when a function of that name exists.
pub(super) async fn insert_unless_named(
    transaction: &DatabaseTransaction,
    record: &FunctionRecord,
) -> Result<bool, Failure> {
    let inserted = function::Entity::insert(rows::new_function(record))
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(transaction)
        .await?;
    Ok(inserted > 0)
}

/// Not being deleted.
pub(super) fn living() -> Condition {
    Condition::all().add(function::Column::Status.ne(FunctionStatus::Deleted.as_str()))
}

fn named(name: &FunctionName) -> Condition {
    living().add(function::Column::Name.eq(name.as_str()))
}

/// The function, which no other transaction changes until this one ends. Whoever writes to what
/// belongs to a function takes this first, so that no two wait for each other. (SQLite has but one
/// writer and no such lock.)
pub(super) async fn locked(
    transaction: &DatabaseTransaction,
    id: Uuid,
) -> Result<Option<function::Model>, Failure> {
    let found = function::Entity::find_by_id(id).filter(living()).lock(LockType::NoKeyUpdate);
    Ok(found.one(transaction).await?)
}

/// Like [`locked`], by name.
pub(super) async fn locked_by_name(
    transaction: &DatabaseTransaction,
    name: &FunctionName,
) -> Result<Option<function::Model>, Failure> {
    let found = function::Entity::find().filter(named(name)).lock(LockType::NoKeyUpdate);
    Ok(found.one(transaction).await?)
}

/// Those of the functions that exist; they stay until the transaction ends.
pub(super) async fn existing(
    transaction: &DatabaseTransaction,
    ids: BTreeSet<Uuid>,
) -> Result<BTreeSet<Uuid>, Failure> {
    let found: Vec<Uuid> = function::Entity::find()
        .filter(function::Column::Id.is_in(ids))
        .filter(living())
        .order_by_asc(function::Column::Id)
        .select_only()
        .column(function::Column::Id)
        .lock(LockType::KeyShare)
        .into_tuple()
        .all(transaction)
        .await?;
    Ok(BTreeSet::from_iter(found))
}

async fn current_numbers<C: ConnectionTrait>(
    connection: &C,
    functions: impl Iterator<Item = Uuid>,
) -> Result<HashMap<Uuid, u64>, Failure> {
    let rows: Vec<(Uuid, i64)> = version::Entity::find()
        .filter(version::Column::FunctionId.is_in(functions))
        .filter(version::Column::IsCurrent.eq(true))
        .select_only()
        .column(version::Column::FunctionId)
        .column(version::Column::Number)
        .into_tuple()
        .all(connection)
        .await?;
    let numbers = rows.into_iter().map(|(id, number)| Ok((id, rows::number(number)?)));
    numbers.collect()
}

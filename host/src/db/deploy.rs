//! A deploy in the database: a number is reserved, the version is published or the deploy is
//! abandoned. All lock the function first.

use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, IntoActiveModel,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Set,
};
use uuid::Uuid;

use super::entities::{function, intent, version};
use super::function::{
    FunctionRecord, FunctionStatus, insert_unless_named, locked, locked_by_name, new_record,
};
use super::transaction::Failure;
use super::{Db, Error, Millis, VersionRecord, rows};
use crate::clock;
use crate::limits;
use crate::model::FunctionName;

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

impl Db {
    /// The number that the next deploy of the function gets, unless another is faster.
    pub async fn next_number(&self, id: Uuid) -> Result<u64, Error> {
        self.read("looking up the next version number", async {
            match function::Entity::find_by_id(id).one(&self.connection).await? {
                Some(row) => rows::number(next(&row)?),
                None => Ok(1),
            }
        })
        .await
    }

    /// Notes a deploy and reserves its version number; a function of that name is made with status
    /// `building` when there is none. [`Reservation::NoSuchFunction`] for an unknown id.
    pub async fn reserve(&self, function: &DeployTarget, host_id: Uuid) -> Result<Reservation, Error> {
        self.write("reserving a version number", move |transaction| async move {
            let Some(row) = target(&transaction, function).await? else {
                return Ok(Reservation::NoSuchFunction);
            };
            let number = next(&row)?;
            let intent = DeployIntent {
                id: rows::new_id(),
                function_id: row.id,
                number: rows::number(number)?,
                host_id,
                started_at: clock::now_millis(),
            };
            let mut counted = row.clone().into_active_model();
            counted.last_number = Set(number);
            counted.update(&*transaction).await?;
            intent::Entity::insert(rows::new_intent(&intent)).exec_without_returning(&*transaction).await?;
            Ok(Reservation::Reserved { function: rows::function(row)?, intent })
        })
        .await
    }

    /// In one transaction: writes the version, makes it current unless a higher number is, sets the
    /// function active with its language, labels and `skip_signing` (the version's `public`). The
    /// intent with the version's id stays; `abandon` removes it when the rest is done.
    pub async fn publish(&self, version: &VersionRecord) -> Result<Published, Error> {
        self.write("publishing a version", move |transaction| async move {
            let Some(function) = locked(&transaction, version.function_id).await? else {
                return Ok(Published::FunctionGone);
            };
            let current = current_row(&transaction, function.id).await?;
            if let Some(current) = &current
                && current.number > rows::signed(version.number)
            {
                insert(&transaction, version, false).await?;
                return Ok(Published::Superseded { by: rows::number(current.number)? });
            }
            withdraw_current(&transaction, function.id).await?;
            insert(&transaction, version, true).await?;
            let shown = version::Model::try_from(rows::new_version(version, true))?;
            show_current(&transaction, function, &shown).await?;
            Ok(Published::Current { first: current.is_none() })
        })
        .await
    }

    /// Makes that version the current one, and its function what the version says, as `publish`
    /// does; `false` when it does not exist.
    pub async fn make_current(&self, function_id: Uuid, number: u64) -> Result<bool, Error> {
        self.write("making a version current", move |transaction| async move {
            let Some(function) = locked(&transaction, function_id).await? else {
                return Ok(false);
            };
            let found = version::Entity::find()
                .filter(version::Column::FunctionId.eq(function_id))
                .filter(version::Column::Number.eq(rows::signed(number)))
                .one(&*transaction)
                .await?;
            let Some(version) = found else {
                return Ok(false);
            };
            withdraw_current(&transaction, function_id).await?;
            version::Entity::update_many()
                .col_expr(version::Column::IsCurrent, Expr::value(true))
                .filter(version::Column::Id.eq(version.id))
                .exec(&*transaction)
                .await?;
            show_current(&transaction, function, &version).await?;
            Ok(true)
        })
        .await
    }

    /// Removes the intent, and the function when it is still `building` and has no other intent.
    pub async fn abandon(&self, intent: Uuid) -> Result<(), Error> {
        self.write("ending a deploy", move |transaction| async move {
            let Some(row) = intent::Entity::find_by_id(intent).one(&*transaction).await? else {
                return Ok(());
            };
            let function = function::Entity::find_by_id(row.function_id)
                .filter(function::Column::Status.eq(FunctionStatus::Building.as_str()))
                .lock(LockType::Update)
                .one(&*transaction)
                .await?;
            intent::Entity::delete_by_id(intent).exec(&*transaction).await?;
            if let Some(function) = function
                && intents_of(&transaction, function.id).await? == 0
            {
                function::Entity::delete_by_id(function.id).exec(&*transaction).await?;
            }
            Ok(())
        })
        .await
    }

    /// Intents of this host, and those of any host older than `stale_before`.
    pub async fn intents(&self, host_id: Uuid, stale_before: Millis) -> Result<Vec<DeployIntent>, Error> {
        self.read("looking for deploys that were cut off", async {
            let own_or_stale = Condition::any()
                .add(intent::Column::HostId.eq(host_id))
                .add(intent::Column::StartedAt.lt(stale_before));
            let found = intent::Entity::find()
                .filter(own_or_stale)
                .order_by_asc(intent::Column::StartedAt)
                .order_by_asc(intent::Column::Id)
                .all(&self.connection)
                .await?;
            found.into_iter().map(rows::intent).collect()
        })
        .await
    }

    /// Whether an intent of that function and number exists, whatever host's.
    pub async fn intent_exists(&self, function_id: Uuid, number: u64) -> Result<bool, Error> {
        self.read("looking for a deploy under way", async {
            let found = intent::Entity::find()
                .filter(intent::Column::FunctionId.eq(function_id))
                .filter(intent::Column::Number.eq(rows::signed(number)))
                .count(&self.connection)
                .await?;
            Ok(found > 0)
        })
        .await
    }
}

/// The function to deploy, locked. One that others make or remove in the same moment is looked for
/// again: each statement sees what was committed before it.
async fn target(
    transaction: &DatabaseTransaction,
    target: &DeployTarget,
) -> Result<Option<function::Model>, Failure> {
    let name = match target {
        DeployTarget::Id(id) => return locked(transaction, *id).await,
        DeployTarget::Name(name) => name,
    };
    for _ in 0..limits::DB_TRANSACTION_ATTEMPTS {
        if let Some(row) = locked_by_name(transaction, name).await? {
            return Ok(Some(row));
        }
        insert_unless_named(transaction, &new_record(name, FunctionStatus::Building)).await?;
    }
    match locked_by_name(transaction, name).await? {
        Some(row) => Ok(Some(row)),
        None => Err(Failure::Contended),
    }
}

fn next(function: &function::Model) -> Result<i64, Failure> {
    let number = function.last_number.checked_add(1).filter(|number| *number >= 1);
    number.ok_or_else(|| Failure::Corrupt("column last_number is out of range".to_owned()))
}

async fn current_row(
    transaction: &DatabaseTransaction,
    function: Uuid,
) -> Result<Option<version::Model>, Failure> {
    let current = version::Entity::find()
        .filter(version::Column::FunctionId.eq(function))
        .filter(version::Column::IsCurrent.eq(true));
    Ok(current.one(transaction).await?)
}

/// Before another becomes current: the schema never has two.
async fn withdraw_current(transaction: &DatabaseTransaction, function: Uuid) -> Result<(), Failure> {
    version::Entity::update_many()
        .col_expr(version::Column::IsCurrent, Expr::value(false))
        .filter(version::Column::FunctionId.eq(function))
        .filter(version::Column::IsCurrent.eq(true))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn insert(
    transaction: &DatabaseTransaction,
    version: &VersionRecord,
    is_current: bool,
) -> Result<(), Failure> {
    let row = rows::new_version(version, is_current);
    version::Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

/// The function shows what its current version says.
async fn show_current(
    transaction: &DatabaseTransaction,
    function: function::Model,
    version: &version::Model,
) -> Result<(), Failure> {
    let mut shown = function.into_active_model();
    shown.status = Set(FunctionStatus::Active.as_str().to_owned());
    shown.skip_signing = Set(version.public);
    shown.language = Set(Some(version.language.clone()));
    shown.labels = Set(version.labels.clone());
    shown.updated_at = Set(clock::now_millis());
    shown.update(transaction).await?;
    Ok(())
}

async fn intents_of(transaction: &DatabaseTransaction, function: Uuid) -> Result<u64, Failure> {
    let intents = intent::Entity::find().filter(intent::Column::FunctionId.eq(function));
    Ok(intents.count(transaction).await?)
}

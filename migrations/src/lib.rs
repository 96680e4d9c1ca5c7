//! The schema of the database, one file per migration.
//!
//! Append only: a migration that was released is never changed, the next one mends it. Expand
//! first, contract in a later release, so that the hosts of two releases can run side by side.

mod m0001_functions;
mod m0002_records;
mod m0003_tokens;
mod m0004_plugin_events;

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{DatabaseTransaction, DynIden};

/// Holds the names of the migrations that were applied. Not the library's default name: a
/// database that is shared with another program must not mix the two.
pub const TABLE: &str = "dunnage_migrations";

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_functions::Migration),
            Box::new(m0002_records::Migration),
            Box::new(m0003_tokens::Migration),
            Box::new(m0004_plugin_events::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        TABLE.into_iden()
    }
}

/// The names of this program's migrations, in order.
pub fn known() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

/// The names of the migrations that the database has seen, in order. Changes nothing.
pub async fn applied<C: ConnectionTrait>(connection: &C) -> Result<Vec<String>, DbErr> {
    let exists = match connection.get_database_backend() {
        sea_orm::DbBackend::Postgres => "SELECT to_regclass('dunnage_migrations') IS NOT NULL AS found",
        _ => "SELECT COUNT(*) > 0 AS found FROM sqlite_master WHERE name = 'dunnage_migrations'",
    };
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), exists);
    let found = match connection.query_one_raw(statement).await? {
        Some(row) => row.try_get::<bool>("", "found")?,
        None => false,
    };
    if !found {
        return Ok(Vec::new());
    }
    let select = Query::select().column("version").from(TABLE).order_by("version", Order::Asc).take();
    let rows = connection.query_all(&select).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// Applies what is pending, as part of the caller's transaction: all of it or nothing.
pub async fn apply(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    Migrator::up(transaction, None).await
}

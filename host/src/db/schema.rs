//! The schema's version: brought up to date by `dunnage migrate`, checked at every start.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend};

use super::transaction::Failure;
use super::{Db, Error};
use crate::limits;

/// All hosts take the same lock before they look what is to be done; the number has no meaning.
const MIGRATION_LOCK: i64 = 0x6475_6e6e_6167_6501;

enum Difference {
    Old { pending: Vec<String> },
    New { unknown: Vec<String> },
}

impl Db {
    /// Brings the schema up to this program's version. Safe on many hosts at once.
    pub async fn migrate(&self) -> Result<(), Error> {
        let newer = self
            .write_within(
                limits::MIGRATION_TIMEOUT,
                "bringing the schema up to date",
                move |transaction| async move { migrate_in(&transaction).await },
            )
            .await?;
        match newer {
            Some(unknown) => Err(Error::SchemaNew { unknown }),
            None => Ok(()),
        }
    }

    /// Whether the database has no schema of ours at all.
    pub async fn is_empty(&self) -> Result<bool, Error> {
        let applied = async { Ok(migrations::applied(&self.connection).await?) };
        Ok(self.read("looking for the schema", applied).await?.is_empty())
    }

    /// [`Error::SchemaOld`] or [`Error::SchemaNew`] when the schema is not this program's.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let applied = async { Ok(migrations::applied(&self.connection).await?) };
        match difference(&self.read("checking the schema's version", applied).await?) {
            None => Ok(()),
            Some(Difference::Old { pending }) => Err(Error::SchemaOld { pending }),
            Some(Difference::New { unknown }) => Err(Error::SchemaNew { unknown }),
        }
    }
}

/// Gives the unknown migrations of a newer schema, which is left alone.
async fn migrate_in(transaction: &DatabaseTransaction) -> Result<Option<Vec<String>>, Failure> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let timeout = limits::MIGRATION_TIMEOUT.as_millis();
        transaction.execute_unprepared(&format!("SET LOCAL statement_timeout = {timeout}")).await?;
        // Held until the transaction ends, however it ends.
        transaction.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    }
    match difference(&migrations::applied(transaction).await?) {
        None => Ok(None),
        Some(Difference::New { unknown }) => Ok(Some(unknown)),
        Some(Difference::Old { .. }) => {
            migrations::apply(transaction).await?;
            Ok(None)
        }
    }
}

/// A schema with a migration that this program does not know is newer, whatever it lacks.
fn difference(applied: &[String]) -> Option<Difference> {
    let (known, applied) = (migrations::known(), BTreeSet::from_iter(applied));
    let unknown: Vec<_> = applied.iter().filter(|name| !known.contains(name)).map(|n| (*n).clone()).collect();
    if !unknown.is_empty() {
        return Some(Difference::New { unknown });
    }
    let pending: Vec<_> = known.into_iter().filter(|name| !applied.contains(name)).collect();
    (!pending.is_empty()).then_some(Difference::Old { pending })
}

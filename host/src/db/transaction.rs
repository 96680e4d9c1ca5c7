//! How every statement runs: bounded in time, writes in one transaction each, and what PostgreSQL
//! rejects for the sake of another transaction is tried again.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::Error as DriverError;
use sea_orm::{
    DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{sleep, timeout};

use super::{Db, Error};
use crate::limits;

/// What went wrong inside an operation, before the operation's name is put to it.
#[derive(Debug)]
pub(super) enum Failure {
    Query(DbErr),
    /// A row is not as this program writes it; says what, without its content.
    Corrupt(String),
    /// Others were faster more often than this operation may try.
    Contended,
    TimedOut,
}

#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("others changed the same rows each time that this was tried")]
    Contended,
    #[error("the database did not answer in time")]
    TimedOut,
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::Type(_) | DbErr::TryIntoErr { .. } => {
                Self::Corrupt("a column has another type".to_owned())
            }
            DbErr::Query(RuntimeErr::SqlxError(driver)) => match driver.as_ref() {
                DriverError::ColumnDecode { index, .. } => {
                    Self::Corrupt(format!("column {index} has another type"))
                }
                DriverError::Decode(_) => Self::Corrupt("a column has another type".to_owned()),
                _ => Self::Query(error),
            },
            _ => Self::Query(error),
        }
    }
}

impl Failure {
    pub(super) fn during(self, doing: &'static str) -> Error {
        match self {
            Self::Query(error) => Error::Query { doing, source: Box::new(error) },
            Self::Corrupt(detail) => Error::Corrupt { doing, detail },
            Self::Contended => Error::Query { doing, source: Box::new(Unanswered::Contended) },
            Self::TimedOut => Error::Query { doing, source: Box::new(Unanswered::TimedOut) },
        }
    }

    /// Whether PostgreSQL ended the transaction for another's sake: nothing of it was kept.
    fn is_conflict(&self) -> bool {
        const SERIALIZATION_FAILURE: &str = "40001";
        const DEADLOCK_DETECTED: &str = "40P01";
        let Self::Query(
            DbErr::Exec(RuntimeErr::SqlxError(driver)) | DbErr::Query(RuntimeErr::SqlxError(driver)),
        ) = self
        else {
            return false;
        };
        let code = driver.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code == SERIALIZATION_FAILURE || code == DEADLOCK_DETECTED)
    }
}

/// SQLite has one writer at a time. Those of this process queue here, where waiting costs nothing,
/// rather than in the driver, where each holds a connection and polls.
#[derive(Clone)]
pub(super) struct WriteTurn(Option<Arc<Mutex<()>>>);

impl WriteTurn {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self((backend == DbBackend::Sqlite).then(Arc::default))
    }

    async fn take(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.0 {
            Some(turn) => Some(turn.clone().lock_owned().await),
            None => None,
        }
    }
}

impl Db {
    /// A query that changes nothing.
    pub(super) async fn read<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        bounded(limits::DB_OPERATION_TIMEOUT, work).await.map_err(|failure| failure.during(doing))
    }

    /// Runs `work` in one transaction: all of it or nothing. It may run more than once. The
    /// transaction is shared with `work` rather than lent, since the compiler cannot yet tell that
    /// a closure's future is `Send` for every lifetime of what it was lent.
    pub(super) async fn write<T, F>(
        &self,
        doing: &'static str,
        work: impl Fn(Arc<DatabaseTransaction>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.write_within(limits::DB_OPERATION_TIMEOUT, doing, work).await
    }

    pub(super) async fn write_within<T, F>(
        &self,
        limit: Duration,
        doing: &'static str,
        work: impl Fn(Arc<DatabaseTransaction>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        bounded(limit, self.write_until_kept(work)).await.map_err(|failure| failure.during(doing))
    }

    async fn write_until_kept<T, F>(&self, work: impl Fn(Arc<DatabaseTransaction>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let _turn = self.turn.take().await;
        for attempt in 1..limits::DB_TRANSACTION_ATTEMPTS {
            match self.write_once(&work).await {
                Err(failure) if failure.is_conflict() => sleep(limits::DB_RETRY_DELAY * attempt).await,
                result => return result,
            }
        }
        self.write_once(&work).await
    }

    async fn write_once<T, F>(&self, work: &impl Fn(Arc<DatabaseTransaction>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let transaction = Arc::new(self.begin().await?);
        let result = work(transaction.clone()).await;
        let transaction = Arc::into_inner(transaction).expect("the work's future held the only other one");
        match result {
            Ok(value) => {
                transaction.commit().await?;
                Ok(value)
            }
            Err(failure) => {
                // A failed rollback ends the connection and so the transaction too.
                let _ = transaction.rollback().await;
                Err(failure)
            }
        }
    }

    /// SQLite takes its write lock at once, where it can wait for it: a transaction that begins
    /// with reading and then writes is refused when another wrote in between.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.connection.begin_with_options(options).await
    }
}

pub(super) async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::TimedOut),
    }
}

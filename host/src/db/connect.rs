//! Opening the database. The URL holds a password: it goes to the driver and nowhere else, not into
//! an error and not into the library's traces.

use std::str::FromStr;

use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{ConnectOptions, Database, Error as DriverError, Executor, Postgres, Sqlite};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use tokio::time::{sleep, timeout};

use super::Error;
use crate::limits;

#[derive(Debug, thiserror::Error)]
enum BadUrl {
    #[error("the URL begins neither with sqlite: nor with postgres:")]
    Scheme,
    #[error("the URL is malformed")]
    Malformed,
}

pub(super) async fn connect(url: &str) -> Result<DatabaseConnection, Error> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => sqlite(url).await,
        Some("postgres" | "postgresql") => postgres(url).await,
        _ => Err(Error::Connect(Box::new(BadUrl::Scheme))),
    }
}

/// What was acknowledged survives the loss of power too, so each commit reaches the disk.
async fn sqlite(url: &str) -> Result<DatabaseConnection, Error> {
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|_| Error::Connect(Box::new(BadUrl::Malformed)))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(limits::SQLITE_BUSY_TIMEOUT)
        .disable_statement_logging();
    let pool = || pool::<Sqlite>(limits::SQLITE_CONNECTIONS_MAX).idle_timeout(None).max_lifetime(None);
    // The switch of a new file to WAL cannot wait for others that open it in the same moment.
    for attempt in 1..limits::SQLITE_OPEN_ATTEMPTS {
        match pool().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) => sleep(limits::DB_RETRY_DELAY * attempt).await,
            result => return opened(result, SqlxSqliteConnector::from_sqlx_sqlite_pool),
        }
    }
    opened(pool().connect_with(options).await, SqlxSqliteConnector::from_sqlx_sqlite_pool)
}

async fn postgres(url: &str) -> Result<DatabaseConnection, Error> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| Error::Connect(Box::new(BadUrl::Malformed)))?
        .application_name("dunnage")
        .disable_statement_logging();
    // Settings of the session, not of the connection's start, which poolers in between refuse.
    let session = format!(
        "SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {idle}",
        statement = limits::POSTGRES_STATEMENT_TIMEOUT.as_millis(),
        idle = limits::DB_OPERATION_TIMEOUT.as_millis(),
    );
    let pool = pool::<Postgres>(limits::POSTGRES_CONNECTIONS_MAX).after_connect(move |connection, _| {
        let session = session.clone();
        Box::pin(async move {
            connection.execute(sea_orm::sqlx::AssertSqlSafe(session)).await?;
            Ok(())
        })
    });
    let result = match pool.connect_with(options.clone()).await {
        // The pool has tried until its time was over; it does not say what was in the way.
        Err(DriverError::PoolTimedOut) => Err(why_unreachable(&options).await),
        result => result,
    };
    opened(result, SqlxPostgresConnector::from_sqlx_postgres_pool)
}

async fn why_unreachable(options: &PgConnectOptions) -> DriverError {
    match timeout(limits::DB_PING_TIMEOUT, options.connect()).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => DriverError::PoolTimedOut,
    }
}

fn pool<D: Database>(connections_max: u32) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(limits::DB_ACQUIRE_TIMEOUT)
        // A wait is an error at the timeout above; short of that it is no news.
        .acquire_slow_threshold(limits::DB_ACQUIRE_TIMEOUT)
}

fn opened<P>(
    pool: Result<P, DriverError>,
    connection: fn(P) -> DatabaseConnection,
) -> Result<DatabaseConnection, Error> {
    pool.map(connection).map_err(|error| Error::Connect(Box::new(error)))
}

fn is_busy(error: &DriverError) -> bool {
    const BUSY: &str = "5";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == BUSY)
}

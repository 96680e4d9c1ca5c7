//! What is kept in the database, by sea-orm: SQLite by default, PostgreSQL in production.
//!
//! The only module that names sea-orm. Callers see plain records; `rows` converts them. Every
//! statement goes through `transaction`, which bounds it; a write is one transaction.

mod connect;
mod deploy;
mod entities;
mod event;
mod function;
mod invocation;
mod log;
mod prune;
mod rows;
mod schema;
mod token;
mod transaction;
mod version;

use sea_orm::{DatabaseConnection, EntityTrait, QuerySelect};

pub use self::deploy::{DeployIntent, DeployTarget, Published, Reservation};
pub use self::event::PluginEvent;
pub use self::function::{FunctionRecord, FunctionStatus};
pub use self::invocation::InvocationRecord;
pub use self::log::{LogKind, LogQuery, LogRecord};
pub use self::token::TokenRecord;
use self::transaction::{Failure, WriteTurn, bounded};
pub use self::version::VersionRecord;
use crate::limits;

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// A handle on the database; clones share its connections.
#[derive(Clone)]
pub struct Db {
    connection: DatabaseConnection,
    turn: WriteTurn,
}

impl Db {
    /// Connects; `url` is `sqlite:///path?mode=rwc` or `postgres://…`. Runs no migration.
    pub async fn connect(url: &str) -> Result<Db, Error> {
        let connection = connect::connect(url).await?;
        let turn = WriteTurn::new(connection.get_database_backend());
        Ok(Self { connection, turn })
    }

    /// A cheap query, for `/ready`.
    pub async fn ping(&self) -> Result<(), Error> {
        let query = async {
            let any = entities::token::Entity::find().select_only().column(entities::token::Column::Id);
            any.limit(1).into_tuple::<uuid::Uuid>().one(&self.connection).await?;
            Ok(())
        };
        let answer = bounded(limits::DB_PING_TIMEOUT, query).await;
        answer.map_err(|failure: Failure| failure.during("asking the database whether it answers"))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database cannot be reached")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the database's schema is older than this program: run `dunnage migrate`")]
    SchemaOld { pending: Vec<String> },
    #[error("the database's schema is newer than this program (it has {unknown:?}): update dunnage")]
    SchemaNew { unknown: Vec<String> },
    #[error("there is a token named {0:?}, or with the same secret; a revoked token keeps its name")]
    TokenExists(String),
    #[error("{doing}")]
    Query {
        doing: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{doing}: a row holds what this program did not write: {detail}")]
    Corrupt { doing: &'static str, detail: String },
}

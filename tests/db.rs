//! The database: the same suite on SQLite and PostgreSQL.

/// Runs each named case once on either database.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::db::Fresh::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::db::Fresh::postgres().await).await;
            })+
        }
    };
}

mod connections;
mod deploys;
mod faults;
mod functions;
mod records;
mod schema;
mod tokens;

use dunnage::db::{Db, DeployIntent, DeployTarget, FunctionRecord, Published, Reservation, VersionRecord};
use dunnage::model::{Contract, Finding, FunctionName, Labels, Limits, Plan, PlanFile};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr};
use uuid::Uuid;

/// Makes an empty database on the running PostgreSQL, and gives its URL.
pub(crate) async fn own_database() -> String {
    let server = crate::support::required("DUNNAGE_TEST_POSTGRES_URL");
    let name = format!("dunnage_{}", Uuid::new_v4().simple());
    let connection = Database::connect(&server).await.unwrap();
    connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    connection.close().await.unwrap();
    let (base, options) = server.split_once('?').unwrap_or((&server, ""));
    let (address, _) = base.rsplit_once('/').unwrap();
    format!("{address}/{name}?{options}")
}

/// A database of the test's own.
pub(crate) struct Fresh {
    db: Db,
    url: String,
    is_postgres: bool,
    dir: tempfile::TempDir,
}

impl Fresh {
    async fn sqlite() -> Self {
        let dir = tempfile::Builder::new().prefix("dn-db-").tempdir().unwrap();
        let url = format!("sqlite://{}/dunnage.db?mode=rwc", dir.path().display());
        Self { db: Db::connect(&url).await.unwrap(), url, is_postgres: false, dir }
    }

    async fn postgres() -> Self {
        let dir = tempfile::Builder::new().prefix("dn-db-").tempdir().unwrap();
        let url = own_database().await;
        Self { db: Db::connect(&url).await.unwrap(), url, is_postgres: true, dir }
    }

    async fn migrated(self) -> Self {
        self.db.migrate().await.unwrap();
        self
    }

    /// Another host's handle on the same database.
    async fn other_host(&self) -> Db {
        Db::connect(&self.url).await.unwrap()
    }

    async fn connection(&self) -> DatabaseConnection {
        Database::connect(&self.url).await.unwrap()
    }

    /// What somebody does behind the program's back.
    async fn sql(&self, statement: &str) -> Result<u64, DbErr> {
        let connection = self.connection().await;
        let done = connection.execute_unprepared(statement).await.map(|done| done.rows_affected());
        connection.close().await.unwrap();
        done
    }

    /// A UUID as a literal of this database.
    fn literal(&self, id: Uuid) -> String {
        if self.is_postgres { format!("'{id}'") } else { format!("x'{}'", id.simple()) }
    }
}

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn target(text: &str) -> DeployTarget {
    DeployTarget::Name(name(text))
}

async fn reserve(db: &Db, text: &str) -> (FunctionRecord, DeployIntent) {
    match db.reserve(&target(text), Uuid::new_v4()).await.unwrap() {
        Reservation::Reserved { function, intent } => (function, intent),
        Reservation::NoSuchFunction => panic!("a name is always served"),
    }
}

/// A whole deploy, as the deploy story does it.
async fn deploy(db: &Db, text: &str) -> (FunctionRecord, VersionRecord) {
    let (function, intent) = reserve(db, text).await;
    let version = version(&intent);
    assert!(matches!(db.publish(&version).await.unwrap(), Published::Current { .. }));
    db.abandon(intent.id).await.unwrap();
    (function, version)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A version with something in every field.
fn version(intent: &DeployIntent) -> VersionRecord {
    VersionRecord {
        id: intent.id,
        function_id: intent.function_id,
        number: intent.number,
        is_current: true,
        content_digest: format!("{:064x}", intent.number),
        archive_digest: "b".repeat(64),
        archive_bytes: 5 << 32,
        archive_key: format!("functions/{}/v{}/function.tar.gz", intent.function_id, intent.number),
        image_tag: format!("localhost/dunnage-function-{}:v{}", intent.function_id, intent.number),
        image_digest: "sha256:c0ffee".to_owned(),
        language: "python".to_owned(),
        entrypoint: "main.handler".to_owned(),
        contract: Contract::RuntimeApi,
        command: vec!["/usr/bin/python3".to_owned(), "-u".to_owned(), "quo\"te\0nul".to_owned()],
        limits: Limits { memory_mib: 128, cpu_millis: 500, timeout_ms: 5000, concurrency: 10 },
        labels: labels(&[("team", "ahoi ⚓"), ("number", &intent.number.to_string())]),
        environment: vec![("B".to_owned(), "2".to_owned()), ("A".to_owned(), "=\n;".to_owned())],
        instances: u32::MAX,
        public: true,
        plan: plan(),
        deployed_at: 1_700_000_000_123,
    }
}

fn plan() -> Plan {
    let file = PlanFile { path: "loop.py".to_owned(), text: "print()\n".to_owned(), executable: true };
    let note = Finding { rule: "base".to_owned(), message: "old".to_owned(), path: None, hint: None };
    Plan {
        dockerfile: "FROM scratch\nCOPY src /\n".to_owned(),
        files: vec![file],
        ignore: vec!["*.pyc".to_owned()],
        build_args: vec![("ARG".to_owned(), "1".to_owned())],
        notes: vec![note],
    }
}

//! Opening the database, and what is never told about its URL.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex};

use dunnage::db::Db;
use sea_orm::{ConnectionTrait, Statement};

use super::Fresh;

/// What was traced, kept.
#[derive(Clone, Default)]
struct Traced(Arc<Mutex<Vec<u8>>>);

impl io::Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn everything_said(error: &dunnage::db::Error) -> String {
    let mut said = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        said += &format!(" {cause:?} {cause}");
        source = cause.source();
    }
    said
}

#[tokio::test]
async fn no_error_tells_the_password() {
    let urls = [
        "hunter2",
        "mysql://u:hunter2@127.0.0.1/x",
        "postgres://u:hunter2@127.0.0.1:99999/x",
        "postgres://u:hunter2@[127.0.0.1/x",
        "postgres://u:hunter2@127.0.0.1:1/x",
        "postgresql://u:hunter2@no-such-host.invalid/x",
        "postgres://u@127.0.0.1:1/x?sslmode=hunter2",
        "sqlite:///nonexistent/dunnage.db?key=hunter2",
        "sqlite:///nonexistent/dunnage.db",
    ];
    for url in urls {
        let Err(error) = Db::connect(url).await else { panic!("{url} can be opened") };
        assert_eq!(error.to_string(), "the database cannot be reached");
        let said = everything_said(&error);
        assert!(!said.contains("hunter2"), "{said}");
        assert!(
            !url.contains("127.0.0.1:1/x") || said.contains("refused") || said.contains("malformed"),
            "{said}"
        );
    }
}

/// Not even when everything is traced that the libraries trace.
#[tokio::test]
async fn no_trace_tells_the_password() {
    let traced = Traced::default();
    let writer = traced.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let url = super::own_database().await;
    let (_, address) = url.split_once('@').unwrap();
    // The server may or may not take the password; it is tried.
    let connected = Db::connect(&format!("postgres://postgres:hunter2@{address}")).await;
    if let Ok(db) = connected {
        db.migrate().await.unwrap();
        db.ping().await.unwrap();
    }
    let traced = String::from_utf8_lossy(&traced.0.lock().unwrap()).into_owned();
    // The library's own connect, by which the test made its database, does tell the URL.
    assert!(traced.contains("ConnectOptions { url: "), "{traced}");
    assert!(!traced.contains("hunter2"), "{traced}");
}

#[tokio::test]
async fn sqlite_is_opened_durable() {
    let fresh = Fresh::sqlite().await;
    let connection = fresh.connection().await;
    let backend = connection.get_database_backend();
    let mode = connection.query_one_raw(Statement::from_string(backend, "PRAGMA journal_mode")).await;
    assert_eq!(mode.unwrap().unwrap().try_get_by_index::<String>(0).unwrap(), "wal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_is_opened_by_many_at_once() {
    for _ in 0..5 {
        let dir = tempfile::Builder::new().prefix("dn-db-").tempdir().unwrap();
        let url = format!("sqlite://{}/dunnage.db?mode=rwc", dir.path().display());
        let mut hosts = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let url = url.clone();
            hosts.spawn(async move { Db::connect(&url).await?.migrate().await });
        }
        for migrated in hosts.join_all().await {
            migrated.unwrap();
        }
    }
}

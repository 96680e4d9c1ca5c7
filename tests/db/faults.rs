//! What goes wrong: rows that nobody of ours wrote, rejected transactions, restarts.

use std::time::Duration;

use dunnage::db::{Error, LogQuery, Published};
use dunnage::model::Scope;
use sea_orm::{ConnectionTrait, TransactionTrait};

use super::{Fresh, deploy, name, reserve, version};

on_both!(a_corrupt_row_is_an_error, a_lost_table_is_an_error, all_is_kept_over_a_restart);

async fn a_corrupt_row_is_an_error(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "odd").await;
    fresh.db.create_token("t", &"a".repeat(64), &[Scope::Read], None).await.unwrap();
    let columns = [
        ("contract", "'x-secret'", "'runtime-api'"),
        ("limits", "'{\"memory_mib\":\"x-secret\"}'", "NULL"),
        ("environment", "'[[\"A\",{\"x-secret\":1}]]'", "'[]'"),
        ("plan", "'x-secret'", "NULL"),
        ("archive_bytes", "-1", "1"),
        ("instances", "4294967296", "1"),
        ("labels", "'[]'", "'{}'"),
    ];
    for (column, bad, good) in columns {
        // Columns without a literal of their own are put back from a copy.
        fresh.sql(&format!("CREATE TABLE saved AS SELECT {column} AS value FROM versions")).await.unwrap();
        fresh.sql(&format!("UPDATE versions SET {column} = {bad}")).await.unwrap();
        for error in [
            fresh.db.current_version(function.id).await.unwrap_err(),
            fresh.db.versions(function.id).await.unwrap_err(),
            fresh.db.current_versions().await.unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Corrupt { detail, .. } if detail.contains(column)), "{error:?}");
            assert!(!error.to_string().contains("x-secret"), "{error}");
        }
        let restored = if good == "NULL" { "(SELECT value FROM saved)" } else { good };
        fresh.sql(&format!("UPDATE versions SET {column} = {restored}")).await.unwrap();
        fresh.sql("DROP TABLE saved").await.unwrap();
        fresh.db.current_version(function.id).await.unwrap();
    }
    fresh.sql("UPDATE tokens SET scopes = 'read,root'").await.unwrap();
    assert!(matches!(fresh.db.tokens().await.unwrap_err(), Error::Corrupt { .. }));
    fresh.sql("UPDATE functions SET last_number = 9223372036854775807").await.unwrap();
    assert!(matches!(fresh.db.next_number(function.id).await.unwrap_err(), Error::Corrupt { .. }));
    fresh.sql("UPDATE functions SET name = 'No Name'").await.unwrap();
    assert!(matches!(fresh.db.function(function.id).await.unwrap_err(), Error::Corrupt { .. }));
}

/// SQLite keeps what it is given, whatever the column's type says.
#[tokio::test]
async fn a_value_of_another_type_is_an_error_on_sqlite() {
    let fresh = Fresh::sqlite().await.migrated().await;
    let (function, _) = deploy(&fresh.db, "odd").await;
    for (column, bad) in [("created_at", "'now'"), ("labels", "x'ff00'"), ("id", "x'00'"), ("id", "'no id'")]
    {
        fresh
            .sql(&format!("PRAGMA foreign_keys = OFF; UPDATE functions SET {column} = {bad}"))
            .await
            .unwrap();
        let error = fresh.db.function_by_name(&name("odd")).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{column} = {bad}: {error:?}");
        if column == "id" {
            continue;
        }
        let id = fresh.literal(function.id);
        fresh
            .sql(&format!("UPDATE functions SET created_at = 1, labels = '{{}}' WHERE id = {id}"))
            .await
            .unwrap();
    }
}

async fn a_lost_table_is_an_error(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    fresh.sql("DROP TABLE tokens").await.unwrap();
    let error = fresh.db.ping().await.unwrap_err();
    assert!(matches!(error, Error::Query { .. }), "{error:?}");
    let error = fresh.db.token_by_hash("a").await.unwrap_err();
    assert_eq!(error.to_string(), "looking up a token");
    assert!(std::error::Error::source(&error).is_some());
    deploy(&fresh.db, "others").await;
}

async fn all_is_kept_over_a_restart(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "kept").await;
    let (_, intent) = reserve(&fresh.db, "kept").await;
    let record = super::records::invocation(function.id, 1);
    fresh.db.record_invocations(std::slice::from_ref(&record)).await.unwrap();
    let token = fresh.db.create_token("t", &"a".repeat(64), &[Scope::Read], None).await.unwrap();
    let Fresh { db, url, dir, .. } = fresh;
    let shown = db.current_versions().await.unwrap();
    drop(db);
    let db = dunnage::db::Db::connect(&url).await.unwrap();
    db.check_schema().await.unwrap();
    assert_eq!(db.current_versions().await.unwrap(), shown);
    assert_eq!(db.invocations(function.id, 10).await.unwrap(), [record]);
    assert_eq!(db.tokens().await.unwrap(), [token]);
    assert_eq!(db.intents(intent.host_id, 0).await.unwrap(), std::slice::from_ref(&intent));
    assert_eq!(db.next_number(function.id).await.unwrap(), 3);
    assert_eq!(db.publish(&version(&intent)).await.unwrap(), Published::Current { first: false });
    drop(dir);
}

/// A real deadlock, in which PostgreSQL ends the publish for the other's sake: it is done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_transaction_is_tried_again() {
    let fresh = Fresh::postgres().await.migrated().await;
    let (function, current) = deploy(&fresh.db, "locked").await;
    let (_, intent) = reserve(&fresh.db, "locked").await;
    let id = fresh.literal(function.id);
    let other = fresh.connection().await;
    let transaction = other.begin().await.unwrap();
    // The other is the last to look for deadlocks, so that the publish is the one that is ended.
    transaction.execute_unprepared("SET LOCAL deadlock_timeout = '60s'").await.unwrap();
    let version_row = format!("SELECT 1 FROM versions WHERE id = {} FOR UPDATE", fresh.literal(current.id));
    transaction.execute_unprepared(&version_row).await.unwrap();
    let (db, record) = (fresh.db.clone(), version(&intent));
    let publish = tokio::spawn(async move { db.publish(&record).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let function_row = format!("SELECT 1 FROM functions WHERE id = {id} FOR UPDATE");
    transaction.execute_unprepared(&function_row).await.unwrap();
    assert!(!publish.is_finished(), "it waits for its second attempt");
    transaction.commit().await.unwrap();
    assert_eq!(publish.await.unwrap().unwrap(), Published::Current { first: false });
    let deadlocks = "DO $$ BEGIN PERFORM pg_stat_clear_snapshot(); \
         IF (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()) = 0 \
         THEN RAISE 'no deadlock'; END IF; END $$";
    for _ in 0..100 {
        if fresh.sql(deadlocks).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("there was no deadlock to survive");
}

/// Another program that holds SQLite's write lock for a while is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn another_process_s_write_lock_is_waited_for() {
    let fresh = Fresh::sqlite().await.migrated().await;
    let other = fresh.connection().await;
    let transaction = other.begin().await.unwrap();
    transaction.execute_unprepared("DELETE FROM tokens").await.unwrap();
    let db = fresh.db.clone();
    let write = tokio::spawn(async move { deploy(&db, "patient").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!write.is_finished());
    let function = fresh.db.function_by_name(&name("patient")).await.unwrap();
    assert_eq!(function, None, "readers do not wait");
    transaction.commit().await.unwrap();
    let (function, _) = write.await.unwrap();
    let query = LogQuery { limit: 1, ..LogQuery::default() };
    assert!(fresh.db.logs(function.id, &query).await.unwrap().is_empty());
}

/// A caller that goes away in the middle leaves no transaction open.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_call_holds_no_lock() {
    for fresh in [Fresh::sqlite().await, Fresh::postgres().await] {
        let fresh = fresh.migrated().await;
        for micros in (0..3000).step_by(100) {
            let call = deploy(&fresh.db, "cut-off");
            let _ = tokio::time::timeout(Duration::from_micros(micros), call).await;
        }
        let after = tokio::time::timeout(Duration::from_secs(10), deploy(&fresh.db, "cut-off"));
        after.await.expect("no lock is left");
    }
}

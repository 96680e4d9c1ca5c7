//! The schema: made, checked, and what it refuses by itself.

use dunnage::db::Error;
use uuid::Uuid;

use super::{Fresh, deploy, reserve, version};

on_both!(
    an_empty_database_is_told_apart,
    migrating_twice_changes_nothing,
    many_hosts_migrate_at_once,
    an_older_schema_is_named,
    a_newer_schema_is_left_alone,
    an_older_schema_is_brought_up_to_date,
    a_foreign_table_is_no_schema_of_ours,
    the_schema_refuses_what_must_not_be,
);

async fn an_empty_database_is_told_apart(fresh: Fresh) {
    assert!(fresh.db.is_empty().await.unwrap());
    let Err(Error::SchemaOld { pending }) = fresh.db.check_schema().await else { panic!() };
    assert_eq!(pending, ["m0001_functions", "m0002_records", "m0003_tokens", "m0004_plugin_events"]);
    assert!(fresh.db.is_empty().await.unwrap(), "looking makes no table");
    fresh.db.migrate().await.unwrap();
    assert!(!fresh.db.is_empty().await.unwrap());
    fresh.db.check_schema().await.unwrap();
    fresh.db.ping().await.unwrap();
}

async fn migrating_twice_changes_nothing(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "kept").await;
    fresh.db.migrate().await.unwrap();
    assert!(fresh.db.function(function.id).await.unwrap().is_some());
}

async fn many_hosts_migrate_at_once(fresh: Fresh) {
    let mut hosts = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let host = fresh.other_host().await;
        hosts.spawn(async move { host.migrate().await });
    }
    for result in hosts.join_all().await {
        result.unwrap();
    }
    fresh.db.check_schema().await.unwrap();
}

async fn an_older_schema_is_named(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    fresh.sql("DELETE FROM dunnage_migrations WHERE version = 'm0004_plugin_events'").await.unwrap();
    let error = fresh.db.check_schema().await.unwrap_err();
    assert!(error.to_string().contains("dunnage migrate"), "{error}");
    let Error::SchemaOld { pending } = error else { panic!("{error:?}") };
    assert_eq!(pending, ["m0004_plugin_events"]);
    assert!(!fresh.db.is_empty().await.unwrap());
}

async fn a_newer_schema_is_left_alone(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    fresh.sql("INSERT INTO dunnage_migrations VALUES ('m9999_from_afar', 0)").await.unwrap();
    fresh.sql("DELETE FROM dunnage_migrations WHERE version = 'm0004_plugin_events'").await.unwrap();
    for error in [fresh.db.check_schema().await.unwrap_err(), fresh.db.migrate().await.unwrap_err()] {
        assert!(error.to_string().contains("m9999_from_afar"), "{error}");
        assert!(matches!(error, Error::SchemaNew { .. }), "{error:?}");
    }
}

async fn an_older_schema_is_brought_up_to_date(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "kept").await;
    fresh.sql("DROP TABLE plugin_events").await.unwrap();
    fresh.sql("DELETE FROM dunnage_migrations WHERE version = 'm0004_plugin_events'").await.unwrap();
    fresh.db.migrate().await.unwrap();
    fresh.db.check_schema().await.unwrap();
    assert!(fresh.db.plugin_events(1).await.unwrap().is_empty());
    assert!(fresh.db.function(function.id).await.unwrap().is_some());
}

async fn a_foreign_table_is_no_schema_of_ours(fresh: Fresh) {
    fresh.sql("CREATE TABLE seaql_migrations (version TEXT, applied_at BIGINT)").await.unwrap();
    fresh.sql("INSERT INTO seaql_migrations VALUES ('m1_another_program', 0)").await.unwrap();
    assert!(fresh.db.is_empty().await.unwrap());
    fresh.db.migrate().await.unwrap();
    fresh.db.check_schema().await.unwrap();
}

async fn the_schema_refuses_what_must_not_be(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, first) = deploy(&fresh.db, "strict").await;
    let (_, second) = deploy(&fresh.db, "strict").await;
    deploy(&fresh.db, "other").await;
    let (function, first, second) =
        (fresh.literal(function.id), fresh.literal(first.id), fresh.literal(second.id));
    let id = fresh.literal(Uuid::new_v4());
    let refused = [
        ("a second current version", format!("UPDATE versions SET is_current = TRUE WHERE id = {first}")),
        ("a number taken", format!("UPDATE versions SET number = 1 WHERE id = {second}")),
        ("number 0", format!("UPDATE versions SET number = 0 WHERE id = {second}")),
        ("a name taken", format!("UPDATE functions SET name = 'other' WHERE id = {function}")),
        ("an unknown status", format!("UPDATE functions SET status = 'odd' WHERE id = {function}")),
        ("a version of nothing", format!("UPDATE versions SET function_id = {id} WHERE id = {first}")),
        (
            "a log line of nothing",
            format!(
                "INSERT INTO function_logs (function_id, kind, level, message, at) \
                 VALUES ({id}, 'deploy', 'info', '', 0)"
            ),
        ),
    ];
    for (what, statement) in refused {
        assert!(fresh.sql(&statement).await.is_err(), "{what} is accepted");
    }
    let (_, intent) = reserve(&fresh.db, "strict").await;
    fresh.db.publish(&version(&intent)).await.unwrap();
    assert!(fresh.db.publish(&version(&intent)).await.is_err(), "a version is published once");
}

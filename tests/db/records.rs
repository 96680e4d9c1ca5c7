//! Invocations, logs and plugin events.

use dunnage::db::{InvocationRecord, LogKind, LogQuery, LogRecord, PluginEvent};
use uuid::Uuid;

use super::{Fresh, deploy};

on_both!(
    invocations_come_back_newest_first,
    records_of_deleted_functions_are_left_out,
    logs_are_newest_first_in_a_stable_order,
    logs_are_filtered,
    whatever_a_function_prints_is_kept,
    a_large_batch_is_written_whole,
    pruning_keeps_the_bounds,
    plugin_events_are_newest_first,
);

pub(super) fn invocation(function_id: Uuid, started_at: i64) -> InvocationRecord {
    InvocationRecord {
        id: Uuid::now_v7(),
        function_id,
        version: 1,
        request_id: "r-1".to_owned(),
        started_at,
        wait_us: 10,
        run_us: 20,
        outcome: "ok".to_owned(),
        status: 200,
        error: None,
        memory_peak_bytes: Some(1 << 33),
        logs: vec![],
    }
}

fn line(function_id: Uuid, at: i64, message: &str) -> LogRecord {
    LogRecord {
        function_id,
        version: Some(1),
        kind: LogKind::Invocation,
        invocation_id: None,
        level: "info".to_owned(),
        message: message.to_owned(),
        at,
    }
}

fn all() -> LogQuery {
    LogQuery { limit: 10_000, ..LogQuery::default() }
}

async fn messages(fresh: &Fresh, function: Uuid, query: LogQuery) -> Vec<String> {
    let lines = fresh.db.logs(function, &query).await.unwrap();
    lines.into_iter().map(|line| line.message).collect()
}

async fn invocations_come_back_newest_first(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "called").await;
    let mut failed = invocation(function.id, 2);
    failed.error = Some("boom".to_owned());
    failed.memory_peak_bytes = None;
    failed.status = u16::MAX;
    failed.run_us = u64::MAX;
    failed.logs = vec![line(function.id, 2, "last words")];
    let records = [invocation(function.id, 1), failed.clone(), invocation(function.id, 3)];
    fresh.db.record_invocations(&records).await.unwrap();
    fresh.db.record_invocations(&[]).await.unwrap();
    failed.logs = vec![];
    failed.run_us = i64::MAX as u64;
    let expected = [records[2].clone(), failed, records[0].clone()];
    assert_eq!(fresh.db.invocations(function.id, 10).await.unwrap(), expected);
    assert_eq!(fresh.db.invocations(function.id, 1).await.unwrap(), expected[..1]);
    assert_eq!(messages(&fresh, function.id, all()).await, ["last words"]);
}

async fn records_of_deleted_functions_are_left_out(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (kept, _) = deploy(&fresh.db, "kept").await;
    let (marked, _) = deploy(&fresh.db, "marked").await;
    fresh.db.mark_deleted(marked.id).await.unwrap();
    let mut batch: Vec<_> = [kept.id, marked.id, Uuid::new_v4()].map(|id| invocation(id, 1)).into();
    for record in &mut batch {
        record.logs = vec![line(record.function_id, 1, "called")];
    }
    fresh.db.record_invocations(&batch).await.unwrap();
    let lines = [kept.id, marked.id, Uuid::new_v4()].map(|id| line(id, 2, "appended"));
    fresh.db.append_logs(&lines).await.unwrap();
    assert_eq!(fresh.db.invocations(kept.id, 10).await.unwrap().len(), 1);
    assert_eq!(messages(&fresh, kept.id, all()).await, ["appended", "called"]);
    assert!(fresh.db.invocations(marked.id, 10).await.unwrap().is_empty());
    assert!(messages(&fresh, marked.id, all()).await.is_empty());
}

async fn logs_are_newest_first_in_a_stable_order(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "chatty").await;
    let lines: Vec<_> = (0..30).map(|n| line(function.id, 7, &n.to_string())).collect();
    fresh.db.append_logs(&lines[..10]).await.unwrap();
    fresh.db.append_logs(&[line(function.id, 6, "earlier")]).await.unwrap();
    fresh.db.append_logs(&lines[10..]).await.unwrap();
    let mut expected: Vec<_> = (0..30).rev().map(|n| n.to_string()).collect();
    expected.push("earlier".to_owned());
    assert_eq!(messages(&fresh, function.id, all()).await, expected);
    let five = LogQuery { limit: 5, ..all() };
    assert_eq!(messages(&fresh, function.id, five).await, expected[..5]);
    let none = LogQuery { limit: 0, ..all() };
    assert!(messages(&fresh, function.id, none).await.is_empty());
    let any = LogQuery { limit: u64::MAX, ..all() };
    assert_eq!(messages(&fresh, function.id, any).await, expected);
}

async fn logs_are_filtered(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "sorted").await;
    let call = Uuid::new_v4();
    let mut lines: Vec<_> =
        (1..=4).map(|at| line(function.id, at, ["a", "b", "c", "d"][at as usize - 1])).collect();
    lines[0].kind = LogKind::Deploy;
    lines[0].version = None;
    lines[1].level = "error".to_owned();
    lines[2].invocation_id = Some(call);
    lines[3].version = Some(2);
    fresh.db.append_logs(&lines).await.unwrap();
    lines.reverse();
    assert_eq!(fresh.db.logs(function.id, &all()).await.unwrap(), lines);
    let cases = [
        (LogQuery { since: Some(3), ..all() }, vec!["d", "c"]),
        (LogQuery { until: Some(3), ..all() }, vec!["b", "a"]),
        (LogQuery { since: Some(2), until: Some(4), ..all() }, vec!["c", "b"]),
        (LogQuery { since: Some(i64::MIN), until: Some(i64::MAX), ..all() }, vec!["d", "c", "b", "a"]),
        (LogQuery { level: Some("error".to_owned()), ..all() }, vec!["b"]),
        (LogQuery { level: Some("\0' OR 1=1 --".to_owned()), ..all() }, vec![]),
        (LogQuery { invocation: Some(call), ..all() }, vec!["c"]),
        (LogQuery { version: Some(2), ..all() }, vec!["d"]),
        (LogQuery { version: Some(u64::MAX), ..all() }, vec![]),
        (LogQuery { kind: Some(LogKind::Deploy), ..all() }, vec!["a"]),
        (LogQuery { kind: Some(LogKind::Invocation), version: Some(1), ..all() }, vec!["c", "b"]),
    ];
    for (query, expected) in cases {
        assert_eq!(messages(&fresh, function.id, query.clone()).await, expected, "{query:?}");
    }
    assert!(messages(&fresh, Uuid::new_v4(), all()).await.is_empty());
}

/// PostgreSQL keeps no NUL in a text; one such line must not cost a whole batch.
async fn whatever_a_function_prints_is_kept(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "hostile").await;
    let mut record = invocation(function.id, 1);
    record.request_id = "r\0".to_owned();
    record.error = Some("\0\0".to_owned());
    record.outcome = "o\0k".to_owned();
    let texts = ["a\0b", "'; DROP TABLE functions; --", "\u{10ffff}\u{feff}\r\n", "", "$1 ?1 %s {}"];
    record.logs = texts.iter().map(|text| line(function.id, 1, text)).collect();
    record.logs[0].level = "\0".to_owned();
    fresh.db.record_invocations(&[record]).await.unwrap();
    let mut kept = messages(&fresh, function.id, all()).await;
    kept.reverse();
    assert_eq!(kept[0], "a\u{fffd}b");
    assert_eq!(kept[1..], texts[1..]);
    let found = fresh.db.invocations(function.id, 1).await.unwrap();
    assert_eq!(found[0].error.as_deref(), Some("\u{fffd}\u{fffd}"));
}

async fn a_large_batch_is_written_whole(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "busy").await;
    let mut batch: Vec<_> = (0..1200).map(|at| invocation(function.id, at)).collect();
    batch[0].logs = (0..9000).map(|n| line(function.id, n, "l")).collect();
    fresh.db.record_invocations(&batch).await.unwrap();
    assert_eq!(fresh.db.invocations(function.id, 5000).await.unwrap().len(), 1200);
    assert_eq!(messages(&fresh, function.id, all()).await.len(), 9000);
    batch.truncate(2);
    batch[0].id = Uuid::now_v7();
    let again = fresh.db.record_invocations(&batch).await;
    assert!(again.is_err(), "an id is taken once");
    assert_eq!(fresh.db.invocations(function.id, 5000).await.unwrap().len(), 1200, "all or nothing");
}

async fn pruning_keeps_the_bounds(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (chatty, _) = deploy(&fresh.db, "chatty").await;
    let (quiet, _) = deploy(&fresh.db, "quiet").await;
    // Far over the bound, so that it takes several batches; the newest come first in the table.
    let mut lines: Vec<_> = (0..1300).rev().map(|n| line(chatty.id, n / 2, &n.to_string())).collect();
    lines.extend((0..3).map(|n| line(quiet.id, n, &n.to_string())));
    fresh.db.append_logs(&lines).await.unwrap();
    let calls: Vec<_> = (0..700).map(|at| invocation(quiet.id, at)).collect();
    fresh.db.record_invocations(&calls).await.unwrap();
    fresh.db.add_plugin_event(&event("old", 600)).await.unwrap();
    fresh.db.add_plugin_event(&event("new", 695)).await.unwrap();
    let before = messages(&fresh, chatty.id, all()).await;
    assert_eq!(fresh.db.prune_records(10, 695).await.unwrap(), 1290 + 695 + 1);
    assert_eq!(messages(&fresh, chatty.id, all()).await, before[..10], "the newest stay");
    assert_eq!(messages(&fresh, quiet.id, all()).await, ["2", "1", "0"]);
    let left = fresh.db.invocations(quiet.id, 1000).await.unwrap();
    assert_eq!(left.iter().map(|call| call.started_at).collect::<Vec<_>>(), [699, 698, 697, 696, 695]);
    assert_eq!(fresh.db.plugin_events(10).await.unwrap(), [event("new", 695)]);
    assert_eq!(fresh.db.prune_records(10, 695).await.unwrap(), 0);
    assert_eq!(fresh.db.prune_records(u64::MAX, i64::MIN).await.unwrap(), 0);
    assert_eq!(fresh.db.prune_records(0, 0).await.unwrap(), 13);
}

fn event(plugin: &str, at: i64) -> PluginEvent {
    PluginEvent {
        plugin: plugin.to_owned(),
        digest: (at > 600).then(|| "d".repeat(64)),
        event: "loaded".to_owned(),
        detail: "1.0.0".to_owned(),
        at,
    }
}

async fn plugin_events_are_newest_first(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    for event in [event("a", 5), event("b", 700), event("c", 700), event("nul\0", 1)] {
        fresh.db.add_plugin_event(&event).await.unwrap();
    }
    let found = fresh.db.plugin_events(3).await.unwrap();
    assert_eq!(found, [event("c", 700), event("b", 700), event("a", 5)]);
    assert_eq!(fresh.db.plugin_events(u64::MAX).await.unwrap()[3].plugin, "nul\u{fffd}");
}

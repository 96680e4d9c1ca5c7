//! Functions: made, found, listed, deleted.

use dunnage::db::{FunctionStatus, LogKind, LogQuery, LogRecord};
use dunnage::model::Labels;
use uuid::Uuid;

use super::{Fresh, deploy, labels, name, reserve};

on_both!(
    init_makes_a_function_once,
    many_inits_of_one_name_make_one,
    lists_page_by_name,
    a_deleted_function_is_not_found_and_frees_its_name,
    removal_takes_all_rows,
);

async fn init_makes_a_function_once(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let marks = labels(&[("team", "a"), ("nul", "\0")]);
    let made = fresh.db.create_function(&name("hello"), true, Some("python"), &marks).await.unwrap().unwrap();
    assert_eq!(made.status, FunctionStatus::Init);
    assert_eq!((made.skip_signing, made.language.as_deref(), &made.labels), (true, Some("python"), &marks));
    let again = fresh.db.create_function(&name("hello"), false, None, &Labels::new()).await.unwrap();
    assert_eq!(again, Err(made.clone()));
    assert_eq!(fresh.db.function(made.id).await.unwrap(), Some(made.clone()));
    assert_eq!(fresh.db.function_by_name(&name("hello")).await.unwrap(), Some(made));
    assert_eq!(fresh.db.function(Uuid::new_v4()).await.unwrap(), None);
    assert_eq!(fresh.db.function_by_name(&name("nobody")).await.unwrap(), None);
}

async fn many_inits_of_one_name_make_one(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let mut inits = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let db = fresh.db.clone();
        inits.spawn(async move { db.create_function(&name("one"), false, None, &Labels::new()).await });
    }
    let results: Vec<_> = inits.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let id = |result: &Result<_, _>| match result {
        Ok(function) | Err(function) => dunnage::db::FunctionRecord::clone(function).id,
    };
    assert!(results.iter().all(|result| id(result) == id(&results[0])));
}

async fn lists_page_by_name(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    // Byte order, not a locale's, in which the hyphen may count for nothing.
    for text in ["b", "a-z", "ab", "a0", "a"] {
        fresh.db.create_function(&name(text), false, None, &Labels::new()).await.unwrap().unwrap();
    }
    deploy(&fresh.db, "b").await;
    deploy(&fresh.db, "b").await;
    reserve(&fresh.db, "building").await;
    let names = |page: &[(dunnage::db::FunctionRecord, Option<u64>)]| -> Vec<String> {
        page.iter().map(|(function, _)| function.name.to_string()).collect()
    };
    let (page, total) = fresh.db.functions(3, None).await.unwrap();
    assert_eq!((names(&page), total), (vec!["a".into(), "a-z".into(), "a0".into()], 5));
    let (page, total) = fresh.db.functions(3, Some(&name("a0"))).await.unwrap();
    assert_eq!((names(&page), total), (vec!["ab".into(), "b".into()], 5));
    assert_eq!((page[0].1, page[1].1), (None, Some(2)));
    assert_eq!(fresh.db.functions(u64::MAX, Some(&name("b"))).await.unwrap(), (vec![], 5));
    assert_eq!(fresh.db.functions(0, None).await.unwrap(), (vec![], 5));
}

async fn a_deleted_function_is_not_found_and_frees_its_name(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, version) = deploy(&fresh.db, "gone").await;
    assert!(fresh.db.mark_deleted(function.id).await.unwrap());
    assert!(!fresh.db.mark_deleted(function.id).await.unwrap());
    assert!(!fresh.db.mark_deleted(Uuid::new_v4()).await.unwrap());
    assert_eq!(fresh.db.function(function.id).await.unwrap(), None);
    assert_eq!(fresh.db.function_by_name(&name("gone")).await.unwrap(), None);
    assert_eq!(fresh.db.functions(10, None).await.unwrap(), (vec![], 0));
    assert_eq!(fresh.db.current_versions().await.unwrap(), vec![]);
    assert_eq!(fresh.db.current_version(function.id).await.unwrap(), None);
    assert_eq!(fresh.db.version(function.id, 1).await.unwrap(), None);
    assert_eq!(fresh.db.version_by_id(version.id).await.unwrap(), None);
    assert_eq!(fresh.db.version_by_content(function.id, &version.content_digest).await.unwrap(), None);
    assert!(!fresh.db.make_current(function.id, 1).await.unwrap());
    assert_eq!(fresh.db.versions(function.id).await.unwrap().len(), 1, "they name what is to be removed");
    assert_eq!(fresh.db.deleted_functions().await.unwrap(), [function.id]);
    let (new, version) = deploy(&fresh.db, "gone").await;
    assert_ne!(new.id, function.id);
    assert_eq!(version.number, 1);
}

async fn removal_takes_all_rows(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "gone").await;
    let (kept, _) = deploy(&fresh.db, "kept").await;
    let line = |function_id| LogRecord {
        function_id,
        version: Some(1),
        kind: LogKind::Deploy,
        invocation_id: None,
        level: "info".to_owned(),
        message: "built".to_owned(),
        at: 1,
    };
    let lines = [vec![line(function.id); 1201], vec![line(kept.id)]].concat();
    fresh.db.append_logs(&lines).await.unwrap();
    let record = super::records::invocation(function.id, 1);
    fresh.db.record_invocations(&[record]).await.unwrap();
    fresh.db.mark_deleted(function.id).await.unwrap();
    fresh.db.remove_function(function.id).await.unwrap();
    fresh.db.remove_function(function.id).await.unwrap();
    assert!(fresh.db.deleted_functions().await.unwrap().is_empty());
    assert!(fresh.db.versions(function.id).await.unwrap().is_empty());
    assert!(fresh.db.invocations(function.id, 10).await.unwrap().is_empty());
    let all = LogQuery { limit: 10_000, ..LogQuery::default() };
    assert!(fresh.db.logs(function.id, &all).await.unwrap().is_empty());
    assert_eq!(fresh.db.logs(kept.id, &all).await.unwrap(), [line(kept.id)]);
    assert!(fresh.db.current_version(kept.id).await.unwrap().is_some());
}

//! Deploys of one function at once, also from two hosts, and what each leaves.

use std::collections::BTreeSet;

use dunnage::db::{DeployTarget, FunctionStatus, Published, Reservation};
use dunnage::model::Labels;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Fresh, deploy, labels, name, reserve, target, version};

on_both!(
    a_version_comes_back_as_it_was,
    publishing_shows_in_the_function,
    numbers_are_given_once,
    first_deploys_of_one_name_make_one_function,
    the_highest_number_stays_current,
    concurrent_publishes_leave_the_highest_current,
    rollback_makes_an_earlier_version_current,
    a_failed_first_deploy_leaves_nothing,
    a_failed_deploy_of_an_existing_function_leaves_it,
    deleting_during_a_deploy_wins,
    intents_are_found_by_host_and_age,
    deploys_and_deletes_of_one_name_never_fail,
);

async fn a_version_comes_back_as_it_was(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, first) = deploy(&fresh.db, "hello").await;
    let mut found = fresh.db.version(function.id, 1).await.unwrap();
    assert_eq!(found.as_ref(), Some(&first));
    assert_eq!(fresh.db.version_by_id(first.id).await.unwrap(), found);
    assert_eq!(fresh.db.version_by_content(function.id, &first.content_digest).await.unwrap(), found);
    assert_eq!(fresh.db.current_version(function.id).await.unwrap(), found);
    let (_, second) = deploy(&fresh.db, "hello").await;
    found.as_mut().unwrap().is_current = false;
    assert_eq!(fresh.db.versions(function.id).await.unwrap(), [second.clone(), found.unwrap()]);
    let current = fresh.db.current_versions().await.unwrap();
    assert_eq!(current, [(fresh.db.function(function.id).await.unwrap().unwrap(), second)]);
    for absent in [0, 3, u64::MAX, i64::MAX as u64 + 1] {
        assert_eq!(fresh.db.version(function.id, absent).await.unwrap(), None);
        assert!(!fresh.db.make_current(function.id, absent).await.unwrap());
        assert!(!fresh.db.intent_exists(function.id, absent).await.unwrap());
    }
    assert_eq!(fresh.db.version_by_content(function.id, "\0").await.unwrap(), None);
}

async fn publishing_shows_in_the_function(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let made = fresh.db.create_function(&name("hello"), false, Some("dart"), &Labels::new()).await.unwrap();
    let (function, intent) = reserve(&fresh.db, "hello").await;
    assert_eq!(Ok(&function), made.as_ref());
    assert_eq!(fresh.db.publish(&version(&intent)).await.unwrap(), Published::Current { first: true });
    let shown = fresh.db.function(function.id).await.unwrap().unwrap();
    assert_eq!(shown.status, FunctionStatus::Active);
    assert_eq!(shown.language.as_deref(), Some("python"));
    assert_eq!(shown.labels, labels(&[("team", "ahoi ⚓"), ("number", "1")]));
    assert!(shown.skip_signing);
    assert!(shown.updated_at >= shown.created_at);
    assert!(fresh.db.intent_exists(function.id, 1).await.unwrap(), "until the rest is done");
    fresh.db.abandon(intent.id).await.unwrap();
    fresh.db.abandon(intent.id).await.unwrap();
    assert!(!fresh.db.intent_exists(function.id, 1).await.unwrap());
    assert!(fresh.db.function(function.id).await.unwrap().is_some());
    let (_, intent) = reserve(&fresh.db, "hello").await;
    assert_eq!(fresh.db.publish(&version(&intent)).await.unwrap(), Published::Current { first: false });
}

async fn numbers_are_given_once(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "busy").await;
    let hosts = [fresh.db.clone(), fresh.other_host().await];
    let mut reservations = JoinSet::new();
    for n in 0..20 {
        let (db, id) = (hosts[n % 2].clone(), function.id);
        reservations.spawn(async move { db.reserve(&DeployTarget::Id(id), Uuid::new_v4()).await });
    }
    let mut numbers = BTreeSet::new();
    for reservation in reservations.join_all().await {
        let Reservation::Reserved { function: found, intent } = reservation.unwrap() else { panic!() };
        assert_eq!(found.id, function.id);
        numbers.insert(intent.number);
    }
    assert_eq!(numbers, BTreeSet::from_iter(2..=21));
    assert_eq!(fresh.db.next_number(function.id).await.unwrap(), 22);
    let unknown = fresh.db.reserve(&DeployTarget::Id(Uuid::new_v4()), Uuid::new_v4()).await.unwrap();
    assert_eq!(unknown, Reservation::NoSuchFunction);
    assert_eq!(fresh.db.next_number(Uuid::new_v4()).await.unwrap(), 1);
}

async fn first_deploys_of_one_name_make_one_function(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let hosts = [fresh.db.clone(), fresh.other_host().await];
    let mut reservations = JoinSet::new();
    for n in 0..20 {
        let db = hosts[n % 2].clone();
        reservations.spawn(async move { reserve(&db, "first").await });
    }
    let reserved = reservations.join_all().await;
    let ids: BTreeSet<_> = reserved.iter().map(|(function, _)| function.id).collect();
    let numbers: BTreeSet<_> = reserved.iter().map(|(_, intent)| intent.number).collect();
    assert_eq!((ids.len(), numbers), (1, BTreeSet::from_iter(1..=20)));
    assert!(reserved.iter().all(|(function, _)| function.status == FunctionStatus::Building));
    assert_eq!(fresh.db.functions(10, None).await.unwrap(), (vec![], 0), "none is deployed");
}

async fn the_highest_number_stays_current(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, first) = reserve(&fresh.db, "race").await;
    let (_, second) = reserve(&fresh.db, "race").await;
    assert_eq!(fresh.db.publish(&version(&second)).await.unwrap(), Published::Current { first: true });
    assert_eq!(fresh.db.publish(&version(&first)).await.unwrap(), Published::Superseded { by: 2 });
    let versions = fresh.db.versions(function.id).await.unwrap();
    let shape: Vec<_> = versions.iter().map(|v| (v.number, v.is_current)).collect();
    assert_eq!(shape, [(2, true), (1, false)]);
    let shown = fresh.db.function(function.id).await.unwrap().unwrap();
    assert_eq!(shown.labels["number"], "2", "the function shows its current version");
}

async fn concurrent_publishes_leave_the_highest_current(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let hosts = [fresh.db.clone(), fresh.other_host().await];
    let mut deploys = JoinSet::new();
    for n in 0..20 {
        let db = hosts[n % 2].clone();
        deploys.spawn(async move {
            let (_, intent) = reserve(&db, "race").await;
            let published = db.publish(&version(&intent)).await.unwrap();
            db.abandon(intent.id).await.unwrap();
            (intent.number, published)
        });
    }
    let mut firsts = 0;
    for (number, published) in deploys.join_all().await {
        match published {
            Published::Current { first } => firsts += u32::from(first),
            Published::Superseded { by } => assert!(by > number),
            Published::FunctionGone => panic!("nobody deleted it"),
        }
    }
    assert_eq!(firsts, 1);
    let function = fresh.db.function_by_name(&name("race")).await.unwrap().unwrap();
    let versions = fresh.db.versions(function.id).await.unwrap();
    let current: Vec<_> = versions.iter().filter(|v| v.is_current).map(|v| v.number).collect();
    assert_eq!((versions.len(), current), (20, vec![20]));
}

async fn rollback_makes_an_earlier_version_current(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, intent) = reserve(&fresh.db, "back").await;
    let mut private = version(&intent);
    private.public = false;
    fresh.db.publish(&private).await.unwrap();
    deploy(&fresh.db, "back").await;
    assert!(fresh.db.function(function.id).await.unwrap().unwrap().skip_signing);
    for _ in 0..2 {
        assert!(fresh.db.make_current(function.id, 1).await.unwrap());
        assert_eq!(fresh.db.current_version(function.id).await.unwrap().unwrap().number, 1);
    }
    let shown = fresh.db.function(function.id).await.unwrap().unwrap();
    assert!(!shown.skip_signing, "a private version does not become public by a rollback");
    assert_eq!(shown.labels["number"], "1");
    let (_, third) = deploy(&fresh.db, "back").await;
    assert_eq!(fresh.db.current_version(function.id).await.unwrap(), Some(third));
}

async fn a_failed_first_deploy_leaves_nothing(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, first) = reserve(&fresh.db, "failing").await;
    let (_, second) = reserve(&fresh.db, "failing").await;
    fresh.db.abandon(first.id).await.unwrap();
    assert!(fresh.db.function(function.id).await.unwrap().is_some(), "another deploy is under way");
    fresh.db.abandon(second.id).await.unwrap();
    assert_eq!(fresh.db.function(function.id).await.unwrap(), None);
    assert!(fresh.db.intents(first.host_id, i64::MAX).await.unwrap().is_empty());
}

async fn a_failed_deploy_of_an_existing_function_leaves_it(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let made = fresh.db.create_function(&name("made"), false, None, &Labels::new()).await.unwrap().unwrap();
    let (function, intent) = reserve(&fresh.db, "made").await;
    fresh.db.abandon(intent.id).await.unwrap();
    assert_eq!(fresh.db.function(function.id).await.unwrap(), Some(made));
    let (_, version) = deploy(&fresh.db, "made").await;
    assert_eq!(version.number, 2, "a failed deploy leaves a gap");
    let (_, intent) = reserve(&fresh.db, "made").await;
    fresh.db.abandon(intent.id).await.unwrap();
    assert_eq!(fresh.db.current_version(function.id).await.unwrap(), Some(version));
}

async fn deleting_during_a_deploy_wins(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (function, _) = deploy(&fresh.db, "doomed").await;
    let (_, marked) = reserve(&fresh.db, "doomed").await;
    let (_, removed) = reserve(&fresh.db, "doomed").await;
    fresh.db.mark_deleted(function.id).await.unwrap();
    assert_eq!(fresh.db.publish(&version(&marked)).await.unwrap(), Published::FunctionGone);
    assert_eq!(fresh.db.versions(function.id).await.unwrap().len(), 1, "nothing was written");
    let target = DeployTarget::Id(function.id);
    assert_eq!(fresh.db.reserve(&target, Uuid::new_v4()).await.unwrap(), Reservation::NoSuchFunction);
    fresh.db.remove_function(function.id).await.unwrap();
    assert_eq!(fresh.db.publish(&version(&removed)).await.unwrap(), Published::FunctionGone);
    // What the deploy made is still named, until the deploy itself has cleaned up.
    assert_eq!(fresh.db.intents(removed.host_id, 0).await.unwrap(), std::slice::from_ref(&removed));
    fresh.db.abandon(marked.id).await.unwrap();
    fresh.db.abandon(removed.id).await.unwrap();
    assert!(fresh.db.intents(removed.host_id, i64::MAX).await.unwrap().is_empty());
}

async fn intents_are_found_by_host_and_age(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (_, own) = reserve(&fresh.db, "mine").await;
    let (_, other) = reserve(&fresh.db, "theirs").await;
    assert_eq!(fresh.db.intents(own.host_id, 0).await.unwrap(), std::slice::from_ref(&own));
    assert_eq!(fresh.db.intents(own.host_id, other.started_at).await.unwrap(), std::slice::from_ref(&own));
    let all = fresh.db.intents(own.host_id, other.started_at + 1).await.unwrap();
    assert_eq!(all, [own, other.clone()]);
    assert!(fresh.db.intent_exists(other.function_id, 1).await.unwrap());
    assert!(!fresh.db.intent_exists(other.function_id, 2).await.unwrap());
}

/// Everything that locks a function, at once and in every order.
async fn deploys_and_deletes_of_one_name_never_fail(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let hosts = [fresh.db.clone(), fresh.other_host().await];
    let mut work = JoinSet::new();
    for n in 0..24 {
        let db = hosts[n % 2].clone();
        work.spawn(async move {
            match n % 4 {
                0 => {
                    if let Some(function) = db.function_by_name(&name("churn")).await.unwrap() {
                        db.mark_deleted(function.id).await.unwrap();
                        db.remove_function(function.id).await.unwrap();
                    }
                }
                1 => {
                    let (_, intent) = reserve(&db, "churn").await;
                    db.abandon(intent.id).await.unwrap();
                }
                _ => {
                    let (function, intent) = reserve(&db, "churn").await;
                    db.publish(&version(&intent)).await.unwrap();
                    let record = super::records::invocation(function.id, 1);
                    db.record_invocations(&[record]).await.unwrap();
                    db.make_current(function.id, intent.number).await.unwrap();
                    db.abandon(intent.id).await.unwrap();
                }
            }
        });
    }
    work.join_all().await;
    assert!(fresh.db.intents(Uuid::new_v4(), i64::MAX).await.unwrap().is_empty());
    let last = fresh.db.reserve(&target("churn"), Uuid::new_v4()).await.unwrap();
    assert!(matches!(last, Reservation::Reserved { .. }));
}

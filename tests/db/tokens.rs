//! Tokens: what their readers decide by is kept.

use dunnage::db::Error;
use dunnage::model::Scope;

use super::Fresh;

on_both!(
    a_token_is_found_by_its_hash,
    a_name_and_a_secret_are_taken_once,
    hosts_store_one_configured_token_at_once,
    a_token_is_revoked_once,
);

async fn a_token_is_found_by_its_hash(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let one = fresh.db.create_token("one", &a, &Scope::ALL, Some(5)).await.unwrap();
    let two = fresh.db.create_token("two", &b, &[], None).await.unwrap();
    assert_eq!((one.name.as_str(), one.scopes.as_slice(), one.expires_at), ("one", &Scope::ALL[..], Some(5)));
    assert_eq!(fresh.db.token_by_hash(&a).await.unwrap(), Some(one.clone()), "also when it is expired");
    assert_eq!(fresh.db.token_by_hash(&b).await.unwrap(), Some(two.clone()));
    assert_eq!(fresh.db.token_by_hash("one").await.unwrap(), None);
    assert_eq!(fresh.db.tokens().await.unwrap(), [one, two]);
}

async fn a_name_and_a_secret_are_taken_once(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let token = fresh.db.create_token("ci", &a, &[Scope::Deploy], None).await.unwrap();
    for (name, hash) in [("ci", &b), ("other", &a)] {
        let error = fresh.db.create_token(name, hash, &[Scope::Admin], None).await.unwrap_err();
        assert!(matches!(&error, Error::TokenExists(taken) if taken == name), "{error:?}");
    }
    assert_eq!(fresh.db.create_token("ci", &a, &[Scope::Admin], None).await.unwrap(), token);
    assert_eq!(fresh.db.tokens().await.unwrap(), [token]);
}

async fn hosts_store_one_configured_token_at_once(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let hosts = [fresh.db.clone(), fresh.other_host().await];
    let mut stores = tokio::task::JoinSet::new();
    for n in 0..8 {
        let db = hosts[n % 2].clone();
        stores.spawn(async move { db.create_token("admin", &"a".repeat(64), &[Scope::Admin], None).await });
    }
    for stored in stores.join_all().await {
        assert_eq!(stored.unwrap().name, "admin");
    }
    assert_eq!(fresh.db.tokens().await.unwrap().len(), 1);
}

async fn a_token_is_revoked_once(fresh: Fresh) {
    let fresh = fresh.migrated().await;
    let hash = "a".repeat(64);
    fresh.db.create_token("ci", &hash, &[Scope::Deploy], None).await.unwrap();
    assert!(!fresh.db.revoke_token("nobody", 9).await.unwrap());
    assert!(!fresh.db.revoke_token("c\0i", 9).await.unwrap());
    assert!(fresh.db.revoke_token("ci", 9).await.unwrap());
    assert!(!fresh.db.revoke_token("ci", 10).await.unwrap());
    let found = fresh.db.token_by_hash(&hash).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(9), "its reader must see that it is revoked");
}

//! Routes about functions that need no build: made, listed, shown, refused.

use serde_json::{Value, json};

use crate::support::{Backing, Host};

async fn init(host: &Host, name: &str) -> Value {
    host.post("/api/functions/init", &json!({"name": name})).await.expect(201)
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_function_once() {
    for backing in Backing::ALL {
        let host = Host::start(backing).await;
        let request =
            json!({"name": "once", "skipSigning": true, "language": "python", "labels": {"team": "a"}});
        let made = host.post("/api/functions/init", &request).await.expect(201);
        assert_eq!(made["name"], "once");
        assert_eq!(made["status"], "init");
        assert_eq!(made["id"], made["uuid"]);
        assert_eq!(made["skip_signing"], true);
        assert_eq!(made["skipSigning"], true);
        assert_eq!(made["createdAt"], made["created_at"]);
        let at = made["created_at"].as_str().unwrap();
        assert!(at.ends_with('Z') && at.len() == "2023-11-14T22:13:20.123Z".len(), "{at}");
        let again = host.post("/api/functions/init", &request).await.expect(200);
        assert_eq!(again["already_exists"], true);
        assert_eq!(again["deployment_version"], 0);
        assert_eq!(again["id"], made["id"]);
        let id = made["id"].as_str().unwrap();
        for name in ["once", id, &id.to_uppercase()] {
            let shown = host.get(&format!("/api/functions/{name}")).await.expect(200);
            assert_eq!(shown["id"], made["id"]);
            assert_eq!(shown["labels"], json!({"team": "a"}));
            assert_eq!(shown["language"], "python");
            assert_eq!(shown["version"], Value::Null);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page() {
    let host = Host::start(Backing::SqliteLocal).await;
    assert_eq!(host.get("/api/functions").await.expect(200), json!([]));
    for n in 0..7 {
        init(&host, &format!("f{n}")).await;
    }
    let mut names = Vec::new();
    let mut path = "/api/functions?limit=3".to_owned();
    for expected in [3, 3, 1, 0] {
        let reply = host.get(&path).await;
        assert_eq!(reply.header("x-total-count"), Some("7"));
        let page = reply.expect(200);
        let page = page.as_array().unwrap();
        assert_eq!(page.len(), expected);
        names.extend(page.iter().map(|f| f["name"].as_str().unwrap().to_owned()));
        path = format!("/api/functions?limit=3&after={}", names.last().unwrap());
    }
    assert_eq!(names, ["f0", "f1", "f2", "f3", "f4", "f5", "f6"]);
    for bad in ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=99999999999999999999"] {
        host.get(&format!("/api/functions?{bad}")).await.expect_problem(400, "invalid-request");
    }
    host.get("/api/functions?after=No%20Name").await.expect_problem(400, "invalid-name");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let host = Host::start(Backing::SqliteLocal).await;
    for id in
        ["nobody", "00000000-0000-0000-0000-000000000000", "..%2f..%2fetc", "%00", "%ff", "A", "%25", "a%20b"]
    {
        for part in ["", "/deployments", "/logs", "/logs?follow=1"] {
            let reply = host.get(&format!("/api/functions/{id}{part}")).await;
            let body = reply.expect_problem(404, "function-not-found");
            assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            assert_eq!(body["status"], 404);
        }
        host.delete(&format!("/api/functions/{id}")).await.expect_problem(404, "function-not-found");
        host.delete(&format!("/api/functions/{id}/delete")).await.expect_problem(404, "function-not-found");
        let rollback = host.post(&format!("/api/functions/{id}/rollback"), &json!({"version": 1})).await;
        rollback.expect_problem(404, "function-not-found");
        host.invoke(id, Value::Null).await.expect_problem(404, "function-not-found");
    }
    for path in ["/", "/nothing", "/api", "/api/functions/a/b", "/problems/none", "/api/functions/a/invoke/b"]
    {
        host.get(path).await.expect_problem(404, "not-found");
    }
    let reply = host.send(host.client.put(host.url("/api/functions/a/logs")).bearer_auth(&host.token)).await;
    reply.expect_problem(405, "method-not-allowed");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    let head = host.send(host.client.head(host.url("/health"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(host.get("/health/").await.text, "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_not_valid_are_refused_by_what_is_wrong() {
    let host = Host::start(Backing::SqliteLocal).await;
    let send = |text: &'static str| {
        let request = host.client.post(host.url("/api/functions/init")).bearer_auth(&host.token).body(text);
        host.send(request)
    };
    for bad in [
        "",
        "{",
        "[]",
        "null",
        "\"x\"",
        "{\"name\":1}",
        "{}",
        "{\"name\":\"a\",\"labels\":[1]}",
        "{\"name\":\"a\"} x",
    ] {
        send(bad).await.expect_problem(400, "invalid-request");
    }
    for bad in ["A", "", "1a", "a b", "../etc"] {
        let body =
            host.post("/api/functions/init", &json!({"name": bad})).await.expect_problem(400, "invalid-name");
        assert!(body["detail"].as_str().unwrap().contains("1 to 63"), "the rule is told: {body}");
    }
    let large = json!({"name": "a", "language": "x".repeat(dunnage::limits::JSON_BODY_BYTES_MAX)});
    let body = host.post("/api/functions/init", &large).await.expect_problem(413, "request-too-large");
    assert!(body["maxSizeMb"].is_number() && body["requestSizeMb"].is_number(), "{body}");
    assert_eq!(host.get("/api/functions").await.expect(200), json!([]), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_with_a_body_has_to_mean_it() {
    let host = Host::start(Backing::SqliteLocal).await;
    init(&host, "kept").await;
    let delete = |path: &str, body: Value| {
        host.send(host.client.delete(host.url(path)).bearer_auth(&host.token).json(&body))
    };
    for bad in [
        json!({"name": "other", "delete": true}),
        json!({"name": "kept", "delete": false}),
        json!({}),
        json!([]),
    ] {
        delete("/api/functions/kept", bad).await.expect_problem(400, "invalid-request");
    }
    host.get("/api/functions/kept").await.expect(200);
    let reply =
        delete("/api/functions/kept/delete", json!({"name": "kept", "delete": true})).await.expect(200);
    assert!(reply["message"].as_str().unwrap().contains("kept"));
    host.get("/api/functions/kept").await.expect_problem(404, "function-not-found");
    let first = init(&host, "kept").await;
    host.delete("/api/functions/kept").await.expect(200);
    assert_ne!(init(&host, "kept").await["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_a_version_is_told_apart_from_none() {
    let host = Host::start(Backing::SqliteLocal).await;
    init(&host, "empty").await;
    host.invoke("empty", Value::Null).await.expect_problem(409, "not-deployed");
    let list = host.get("/api/functions/empty/deployments").await.expect(200);
    assert_eq!(list["function_name"], "empty");
    assert_eq!(list["function_status"], "init");
    assert_eq!(list["deployments"], json!([]));
    for wrong in [json!({"version": 1}), json!({"deployment_uuid": "00000000-0000-0000-0000-000000000000"})] {
        host.post("/api/functions/empty/rollback", &wrong).await.expect_problem(404, "version-not-found");
    }
    host.post("/api/functions/empty/rollback", &json!({})).await.expect_problem(400, "invalid-request");
    assert_eq!(host.get("/api/functions/empty/logs").await.expect(200), json!({"logs": []}));
    for bad in ["since=now", "limit=0", "level=loud", "kind=x", "invocation=x", "version=x"] {
        host.get(&format!("/api/functions/empty/logs?{bad}")).await.expect_problem(400, "invalid-request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_is_no_upload_is_refused_and_counted_by_nobody() {
    let host = Host::start(Backing::SqliteLocal).await;
    let post = || host.client.post(host.url("/api/functions/deploy")).bearer_auth(&host.token);
    for request in
        [post(), post().json(&json!({"name": "a"})), post().header("content-type", "multipart/form-data")]
    {
        let reply = host.send(request).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.json()["type"].as_str().unwrap().starts_with("/problems/"));
    }
    assert_eq!(host.get("/api/functions").await.expect(200), json!([]));
    assert_eq!(std::fs::read_dir(host.data.path().join("tmp")).unwrap().count(), 0);
}

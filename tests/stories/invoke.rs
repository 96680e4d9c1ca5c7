//! Calls: everybody gets their own answer, by the wire contract.

use serde_json::{Value, json};

use super::deploy::left_containers;
use super::{deploy_python, result_of, says};
use crate::support::{Backing, Host};

/// Ten functions, called at once several times: never another's answer.
async fn own_answers(backing: Backing) {
    let host = Host::start(backing).await;
    let code = "def handler(event, context):\n    return [NAME, event['body'], context.aws_request_id]\n";
    for n in 0..10 {
        deploy_python(&host, &format!("own-{n}"), &format!("NAME = 'own-{n}'\n{code}"), Value::Null).await;
    }
    let call = |n: usize| {
        let host = &host;
        async move {
            let name = format!("own-{}", n % 10);
            let result = result_of(host, &name, json!({"call": n})).await;
            assert_eq!(result[0], name);
            assert_eq!(result[1], json!({"call": n}));
            result[2].as_str().unwrap().to_owned()
        }
    };
    let mut ids = Vec::new();
    for round in 0..4 {
        ids.extend(futures_util::future::join_all((round * 10..round * 10 + 10).map(call)).await);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40, "every call has an id of its own");
    assert_eq!(left_containers(&host), Vec::<String>::new());
    assert_eq!(host.metric("dunnage_invocations_total{outcome=\"ok\"}").await, 40.0);
    assert_eq!(host.metric("dunnage_active_executions").await, 0.0);
    assert_eq!(host.metric("dunnage_cleanups_total{result=\"ok\"}").await, 40.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_functions_at_once_get_their_own_answers() {
    own_answers(Backing::SqliteLocal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_functions_at_once_get_their_own_answers_on_postgresql() {
    own_answers(Backing::PostgresS3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_follows_the_wire_contract() {
    let host = Host::start(Backing::SqliteLocal).await;
    let code = "def handler(event, context):\n    print('a line of mine')\n    return {'statusCode': 418, 'headers': {'X-Mine': 'yes', 'Server': 'secret'}, 'body': {'got': event}}\n";
    deploy_python(&host, "teapot", code, Value::Null).await;
    let call =
        json!({"body": {"a": 1}, "query": {"q": "x"}, "headers": {"h": "y"}, "method": "PUT", "path": "/p"});
    let reply = host.post("/api/functions/teapot/invoke", &call).await;
    let body = reply.expect(200);
    assert_eq!(body["status_code"], 418, "{body}");
    assert_eq!(body["result"]["got"]["body"], json!({"a": 1}));
    assert_eq!(body["result"]["got"]["query"]["q"], "x");
    assert_eq!(body["result"]["got"]["method"], "PUT");
    assert!(body["duration_ms"].is_number());
    assert_eq!(body["error"], Value::Null);
    for name in ["version", "instance", "queue-us", "run-us", "memory-peak-bytes"] {
        assert!(reply.header(&format!("x-dunnage-{name}")).is_some(), "{name}: {reply:?}");
    }
    assert_eq!(reply.header("x-dunnage-instance"), Some("cold"));
    assert_eq!(reply.header("x-dunnage-version"), Some("1"));
    let raw = host.client.post(host.url("/api/functions/teapot/invoke")).bearer_auth(&host.token);
    let raw = host.send(raw.header("accept", "application/vnd.dunnage.raw").json(&call)).await;
    assert_eq!(raw.status, 418);
    assert_eq!(raw.header("x-mine"), Some("yes"));
    let empty = host.client.post(host.url("/api/functions/teapot/invoke")).bearer_auth(&host.token);
    host.send(empty).await.expect(200);
    // Records are written in batches.
    for _ in 0..50 {
        let logs = host.get("/api/functions/teapot/logs").await.expect(200);
        if logs.to_string().contains("a line of mine") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the function's output is not in its logs");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_get_clear_answers() {
    let host = Host::start_with(Backing::SqliteLocal, &[("FUNCTION_MAX_REQUEST_SIZE_MB", "1")]).await;
    deploy_python(&host, "strict", &says("ok"), Value::Null).await;
    let large = host.invoke("strict", json!("x".repeat(2 << 20))).await.expect(413);
    assert!(large["maxSizeMb"].is_number() && large["requestSizeMb"].is_number(), "{large}");
    for unknown in ["nobody", "Not%20A%20Name", "00000000-0000-0000-0000-000000000000", "..%2f..%2fetc"] {
        host.invoke(unknown, Value::Null).await.expect(404);
    }
    let url = host.url("/api/functions/strict/invoke");
    let broken = host
        .client
        .post(&url)
        .bearer_auth(&host.token)
        .header("content-type", "application/json")
        .body("{\"body\":");
    assert_eq!(host.send(broken).await.status, 400);
    let anonymous = host.send(host.client.post(&url).json(&json!({}))).await;
    assert_eq!(anonymous.status, 401);
    assert!(anonymous.header("www-authenticate").is_some());
    let wrong = host.send(host.client.post(&url).bearer_auth("dng_wrong").json(&json!({}))).await;
    assert_eq!(wrong.status, 401);
    let reader = host.run(&["token", "create", "--name", "reader", "--scopes", "read"]);
    let reader = String::from_utf8(reader.stdout).unwrap();
    let forbidden = host.send(host.client.post(&url).bearer_auth(reader.trim()).json(&json!({}))).await;
    assert_eq!(forbidden.status, 403);
    host.post("/api/functions/init", &json!({"name": "empty"})).await.expect(201);
    let nothing = host.invoke("empty", Value::Null).await;
    assert!((400..500).contains(&nothing.status), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_function_needs_no_token() {
    let host = Host::start(Backing::SqliteLocal).await;
    deploy_python(&host, "open", &says("welcome"), json!({"public": true})).await;
    let reply = host.send(host.client.post(host.url("/api/functions/open/invoke")).json(&json!({}))).await;
    assert_eq!(reply.expect(200)["result"], "welcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_places_calls_wait_or_are_told_when_to_come_again() {
    let host = Host::start_with(
        Backing::SqliteLocal,
        &[("FUNCTION_MAX_CONCURRENT", "1"), ("FUNCTION_TIMEOUT_SECONDS", "8")],
    )
    .await;
    let slow = "import time\ndef handler(event, context):\n    time.sleep(6)\n    return 'done'\n";
    deploy_python(&host, "slow", slow, Value::Null).await;
    let calls = (0..4).map(|_| host.invoke("slow", Value::Null));
    let replies = futures_util::future::join_all(calls).await;
    let ok = replies.iter().filter(|r| r.status == 200).count();
    let full: Vec<_> = replies.iter().filter(|r| r.status == 429).collect();
    assert!(ok >= 1 && !full.is_empty() && ok + full.len() == 4, "{replies:?}");
    for reply in full {
        let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=120).contains(&seconds), "{seconds}");
    }
}

/// A client that hangs up frees its place and its container.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_nothing_running() {
    let host = Host::start_with(Backing::SqliteLocal, &[("FUNCTION_TIMEOUT_SECONDS", "60")]).await;
    let slow = "import time\ndef handler(event, context):\n    time.sleep(50)\n";
    deploy_python(&host, "slow", slow, Value::Null).await;
    let hung_up =
        tokio::time::timeout(std::time::Duration::from_secs(2), host.invoke("slow", Value::Null)).await;
    assert!(hung_up.is_err());
    assert_eq!(left_containers(&host), Vec::<String>::new());
    assert_eq!(host.metric("dunnage_active_executions").await, 0.0);
}

/// SIGTERM: what is under way is answered, then the host ends with 0 and leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_is_under_way() {
    let mut host = Host::start(Backing::SqliteLocal).await;
    let slow = "import time\ndef handler(event, context):\n    time.sleep(2)\n    return 'finished'\n";
    deploy_python(&host, "slow", slow, Value::Null).await;
    let url = host.url("/api/functions/slow/invoke");
    let request = host.client.post(url).bearer_auth(&host.token).json(&json!({}));
    let call = tokio::spawn(request.send());
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    assert_eq!(host.stop(), Some(0));
    let answer: Value = call.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["result"], "finished");
    assert_eq!(left_containers(&host), Vec::<String>::new());
    // The record of that call was flushed.
    host.launch();
    let logs = host.get("/api/functions/slow/logs").await.expect(200);
    assert!(!logs["logs"].as_array().unwrap().is_empty(), "{logs}");
}

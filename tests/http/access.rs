//! Who may do what: every route with every kind of token.

use dunnage::http::route::{Access, Endpoint};
use dunnage::model::Scope;
use serde_json::{Value, json};

use crate::support::{Backing, Host, Reply};

fn token(host: &Host, name: &str, arguments: &[&str]) -> String {
    let output = host.run(&[&["token", "create", "--name", name][..], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Calls an endpoint about a function that does not exist, so that whoever is let in changes nothing.
async fn ask(host: &Host, endpoint: Endpoint, token: Option<&str>) -> Reply {
    let path = endpoint.template().replace("{id}", "nobody").replace("{code}", "not-found");
    let mut request = host.client.request(endpoint.method(), host.url(&path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    host.send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_asks_for_its_scope() {
    let host = Host::start(Backing::SqliteLocal).await;
    let tokens = Scope::ALL.map(|scope| (scope, token(&host, scope.as_str(), &["--scopes", scope.as_str()])));
    for endpoint in Endpoint::ALL {
        let needed = match endpoint.access() {
            Access::Anyone => {
                assert_eq!(ask(&host, endpoint, None).await.status, 200, "{endpoint:?}");
                continue;
            }
            Access::Scope(scope) | Access::PublicFunctionOr(scope) => scope,
        };
        let nobody = ask(&host, endpoint, None).await;
        nobody.expect_problem(401, "unauthorized");
        assert_eq!(nobody.header("www-authenticate"), Some("Bearer realm=\"dunnage\""), "{endpoint:?}");
        ask(&host, endpoint, Some("dng_invented")).await.expect_problem(401, "unauthorized");
        for (scope, token) in &tokens {
            let reply = ask(&host, endpoint, Some(token)).await;
            if *scope == needed || *scope == Scope::Admin {
                assert!(!matches!(reply.status, 401 | 403), "{endpoint:?} with {scope}: {reply:?}");
            } else {
                let body = reply.expect_problem(403, "forbidden");
                assert_eq!(body["scope"], needed.as_str(), "{endpoint:?}");
                assert!(body["detail"].as_str().unwrap().contains(needed.as_str()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_or_expired_token_is_refused_within_seconds() {
    let host = Host::start(Backing::SqliteLocal).await;
    let with = |token: String| {
        let host = &host;
        async move { host.send(host.client.get(host.url("/api/functions")).bearer_auth(token)).await }
    };
    let revoked = token(&host, "gone", &["--scopes", "read,invoke"]);
    assert_eq!(with(revoked.clone()).await.status, 200);
    assert!(host.run(&["token", "revoke", "gone"]).status.success());
    let short = token(&host, "short", &["--scopes", "read", "--expires", "5s"]);
    assert_eq!(with(short.clone()).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_millis(5_200)).await;
    assert!(dunnage::limits::TOKEN_CACHE_KEPT.as_secs() <= 5);
    for token in [&short, &revoked] {
        let reply = with(token.clone()).await;
        reply.expect_problem(401, "unauthorized");
        assert!(reply.header("www-authenticate").unwrap().contains("invalid_token"));
    }
    let log = host.log().join("\n");
    for secret in [&short, &revoked, &host.token.trim().to_owned()] {
        assert!(!log.contains(secret.as_str()), "a token is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorization_that_is_no_bearer_token_is_refused() {
    let host = Host::start(Backing::SqliteLocal).await;
    let long = format!("Bearer {}", "x".repeat(10_000));
    for bad in ["Basic YTpi", "Bearer", "Bearer ", "dng_x", &long] {
        let request = host.client.get(host.url("/api/functions")).header("authorization", bad);
        host.send(request).await.expect_problem(401, "unauthorized");
    }
    let token = host.token.trim();
    let lower =
        host.client.get(host.url("/api/functions")).header("authorization", format!("bearer {token}"));
    assert_eq!(host.send(lower).await.status, 200);
}

/// Who may not call learns nothing of which functions there are.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_tell_functions_apart() {
    let host = Host::start(Backing::SqliteLocal).await;
    host.post("/api/functions/init", &json!({"name": "secret"})).await.expect(201);
    let mut told = Vec::new();
    for name in ["secret", "nobody", "No%20Name"] {
        let url = host.url(&format!("/api/functions/{name}/invoke"));
        let reply = host.send(host.client.post(url).json(&json!({}))).await;
        let mut body = reply.expect_problem(401, "unauthorized");
        for member in ["instance", "request_id"] {
            body[member] = Value::Null;
        }
        told.push(body);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

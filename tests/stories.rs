//! The two stories end to end: a real host, real Podman, real plugins, on both backings.

mod crash;
mod deploy;
mod hostile;
mod invoke;

use serde_json::{Value, json};

use crate::support::{Host, archive};

/// Deploys Python text as a function and returns the deploy's answer.
async fn deploy_python(host: &Host, name: &str, code: &str, config: Value) -> Value {
    let reply = host.deploy(name, archive::of(&[("main.py", code)]), config).await;
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    reply.json()
}

/// Calls a function that is expected to succeed; its result.
async fn result_of(host: &Host, name: &str, body: Value) -> Value {
    let reply = host.invoke(name, body).await.expect(200);
    assert_eq!(reply["success"], true, "{reply}");
    reply["result"].clone()
}

fn says(text: &str) -> String {
    format!("def handler(event, context):\n    return {}\n", json!(text))
}

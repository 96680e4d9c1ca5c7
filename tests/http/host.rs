//! What a host tells of itself, and how it holds what comes over its connections.

use std::process::Command;
use std::time::Duration;

use dunnage::http::problem::Code;
use serde_json::{Value, json};

use super::{Raw, within};
use crate::support::{Backing, Host};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_tells_whether_it_is_ready() {
    for backing in Backing::ALL {
        let host = Host::start(backing).await;
        let health = host.send(host.client.get(host.url("/health"))).await;
        assert_eq!((health.status, health.text.as_str()), (200, "OK"));
        let ready = host.send(host.client.get(host.url("/ready"))).await;
        let parts =
            ["database", "object_store", "container_engine"].map(|part| ready.expect(200)[part].clone());
        assert_eq!(parts, ["ready", "ready", "ready"].map(Value::from));
        assert_eq!(ready.header("cache-control"), Some("no-store"));
    }
}

/// The blobs' directory goes away, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lacks_a_part_tells_which() {
    let mut host = Host::start(Backing::SqliteLocal).await;
    host.expect_log("Not ready");
    let (blobs, away) = (host.data.path().join("blobs"), host.data.path().join("away"));
    std::fs::rename(&blobs, &away).unwrap();
    std::fs::write(&blobs, "in the way").unwrap();
    tokio::time::sleep(dunnage::limits::READY_KEPT + Duration::from_millis(100)).await;
    let body = host.get("/ready").await.expect(503);
    assert_eq!(body["object_store"], "not-ready", "{body}");
    assert_eq!(body["database"], "ready");
    assert_eq!(body["ready"], false);
    assert!(!body.to_string().contains(host.data.path().to_str().unwrap()), "{body}");
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&away, &blobs).unwrap();
    tokio::time::sleep(dunnage::limits::READY_KEPT + Duration::from_millis(100)).await;
    assert_eq!(host.get("/ready").await.expect(200)["ready"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_by_route_and_not_by_what_clients_invent() {
    let host = Host::start(Backing::SqliteLocal).await;
    for n in 0..20 {
        host.get(&format!("/api/functions/nobody-{n}")).await;
        host.get(&format!("/nothing/{n}")).await;
        let method = format!("BREW{n}").parse().unwrap();
        host.send(host.client.request(method, host.url("/health"))).await;
    }
    let sample = |route: &str, method: &str, status: u16| {
        format!("dunnage_http_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}")
    };
    assert_eq!(host.metric(&sample("/api/functions/{id}", "GET", 404)).await, 20.0);
    assert_eq!(host.metric(&sample("unmatched", "GET", 404)).await, 20.0);
    assert_eq!(host.metric(&sample("unmatched", "other", 405)).await, 20.0);
    let text = host.get("/metrics").await.text;
    assert!(!text.contains("nobody-") && !text.contains("BREW"), "{text}");
    assert!(host.metric("dunnage_http_connections").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_and_the_pages_are_served() {
    let host = Host::start(Backing::SqliteLocal).await;
    let document = host.send(host.client.get(host.url("/openapi.json"))).await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    for code in Code::ALL {
        let url = host.url(&format!("/problems/{}", code.as_str()));
        let page = host.send(host.client.get(&url)).await;
        assert_eq!(page.header("content-type"), Some("text/markdown; charset=utf-8"));
        assert_eq!(page.text, code.page());
        let page =
            host.send(host.client.get(url).header("accept", "text/html,application/xhtml+xml;q=0.9")).await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.text.starts_with("<!doctype html>") && page.text.contains(code.title()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_and_problems_repeat_it() {
    let host = Host::start(Backing::SqliteLocal).await;
    let request = host.client.get(host.url("/api/functions/nobody?secret=hunter2")).bearer_auth(&host.token);
    let reply = host.send(request.header("x-request-id", "from-a-test.1")).await;
    assert_eq!(reply.header("x-request-id"), Some("from-a-test.1"));
    let body = reply.expect_problem(404, "function-not-found");
    assert_eq!(body["request_id"], "from-a-test.1");
    assert_eq!(body["instance"], "/api/functions/nobody");
    let made = host.get("/health").await;
    assert!(uuid::Uuid::parse_str(made.header("x-request-id").unwrap()).is_ok());
    let log = host.log().join("\n");
    let line = log.lines().find(|l| l.contains("from-a-test.1")).expect("one line per request of the API");
    assert!(line.contains("/api/functions/{id}") && line.contains("404"), "{line}");
    assert!(!log.contains("hunter2") && !log.contains("nobody"), "neither queries nor paths are logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_heads_are_refused_and_the_host_goes_on() {
    let host = Host::start(Backing::SqliteLocal).await;
    let huge = "x".repeat(dunnage::limits::HEADER_BYTES_MAX + 1);
    let mut raw = Raw::open(host.address()).await;
    raw.send(&format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Huge: {huge}\r\n\r\n")).await;
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 431 "));
    assert_eq!(host.get("/health").await.text, "OK");
}

/// Out of descriptors the host neither spins nor ends, and serves again when some are free.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_out_of_descriptors_waits() {
    let mut host = Host::start(Backing::SqliteLocal).await;
    host.expect_log("No connection can be accepted");
    let pid = host.pid();
    host.get("/health").await;
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    limit_descriptors(pid, open + 4);
    let mut connections = Vec::new();
    for _ in 0..16 {
        connections.push(Raw::open(host.address()).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cpu_ticks(pid);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = cpu_ticks(pid) - before;
    assert!(spent < 60, "{spent} ticks of 10 ms were spent in 3 s of waiting");
    drop(connections);
    limit_descriptors(pid, 4096);
    let mut raw = Raw::open(host.address()).await;
    raw.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(within(raw.read_to_end()).await.ends_with("OK"));
}

fn limit_descriptors(pid: u32, count: usize) {
    let arguments = [format!("--pid={pid}"), format!("--nofile={count}:4096")];
    assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_logs_end_with_the_host_and_have_a_bound() {
    let mut host = Host::start(Backing::SqliteLocal).await;
    host.post("/api/functions/init", &json!({"name": "followed"})).await.expect(201);
    let url = host.url("/api/functions/followed/logs?follow=1");
    let mut followers = Vec::new();
    for _ in 0..dunnage::limits::FOLLOWERS_MAX {
        let answer = host.client.get(&url).bearer_auth(&host.token).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        followers.push(answer);
    }
    let refused = host.send(host.client.get(&url).bearer_auth(&host.token)).await;
    refused.expect_problem(429, "overloaded");
    assert!(refused.header("retry-after").is_some());
    // A place is free again when its client is gone.
    drop(followers.pop());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let again = host.client.get(&url).bearer_auth(&host.token).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 200);
    let begun = std::time::Instant::now();
    assert_eq!(host.stop(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "followers do not hold the host up");
    for follower in followers {
        assert_eq!(within(follower.text()).await.unwrap(), "");
    }
}

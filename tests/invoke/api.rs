//! The Runtime API over a real socket, against clients that break its rules.

use std::time::Duration;

use bytes::Bytes;
use dunnage::invoke::protocol::{self, Event, Line, Peers, Said, Server};
use tokio::time::timeout;

use super::rig::own_uid;
use super::runtime::{BASE, Client, request};

struct Api {
    server: Server,
    line: Line,
    dir: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::for_peers(Peers::Only(own_uid())).await
    }

    async fn for_peers(peers: Peers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = protocol::bind(&dir.path().join("x")).unwrap();
        let (server, line) = Server::start(listener, peers);
        Self { server, line, dir }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("x/runtime.sock")).await
    }

    /// A client that has taken the call `id`.
    async fn taken(&mut self) -> Client {
        let mut client = self.client().await;
        client.send(request("GET", "invocation/next", "").as_bytes()).await;
        assert!(matches!(self.heard().await, Said::Ready));
        self.line.offer(event());
        assert_eq!(client.reply().await.unwrap().id(), "id");
        client
    }

    async fn heard(&mut self) -> Said {
        timeout(Duration::from_secs(5), self.line.heard()).await.expect("something is said")
    }

    async fn heard_nothing(&mut self) {
        let said = timeout(Duration::from_millis(50), self.line.heard()).await;
        assert!(said.is_err(), "{said:?}");
    }
}

fn event() -> Event {
    Event {
        id: "id".to_owned(),
        deadline_ms: 1234,
        function: "dunnage:function:f:1".to_owned(),
        trace: "trace".to_owned(),
        body: Bytes::from_static(b"{\"a\": 1.50}"),
    }
}

#[tokio::test]
async fn a_call_goes_out_and_its_answer_comes_in() {
    let mut api = Api::start().await;
    let mut client = api.client().await;
    client.send(request("GET", "invocation/next", "").as_bytes()).await;
    assert!(matches!(api.heard().await, Said::Ready));
    api.line.offer(event());
    let call = client.reply().await.unwrap();
    assert_eq!((call.status, call.body.as_str()), (200, "{\"a\": 1.50}"));
    assert_eq!(call.header("Lambda-Runtime-Deadline-Ms"), "1234");
    assert_eq!(call.header("Lambda-Runtime-Invoked-Function-Arn"), "dunnage:function:f:1");
    assert_eq!(call.header("Lambda-Runtime-Trace-Id"), "trace");
    assert_eq!(client.respond("id", "[1]").await.status, 202);
    assert!(matches!(api.heard().await, Said::Answered(body) if body == "[1]"));
    // A fresh instance is not asked again.
    client.send(request("GET", "invocation/next", "").as_bytes()).await;
    assert!(timeout(Duration::from_millis(100), client.reply()).await.is_err());
    api.server.stop().await;
    assert!(client.reply().await.is_none(), "the server's end ends its connections");
}

#[tokio::test]
async fn an_answer_may_come_in_chunks() {
    let mut api = Api::start().await;
    let mut client = api.taken().await;
    let head = format!(
        "POST {BASE}/invocation/id/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
    client.send(b"1\r\n[\r\n").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.send(b"2\r\n7]\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await.unwrap().status, 202);
    assert!(matches!(api.heard().await, Said::Answered(body) if body == "[7]"));
}

#[tokio::test]
async fn what_is_said_out_of_turn_is_refused() {
    let mut api = Api::start().await;
    let mut early = api.client().await;
    assert_eq!(early.respond("id", "1").await.status, 400);
    let mut client = api.taken().await;
    for path in ["invocation/other/response", "invocation/other/error", "invocation//response"] {
        let reply = early.ask("POST", path, "1").await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body.contains("errorMessage"));
    }
    assert_eq!(early.ask("POST", "init/error", "{}").await.status, 403);
    assert_eq!(early.ask("GET", "invocation/id/response", "").await.status, 405);
    assert_eq!(early.ask("POST", "invocation/id/respond", "").await.status, 404);
    api.heard_nothing().await;
    assert_eq!(client.respond("id", "\"first\"").await.status, 202);
    assert_eq!(client.respond("id", "\"second\"").await.status, 400);
    assert_eq!(client.ask("POST", "invocation/id/error", "{}").await.status, 400);
    assert!(matches!(api.heard().await, Said::Answered(body) if body == "\"first\""));
    api.heard_nothing().await;
}

#[tokio::test]
async fn garbage_hurts_only_its_own_connection() {
    let mut api = Api::start().await;
    let long = format!("GET {BASE}/invocation/next HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET {BASE}/invocation/next HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1_000));
    let smuggled = format!(
        "POST {BASE}/invocation/id/response HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12"
    );
    for bytes in [
        "GARBAGE\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        &long,
        &many,
        &smuggled,
        "GET /../../etc/passwd HTTP/1.1\r\n\r\n",
    ] {
        let mut client = api.client().await;
        client.send(bytes.as_bytes()).await;
        let status = client.reply().await.map_or(400, |reply| reply.status);
        assert!((400..500).contains(&status), "{status} for {} bytes", bytes.len());
    }
    api.heard_nothing().await;
    assert_eq!(api.taken().await.respond("id", "1").await.status, 202);
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_answer() {
    let mut api = Api::start().await;
    let mut client = api.taken().await;
    let mut cut = api.client().await;
    let head =
        format!("POST {BASE}/invocation/id/response HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[1");
    cut.send(head.as_bytes()).await;
    drop(cut);
    api.heard_nothing().await;
    assert_eq!(client.respond("id", "2").await.status, 202);
    assert!(matches!(api.heard().await, Said::Answered(body) if body == "2"));
}

#[tokio::test]
async fn too_large_is_refused_before_and_while_reading() {
    for chunked in [false, true] {
        let mut api = Api::start().await;
        let mut client = api.taken().await;
        let length = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 7000000" };
        let head = format!("POST {BASE}/invocation/id/response HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
        client.send(head.as_bytes()).await;
        if chunked {
            let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
            for _ in 0..6 {
                client.send(chunk.as_bytes()).await;
            }
            client.send(b"1\r\nx\r\n").await;
        }
        assert_eq!(client.reply().await.unwrap().status, 413);
        assert!(matches!(api.heard().await, Said::TooLarge));
        let mut again = api.client().await;
        assert_eq!(again.respond("id", "1").await.status, 400);
        api.heard_nothing().await;
    }
}

#[tokio::test]
async fn connections_are_bounded_and_pipelining_is_in_order() {
    let mut api = Api::start().await;
    let mut client = api.taken().await;
    let mut idle = Vec::new();
    for _ in 0..7 {
        idle.push(api.client().await);
    }
    // The ninth is not accepted until another ends.
    let mut ninth = api.client().await;
    ninth.send(request("GET", "nothing", "").as_bytes()).await;
    assert!(timeout(Duration::from_millis(100), ninth.reply()).await.is_err());
    idle.pop();
    assert_eq!(ninth.reply().await.unwrap().status, 404);
    let pipelined =
        request("POST", "invocation/id/response", "1") + &request("POST", "invocation/id/response", "2");
    client.send(pipelined.as_bytes()).await;
    assert_eq!(client.reply().await.unwrap().status, 202);
    assert_eq!(client.reply().await.unwrap().status, 400);
    assert!(matches!(api.heard().await, Said::Answered(body) if body == "1"));
}

#[tokio::test]
async fn one_event_goes_to_one_asker() {
    let mut api = Api::start().await;
    let (mut a, mut b) = (api.client().await, api.client().await);
    a.send(request("GET", "invocation/next", "").as_bytes()).await;
    b.send(request("GET", "invocation/next", "").as_bytes()).await;
    assert!(matches!(api.heard().await, Said::Ready));
    tokio::time::sleep(Duration::from_millis(30)).await;
    api.line.offer(event());
    let first = async |client: &mut Client| timeout(Duration::from_millis(200), client.reply()).await.is_ok();
    let (a, b) = (first(&mut a).await, first(&mut b).await);
    assert!(a ^ b, "{a} {b}");
}

#[tokio::test]
async fn a_failed_start_is_said_once() {
    let mut api = Api::start().await;
    let mut client = api.client().await;
    assert_eq!(client.ask("POST", "init/error", r#"{"errorMessage":"no"}"#).await.status, 202);
    assert_eq!(client.ask("POST", "init/error", r#"{"errorMessage":"again"}"#).await.status, 403);
    assert!(matches!(api.heard().await, Said::InitFailed(report) if report.message == "no"));
    api.heard_nothing().await;
}

#[tokio::test]
async fn another_user_is_not_heard() {
    let api = Api::for_peers(Peers::AllBut(own_uid())).await;
    let mut client = api.client().await;
    client.send(request("GET", "invocation/next", "").as_bytes()).await;
    assert!(client.reply().await.is_none());
}

#[test]
fn a_path_too_long_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(100));
    let error = protocol::bind(&deep).unwrap_err().to_string();
    assert!(error.contains("shorter data directory"), "{error}");
    assert!(!deep.exists());
}

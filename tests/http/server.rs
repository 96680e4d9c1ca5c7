//! The server with a handler of the test's own, over TCP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dunnage::http::body::{self, RequestBody, ResponseBody, TEXT};
use dunnage::http::server::{self, Remote};
use dunnage::http::trace::RequestId;
use dunnage::limits;
use dunnage::metrics::Metrics;
use futures_util::stream;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Raw, within};

struct Running {
    address: String,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let metrics = Arc::new(Metrics::new().unwrap());
        let shutdown = CancellationToken::new();
        let served = server::serve(listener, shutdown.clone(), metrics.clone(), handle);
        Self { address, metrics, shutdown, task: tokio::spawn(served) }
    }

    async fn open(&self) -> Raw {
        Raw::open(&self.address).await
    }

    async fn exchange(&self, request: &str) -> String {
        let mut raw = self.open().await;
        raw.send(request).await;
        raw.read_to_end().await
    }

    /// Waits for the connections' count, which falls a moment after a connection ends.
    async fn connections(&self, expected: i64) {
        self.connections_within(expected, Duration::from_secs(5)).await;
    }

    async fn connections_within(&self, expected: i64, time: Duration) {
        let until = Instant::now() + time;
        while self.metrics.http_connections.get() != expected {
            assert!(
                Instant::now() < until,
                "{} connections, not {expected}",
                self.metrics.http_connections.get()
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn stop(self) -> Duration {
        let begun = Instant::now();
        self.shutdown.cancel();
        within(self.task).await.unwrap();
        begun.elapsed()
    }
}

async fn handle(request: Request<RequestBody>) -> Response<ResponseBody> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/panic" => panic!("on purpose"),
        "/slow" => tokio::time::sleep(Duration::from_millis(1500)).await,
        "/stuck" => std::future::pending::<()>().await,
        "/id" => {
            let id = request.extensions().get::<RequestId>().unwrap().as_str().to_owned();
            assert!(request.extensions().get::<Remote>().unwrap().0.ip().is_loopback());
            return body::full(StatusCode::OK, TEXT, id);
        }
        "/length" => {
            return match request.into_body().read(1 << 20).await {
                Ok(bytes) => body::full(StatusCode::OK, TEXT, bytes.len().to_string()),
                Err(error) => body::full(StatusCode::PAYLOAD_TOO_LARGE, TEXT, error.to_string()),
            };
        }
        "/refuse" => return body::full(StatusCode::UNAUTHORIZED, TEXT, "refused"),
        "/endless" => return body::lines(stream::repeat("x".repeat(64 << 10))),
        _ => {}
    }
    body::full(StatusCode::OK, TEXT, path)
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests() {
    let running = Running::start().await;
    let mut raw = running.open().await;
    for path in ["/one", "/two", "/three"] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let answer = raw.read_until(path).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(running.metrics.http_connections.get(), 1);
    drop(raw);
    running.connections(0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_request_only() {
    let running = Running::start().await;
    let mut raw = running.open().await;
    raw.send("GET /panic HTTP/1.1\r\nHost: x\r\nX-Request-Id: boom\r\n\r\n").await;
    let answer = raw.read_until("}").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("/problems/internal") && answer.contains("x-request-id: boom"), "{answer}");
    assert!(!answer.contains("on purpose"), "{answer}");
    raw.send("GET /after HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(raw.read_until("/after").await.starts_with("HTTP/1.1 200 "));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_kept_or_made() {
    let running = Running::start().await;
    let sent = format!("GET /id HTTP/1.1\r\n{CLOSE}X-Request-Id: mine-1.a_b\r\n\r\n");
    let answer = running.exchange(&sent).await;
    assert!(
        answer.contains("x-request-id: mine-1.a_b\r\n") && answer.ends_with("\r\n\r\nmine-1.a_b"),
        "{answer}"
    );
    let sent = format!("GET /id HTTP/1.1\r\n{CLOSE}X-Request-Id: a b;\"c\r\n\r\n");
    let answer = running.exchange(&sent).await;
    let made = answer.split("\r\n\r\n").nth(1).unwrap();
    assert!(uuid::Uuid::parse_str(made).is_ok(), "{answer}");
    assert!(answer.contains(&format!("x-request-id: {made}\r\n")), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_or_no_http_are_refused() {
    let running = Running::start().await;
    let large = "x".repeat(limits::HEADER_BYTES_MAX);
    let answer = running.exchange(&format!("GET /a HTTP/1.1\r\n{CLOSE}X-Large: {large}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..=limits::HEADERS_MAX).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = running.exchange(&format!("GET /a HTTP/1.1\r\n{CLOSE}{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let long = "x".repeat(limits::HEADER_BYTES_MAX);
    let answer = running.exchange(&format!("GET /{long} HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let answer = running.exchange("\x16\x03\x01 this is TLS\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(), "{answer}");
    let both = format!("POST /length HTTP/1.1\r\n{CLOSE}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd");
    assert!(running.exchange(&both).await.starts_with("HTTP/1.1 400 "));
    let good = running.exchange(&format!("GET /good HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert!(good.ends_with("/good"), "{good}");
    running.stop().await;
}

/// One byte now and then holds a connection no longer than the time for a head.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_cut_off() {
    let running = Running::start().await;
    let mut raw = running.open().await;
    let begun = Instant::now();
    raw.send("GET /slowly HTTP/1.1\r\nHost: x\r\n").await;
    let (mut read, mut write) = raw.0.into_split();
    let drip = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while write.write_all(b"X-A: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut rest = Vec::new();
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest)).await;
    let took = begun.elapsed();
    assert!(took >= limits::HEADER_READ_TIMEOUT.mul_f64(0.9), "{took:?}");
    assert!(took < limits::HEADER_READ_TIMEOUT * 2, "{took:?}");
    within(drip).await.unwrap();
    running.connections(0).await;
    running.stop().await;
}

/// A client that announces a body and stops sending is given up, as is one that reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_in_the_middle_are_given_up() {
    let running = Running::start().await;
    let mut silent = running.open().await;
    silent.send(&format!("POST /length HTTP/1.1\r\n{CLOSE}Content-Length: 10\r\n\r\nabc")).await;
    let mut deaf = running.open().await;
    deaf.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let begun = Instant::now();
    let answer = silent.read_to_end().await;
    assert!(answer.contains("413") && answer.contains("nothing of the request's body"), "{answer}");
    assert!(begun.elapsed() >= limits::BODY_IDLE_TIMEOUT.mul_f64(0.9));
    running.connections_within(0, limits::WRITE_IDLE_TIMEOUT * 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_read_up_to_their_bound() {
    let running = Running::start().await;
    let post =
        |body: &str| format!("POST /length HTTP/1.1\r\n{CLOSE}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!(running.exchange(&post("")).await.ends_with("\r\n\r\n0"));
    assert!(running.exchange(&post(&"x".repeat(1 << 20))).await.ends_with("\r\n\r\n1048576"));
    assert!(running.exchange(&post(&"x".repeat((1 << 20) + 1))).await.starts_with("HTTP/1.1 413 "));
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 19, "x".repeat(1 << 19));
    let chunked = |n: usize| {
        let head = format!("POST /length HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n");
        format!("{head}{}0\r\n\r\n", chunk.repeat(n))
    };
    assert!(running.exchange(&chunked(2)).await.ends_with("\r\n\r\n1048576"));
    assert!(running.exchange(&chunked(3)).await.starts_with("HTTP/1.1 413 "));
    running.stop().await;
}

/// A client in the middle of a large upload gets to read why it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let running = Running::start().await;
    let client = reqwest::Client::new();
    for bytes in [1 << 20, 16 << 20] {
        let url = format!("http://{}/refuse", running.address);
        let answer = within(client.post(url).body(vec![7_u8; bytes]).send()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        assert_eq!(answer.headers()["connection"], "close");
        assert_eq!(answer.text().await.unwrap(), "refused");
    }
    // One that writes all before it reads meets no reset on the way.
    let mut patient = running.open().await;
    let bytes = 16 << 20;
    patient.send(&format!("POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n")).await;
    patient.send(&"x".repeat(bytes)).await;
    assert!(patient.read_to_end().await.ends_with("refused"));
    // More than is drained: the answer is sent, and then the connection ends.
    let mut raw = running.open().await;
    raw.send("POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("refused"), "{answer}");
    running.connections(0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_first_is_told_to_go_on_or_not() {
    let running = Running::start().await;
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    let mut raw = running.open().await;
    raw.send(&head("/length")).await;
    assert_eq!(raw.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("hello").await;
    assert!(raw.read_until("\r\n\r\n5").await.starts_with("HTTP/1.1 200 "));
    let mut raw = running.open().await;
    raw.send(&head("/refuse")).await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && !answer.contains("100 Continue"), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_idle_connections_at_once_and_busy_ones_when_answered() {
    let running = Running::start().await;
    let mut fresh = running.open().await;
    let mut idle = running.open().await;
    idle.send("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.read_until("/idle").await;
    let mut busy = running.open().await;
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    running.connections(3).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let address = running.address.clone();
    let busy = tokio::spawn(async move { busy.read_to_end().await });
    let took = running.stop().await;
    assert!(took >= Duration::from_millis(800) && took < Duration::from_secs(5), "{took:?}");
    let answer = busy.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/slow"), "{answer}");
    assert_eq!(fresh.read_to_end().await, "");
    assert_eq!(idle.read_to_end().await, "");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_cut_off() {
    let running = Running::start().await;
    let mut stuck = running.open().await;
    stuck.send("GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await;
    running.connections(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let took = running.stop().await;
    assert!(took >= limits::DRAIN_TIMEOUT && took < limits::DRAIN_TIMEOUT * 3 / 2, "{took:?}");
    assert_eq!(stuck.read_to_end().await, "");
}

/// A client that hangs up takes its request with it, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_ends_its_request() {
    let running = Running::start().await;
    let mut stuck = running.open().await;
    stuck.send("POST /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await;
    running.connections(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stuck);
    running.connections(0).await;
    let cancelled = running.metrics.http_requests.with_label_values(&["unmatched", "POST", "cancelled"]);
    assert_eq!(cancelled.get(), 1);
    running.stop().await;
}

/// Nobody gets another's answer, and every place is given back.
#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_are_all_served() {
    let running = Running::start().await;
    let calls = (0..200).map(|n| {
        let running = &running;
        async move {
            let answer = running.exchange(&format!("GET /n{n} HTTP/1.1\r\n{CLOSE}\r\n")).await;
            assert!(answer.ends_with(&format!("/n{n}")), "{answer}");
        }
    });
    within(futures_util::future::join_all(calls)).await;
    running.connections(0).await;
    let served = running.metrics.http_requests.with_label_values(&["unmatched", "GET", "200"]);
    assert_eq!(served.get(), 200);
    running.stop().await;
}

//! A client of the Runtime API, written by hand so that it can break every rule.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub(super) const BASE: &str = "/2018-06-01/runtime";

/// No test waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Client {
    stream: BufReader<UnixStream>,
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The id of the call that a `next` handed over.
    pub(super) fn id(&self) -> &str {
        self.header("lambda-runtime-aws-request-id")
    }
}

impl Client {
    pub(super) async fn connect(socket: &Path) -> Self {
        Self { stream: BufReader::new(UnixStream::connect(socket).await.unwrap()) }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        // A peer that hangs up in the middle is part of some tests.
        let sent = tokio::time::timeout(PATIENCE, self.stream.get_mut().write_all(bytes)).await;
        let _ = sent.expect("the bytes are read, or the connection ends");
    }

    /// None when the connection ended.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply()).await.expect("an answer or the end")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
                None => break,
            }
        }
        let length = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Reply { status, headers, body: String::from_utf8(body).unwrap() })
    }

    pub(super) async fn next(&mut self) -> Reply {
        self.ask("GET", "invocation/next", "").await
    }

    pub(super) async fn respond(&mut self, id: &str, body: &str) -> Reply {
        self.ask("POST", &format!("invocation/{id}/response"), body).await
    }

    pub(super) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.send(request(method, path, body).as_bytes()).await;
        self.reply().await.expect("an answer")
    }

    /// Takes the call and answers it.
    pub(super) async fn serve(&mut self, answer: &str) -> Reply {
        let call = self.next().await;
        self.respond(call.id(), answer).await
    }
}

pub(super) fn request(method: &str, path: &str, body: &str) -> String {
    format!("{method} {BASE}/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

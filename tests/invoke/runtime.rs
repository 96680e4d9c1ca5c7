//! A client of the Runtime API, written by hand so that it can break every rule.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

pub const BASE: &str = "/2018-06-01/runtime";

pub struct Client {
    stream: BufReader<UnixStream>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The id of the call that a `next` handed over.
    pub fn id(&self) -> &str {
        self.header("lambda-runtime-aws-request-id")
    }
}

impl Client {
    pub async fn connect(socket: &Path) -> Self {
        Self { stream: BufReader::new(UnixStream::connect(socket).await.unwrap()) }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A peer that hangs up in the middle is part of some tests.
        let _ = self.stream.get_mut().write_all(bytes).await;
    }

    /// None when the connection ended.
    pub async fn reply(&mut self) -> Option<Reply> {
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

    pub async fn next(&mut self) -> Reply {
        self.ask("GET", "invocation/next", "").await
    }

    pub async fn respond(&mut self, id: &str, body: &str) -> Reply {
        self.ask("POST", &format!("invocation/{id}/response"), body).await
    }

    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.send(request(method, path, body).as_bytes()).await;
        self.reply().await.expect("an answer")
    }

    /// Takes the call and answers it.
    pub async fn serve(&mut self, answer: &str) -> Reply {
        let call = self.next().await;
        self.respond(call.id(), answer).await
    }
}

pub fn request(method: &str, path: &str, body: &str) -> String {
    format!("{method} {BASE}/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

//! The HTTP API: the server by itself over real connections, then each route of a real host.

mod access;
mod api;
mod host;
mod server;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection on which a test writes bytes of its own.
struct Raw(TcpStream);

impl Raw {
    async fn open(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the text ends the answer, or the server closes.
    async fn read_until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let mut chunk = [0; 4096];
        while !all.ends_with(end.as_bytes()) {
            match within(self.0.read(&mut chunk)).await {
                Ok(0) | Err(_) => break,
                Ok(n) => all.extend_from_slice(&chunk[..n]),
            }
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads until the server closes, which it has to.
    async fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        // A reset is an end, too.
        let _ = within(self.0.read_to_end(&mut all)).await;
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Fails a test that would hang.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing happened for a minute")
}

//! A proxy between the host and the real S3 server that misbehaves as it is told.
//!
//! Each connection carries one request: the proxy asks the server to close after its answer, so
//! that what is told to befall a request befalls that one.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::required;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Pass,
    /// Closes the connection when the request has come.
    Cut,
    /// Lets the server do it, then closes the connection without the answer.
    CutAnswer,
    /// Passes so many bytes of the answer, then closes.
    CutAfter(usize),
    /// Passes so many bytes of the answer, then nothing more, and does not close.
    StallAfter(usize),
    /// Changes the byte at this offset of the answer.
    Spoil(usize),
    /// Answers itself, with 503.
    Unavailable,
    /// Answers itself that there is no such upload.
    NoSuchUpload,
    /// Answers itself, like a server of web pages.
    Nonsense,
    /// Never answers.
    Silence,
}

/// Decides by the request's first line and how many came before it.
type Script = Box<dyn Fn(&str, usize) -> Act + Send + Sync>;

pub(super) struct Proxy {
    pub(super) endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(script: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (requests, script) = (Arc::default(), Arc::new(Box::new(script) as Script));
        let task = tokio::spawn(serve(listener, script, Arc::clone(&requests)));
        Self { endpoint, requests, task }
    }

    /// The heads of the requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.requests().iter().filter(|head| head.lines().next().unwrap().contains(text)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, requests: Arc<Mutex<Vec<String>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (script, requests) = (script.clone(), requests.clone());
        // A connection that breaks is what some tests are about.
        tokio::spawn(async move { pass(client, &script, &requests).await });
    }
}

async fn pass(mut client: TcpStream, script: &Script, requests: &Mutex<Vec<String>>) -> io::Result<()> {
    let (head, body) = read_request(&mut client).await?;
    let act = {
        let mut requests = requests.lock().unwrap();
        let act = script(head.lines().next().unwrap_or_default(), requests.len());
        requests.push(head.clone());
        act
    };
    match act {
        Act::Cut => return Ok(()),
        Act::Unavailable => return answer_with(&mut client, "503 Slow Down", "").await,
        Act::Nonsense => return answer_with(&mut client, "404 Not Found", "<html>Oops.</html>").await,
        Act::NoSuchUpload => {
            let body = "<Error><Code>NoSuchUpload</Code><Message>Gone.</Message></Error>";
            return answer_with(&mut client, "404 Not Found", body).await;
        }
        Act::Silence => return std::future::pending().await,
        _ => {}
    }
    let mut answer = ask_server(&head, &body).await?;
    match act {
        Act::CutAnswer => answer.clear(),
        Act::CutAfter(bytes) | Act::StallAfter(bytes) => answer.truncate(bytes),
        Act::Spoil(at) => answer[at] ^= 1,
        _ => {}
    }
    client.write_all(&answer).await?;
    if let Act::StallAfter(_) = act {
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    Ok(())
}

async fn answer_with(client: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    client.write_all(format!("{head}{body}").as_bytes()).await
}

async fn read_request(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).map_err(io::Error::other)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((head, body))
}

async fn ask_server(head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let endpoint = required("DUNNAGE_TEST_S3_ENDPOINT");
    let mut server = TcpStream::connect(endpoint.trim_start_matches("http://")).await?;
    let (first, rest) = head.split_once("\r\n").expect("a request has a first line");
    server.write_all(format!("{first}\r\nconnection: close\r\n{rest}").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}

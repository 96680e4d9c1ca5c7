//! The client's side of the Runtime API: HTTP/1.1 over a Unix socket, one request at a time.
//!
//! Paths and headers are those of AWS Lambda's Runtime API, version 2018-06-01.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;

const BASE: &str = "/2018-06-01/runtime";
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One connection to the host.
pub(crate) struct Host {
    stream: BufReader<UnixStream>,
}

/// A call to serve.
pub(crate) struct Invocation {
    pub(crate) id: String,
    pub(crate) event: Vec<u8>,
}

/// The body of an error report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    pub(crate) error_message: String,
    pub(crate) error_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<u8>,
}

impl Host {
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(UnixStream::connect(socket)?) })
    }

    /// Waits for the next call.
    pub(crate) fn next(&mut self) -> io::Result<Invocation> {
        let answer = self.request("GET", "invocation/next", &[])?;
        let id = answer.request_id.filter(|_| answer.status == 200);
        let id = id.ok_or_else(|| invalid(format!("the host answered {} to next", answer.status)))?;
        Ok(Invocation { id, event: answer.body })
    }

    /// Hands the answer over. The host has the last word on whether it is one: a refusal is its
    /// business, and no reason to end.
    pub(crate) fn respond(&mut self, id: &str, body: &[u8]) -> io::Result<()> {
        self.request("POST", &format!("invocation/{id}/response"), body).map(drop)
    }

    pub(crate) fn fail(&mut self, id: &str, failure: &Failure) -> io::Result<()> {
        let body = serde_json::to_vec(failure)?;
        self.request("POST", &format!("invocation/{id}/error"), &body).map(drop)
    }

    fn request(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head = format!(
            "{method} {BASE}/{path} HTTP/1.1\r\nHost: dunnage\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut headers);
        parsed.parse(&head).map_err(|error| invalid(error.to_string()))?;
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let length = header("content-length").and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(|| invalid("the host's answer has no length".to_owned()))?;
        let request_id = header("lambda-runtime-aws-request-id").map(str::to_owned);
        let status = parsed.code.unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, request_id, body })
    }

    /// Everything up to and with the empty line.
    fn head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let left = HEAD_BYTES_MAX.saturating_sub(head.len()) as u64;
            if (&mut self.stream).take(left).read_until(b'\n', &mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(head)
    }
}

struct Answer {
    status: u16,
    request_id: Option<String>,
    body: Vec<u8>,
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

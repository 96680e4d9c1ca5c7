//! What a post-processor may change in a function's answer.

use hyper::header::{HeaderName, HeaderValue};

use super::bindings::exports::dunnage::response::post_process::{Body, Edit, Response};
use super::call::Broken;
use crate::limits;

/// They belong to one connection, or to the host.
const HOST_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const HOST_HEADER_PREFIX: &str = "x-dunnage-";

/// Changes the response as the edit says, or not at all.
pub(super) fn check(edit: Edit, response: &Response) -> Result<Checked, Broken> {
    let status = edit.status.unwrap_or(response.status);
    if !(200..=599).contains(&status) {
        return Err(Broken::bad_output(format!("it set the status {status}, which is not from 200 to 599")));
    }
    let set = edit.set_headers.into_iter().map(header).collect::<Result<Vec<_>, Broken>>()?;
    let body = edit.body.map(|body| replacement(body, response)).transpose()?;
    if matches!(status, 204 | 304) && (edit.status.is_some() || body.is_some()) {
        let left = body.as_ref().map_or(has_body(&response.body), |b| !b.is_empty());
        if left {
            return Err(Broken::bad_output(format!("an answer with status {status} has no body")));
        }
    }
    let gone = edit.remove_headers.into_iter().map(|name| name.to_ascii_lowercase()).collect();
    let checked = Checked { status, gone, set, body };
    checked.headers_fit(response)?;
    Ok(checked)
}

/// An edit that may be made.
pub(super) struct Checked {
    status: u16,
    gone: Vec<String>,
    set: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Checked {
    pub(super) fn apply(self, response: &mut Response) {
        response.status = self.status;
        response.headers.retain(|(name, _)| stays(name, &self.gone, &self.set));
        response.headers.extend(self.set);
        if let Some(body) = self.body {
            response.body = Body::Bytes(body);
        }
    }

    fn headers_fit(&self, response: &Response) -> Result<(), Broken> {
        let kept = response.headers.iter().filter(|(name, _)| stays(name, &self.gone, &self.set));
        let (mut count, mut bytes) = (0, 0);
        for (name, value) in kept.chain(&self.set) {
            count += 1;
            bytes += name.len() + value.len();
        }
        // A function's own answer may be at the bound; only what the edit adds is the plugin's.
        let grown = !self.set.is_empty();
        if grown && (count > limits::RESPONSE_HEADERS_MAX || bytes > limits::RESPONSE_HEADER_BYTES_MAX) {
            let (most, size) = (limits::RESPONSE_HEADERS_MAX, limits::RESPONSE_HEADER_BYTES_MAX);
            let reason = format!("it left {count} headers of {bytes} bytes, over {most} of {size} at most");
            return Err(Broken::bad_output(reason));
        }
        Ok(())
    }
}

/// Setting a header takes the place of all of that name.
fn stays(name: &str, gone: &[String], set: &[(String, String)]) -> bool {
    !gone.iter().any(|other| other == name) && !set.iter().any(|(other, _)| other == name)
}

fn header((name, value): (String, String)) -> Result<(String, String), Broken> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return Err(Broken::bad_output("it set a header whose name is none"));
    };
    if HOST_HEADERS.contains(&name.as_str()) || name.as_str().starts_with(HOST_HEADER_PREFIX) {
        return Err(Broken::bad_output(format!("it set the header {name}, which is the host's alone")));
    }
    if HeaderValue::from_str(&value).is_err() {
        return Err(Broken::bad_output(format!("it set the header {name} to what no header may hold")));
    }
    Ok((name.as_str().to_owned(), value))
}

fn replacement(body: Vec<u8>, response: &Response) -> Result<Vec<u8>, Broken> {
    if matches!(response.body, Body::Omitted(_)) {
        return Err(Broken::bad_output("it replaced a body that it was not shown"));
    }
    if body.len() > limits::POST_PROCESS_BODY_BYTES_MAX {
        let kib = limits::POST_PROCESS_BODY_BYTES_MAX / limits::KIB;
        return Err(Broken::bad_output(format!("it set a body of more than {kib} KiB")));
    }
    Ok(body)
}

fn has_body(body: &Body) -> bool {
    match body {
        Body::Omitted(_) => true,
        Body::Bytes(bytes) => !bytes.is_empty(),
    }
}

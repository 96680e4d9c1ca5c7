//! An image build: the context streamed in, the log streamed out, its processes ended in any case.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::build_cgroup::BuildCgroup;
use super::request::{Body, Client, clean, query};
use crate::containers::{Build, Error};
use crate::limits;

const DOING: &str = "building an image";
const OWN_NETWORK: &str = r#"[{"Name":"network","Host":false,"Path":""}]"#;
/// Where the podman API puts its error when it has none of its own words.
const NO_MESSAGE: &str = "the build failed and the engine gave no reason";

/// How the engine's side of a build ended.
pub(super) enum Ended {
    Done,
    Failed { message: String },
    TimedOut,
}

/// One line of the engine's answer.
#[derive(Deserialize)]
struct Event {
    stream: Option<String>,
    error: Option<String>,
}

/// Podman goes on with a `RUN` step after the connection is closed, so that its processes are
/// found by the cgroup which the build was given, and killed.
pub(super) async fn build(
    client: &Client,
    build: Build,
    cgroup: BuildCgroup,
    log: mpsc::Sender<String>,
) -> Result<Ended, Error> {
    let limit = build.timeout;
    let parameters = parameters(&build, cgroup.path());
    let context = Context::new(build.context);
    let failure = context.failure.clone();
    let run = run(client, &parameters, context, log);
    let result = match tokio::time::timeout(limit, run).await {
        Ok(result) => result,
        Err(_) => Ok(Ended::TimedOut),
    };
    cgroup.end().await;
    let broken = failure.lock().expect("nothing panics while it is held").take();
    match broken {
        Some(source) => Err(Error::Io { doing: "reading the build context", source }),
        None => result,
    }
}

async fn run(
    client: &Client,
    parameters: &str,
    context: Context,
    log: mpsc::Sender<String>,
) -> Result<Ended, Error> {
    let path = format!("/build{parameters}");
    let open = client.stream(DOING, &path, "application/x-tar", context.body).await?;
    if !open.response.status().is_success() {
        return Err(open.whole(DOING).await?.refused(DOING));
    }
    let mut open = open;
    follow(open.response.body_mut(), &mut Lines { log, line: String::new(), cut: false }).await
}

/// A source of bytes that remembers why it broke: hyper tells only that it did.
struct Context {
    body: Body,
    failure: Arc<Mutex<Option<std::io::Error>>>,
}

impl Context {
    fn new(reader: Box<dyn tokio::io::AsyncRead + Send + Sync + Unpin>) -> Self {
        let failure = Arc::new(Mutex::new(None));
        let kept = failure.clone();
        let stream = ReaderStream::with_capacity(reader, limits::OUTPUT_CHUNK_BYTES_MAX)
            .map_ok(Frame::data)
            .map_err(move |error| {
                let told = error.to_string();
                *kept.lock().expect("nothing panics while it is held") = Some(error);
                told.into()
            });
        Self { body: BodyExt::boxed(StreamBody::new(stream)), failure }
    }
}

fn parameters(build: &Build, cgroup: &Path) -> String {
    let arguments: serde_json::Map<String, serde_json::Value> =
        build.build_args.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let arguments = serde_json::Value::Object(arguments).to_string();
    let labels = serde_json::json!(build.labels).to_string();
    let memory = build.memory_bytes.to_string();
    let mut pairs = vec![
        ("dockerfile", "Dockerfile"),
        ("t", build.tag.as_str()),
        ("labels", &labels),
        ("buildargs", &arguments),
        ("memory", &memory),
        // Counts both: no swap.
        ("memswap", &memory),
        ("cgroupparent", cgroup.to_str().expect("made from a UUID and digits")),
        ("pullpolicy", "missing"),
        // One layer, and no look at other builds' layers: Podman's cache breaks a build when an image
        // is removed meanwhile, and a step of one function could be taken for another's.
        ("layers", "false"),
        ("nocache", "true"),
        ("rm", "true"),
        ("forcerm", "true"),
        ("httpproxy", "false"),
    ];
    // Without these a step gets the host's own network, whatever else is said.
    pairs.push(("nsoptions", OWN_NETWORK));
    pairs.push(("networkmode", if build.network { "NetworkEnabled" } else { "NetworkDisabled" }));
    query(pairs)
}

/// Reads the answer to its end: lines of JSON, each within a bound.
async fn follow(body: &mut Incoming, lines: &mut Lines) -> Result<Ended, Error> {
    let mut pending = BytesMut::new();
    let mut failed = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Protocol { doing: DOING, detail: error.to_string() })?;
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            take(&pending.split_to(end + 1).freeze(), lines, &mut failed).await?;
        }
        if pending.len() > limits::BUILD_EVENT_BYTES_MAX {
            return Err(Error::Protocol {
                doing: DOING,
                detail: "a line of the answer has no end".to_owned(),
            });
        }
    }
    take(&pending.freeze(), lines, &mut failed).await?;
    lines.finish().await;
    Ok(match failed {
        Some(message) => Ended::Failed { message },
        None => Ended::Done,
    })
}

async fn take(line: &Bytes, lines: &mut Lines, failed: &mut Option<String>) -> Result<(), Error> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let event: Event = serde_json::from_slice(line)
        .map_err(|error| Error::Protocol { doing: DOING, detail: error.to_string() })?;
    if let Some(text) = event.stream {
        lines.push(&text).await;
    }
    if let Some(message) = event.error {
        let message = clean(&message);
        *failed = Some(if message.is_empty() { NO_MESSAGE.to_owned() } else { message });
    }
    Ok(())
}

/// Puts lines together again, fit to be shown and not too long.
struct Lines {
    log: mpsc::Sender<String>,
    line: String,
    /// The rest of an overlong line is left out.
    cut: bool,
}

impl Lines {
    async fn push(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\n' | '\r' => self.finish().await,
                _ if self.cut => {}
                _ => self.add(if character.is_control() && character != '\t' {
                    char::REPLACEMENT_CHARACTER
                } else {
                    character
                }),
            }
        }
    }

    fn add(&mut self, character: char) {
        if self.line.len() + character.len_utf8() > limits::BUILD_LOG_LINE_BYTES_MAX {
            self.cut = true;
        } else {
            self.line.push(character);
        }
    }

    async fn finish(&mut self) {
        self.cut = false;
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            // Nobody listens any more: the build goes on all the same.
            let _ = self.log.send(line).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_and_made_fit() {
        let (log, mut received) = mpsc::channel(100);
        let mut lines = Lines { log, line: String::new(), cut: false };
        for text in ["STEP", " 1\nred: \u{1b}[31m\n", "50%\r100%\n\n", "tail"] {
            lines.push(text).await;
        }
        lines.push(&"x".repeat(2 * limits::BUILD_LOG_LINE_BYTES_MAX)).await;
        lines.push("\nend").await;
        lines.finish().await;
        drop(lines);
        let mut all = Vec::new();
        while let Some(line) = received.recv().await {
            all.push(line);
        }
        assert_eq!(all[..4], ["STEP 1", "red: \u{fffd}[31m", "50%", "100%"]);
        assert_eq!(all[4].len(), limits::BUILD_LOG_LINE_BYTES_MAX);
        assert_eq!(all[5..], ["end"]);
    }
}

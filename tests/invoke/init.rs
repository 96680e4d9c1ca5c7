//! The real `dunnage-init` and real programs on the other end of the socket, without a container.

use std::process::Stdio;

use dunnage::containers::{Exit, Stream};
use tokio::io::AsyncReadExt;

use super::rig::{Double, Inside, Program, Rig, failed, function, program, result};
use crate::support::required;

/// Runs a shell script as the command of the contract, as the container would.
fn init(contract: &'static str, script: &'static str) -> Program {
    program(move |inside| run(inside, contract, script))
}

async fn run(inside: Inside, contract: &'static str, script: &'static str) -> Exit {
    let shared = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(required("DUNNAGE_TEST_INIT"))
        .args(["--contract", contract, "--", "/bin/sh", "-c", script])
        .env("DUNNAGE_RUNTIME_SOCKET", &inside.socket)
        .env("SHARED_PATH", shared.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        inside.print(Stream::Stderr, &String::from_utf8_lossy(&buffer[..length])).await;
    }
    Exit { code: child.wait().await.unwrap().code(), ..Exit::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_program_answers_by_its_output() {
    let rig = Rig::new(Double::new(init("one-shot", "printf '{\"got\":%s}' \"$HTTP_BODY\"")));
    let event = r#"{"body":{"n":1.50},"query":{},"headers":{},"method":"POST","path":"/"}"#;
    let answer = rig.call(&function(10_000, 1), event).await.unwrap();
    assert_eq!(result(&answer), r#"{"got":{"n":1.50}}"#);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_programs_exit_code_is_its_error() {
    let rig = Rig::new(Double::new(init("one-shot", "echo 'why it failed' >&2; exit 7")));
    let failure = failed(&rig.call(&function(10_000, 1), "{}").await.unwrap(), "function-error");
    assert_eq!((failure.exit_code, failure.log_tail), (Some(7), vec!["why it failed".to_owned()]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_shot_program_that_floods_its_answer_is_refused() {
    let rig = Rig::new(Double::new(init("one-shot", "head -c 8000000 /dev/zero | tr '\\0' 1")));
    failed(&rig.call(&function(30_000, 1), "{}").await.unwrap(), "response-too-large");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_never_speaks_fails_at_its_start() {
    let rig = Rig::new(Double::new(init("runtime-api", "echo 'I know no sockets' >&2; exit 4")));
    let failure = failed(&rig.call(&function(10_000, 1), "{}").await.unwrap(), "init-error");
    assert_eq!((failure.exit_code, failure.log_tail), (Some(4), vec!["I know no sockets".to_owned()]));
    rig.stop().await;
}

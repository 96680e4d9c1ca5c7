//! The host's own podman service: started, kept alive, ended.

use std::time::{Duration, Instant};

use super::*;

fn serving(dir: &Path) -> Vec<i32> {
    let url = format!("unix://{}", dir.join("podman.sock").display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if command.split(|byte| *byte == 0).any(|argument| argument == url.as_bytes()) {
            found.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
        }
    }
    found
}

fn kill(pid: i32) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A usual socket would be taken instead of an own service.
fn has_usual_socket() -> bool {
    Path::new("/run/podman/podman.sock").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_service_is_started_kept_alive_and_ended() {
    assert!(!has_usual_socket(), "this test needs a machine on which Podman's own service does not run");
    let stop = CancellationToken::new();
    let engine = Engine::with_socket(None, stop.clone()).await;
    let dir = engine.dir.path();
    let first = serving(dir);
    assert_eq!(first.len(), 1, "{first:?}");
    let group = rustix::process::getpgid(rustix::process::Pid::from_raw(first[0])).unwrap();
    assert_ne!(group, rustix::process::getpgrp(), "Ctrl-C at the terminal must not reach it");
    assert_eq!(engine.podman.engine().await.unwrap().limits_hold, Ok(()));

    kill(first[0]);
    eventually("an answer of the second service", async || engine.podman.engine().await.ok()).await;
    let second = serving(dir);
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);

    stop.cancel();
    engine.podman.stopped().await;
    assert_eq!(serving(dir), Vec::<i32>::new());
    assert!(!dir.join("podman.sock").exists());
    let gone = engine.podman.engine().await;
    assert!(matches!(gone, Err(dunnage::containers::Error::Unreachable { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_service_is_ended_and_a_stray_number_left_alone() {
    assert!(!has_usual_socket(), "this test needs a machine on which Podman's own service does not run");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("unix://{}", dir.path().join("podman.sock").display());
    let mut stale =
        std::process::Command::new("podman").args(["system", "service", "--time=0", &url]).spawn().unwrap();
    std::fs::write(dir.path().join("podman.pid"), stale.id().to_string()).unwrap();
    eventually("the stale service", async || dir.path().join("podman.sock").exists().then_some(())).await;
    let stop = CancellationToken::new();
    let waiting = std::thread::spawn(move || stale.wait().unwrap());
    let podman = Podman::connect(options(None, dir.path()), stop.clone()).await.unwrap();
    assert!(!waiting.join().unwrap().success());
    podman.engine().await.unwrap();
    stop.cancel();
    podman.stopped().await;

    // The number has gone to a process that is none of ours.
    let mut innocent = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(dir.path().join("podman.pid"), innocent.id().to_string()).unwrap();
    let stop = CancellationToken::new();
    let podman = Podman::connect(options(None, dir.path()), stop.clone()).await.unwrap();
    assert_eq!(innocent.try_wait().unwrap(), None);
    innocent.kill().unwrap();
    innocent.wait().unwrap();
    stop.cancel();
    podman.stopped().await;
    assert_eq!(serving(dir.path()), Vec::<i32>::new());
}

/// The engine is gone; the container, its output and its end are not.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_outlives_the_service() {
    assert!(!has_usual_socket(), "this test needs a machine on which Podman's own service does not run");
    Engine::connect().await;
    let stop = CancellationToken::new();
    let engine = Engine::with_socket(None, stop.clone()).await;
    let (id, mut running) = engine.start(&engine.spec("echo ready; sleep 60")).await;
    assert_eq!(running.output.recv().await.unwrap().bytes, "ready\n");
    kill(serving(engine.dir.path())[0]);
    assert_eq!(running.output.recv().await, None);
    assert!(running.exit.try_recv().is_err(), "it still runs");
    engine.podman.kill(&id).await.unwrap();
    assert_eq!(running.exit.await.unwrap().code, Some(137));
    eventually("the second service", async || engine.podman.remove(&id).await.ok()).await;
    assert_eq!(engine.left().await, []);
    stop.cancel();
    engine.podman.stopped().await;
}

#[tokio::test]
async fn a_given_socket_must_answer() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(Some(dir.path().join("nobody.sock")), dir.path());
    let refused = Podman::connect(options, CancellationToken::new()).await;
    assert!(matches!(&refused, Err(dunnage::containers::Error::Unreachable { .. })));
}

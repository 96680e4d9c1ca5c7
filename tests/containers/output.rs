//! Output of any size, read or not, and what ends a container that will not end.

use std::time::{Duration, Instant};

use super::*;

const GIB: u64 = 1 << 30;

/// Bytes below the container's folder in Podman's store: a log would grow there.
fn stored(id: &ContainerId) -> u64 {
    let output = std::process::Command::new("podman")
        .args(["inspect", "--format", "{{.OCIConfigPath}}", &id.0])
        .output()
        .unwrap();
    let config = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let folder = config.parent().unwrap();
    assert!(folder.ends_with("userdata"), "{folder:?}");
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.metadata().map_or(0, |data| data.len()))
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_is_read_is_not_stored() {
    let engine = Engine::connect().await;
    let mut spec = engine.spec("dd if=/dev/zero bs=64k count=16384 2>/dev/null; exit 7");
    spec.limits.cpu_millis = 2000;
    let (id, mut running) = engine.start(&spec).await;
    let mut bytes = 0;
    while let Some(output) = running.output.recv().await {
        bytes += output.bytes.len() as u64;
    }
    assert_eq!(bytes, GIB);
    assert_eq!(running.exit.await.unwrap().code, Some(7));
    let stored = stored(&id);
    assert!(stored < 256 * 1024, "{stored} bytes were stored");
    engine.podman.remove(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_that_nobody_reads_blocks_and_is_killed_at_once() {
    let engine = Engine::connect().await;
    let (id, running) = engine.start(&engine.spec("exec cat /dev/zero")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.output.len(), running.output.max_capacity(), "it has more to say");
    let memory = engine.podman.memory(&id).await.unwrap();
    assert_eq!(memory.oom_kills, 0);
    let begun = Instant::now();
    engine.podman.kill(&id).await.unwrap();
    // The output is still not read.
    let exit = running.exit.await.unwrap();
    assert_eq!((exit.code, exit.oom_killed), (Some(137), false));
    engine.podman.remove(&id).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    println!("unread flood: killed, told and removed in {:?}", begun.elapsed());
    assert_eq!(engine.left().await, []);
}

#[tokio::test]
async fn a_removed_flood_is_gone_quickly() {
    let engine = Engine::connect().await;
    let (id, _running) = engine.start(&engine.spec("exec cat /dev/zero")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    engine.podman.remove(&id).await.unwrap();
    println!("unread flood: removed in {:?}", begun.elapsed());
    assert_eq!(engine.left().await, []);
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed() {
    let engine = Engine::connect().await;
    let script = "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done";
    let (id, mut running) = engine.start(&engine.spec(script)).await;
    assert_eq!(running.output.recv().await.unwrap().bytes, "ready\n");
    let begun = Instant::now();
    engine.podman.kill(&id).await.unwrap();
    assert_eq!(running.exit.await.unwrap().code, Some(137));
    println!("ignoring SIGTERM: killed in {:?}", begun.elapsed());
    engine.podman.remove(&id).await.unwrap();
}

#[tokio::test]
async fn closed_output_is_not_the_end() {
    let engine = Engine::connect().await;
    let (id, mut running) = engine.start(&engine.spec("exec >&- 2>&-; sleep 1; exit 9")).await;
    assert_eq!(running.output.recv().await, None);
    assert_eq!(running.exit.await.unwrap().code, Some(9));
    engine.podman.remove(&id).await.unwrap();
}

#[tokio::test]
async fn exit_codes_are_told() {
    let engine = Engine::connect().await;
    for (script, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 255", 255),
        ("not-a-program", 127),
        ("kill -9 $$; sleep 1; exit 5", 5),
    ] {
        let ran = engine.script(script).await;
        assert_eq!(ran.exit.code, Some(code), "{script}: {ran:?}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told() {
    let engine = Engine::connect().await;
    let mut spec = engine.spec("");
    spec.init_args = vec!["/not/there".to_owned()];
    let ran = engine.run(&spec).await;
    assert_eq!(ran.exit.code, Some(127), "{ran:?}");
    assert!(ran.stderr.contains("/not/there"), "{ran:?}");
}

#[tokio::test]
async fn the_time_of_each_step() {
    let engine = Engine::connect().await;
    for _ in 0..5 {
        let begun = Instant::now();
        let id = engine.podman.create(&engine.spec("exit 0")).await.unwrap();
        let created = begun.elapsed();
        let running = engine.podman.start(&id).await.unwrap();
        let started = begun.elapsed();
        assert_eq!(Ran::of(running).await.exit.code, Some(0));
        let ended = begun.elapsed();
        engine.podman.remove(&id).await.unwrap();
        println!(
            "create {created:?}, start {:?}, end {:?}, remove {:?}",
            started - created,
            ended - started,
            begun.elapsed() - ended
        );
    }
    assert_eq!(engine.left().await, []);
}

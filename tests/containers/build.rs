//! Builds: what they make, how they fail, and that nothing of them is left.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dunnage::limits::BUILD_LOG_LINE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::*;

/// Processes whose command line has the text, on the whole machine.
fn processes_with(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(text) {
            found.push(command);
        }
    }
    found
}

/// Working containers of builds are known to Podman's store alone.
fn working_containers(mark: &str) -> usize {
    let output = std::process::Command::new("podman")
        .args(["ps", "--all", "--external", "--no-trunc", "--format", "{{.Names}} {{.Image}} {{.Command}}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.contains(mark)).count()
}

fn tag(engine: &Engine) -> String {
    format!("localhost/dunnage/test-{}:v1", engine.mark)
}

async fn remove_images(engine: &Engine) {
    for image in engine.podman.images(TEST_LABEL, &engine.mark).await.unwrap() {
        engine.podman.remove_image(&image.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_build_makes_what_the_dockerfile_says() {
    let engine = Engine::connect().await;
    let dockerfile = format!(
        "FROM {SHELL_IMAGE}\nARG WHO\nLABEL org.dunnage.contract=one-shot\nRUN echo \"$WHO\" > /who\n\
         ENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"cat /who\"]\n"
    );
    let mut build = engine.build(&tag(&engine), &dockerfile, &[]);
    build.build_args = vec![("WHO".to_owned(), "it & \"them\"".to_owned())];
    let (end, log) = built(&engine.podman, build).await;
    let image = image_of(end);
    assert_eq!(image.labels["org.dunnage.contract"], "one-shot");
    assert_eq!(image.labels[TEST_LABEL], engine.mark);
    assert_eq!(
        (image.entrypoint, image.command),
        (vec!["/bin/sh".to_owned()], vec!["-c".to_owned(), "cat /who".to_owned()])
    );
    assert!(image.id.len() == 64 && image.size_bytes > 100_000, "{} {}", image.id, image.size_bytes);
    assert!(log[0].starts_with("STEP 1/"), "{log:?}");
    let spec = ContainerSpec { image: tag(&engine), ..engine.spec("cat /who") };
    assert_eq!(engine.run(&spec).await.ok(), "it & \"them\"\n");
    remove_images(&engine).await;
}

#[tokio::test]
async fn a_failed_build_says_why() {
    let engine = Engine::connect().await;
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN echo the-reason; echo on-stderr >&2; exit 42\n");
    let (end, log) = built(&engine.podman, engine.build(&tag(&engine), &dockerfile, &[])).await;
    let BuildEnd::Failed { message } = end else { panic!("{end:?}") };
    assert!(message.contains("42"), "{message}");
    assert!(
        log.iter().any(|line| line == "the-reason") && log.iter().any(|line| line == "on-stderr"),
        "{log:?}"
    );
    for (dockerfile, reason) in
        [("FRM scratch\n", "FROM"), ("FROM scratch\nCOPY absent /x\n", "absent"), ("", "")]
    {
        let (end, log) = built(&engine.podman, engine.build(&tag(&engine), dockerfile, &[])).await;
        let BuildEnd::Failed { message } = end else { panic!("{end:?}, {log:?}") };
        assert!(message.contains(reason) && !message.is_empty(), "{message}");
    }
    assert_eq!(engine.podman.image(&tag(&engine)).await.unwrap(), None);
    remove_images(&engine).await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_fails_the_build() {
    let engine = Engine::connect().await;
    let (end, _) =
        built(&engine.podman, engine.build(&tag(&engine), "FROM localhost/dunnage/absent:v9\n", &[])).await;
    let BuildEnd::Failed { message } = end else { panic!("{end:?}") };
    assert!(message.contains("localhost/dunnage/absent:v9"), "{message}");
}

#[tokio::test]
async fn a_build_that_takes_too_long_leaves_nothing() {
    let engine = Engine::connect().await;
    let mark = format!("timeout-{}", engine.mark);
    let dockerfile = format!(
        "FROM {SHELL_IMAGE}\nRUN trap '' TERM; echo begun; (trap '' TERM; sleep 3001; echo {mark}) & while :; do sleep 3002; echo {mark}; done || true\nRUN echo second\n"
    );
    let mut build = engine.build(&tag(&engine), &dockerfile, &[]);
    build.timeout = Duration::from_secs(4);
    let begun = Instant::now();
    let (end, log) = built(&engine.podman, build).await;
    assert_eq!(end, BuildEnd::TimedOut, "{log:?}");
    assert!(log.iter().any(|line| line == "begun"), "{log:?}");
    println!("timed out after {:?}", begun.elapsed());
    assert_eq!(processes_with(&mark), Vec::<String>::new());
    assert_eq!(processes_with("sleep 3002"), Vec::<String>::new());
    // The engine removes its working container as soon as it sees the step dead.
    for _ in 0..50 {
        if working_containers(&mark) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(working_containers(&mark), 0);
    remove_images(&engine).await;
}

#[tokio::test]
async fn a_build_that_nobody_waits_for_ends() {
    let engine = Engine::connect().await;
    let mark = format!("dropped-{}", engine.mark);
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN echo begun; sleep 3003; echo {mark}\n");
    let (sender, mut log) = mpsc::channel(16);
    let build = engine.podman.build(engine.build(&tag(&engine), &dockerfile, &[]), sender);
    let begun = async { while log.recv().await.unwrap() != "begun" {} };
    tokio::select! {
        end = build => panic!("{end:?}"),
        () = begun => {}
    }
    for _ in 0..50 {
        if processes_with(&mark).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(processes_with(&mark), Vec::<String>::new());
    remove_images(&engine).await;
}

/// A host that was killed leaves its build running; the next start in its data directory ends it.
#[tokio::test]
async fn a_build_of_an_earlier_run_is_ended() {
    let engine = Engine::connect().await;
    let mark = format!("leftover-{}", engine.mark);
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN echo begun; sleep 3004; echo {mark}\n");
    let (sender, mut log) = mpsc::channel(16);
    let build = engine.podman.build(engine.build(&tag(&engine), &dockerfile, &[]), sender);
    let restart = async {
        while log.recv().await.unwrap() != "begun" {}
        let socket = PathBuf::from(required("DUNNAGE_TEST_PODMAN_SOCKET"));
        let options = options(Some(socket), engine.dir.path());
        Podman::connect(options, CancellationToken::new()).await.unwrap();
        assert_eq!(processes_with(&mark), Vec::<String>::new());
    };
    let (end, ()) = tokio::join!(build, restart);
    assert!(matches!(end, Ok(BuildEnd::Failed { .. })), "{end:?}");
    remove_images(&engine).await;
}

#[tokio::test]
async fn a_build_s_memory_is_limited() {
    let engine = Engine::connect().await;
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN tail /dev/zero; echo \"ended with $?\"; exit 1\n");
    let mut build = engine.build(&tag(&engine), &dockerfile, &[]);
    build.memory_bytes = 64 * MIB as u64;
    let (end, log) = built(&engine.podman, build).await;
    assert!(matches!(end, BuildEnd::Failed { .. }), "{end:?}");
    assert!(log.iter().any(|line| line == "ended with 137"), "{log:?}");
    remove_images(&engine).await;
}

#[tokio::test]
async fn a_run_step_has_a_network_only_when_allowed() {
    let engine = Engine::connect().await;
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN ls /sys/class/net | tr '\\n' ' '; exit 1\n");
    let (_, log) = built(&engine.podman, engine.build(&tag(&engine), &dockerfile, &[])).await;
    assert!(log.iter().any(|line| line.trim() == "lo"), "{log:?}");
    let mut allowed = engine.build(&tag(&engine), &dockerfile, &[]);
    allowed.network = true;
    let (_, log) = built(&engine.podman, allowed).await;
    assert!(log.iter().any(|line| line.trim() == "eth0 lo"), "a network of its own: {log:?}");
    remove_images(&engine).await;
}

#[tokio::test]
async fn a_build_s_log_is_bounded_and_harmless() {
    let engine = Engine::connect().await;
    let script = "printf 'red \\033[31m bell \\007\\n'; printf '10%%\\r20%%\\n'; head -c 100000 /dev/zero | tr '\\0' y; echo; echo after; exit 1";
    let dockerfile = format!("FROM {SHELL_IMAGE}\nRUN {script}\n");
    let (_, log) = built(&engine.podman, engine.build(&tag(&engine), &dockerfile, &[])).await;
    assert!(
        log.iter().all(|line| line.len() <= BUILD_LOG_LINE_BYTES_MAX
            && !line.chars().any(|c| c.is_control() && c != '\t'))
    );
    assert!(log.contains(&"red \u{fffd}[31m bell \u{fffd}".to_owned()), "{log:?}");
    assert!(log.iter().any(|line| line == "20%") && log.iter().any(|line| line == "after"), "{log:?}");
    assert!(log.iter().any(|line| line.len() == BUILD_LOG_LINE_BYTES_MAX), "{log:?}");
    remove_images(&engine).await;
}

/// Zeroes without end; counts what was taken.
struct Endless {
    taken: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let bytes = buffer.remaining() as u64;
        buffer.initialize_unfilled().fill(b'x');
        buffer.advance(bytes as usize);
        self.taken.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// Memory that this process has ever used at once.
fn peak_memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test]
async fn the_context_is_streamed() {
    const BYTES: u64 = 400 * MIB as u64;
    let engine = Engine::connect().await;
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut header = tar::Header::new_ustar();
    header.set_path("large").unwrap();
    header.set_size(BYTES);
    header.set_mode(0o644);
    header.set_cksum();
    let before = peak_memory_kib();
    let mut rest = plain_build("", &format!("FROM {SHELL_IMAGE}\nCOPY sh /x\n"), &[("sh", b"x")]).context;
    let mut tail = Vec::new();
    rest.read_to_end(&mut tail).await.unwrap();
    let large = Endless { taken: taken.clone() }.take(BYTES);
    let context =
        std::io::Cursor::new(header.as_bytes().to_vec()).chain(large).chain(std::io::Cursor::new(tail));
    let build = Build { context: Box::new(context), ..engine.build(&tag(&engine), "", &[]) };
    image_of(built(&engine.podman, build).await.0);
    assert!(taken.load(std::sync::atomic::Ordering::Relaxed) >= BYTES);
    let grown = peak_memory_kib() - before;
    assert!(grown < 200 * 1024, "memory grew by {grown} KiB");
    remove_images(&engine).await;
}

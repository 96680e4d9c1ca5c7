//! What any engine behind the port must do: the double and real Podman alike.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dunnage::containers::scripted::{Fault, Operation, Scripted};
use dunnage::containers::{Error, Exit, Output};
use tokio::io::{AsyncRead, ReadBuf};

use super::*;

struct Case<'a> {
    containers: &'a dyn Containers,
    dir: &'a Path,
    mark: String,
}

impl Case<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(TEST_LABEL.to_owned(), self.mark.clone())])
    }

    fn spec(&self, script: &str) -> ContainerSpec {
        spec(self.dir.join("run"), self.labels(), SHELL_IMAGE, script)
    }

    async fn start(&self, script: &str) -> (ContainerId, Running) {
        let id = self.containers.create(&self.spec(script)).await.unwrap();
        let running = self.containers.start(&id).await.unwrap();
        (id, running)
    }
}

#[tokio::test]
async fn podman_conforms() {
    let engine = Engine::connect().await;
    let case = Case { containers: &engine.podman, dir: engine.dir.path(), mark: engine.mark.clone() };
    conforms(&case).await;
}

#[tokio::test]
async fn the_double_conforms() {
    let double = Scripted::new(Arc::new(|spec, output| Box::pin(shell(spec, output))));
    let dir = tempfile::tempdir().unwrap();
    image_of(built(&double, plain_build(SHELL_IMAGE, "FROM scratch\n", &[])).await.0);
    let case = Case { containers: &double, dir: dir.path(), mark: Uuid::new_v4().to_string() };
    conforms(&case).await;
}

/// Understands the scripts of this suite.
async fn shell(spec: ContainerSpec, output: mpsc::Sender<Output>) -> Exit {
    let say = |stream, bytes: &'static str| output.send(Output { stream, bytes: bytes.into() });
    let code = match spec.init_args[2].as_str() {
        "exit 3" => 3,
        "echo out; echo err >&2" => {
            say(Stream::Stdout, "out\n").await.unwrap();
            say(Stream::Stderr, "err\n").await.unwrap();
            0
        }
        "sleep 60" => std::future::pending().await,
        other => panic!("unknown script {other:?}"),
    };
    Exit { code: Some(code), ..Exit::default() }
}

async fn conforms(case: &Case<'_>) {
    assert_eq!(case.containers.engine().await.unwrap().limits_hold, Ok(()));
    absence_is_told(case).await;
    images_come_and_go(case).await;
    a_broken_context_is_an_error(case).await;
    programs_end_as_they_do(case).await;
    kill_and_remove_end_them(case).await;
}

async fn absence_is_told(case: &Case<'_>) {
    let nowhere = "localhost/dunnage/nowhere:v1";
    assert_eq!(case.containers.image(nowhere).await.unwrap(), None);
    case.containers.remove_image(nowhere).await.unwrap();
    let spec = ContainerSpec { image: nowhere.to_owned(), ..case.spec("exit 3") };
    let refused = case.containers.create(&spec).await;
    assert!(matches!(&refused, Err(Error::NoSuchImage(image)) if image == nowhere), "{refused:?}");
    for id in ["0123456789abcdef", "../images/json", ""] {
        let id = ContainerId(id.to_owned());
        let refused = case.containers.start(&id).await;
        assert!(matches!(&refused, Err(Error::NoSuchContainer(absent)) if *absent == id), "{refused:?}");
        case.containers.kill(&id).await.unwrap();
        case.containers.remove(&id).await.unwrap();
        assert_eq!(case.containers.memory(&id).await, None);
    }
    assert_eq!(case.containers.containers(TEST_LABEL, &case.mark).await.unwrap(), []);
    assert_eq!(case.containers.images(TEST_LABEL, &case.mark).await.unwrap(), []);
}

async fn images_come_and_go(case: &Case<'_>) {
    let tag = format!("localhost/dunnage/test-{}:v1", case.mark);
    let build = |log: bool| {
        let mut build = plain_build(&tag, "FROM scratch\nCOPY x /x\n", &[("x", case.mark.as_bytes())]);
        build.labels = case.labels();
        let (sender, receiver) = mpsc::channel(64);
        (build, sender, log.then_some(receiver))
    };
    let (first, log, receiver) = build(true);
    let image = image_of(case.containers.build(first, log).await.unwrap());
    assert_eq!((&image.tags, &image.labels[TEST_LABEL]), (&vec![tag.clone()], &case.mark));
    assert!(receiver.unwrap().recv().await.unwrap().starts_with("STEP 1"));
    // Nobody follows the log: the build does not mind.
    let (second, log, _) = build(false);
    image_of(case.containers.build(second, log).await.unwrap());

    let image = case.containers.image(&tag).await.unwrap().unwrap();
    let listed = case.containers.images(TEST_LABEL, &case.mark).await.unwrap();
    assert!(listed.iter().any(|other| other.id == image.id && other.tags == image.tags), "{listed:?}");
    for image in listed {
        case.containers.remove_image(&image.id).await.unwrap();
    }
    assert_eq!(case.containers.image(&tag).await.unwrap(), None);
    assert_eq!(case.containers.images(TEST_LABEL, &case.mark).await.unwrap(), []);
}

struct Broken;

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::Error::other("the disk is gone")))
    }
}

async fn a_broken_context_is_an_error(case: &Case<'_>) {
    let build =
        Build { context: Box::new(Broken), ..plain_build("localhost/dunnage/test-broken:v1", "", &[]) };
    let end = case.containers.build(build, mpsc::channel(64).0).await;
    let Err(Error::Io { source, .. }) = &end else { panic!("{end:?}") };
    assert_eq!(source.to_string(), "the disk is gone");
}

async fn programs_end_as_they_do(case: &Case<'_>) {
    let (id, running) = case.start("exit 3").await;
    assert_eq!(Ran::of(running).await.exit.code, Some(3));
    case.containers.remove(&id).await.unwrap();

    let (id, running) = case.start("echo out; echo err >&2").await;
    let ran = Ran::of(running).await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit.code), ("out\n", "err\n", Some(0)));
    assert!(!ran.exit.oom_killed);
    case.containers.remove(&id).await.unwrap();
}

async fn kill_and_remove_end_them(case: &Case<'_>) {
    let (id, running) = case.start("sleep 60").await;
    assert_eq!(case.containers.containers(TEST_LABEL, &case.mark).await.unwrap(), std::slice::from_ref(&id));
    assert!(case.containers.memory(&id).await.is_some());
    case.containers.kill(&id).await.unwrap();
    assert_eq!(Ran::of(running).await.exit.code, Some(137));
    case.containers.kill(&id).await.unwrap();
    case.containers.remove(&id).await.unwrap();
    case.containers.remove(&id).await.unwrap();

    // To drop it is to look away, no more; to remove it ends it.
    let (id, running) = case.start("sleep 60").await;
    drop(running);
    assert_eq!(case.containers.containers(TEST_LABEL, &case.mark).await.unwrap(), std::slice::from_ref(&id));
    let (other, running) = case.start("sleep 60").await;
    case.containers.remove(&other).await.unwrap();
    assert_eq!(Ran::of(running).await.exit.code, Some(137));
    case.containers.remove(&id).await.unwrap();
    let created = case.containers.create(&case.spec("exit 3")).await.unwrap();
    case.containers.kill(&created).await.unwrap();
    case.containers.remove(&created).await.unwrap();
    assert_eq!(case.containers.containers(TEST_LABEL, &case.mark).await.unwrap(), []);
}

#[tokio::test]
async fn the_double_fails_delays_and_lies() {
    let double = Scripted::new(Arc::new(|spec, output| Box::pin(shell(spec, output))));
    let refused = || Error::Refused { doing: "removing", status: 500, message: "no".to_owned() };
    image_of(built(&double, plain_build(SHELL_IMAGE, "FROM scratch\n", &[])).await.0);

    double.next(Operation::RemoveImage, Fault::Fail(refused()));
    double.remove_image(SHELL_IMAGE).await.unwrap_err();
    assert!(double.image(SHELL_IMAGE).await.unwrap().is_some());

    double.next(Operation::RemoveImage, Fault::Lie(refused()));
    double.remove_image(SHELL_IMAGE).await.unwrap_err();
    assert!(double.image(SHELL_IMAGE).await.unwrap().is_none());

    double.next(Operation::Image, Fault::Hang);
    let hanging = tokio::time::timeout(Duration::from_millis(20), double.image(SHELL_IMAGE)).await;
    assert!(hanging.is_err());
    double.next(Operation::Image, Fault::Delay(Duration::from_millis(20)));
    let begun = std::time::Instant::now();
    double.image(SHELL_IMAGE).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    double.next_build(BuildEnd::TimedOut);
    assert_eq!(built(&double, plain_build(SHELL_IMAGE, "", &[])).await.0, BuildEnd::TimedOut);
}

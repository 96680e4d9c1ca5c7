//! The `Containers` port: one suite for the double and real Podman, and on real Podman that each
//! limit holds, read off a running container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunnage::containers::podman::{Podman, PodmanOptions};
use dunnage::containers::{
    Build, BuildEnd, ContainerId, ContainerSpec, Containers, Exit, Image, Running, Stream,
};
use dunnage::limits::MIB;
use dunnage::model::Limits;
use tempfile::TempDir;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::required;

mod build;
mod conformance;
mod isolation;
mod liar;
mod output;
mod service;

/// An image of nothing but a shell at `/bin/sh`.
const SHELL_IMAGE: &str = "localhost/dunnage/test-shell:latest";
const TEST_LABEL: &str = "org.dunnage.test";

/// Podman as a host would connect to it, with a stand-in for `dunnage-init` that runs its arguments.
struct Engine {
    podman: Podman,
    dir: TempDir,
    /// Marks what this test made.
    mark: String,
}

impl Engine {
    async fn connect() -> Self {
        let socket = PathBuf::from(required("DUNNAGE_TEST_PODMAN_SOCKET"));
        let engine = Self::with_socket(Some(socket), CancellationToken::new()).await;
        static SHELL: OnceCell<()> = OnceCell::const_new();
        SHELL.get_or_init(|| engine.build_shell()).await;
        engine
    }

    async fn with_socket(socket: Option<PathBuf>, stop: CancellationToken) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let podman = Podman::connect(options(socket, dir.path()), stop).await.unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        Self { podman, dir, mark: Uuid::new_v4().to_string() }
    }

    async fn build_shell(&self) {
        let build = plain_build(SHELL_IMAGE, "FROM scratch\nCOPY sh /bin/sh\n", &[("sh", &busybox())]);
        match built(&self.podman, build).await {
            (BuildEnd::Built(_), _) => {}
            other => panic!("{other:?}"),
        }
    }

    fn build(&self, tag: &str, dockerfile: &str, files: &[(&str, &[u8])]) -> Build {
        Build { labels: self.labels(), ..plain_build(tag, dockerfile, files) }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(TEST_LABEL.to_owned(), self.mark.clone())])
    }

    /// A container that runs the script in a shell.
    fn spec(&self, script: &str) -> ContainerSpec {
        spec(self.dir.path().join("run"), self.labels(), SHELL_IMAGE, script)
    }

    async fn start(&self, spec: &ContainerSpec) -> (ContainerId, Running) {
        let id = self.podman.create(spec).await.unwrap();
        let running = self.podman.start(&id).await.unwrap();
        (id, running)
    }

    /// Runs to the end and removes.
    async fn run(&self, spec: &ContainerSpec) -> Ran {
        let (id, running) = self.start(spec).await;
        let ran = Ran::of(running).await;
        self.podman.remove(&id).await.unwrap();
        ran
    }

    async fn script(&self, script: &str) -> Ran {
        self.run(&self.spec(script)).await
    }

    async fn left(&self) -> Vec<ContainerId> {
        self.podman.containers(TEST_LABEL, &self.mark).await.unwrap()
    }
}

fn options(socket: Option<PathBuf>, data_dir: &Path) -> PodmanOptions {
    use std::os::unix::fs::PermissionsExt;
    let init = data_dir.join("init");
    std::fs::write(&init, "#!/bin/sh\nexec \"$@\"\n").unwrap();
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)).unwrap();
    PodmanOptions { socket, data_dir: data_dir.to_owned(), init }
}

fn plain_build(tag: &str, dockerfile: &str, files: &[(&str, &[u8])]) -> Build {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files.iter().copied().chain([("Dockerfile", dockerfile.as_bytes())]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    Build {
        tag: tag.to_owned(),
        context: Box::new(std::io::Cursor::new(archive.into_inner().unwrap())),
        build_args: Vec::new(),
        labels: BTreeMap::new(),
        network: false,
        memory_bytes: 256 * MIB as u64,
        timeout: Duration::from_secs(120),
    }
}

fn spec(runtime_dir: PathBuf, labels: BTreeMap<String, String>, image: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: format!("dunnage-test-{}", Uuid::new_v4()),
        image: image.to_owned(),
        init_args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("GREETING".to_owned(), "hello".to_owned())],
        limits: Limits { memory_mib: 64, cpu_millis: 500, timeout_ms: 5000, concurrency: 1 },
        pids_max: 16,
        runtime_dir,
        scratch_bytes: 4 * MIB as u64,
        labels,
    }
}

/// Debian's static busybox, from the package busybox-static.
fn busybox() -> Vec<u8> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("busybox-static is installed by tests/run.sh")
}

/// How a build ended and what it said.
async fn built(containers: &dyn Containers, build: Build) -> (BuildEnd, Vec<String>) {
    let (sender, mut receiver) = mpsc::channel(16);
    let follow = async {
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line);
        }
        lines
    };
    let (end, lines) = tokio::join!(containers.build(build, sender), follow);
    (end.unwrap(), lines)
}

#[track_caller]
fn image_of(end: BuildEnd) -> Image {
    match end {
        BuildEnd::Built(image) => image,
        other => panic!("{other:?}"),
    }
}

/// What a container wrote and how it ended.
#[derive(Debug, PartialEq)]
struct Ran {
    stdout: String,
    stderr: String,
    exit: Exit,
}

impl Ran {
    async fn of(mut running: Running) -> Self {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(output) = running.output.recv().await {
            match output.stream {
                Stream::Stdout => stdout.extend(output.bytes),
                Stream::Stderr => stderr.extend(output.bytes),
            }
        }
        let exit = running.exit.await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { stdout: text(stdout), stderr: text(stderr), exit }
    }

    #[track_caller]
    fn ok(self) -> String {
        assert_eq!((self.exit.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }
}

//! A container engine whose containers are tasks of the test, and an invoker on top of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dunnage::catalog::Deployed;
use dunnage::containers::{
    Build, BuildEnd, ContainerId, ContainerSpec, Containers, Engine, Error, Exit, Image, Memory, Output,
    Running, Stream,
};
use dunnage::db::{FunctionRecord, FunctionStatus, InvocationRecord, VersionRecord};
use dunnage::invoke::protocol::Peers;
use dunnage::invoke::{self, Answer, Invoker, Observed, Options, Outcome, Request, Start};
use dunnage::metrics::Metrics;
use dunnage::model::{Contract, Limits, Plan};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::runtime::Client;

/// What a container's program does; it runs as a task, and is aborted when the container is killed.
pub(super) type Program = Arc<dyn Fn(Inside) -> futures_util::future::BoxFuture<'static, Exit> + Send + Sync>;

pub(super) fn program<F>(run: impl Fn(Inside) -> F + Send + Sync + 'static) -> Program
where
    F: Future<Output = Exit> + Send + 'static,
{
    Arc::new(move |inside| Box::pin(run(inside)))
}

/// What a program sees of its container.
pub(super) struct Inside {
    pub(super) socket: PathBuf,
    pub(super) output: mpsc::Sender<Output>,
}

impl Inside {
    pub(super) async fn connect(&self) -> Client {
        Client::connect(&self.socket).await
    }

    pub(super) async fn print(&self, stream: Stream, text: &str) {
        let _ = self.output.send(Output { stream, bytes: text.to_owned().into() }).await;
    }
}

pub(super) fn exit(code: i32) -> Exit {
    Exit { code: Some(code), ..Exit::default() }
}

/// What goes wrong in the engine itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    NoSuchImage,
    CreateFails,
    CreateHangs,
    StartFails,
    RemoveFails,
    /// The first two attempts fail.
    RemoveFailsTwice,
}

pub(super) struct Double {
    pub(super) program: Program,
    pub(super) fault: Fault,
    pub(super) memory: Option<Memory>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    created: HashMap<String, ContainerSpec>,
    running: HashMap<String, (tokio::task::AbortHandle, oneshot::Sender<()>)>,
    /// `create a`, `start a`, `kill a`, `remove a`, in order, without the names.
    calls: Vec<&'static str>,
    most_starting: usize,
    starting: usize,
}

impl Double {
    pub(super) fn new(program: Program) -> Self {
        let memory = Some(Memory { peak_bytes: 7 << 20, oom_kills: 0 });
        Self { program, fault: Fault::None, memory, state: Mutex::default() }
    }

    pub(super) fn calls(&self) -> Vec<&'static str> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(super) fn left(&self) -> usize {
        self.state.lock().unwrap().created.len()
    }

    pub(super) fn most_starting(&self) -> usize {
        self.state.lock().unwrap().most_starting
    }

    pub(super) fn specs(&self) -> Vec<ContainerSpec> {
        self.state.lock().unwrap().created.values().cloned().collect()
    }

    fn note(&self, call: &'static str) -> usize {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call);
        state.calls.iter().filter(|c| **c == call).count()
    }

    fn stop(&self, id: &ContainerId) {
        if let Some((task, killed)) = self.state.lock().unwrap().running.remove(&id.0) {
            task.abort();
            let _ = killed.send(());
        }
    }
}

fn refused(doing: &'static str) -> Error {
    Error::Refused { doing, status: 500, message: "on purpose".to_owned() }
}

#[async_trait]
impl Containers for Double {
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        self.note("create");
        self.state.lock().unwrap().starting += 1;
        match self.fault {
            Fault::NoSuchImage => return Err(Error::NoSuchImage(spec.image.clone())),
            Fault::CreateFails => return Err(refused("creating")),
            Fault::CreateHangs => std::future::pending().await,
            _ => {}
        }
        // A moment in which a caller may go away, or another start overlap.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let mut state = self.state.lock().unwrap();
        state.most_starting = state.most_starting.max(state.starting);
        state.created.insert(spec.name.clone(), spec.clone());
        Ok(ContainerId(spec.name.clone()))
    }

    async fn start(&self, id: &ContainerId) -> Result<Running, Error> {
        self.note("start");
        self.state.lock().unwrap().starting -= 1;
        if self.fault == Fault::StartFails {
            return Err(refused("starting"));
        }
        let mut state = self.state.lock().unwrap();
        let socket = state.created[&id.0].runtime_dir.join("runtime.sock");
        let (sender, output) = mpsc::channel(8);
        let (told, exit) = oneshot::channel();
        let (killed, kill) = oneshot::channel();
        let task = tokio::spawn((self.program)(Inside { socket, output: sender }));
        state.running.insert(id.0.clone(), (task.abort_handle(), killed));
        tokio::spawn(async move {
            let ended = task.await.unwrap_or(Exit { code: Some(137), ..Exit::default() });
            drop(kill);
            let _ = told.send(ended);
        });
        Ok(Running { output, exit })
    }

    async fn memory(&self, id: &ContainerId) -> Option<Memory> {
        self.state.lock().unwrap().created.get(&id.0)?;
        self.memory
    }

    async fn kill(&self, id: &ContainerId) -> Result<(), Error> {
        self.note("kill");
        self.stop(id);
        Ok(())
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        let times = self.note("remove");
        let fails = self.fault == Fault::RemoveFails || self.fault == Fault::RemoveFailsTwice && times <= 2;
        if fails {
            return Err(refused("removing"));
        }
        self.stop(id);
        self.state.lock().unwrap().created.remove(&id.0);
        Ok(())
    }

    async fn engine(&self) -> Result<Engine, Error> {
        Err(refused("engine"))
    }

    async fn build(&self, _: Build, _: mpsc::Sender<String>) -> Result<BuildEnd, Error> {
        Err(refused("build"))
    }

    async fn image(&self, _: &str) -> Result<Option<Image>, Error> {
        Err(refused("image"))
    }

    async fn images(&self, _: &str, _: &str) -> Result<Vec<Image>, Error> {
        Err(refused("images"))
    }

    async fn remove_image(&self, _: &str) -> Result<(), Error> {
        Err(refused("remove_image"))
    }

    async fn containers(&self, _: &str, _: &str) -> Result<Vec<ContainerId>, Error> {
        Err(refused("containers"))
    }

    async fn stopped(&self) {}
}

/// An invoker on a [`Double`], and all that can be seen from outside.
pub(super) struct Rig {
    pub(super) engine: Arc<Double>,
    pub(super) invoker: Invoker,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: TaskTracker,
    pub(super) flush: CancellationToken,
    pub(super) records: Arc<Mutex<Vec<InvocationRecord>>>,
    pub(super) run_dir: tempfile::TempDir,
}

impl Rig {
    pub(super) fn new(engine: Double) -> Self {
        Self::with_places(engine, 10, Duration::from_secs(10))
    }

    pub(super) fn with_places(engine: Double, places: usize, wait_max: Duration) -> Self {
        let engine = Arc::new(engine);
        let metrics = Arc::new(Metrics::new().unwrap());
        let (tasks, flush) = (TaskTracker::new(), CancellationToken::new());
        let run_dir = tempfile::tempdir().unwrap();
        let records: Arc<Mutex<Vec<InvocationRecord>>> = Arc::default();
        let options = Options {
            containers: engine.clone(),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            run_dir: run_dir.path().to_owned(),
            host_id: Uuid::new_v4(),
            places,
            wait_max,
            peers: Peers::Only(own_uid()),
        };
        let written = records.clone();
        let write = move |batch: Arc<[InvocationRecord]>| {
            written.lock().unwrap().extend(batch.iter().cloned());
            std::future::ready(Ok(()))
        };
        let invoker = Invoker::start(options, write, flush.clone());
        Self { engine, invoker, metrics, tasks, flush, records, run_dir }
    }

    /// The steps of a call but for its plugins.
    pub(super) async fn call(&self, function: &Deployed, event: &str) -> Result<Answer, invoke::Error> {
        let (observed, verdict) = Observed::begin(self.metrics.clone());
        let result = self.steps(function, &request(event), verdict).await;
        observed.end(&result);
        result
    }

    async fn steps(
        &self,
        function: &Deployed,
        request: &Request,
        verdict: oneshot::Receiver<invoke::Verdict>,
    ) -> Result<Answer, invoke::Error> {
        let limits = function.version.limits;
        let place = self.invoker.place(function, &limits).await?;
        let instance = self.invoker.instance(function, &limits, request, verdict).await?;
        let ended = instance.call(request).await;
        drop(place);
        Ok(Answer {
            outcome: ended.outcome,
            version: function.version.number,
            start: Start::Cold,
            wait_us: 1,
            run_us: ended.run_us,
            memory_peak_bytes: ended.memory_peak_bytes,
            warnings: Vec::new(),
        })
    }

    /// Ends as the host does; afterwards nothing may be left.
    pub(super) async fn stop(&self) -> Vec<InvocationRecord> {
        self.flush.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.wait()).await.expect("tasks end");
        let gauges = [&self.metrics.active_executions, &self.metrics.waiting_invocations];
        assert_eq!(gauges.map(|gauge| gauge.get()), [0, 0]);
        assert_eq!(self.metrics.active_cleanup_timers.get(), 0);
        assert_eq!(std::fs::read_dir(self.run_dir.path()).unwrap().count(), 0, "no socket is left");
        self.records.lock().unwrap().clone()
    }

    pub(super) fn cleanups(&self, result: &str) -> u64 {
        self.metrics.cleanups.with_label_values(&[result]).get()
    }

    pub(super) fn invocations(&self, outcome: &str) -> u64 {
        self.metrics.invocations.with_label_values(&[outcome]).get()
    }
}

pub(super) fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().unwrap().uid()
}

pub(super) fn request(event: &str) -> Request {
    Request {
        id: Uuid::new_v4(),
        request_id: "request-1".to_owned(),
        event: serde_json::value::RawValue::from_string(event.to_owned()).unwrap(),
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body_bytes: event.len() as u64,
        remote: None,
    }
}

pub(super) fn function(timeout_ms: u32, concurrency: u32) -> Deployed {
    let id = Uuid::new_v4();
    let limits = Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms, concurrency };
    Deployed {
        function: FunctionRecord {
            id,
            name: "double".parse().unwrap(),
            status: FunctionStatus::Active,
            skip_signing: false,
            language: None,
            labels: Default::default(),
            created_at: 0,
            updated_at: 0,
        },
        version: VersionRecord {
            id: Uuid::new_v4(),
            function_id: id,
            number: 3,
            is_current: true,
            content_digest: String::new(),
            archive_digest: String::new(),
            archive_bytes: 0,
            archive_key: String::new(),
            image_tag: "localhost/double:v3".to_owned(),
            image_digest: String::new(),
            language: "rust".to_owned(),
            entrypoint: "main.handler".to_owned(),
            contract: Contract::RuntimeApi,
            command: vec!["/function".to_owned(), "--flag".to_owned()],
            limits,
            labels: Default::default(),
            environment: vec![
                ("MINE".to_owned(), "yes".to_owned()),
                ("HOME".to_owned(), "/app".to_owned()),
                ("SHARED_PATH".to_owned(), "/etc".to_owned()),
            ],
            instances: 0,
            public: false,
            plan: Plan {
                dockerfile: String::new(),
                files: Vec::new(),
                ignore: Vec::new(),
                build_args: Vec::new(),
                notes: Vec::new(),
            },
            deployed_at: 0,
        },
    }
}

#[track_caller]
pub(super) fn failed(answer: &Answer, kind: &str) -> dunnage::invoke::Failure {
    match &answer.outcome {
        Outcome::Failed(failure) => {
            assert_eq!(failure.kind.as_str(), kind, "{failure:?}");
            failure.clone()
        }
        Outcome::Answered(output) => panic!("it answered {output:?}"),
    }
}

#[track_caller]
pub(super) fn result(answer: &Answer) -> String {
    match &answer.outcome {
        Outcome::Answered(dunnage::invoke::Output::Json(json)) => String::from_utf8(json.to_vec()).unwrap(),
        other => panic!("no plain result: {other:?}"),
    }
}

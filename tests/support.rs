//! A real host for a test: the program itself, on real parts, with what a client needs to use it.
//!
//! A test fails when its host logs a warning or an error that the test did not announce by
//! [`Host::expect_log`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) mod archive;

/// Which database and object store a host stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    SqliteLocal,
    PostgresS3,
}

impl Backing {
    pub(crate) const ALL: [Backing; 2] = [Backing::SqliteLocal, Backing::PostgresS3];
}

pub(crate) struct Host {
    child: Option<Child>,
    address: String,
    pub(crate) token: String,
    pub(crate) data: tempfile::TempDir,
    environment: BTreeMap<String, String>,
    log: Arc<Mutex<Vec<String>>>,
    expected: Vec<String>,
    pub(crate) client: reqwest::Client,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().expect("a text header"))
    }

    /// The answer's JSON, when it has that status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// The code of a problem answer.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> Value {
        let body = self.expect(status);
        assert_eq!(body["type"], format!("/problems/{code}"), "{body}");
        assert!(body["error"].is_string(), "{body}");
        body
    }
}

/// The value of a variable that `tests/run.sh` sets.
pub(crate) fn required(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run tests/run.sh, which starts what the tests need"))
}

impl Host {
    pub(crate) async fn start(backing: Backing) -> Host {
        Self::start_with(backing, &[]).await
    }

    pub(crate) async fn start_with(backing: Backing, environment: &[(&str, &str)]) -> Host {
        let data = tempfile::Builder::new().prefix("dn-").tempdir().unwrap();
        let mut all = base_environment(data.path());
        if backing == Backing::PostgresS3 {
            all.extend(postgres_and_s3().await);
        }
        all.extend(environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let mut host = Host {
            child: None,
            address: String::new(),
            token: String::new(),
            data,
            environment: all,
            log: Arc::default(),
            expected: Vec::new(),
            client: reqwest::Client::new(),
        };
        if backing == Backing::PostgresS3 {
            assert!(host.run(&["migrate"]).status.success());
        }
        host.launch();
        host
    }

    /// Runs the program with this host's environment to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        self.command().args(arguments).output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dunnage"));
        command.env_clear().envs(&self.environment).stdin(Stdio::null());
        command
    }

    /// Starts the program and waits for its line `Ready.`.
    pub(crate) fn launch(&mut self) {
        let mut child = self.command().stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ready, address) = std::sync::mpsc::channel();
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("\"Ready.\"") {
                    let event: Value = serde_json::from_str(&line).unwrap();
                    let _ = ready.send(event["address"].as_str().unwrap().to_owned());
                }
                log.lock().unwrap().push(line);
            }
        });
        self.child = Some(child);
        match address.recv_timeout(Duration::from_secs(60)) {
            Ok(address) => self.address = address,
            Err(_) => panic!("the host did not start:\n{}", self.log().join("\n")),
        }
        self.token = std::fs::read_to_string(self.data.path().join("admin.token")).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the host runs").id()
    }

    /// SIGKILL: no chance to clean up.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the host runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and wait for the end; the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        signal(child.id(), "TERM");
        let until = Instant::now() + Duration::from_secs(45);
        while Instant::now() < until {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        panic!("the host did not stop:\n{}", self.log().join("\n"));
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Announces that warnings and errors with this text are part of the test.
    pub(crate) fn expect_log(&mut self, text: &str) {
        self.expected.push(text.to_owned());
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.client.get(self.url(path)).bearer_auth(&self.token)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send(self.client.post(self.url(path)).bearer_auth(&self.token).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(self.client.delete(self.url(path)).bearer_auth(&self.token)).await
    }

    /// Deploys an archive under a name, with a `config` unless it is null.
    pub(crate) async fn deploy(&self, name: &str, archive: Vec<u8>, config: Value) -> Reply {
        self.send(self.deploy_request(name, archive, config)).await
    }

    pub(crate) fn deploy_request(
        &self,
        name: &str,
        archive: Vec<u8>,
        config: Value,
    ) -> reqwest::RequestBuilder {
        let part = reqwest::multipart::Part::bytes(archive).file_name("function.tar.gz");
        let mut form = reqwest::multipart::Form::new().text("name", name.to_owned());
        if !config.is_null() {
            form = form.text("config", config.to_string());
        }
        let url = self.url("/api/functions/deploy");
        self.client.post(url).bearer_auth(&self.token).multipart(form.part("archive", part))
    }

    pub(crate) async fn invoke(&self, function: &str, body: Value) -> Reply {
        self.post(&format!("/api/functions/{function}/invoke"), &json!({ "body": body })).await
    }

    /// A sample of `/metrics`; 0 when it was never counted.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let value = |line: &str| line.strip_prefix(sample)?.trim().parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(mut child) = self.child.take() {
                signal(child.id(), "TERM");
                std::thread::sleep(Duration::from_millis(500));
                let _ = child.kill();
                let _ = child.wait();
            }
            eprintln!("--- the host's log\n{}\n---", self.log().join("\n"));
            return;
        }
        self.stop();
        let loud =
            |line: &&String| line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"");
        let announced = |line: &String| self.expected.iter().any(|text| line.contains(text));
        let log = self.log();
        let unexpected: Vec<_> = log.iter().filter(loud).filter(|line| !announced(line)).collect();
        assert!(unexpected.is_empty(), "the host logged what the test does not expect: {unexpected:#?}");
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill -{name} {pid}");
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ is in the repository").to_owned()
}

fn base_environment(data: &Path) -> BTreeMap<String, String> {
    let text = |path: PathBuf| path.display().to_string();
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ("DUNNAGE_DATA_DIR".to_owned(), text(data.to_owned())),
        ("DUNNAGE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("DUNNAGE_LOG_FORMAT".to_owned(), "json".to_owned()),
        ("DUNNAGE_PLUGINS".to_owned(), text(root().join("examples/plugins.toml"))),
        ("DUNNAGE_INIT".to_owned(), required("DUNNAGE_TEST_INIT")),
        ("PODMAN_SOCKET".to_owned(), required("DUNNAGE_TEST_PODMAN_SOCKET")),
    ]);
    if let Ok(filter) = std::env::var("DUNNAGE_LOG") {
        all.insert("DUNNAGE_LOG".to_owned(), filter);
    }
    all
}

/// A database of the test's own on the running PostgreSQL; the bucket is shared.
async fn postgres_and_s3() -> Vec<(String, String)> {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    vec![
        variable("DATABASE_URL", crate::db::own_database().await),
        variable("DUNNAGE_STORAGE", "s3".to_owned()),
        variable("S3_ENDPOINT", required("DUNNAGE_TEST_S3_ENDPOINT")),
        variable("S3_BUCKET_NAME", required("DUNNAGE_TEST_S3_BUCKET")),
        variable("S3_ACCESS_KEY_ID", required("DUNNAGE_TEST_S3_ACCESS_KEY_ID")),
        variable("S3_SECRET_ACCESS_KEY", required("DUNNAGE_TEST_S3_SECRET_ACCESS_KEY")),
    ]
}

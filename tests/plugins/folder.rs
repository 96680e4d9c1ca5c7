//! A manifest with its components in a folder of the test's own, and what plugins are asked with.

use std::path::PathBuf;
use std::sync::Arc;

use dunnage::metrics::Metrics;
use dunnage::model::{Finding, FunctionRef, FunctionResponse, Limits, Principal, Scope};
use dunnage::plugins::{
    Admitted, Call, Denied, Deployment, Failure, Invocation, LoadError, Plugins, ReviewError, Source,
};
use uuid::Uuid;

pub(super) struct Folder {
    pub(super) dir: tempfile::TempDir,
    pub(super) metrics: Arc<Metrics>,
    manifest: String,
}

impl Folder {
    pub(super) fn new() -> Folder {
        let metrics = Arc::new(Metrics::new().unwrap());
        Folder { dir: tempfile::tempdir().unwrap(), metrics, manifest: String::new() }
    }

    /// Adds a plugin; `rest` is more of its entry.
    pub(super) fn with(mut self, name: &str, component: &[u8], rest: &str) -> Folder {
        self.write(&format!("{name}.wasm"), component);
        self.manifest += &format!("[[plugin]]\nname = '{name}'\nfile = '{name}.wasm'\n{rest}\n");
        self
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("plugins.toml")
    }

    pub(super) async fn load(&self) -> Result<Plugins, LoadError> {
        self.write("plugins.toml", self.manifest.as_bytes());
        Plugins::load(Some(&self.path()), self.metrics.clone()).await
    }

    /// A sample of the metrics; 0 when it was never counted.
    pub(super) fn metric(&self, sample: &str) -> f64 {
        let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok()).unwrap_or(0.0)
    }

    pub(super) fn calls(&self, plugin: &str, point: &str, outcome: &str) -> f64 {
        let labels = format!("outcome=\"{outcome}\",plugin=\"{plugin}\",point=\"{point}\"");
        self.metric(&format!("dunnage_plugin_calls_total{{{labels}}}"))
    }
}

pub(super) fn call() -> Call {
    Call { id: Uuid::now_v7(), at: 1_700_000_000_000, attributes: Vec::new() }
}

pub(super) fn function() -> FunctionRef {
    FunctionRef {
        id: Uuid::nil(),
        name: "hello".parse().unwrap(),
        version: 1,
        language: "python".to_owned(),
        labels: [("tier".to_owned(), "free".to_owned())].into(),
    }
}

pub(super) const LIMITS: Limits =
    Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 30_000, concurrency: 10 };

pub(super) fn principal() -> Principal {
    Principal { id: "ci".to_owned(), scopes: vec![Scope::Deploy, Scope::Invoke] }
}

pub(super) fn invocation() -> Invocation {
    Invocation {
        function: function(),
        limits: LIMITS,
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body_bytes: Some(2),
        remote: None,
    }
}

pub(super) fn deployment() -> Deployment {
    Deployment {
        function: function(),
        limits: LIMITS,
        source_digest: "0".repeat(64),
        source_bytes: 100,
        dockerfile: "FROM scratch\n".to_owned(),
        environment: Vec::new(),
        replaces: None,
    }
}

pub(super) fn source(language: &str) -> Source {
    let mut function = function();
    function.language = language.to_owned();
    Source { function, language_version: None, entrypoint: None, files: Vec::new() }
}

pub(super) fn response(body: &[u8]) -> FunctionResponse {
    let headers = [("content-type", "text/plain"), ("server", "x"), ("set-cookie", "a=1")];
    FunctionResponse {
        status: 200,
        headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
        body: body.to_vec().into(),
    }
}

pub(super) async fn review_invoke(plugins: &Plugins) -> Result<Admitted, ReviewError> {
    plugins.review_invoke(&call(), Some(&principal()), &invocation()).await
}

pub(super) async fn review_deploy(plugins: &Plugins) -> Result<Admitted, ReviewError> {
    plugins.review_deploy(&call(), &principal(), &deployment()).await
}

#[track_caller]
pub(super) fn failure(result: Result<Admitted, ReviewError>) -> Failure {
    match result {
        Err(ReviewError::Failed(failure)) => failure,
        other => panic!("no failure but {other:?}"),
    }
}

#[track_caller]
pub(super) fn denied(result: Result<Admitted, ReviewError>) -> Denied {
    match result {
        Err(ReviewError::Denied(denied)) => denied,
        other => panic!("no denial but {other:?}"),
    }
}

pub(super) fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.rule.as_str()).collect()
}

//! Deploys: what becomes visible, and what does not.

use serde_json::{Value, json};

use super::{deploy_python, result_of, says};
use crate::support::{Backing, Host, archive, root};

/// Every example that can be built here, through the whole path.
async fn examples_answer(backing: Backing) {
    let host = Host::start(backing).await;
    for (name, language) in [("hello-python", "python"), ("hello-node", "node")] {
        let folder = root().join("examples").join(name);
        let deployed = host.deploy(name, archive::of_folder(&folder), Value::Null).await.expect(201);
        assert_eq!(deployed["version"], 1);
        assert_eq!(deployed["isFirstDeployment"], true);
        let answer = host.invoke(name, json!({"name": "Ada"})).await.expect(200);
        assert_eq!(answer["success"], true, "{answer}");
        assert!(answer["result"].to_string().contains("Ada"), "{answer}");
        let shown = host.get(&format!("/api/functions/{name}")).await.expect(200);
        assert_eq!(shown["language"], language);
    }
    let program = std::path::PathBuf::from(crate::support::required("DUNNAGE_TEST_HELLO_STATIC"));
    let packed = archive::of_program("hello-static", &program);
    let config = json!({"language": "static", "entrypoint": "hello-static"});
    host.deploy("hello-static", packed, config).await.expect(201);
    let answer = result_of(&host, "hello-static", json!({"name": "Ada"})).await;
    assert!(answer.to_string().contains("Ada"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_answer_on_sqlite_and_a_directory() {
    examples_answer(Backing::SqliteLocal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_answer_on_postgresql_and_s3() {
    examples_answer(Backing::PostgresS3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_again_is_the_same_version() {
    let host = Host::start(Backing::SqliteLocal).await;
    let first = deploy_python(&host, "same", &says("a"), json!({"labels": {"team": "x"}})).await;
    let again = deploy_python(&host, "same", &says("a"), json!({"labels": {"team": "x"}})).await;
    assert_eq!(first["deploymentId"], again["deploymentId"]);
    let other_config = deploy_python(&host, "same", &says("a"), json!({"labels": {"team": "y"}})).await;
    assert_eq!(other_config["version"], 2);
    let other_code = deploy_python(&host, "same", &says("b"), json!({"labels": {"team": "y"}})).await;
    assert_eq!(other_code["version"], 3);
    assert_eq!(result_of(&host, "same", Value::Null).await, "b");
    let back = deploy_python(&host, "same", &says("a"), json!({"labels": {"team": "x"}})).await;
    assert_eq!(back["version"], 1);
    assert_eq!(result_of(&host, "same", Value::Null).await, "a");
}

async fn rollback_rebuilds(backing: Backing) {
    let host = Host::start(backing).await;
    let first = deploy_python(&host, "back", &says("one"), Value::Null).await;
    deploy_python(&host, "back", &says("two"), Value::Null).await;
    assert_eq!(result_of(&host, "back", Value::Null).await, "two");
    let image = first["image_tag"].as_str().unwrap();
    assert_eq!(left_containers(&host), Vec::<String>::new());
    podman(&["rmi", "--force", image]);
    let reply = host.post("/api/functions/back/rollback", &json!({"version": 1})).await.expect(200);
    assert_eq!(reply["version"], 1);
    assert_eq!(result_of(&host, "back", Value::Null).await, "one");
    let missing = host.post("/api/functions/back/rollback", &json!({"version": 9})).await;
    assert_eq!(missing.status, 404, "{missing:?}");
    // A call whose image went away in the meantime builds it again too.
    assert_eq!(left_containers(&host), Vec::<String>::new());
    podman(&["rmi", "--force", image]);
    assert_eq!(result_of(&host, "back", Value::Null).await, "one");
    let list = host.get("/api/functions/back/deployments").await.expect(200);
    let active: Vec<_> =
        list["deployments"].as_array().unwrap().iter().filter(|d| d["is_active"] == true).collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["version"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_rebuilds_a_removed_image_from_the_directory() {
    rollback_rebuilds(Backing::SqliteLocal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_rebuilds_a_removed_image_from_s3() {
    rollback_rebuilds(Backing::PostgresS3).await;
}

/// While deploys fail in every way, the old version answers every call.
#[tokio::test(flavor = "multi_thread")]
async fn failed_deploys_leave_the_old_version_answering() {
    let operator = Operator::new();
    let host = Host::start_with(Backing::SqliteLocal, &[("DUNNAGE_PLUGINS", &operator.manifest())]).await;
    deploy_python(&host, "steady", &says("old"), Value::Null).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let caller = async {
        let mut calls = 0;
        while !stop.is_cancelled() {
            assert_eq!(result_of(&host, "steady", Value::Null).await, "old");
            calls += 1;
        }
        calls
    };
    let deployer = async {
        let fresh = || archive::of(&[("main.py", &says("new"))]);
        operator.template("FROM localhost/dunnage/python:latest\nRUN echo building; exit 7\n");
        let failed = host.deploy("steady", fresh(), Value::Null).await.expect_problem(422, "build-failed");
        assert!(failed.to_string().contains("building"), "{failed}");
        operator.template("FROM localhost/dunnage/python:latest\nADD http://example.org/x /x\n");
        host.deploy("steady", fresh(), Value::Null).await.expect_problem(422, "plan-refused");
        operator.template("FROM docker.io/library/forbidden:1\n");
        host.deploy("steady", fresh(), Value::Null).await.expect_problem(403, "policy-denied");
        host.deploy("steady", b"no archive".to_vec(), Value::Null).await;
        let unknown = host.deploy("steady", fresh(), json!({"language": "cobol"})).await;
        assert!(unknown.text.contains("python"), "known languages are named: {unknown:?}");
        stop.cancel();
    };
    let (calls, ()) = tokio::join!(caller, deployer);
    assert!(calls > 0, "{calls} calls were made meanwhile");
    let list = host.get("/api/functions/steady/deployments").await.expect(200);
    assert_eq!(list["deployments"].as_array().unwrap().len(), 1, "{list}");
    let logs = host.get("/api/functions/steady/logs?kind=deploy").await.expect(200);
    assert!(logs.to_string().contains("building"), "the failed build's log is kept: {logs}");
    assert_eq!(left_images(&host).len(), 1, "{:?}", left_images(&host));
}

/// An operator changes a text file; the next deploy uses it, with no restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_template_reaches_the_next_deploy() {
    let operator = Operator::new();
    let host = Host::start_with(Backing::SqliteLocal, &[("DUNNAGE_PLUGINS", &operator.manifest())]).await;
    let code = "import os\ndef handler(event, context):\n    return os.environ.get('FLAVOUR', 'none')\n";
    deploy_python(&host, "flavoured", code, Value::Null).await;
    assert_eq!(result_of(&host, "flavoured", Value::Null).await, "none");
    let shipped = root().join("plugins/dockerfile-templates/templates/python.Dockerfile");
    let text = std::fs::read_to_string(shipped).unwrap();
    operator.template(&format!("{text}\nENV FLAVOUR=vanilla\n"));
    let second = deploy_python(&host, "flavoured", code, Value::Null).await;
    assert_eq!(second["version"], 2, "same archive, new template: a new version");
    assert_eq!(result_of(&host, "flavoured", Value::Null).await, "vanilla");
}

#[tokio::test(flavor = "multi_thread")]
async fn deploys_of_one_function_at_once_never_share_a_number() {
    for backing in Backing::ALL {
        let host = Host::start(backing).await;
        let (a, b) = (says("a"), says("b"));
        let (a, b) = tokio::join!(
            deploy_python(&host, "race", &a, Value::Null),
            deploy_python(&host, "race", &b, Value::Null)
        );
        let mut numbers = [a["version"].as_u64().unwrap(), b["version"].as_u64().unwrap()];
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(a["id"], b["id"]);
        let newest = if a["version"] == 2 { "a" } else { "b" };
        assert_eq!(result_of(&host, "race", Value::Null).await, newest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_can_be_followed() {
    let host = Host::start(Backing::SqliteLocal).await;
    let request = host.deploy_request("followed", archive::of(&[("main.py", &says("x"))]), Value::Null);
    let reply = host.send(request.header("accept", "application/x-ndjson")).await;
    let events: Vec<Value> = reply.text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(events.iter().any(|e| e["event"] == "step" && e["step"] == "build"), "{events:?}");
    assert!(events.iter().any(|e| e["event"] == "log"), "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(last["event"], "done");
    assert_eq!(last["version"], 1, "{last}");
    let request = host.deploy_request("followed", b"junk".to_vec(), Value::Null);
    let reply = host.send(request.header("accept", "application/x-ndjson")).await;
    assert!(reply.text.contains("/problems/"), "{reply:?}");
}

async fn delete_removes_all(backing: Backing) {
    let host = Host::start(backing).await;
    let deployed = deploy_python(&host, "gone", &says("x"), Value::Null).await;
    let id = deployed["id"].as_str().unwrap().to_owned();
    deploy_python(&host, "gone", &says("y"), Value::Null).await;
    host.invoke("gone", Value::Null).await.expect(200);
    host.delete("/api/functions/gone").await.expect(200);
    for path in [format!("/api/functions/{id}"), "/api/functions/gone".to_owned()] {
        host.get(&path).await.expect(404);
    }
    assert_eq!(host.invoke("gone", Value::Null).await.status, 404);
    assert_eq!(left_images(&host), Vec::<String>::new());
    assert_eq!(left_containers(&host), Vec::<String>::new());
    if backing == Backing::SqliteLocal {
        assert!(!host.data.path().join("blobs/functions").join(&id).exists());
    }
    assert_eq!(host.delete("/api/functions/gone").await.status, 404);
    let again = deploy_python(&host, "gone", &says("z"), Value::Null).await;
    assert_ne!(again["id"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_removes_all_from_the_directory() {
    delete_removes_all(Backing::SqliteLocal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_removes_all_from_s3() {
    delete_removes_all(Backing::PostgresS3).await;
}

pub(super) fn podman(arguments: &[&str]) -> Vec<String> {
    let output = std::process::Command::new("podman").args(arguments).output().unwrap();
    assert!(output.status.success(), "podman {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn host_filter(host: &Host) -> String {
    let id = std::fs::read_to_string(host.data.path().join("host.id")).unwrap();
    format!("label=org.dunnage.host={}", id.trim())
}

/// Images that carry the host's label.
pub(super) fn left_images(host: &Host) -> Vec<String> {
    podman(&["images", "--quiet", "--no-trunc", "--filter", &host_filter(host)])
}

/// Containers that carry the host's label, once the removals under way had their time.
pub(super) fn left_containers(host: &Host) -> Vec<String> {
    for _ in 0..100 {
        if podman(&["ps", "--all", "--quiet", "--filter", &host_filter(host)]).is_empty() {
            return Vec::new();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    podman(&["ps", "--all", "--quiet", "--filter", &host_filter(host)])
}

/// An operator with plugins and templates of their own, as files that a test changes.
pub(super) struct Operator {
    dir: tempfile::TempDir,
}

impl Operator {
    /// The example's manifest, copied to a folder in which templates can be dropped.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("examples/plugins.toml")).unwrap();
        let plugins = format!("{}/", root().join("plugins").display());
        std::fs::write(dir.path().join("plugins.toml"), text.replace("../plugins/", &plugins)).unwrap();
        std::fs::create_dir(dir.path().join("templates")).unwrap();
        Self { dir }
    }

    /// The path of the operator's `plugins.toml`.
    pub(super) fn manifest(&self) -> String {
        self.dir.path().join("plugins.toml").display().to_string()
    }

    /// Overrides the Dockerfile of Python functions by dropping a file.
    pub(super) fn template(&self, text: &str) {
        std::fs::write(self.dir.path().join("templates/python.Dockerfile"), text).unwrap();
    }

    /// Takes the override back.
    pub(super) fn reset(&self) {
        std::fs::remove_file(self.dir.path().join("templates/python.Dockerfile")).unwrap();
    }
}

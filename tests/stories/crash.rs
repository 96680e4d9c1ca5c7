//! A host that is killed in the middle leaves nothing that the next start does not clear.

use std::time::Duration;

use serde_json::Value;

use super::deploy::{Operator, left_containers, left_images};
use super::{deploy_python, result_of, says};
use crate::support::{Backing, Host, archive};

/// Takes longer than any kill waits; a text of its own each time, so that no layer is known.
fn slow_build(n: u64) -> String {
    format!("FROM localhost/dunnage/python:latest\nCOPY src/ /app/\nRUN sleep 8; : {n}\n")
}

async fn killed_in_a_deploy(backing: Backing) {
    let operator = Operator::new();
    let mut host = Host::start_with(backing, &[("DUNNAGE_PLUGINS", &operator.manifest())]).await;
    host.expect_log("A build of an earlier run is ended");
    deploy_python(&host, "old", &says("old"), Value::Null).await;
    let images = left_images(&host);
    for (name, after) in [("brand-new", 1500), ("old", 1500), ("old", 3500)] {
        operator.template(&slow_build(after + name.len() as u64));
        let request = host.deploy_request(name, archive::of(&[("main.py", &says("new"))]), Value::Null);
        let deploy = tokio::spawn(request.send());
        tokio::time::sleep(Duration::from_millis(after)).await;
        host.kill();
        let told = deploy.await.unwrap();
        assert!(told.is_err(), "nobody was told of a success: {}", told.unwrap().text().await.unwrap());
        host.launch();
        let list = host.get("/api/functions").await.expect(200);
        let names: Vec<_> = list.as_array().unwrap().iter().map(|f| f["name"].clone()).collect();
        assert_eq!(names, ["old"], "a deploy that was cut off is not visible");
        assert_eq!(result_of(&host, "old", Value::Null).await, "old");
        assert_eq!(left_containers(&host), Vec::<String>::new());
        assert_eq!(settled_images(&host, images.len()).await, images);
        if backing == Backing::SqliteLocal {
            assert_eq!(archives(&host), 2, "one version and its copy under the current key");
        }
        assert_eq!(std::fs::read_dir(host.data.path().join("tmp")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(host.data.path().join("run")).unwrap().count(), 0);
    }
    // The name can be used as if nothing had been.
    operator.reset();
    let again = deploy_python(&host, "brand-new", &says("fresh"), Value::Null).await;
    assert_eq!(again["isNewFunction"], true);
    assert_eq!(result_of(&host, "brand-new", Value::Null).await, "fresh");
}

/// Podman's service outlives the host and may end the build that it was asked for.
async fn settled_images(host: &Host, expected: usize) -> Vec<String> {
    for _ in 0..20 {
        if left_images(host).len() == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    left_images(host)
}

fn archives(host: &Host) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
    }
    count(&host.data.path().join("blobs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_a_deploy_leaves_nothing() {
    killed_in_a_deploy(Backing::SqliteLocal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_a_deploy_leaves_nothing_on_postgresql_and_s3() {
    killed_in_a_deploy(Backing::PostgresS3).await;
}

/// Containers of calls that a dead host was serving are removed by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_killed_in_a_call_leaves_nothing() {
    let mut host = Host::start_with(Backing::SqliteLocal, &[("FUNCTION_TIMEOUT_SECONDS", "60")]).await;
    let slow = "import time\ndef handler(event, context):\n    time.sleep(50)\n";
    deploy_python(&host, "slow", slow, Value::Null).await;
    let url = host.url("/api/functions/slow/invoke");
    let call = tokio::spawn(host.client.post(url).bearer_auth(&host.token).send());
    tokio::time::sleep(Duration::from_secs(2)).await;
    host.kill();
    assert!(call.await.unwrap().is_err());
    host.launch();
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

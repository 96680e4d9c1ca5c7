//! Golden cases: each `plugins/*/cases/*.json` is a call of a real component through the host, and
//! what must come of it. A new behaviour of a plugin is a new file there and no code here.
//!
//! `point` is the extension point, or `settings` for what is refused at load; `input` what is passed.
//! `settings` are the plugin's; without them those of `examples/plugins.toml` hold, changed by `patch`
//! (RFC 7396). `{"file": "path"}` is the text of that file beside the case. Of `expect`, every member
//! that is given must be equal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunnage::metrics::Metrics;
use dunnage::model::{FunctionRef, FunctionResponse, Limits, Principal, Scope, SourceFile};
use dunnage::plugins::{
    Call, Deployment, Invocation, LoadError, PlanError, Plugins, Processed, ReviewError, Source,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::root;

#[tokio::test(flavor = "multi_thread")]
async fn dockerfile_templates_does_what_its_cases_say() {
    run_cases("dockerfile-templates", 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_policy_does_what_its_cases_say() {
    run_cases("limits-policy", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redact_does_what_its_cases_say() {
    run_cases("redact", 7).await;
}

/// Runs the cases of one plugin, of which there are so many at least.
async fn run_cases(plugin: &str, at_least: usize) {
    let folder = root().join("plugins").join(plugin).join("cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    assert!(paths.len() >= at_least, "{plugin} has {} cases", paths.len());
    for path in paths {
        let case = read_json(&path);
        let expected = with_texts(&case["expect"], path.parent().unwrap());
        let settings = settings_of(plugin, &case, path.parent().unwrap());
        let first = outcome_of(plugin, &case, &settings).await;
        assert!(covers(&first, &expected), "{}: {first:#}\nwas expected to be {expected:#}", path.display());
        let second = outcome_of(plugin, &case, &settings).await;
        assert_eq!(first, second, "{}: the same call has the same answer", path.display());
    }
}

/// Whether every member of `expected` is in `found`; lists are compared whole.
fn covers(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| found.get(key).is_some_and(|f| covers(f, value)))
        }
        _ => found == expected,
    }
}

async fn outcome_of(plugin: &str, case: &Value, settings: &Value) -> Value {
    let plugins = match load(plugin, settings).await {
        Ok(plugins) => plugins,
        Err(error) => return load_refusal(case, &error),
    };
    let (call, input) = (call_of(&case["call"]), &case["input"]);
    match case["point"].as_str() {
        Some("dockerfile") => generate(&plugins, &call, input).await,
        Some("on-deploy") => review_deploy(&plugins, &call, input).await,
        Some("on-invoke") => review_invoke(&plugins, &call, input).await,
        Some("post-process") => post_process(&plugins, &call, input).await,
        point => panic!("{plugin}: the point {point:?} was reached with {settings}"),
    }
}

async fn load(plugin: &str, settings: &Value) -> Result<Plugins, LoadError> {
    let dir = tempfile::tempdir().unwrap();
    let component = root().join("plugins/target").join(format!("{plugin}.wasm"));
    assert!(component.exists(), "{plugin} is not built: run plugins/build.sh");
    let entry = json!({ "name": plugin, "file": component, "settings": settings });
    let manifest = dir.path().join("plugins.toml");
    std::fs::write(&manifest, format!("plugin = [{}]\n", toml_of(&entry))).unwrap();
    Plugins::load(Some(&manifest), Arc::new(Metrics::new().unwrap())).await
}

/// A refusal at load as an outcome: of the texts expected in it, those that are.
fn load_refusal(case: &Value, error: &LoadError) -> Value {
    assert_eq!(case["point"], "settings", "{error}");
    let text = error.to_string();
    let told = |wanted: &&Value| text.contains(wanted.as_str().unwrap());
    let wanted = case["expect"]["told"].as_array().unwrap();
    let told: Vec<&Value> = wanted.iter().filter(told).collect();
    json!({ "told": told, "text": text })
}

async fn generate(plugins: &Plugins, call: &Call, input: &Value) -> Value {
    let file = |file: &Value| SourceFile {
        path: text(&file["path"]).unwrap(),
        bytes: file["bytes"].as_u64().unwrap_or(1),
        text: text(&file["text"]),
    };
    let source = Source {
        function: function_of(input),
        language_version: text(&input["language-version"]),
        entrypoint: text(&input["entrypoint"]),
        files: input["files"].as_array().unwrap().iter().map(file).collect(),
    };
    match plugins.generate(call, &source).await {
        Ok(plan) => json!({ "plan": plan }),
        Err(PlanError::Refused(denied)) => json!({ "refused": denied.findings }),
        Err(error) => json!({ "failed": error.to_string() }),
    }
}

async fn review_deploy(plugins: &Plugins, call: &Call, input: &Value) -> Value {
    let by = Principal { id: "tester".to_owned(), scopes: vec![Scope::Deploy] };
    let what = Deployment {
        function: function_of(input),
        limits: limits_of(input),
        source_digest: "00".repeat(32),
        source_bytes: input["source-bytes"].as_u64().unwrap_or(1),
        dockerfile: text(&input["dockerfile"]).unwrap_or_else(|| "FROM scratch\n".to_owned()),
        environment: Vec::new(),
        replaces: None,
    };
    verdict(plugins.review_deploy(call, &by, &what).await)
}

async fn review_invoke(plugins: &Plugins, call: &Call, input: &Value) -> Value {
    let what = Invocation {
        function: function_of(input),
        limits: limits_of(input),
        method: text(&input["method"]).unwrap_or_else(|| "POST".to_owned()),
        path: "/".to_owned(),
        headers: Vec::new(),
        body_bytes: input["body-bytes"].as_u64(),
        remote: None,
    };
    verdict(plugins.review_invoke(call, None, &what).await)
}

fn verdict(result: Result<dunnage::plugins::Admitted, ReviewError>) -> Value {
    match result {
        Ok(admitted) => {
            let limits = admitted.limits;
            json!({ "limits": limits, "warnings": admitted.warnings })
        }
        Err(ReviewError::Denied(denied)) => json!({ "denied": denied.findings }),
        Err(error) => json!({ "failed": error.to_string() }),
    }
}

async fn post_process(plugins: &Plugins, call: &Call, input: &Value) -> Value {
    let pairs: Vec<(String, String)> = serde_json::from_value(input["headers"].clone()).unwrap();
    let body = match &input["body"] {
        Value::String(body) => body.clone(),
        long => long["repeat"].as_str().unwrap().repeat(long["times"].as_u64().unwrap() as usize),
    };
    let response = FunctionResponse { status: 200, headers: pairs, body: body.clone().into() };
    match plugins.post_process(call, &function_of(input), 1, response).await {
        Ok(Processed::Response(out)) => json!({
            "status": out.status,
            "headers": out.headers,
            "body": String::from_utf8(out.body.to_vec()).unwrap(),
            "body-changed": out.body != body.as_bytes(),
        }),
        Ok(Processed::Withheld(denied)) => json!({ "withheld": denied.findings }),
        Err(failure) => json!({ "failed": failure.to_string() }),
    }
}

fn call_of(call: &Value) -> Call {
    let attributes = call["attributes"].as_object().cloned().unwrap_or_default();
    Call {
        id: Uuid::from_u128(1),
        at: 1_700_000_000_000,
        attributes: attributes.into_iter().map(|(name, value)| (name, value.to_string())).collect(),
    }
}

fn function_of(input: &Value) -> FunctionRef {
    let labels: BTreeMap<String, String> =
        serde_json::from_value(input["labels"].clone()).unwrap_or_default();
    FunctionRef {
        id: Uuid::nil(),
        name: "hello".parse().unwrap(),
        version: 1,
        language: text(&input["language"]).unwrap_or_else(|| "python".to_owned()),
        labels,
    }
}

fn limits_of(input: &Value) -> Limits {
    let usual = Limits { memory_mib: 128, cpu_millis: 1000, timeout_ms: 5000, concurrency: 10 };
    serde_json::from_value(input["limits"].clone()).unwrap_or(usual)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The settings of a case, with every path in them absolute.
fn settings_of(plugin: &str, case: &Value, folder: &Path) -> Value {
    if let Some(own) = case.get("settings") {
        return anchored(own, folder);
    }
    let examples = root().join("examples");
    let manifest = std::fs::read_to_string(examples.join("plugins.toml")).unwrap();
    let manifest: Value = toml::from_str(&manifest).unwrap();
    let entries = manifest["plugin"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["name"] == plugin).unwrap();
    let mut settings = anchored(&entry["settings"], &examples);
    if let Some(patch) = case.get("patch") {
        merge(&mut settings, &anchored(patch, folder));
    }
    settings
}

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    // A text in place of { file = … } replaces it, and the other way round.
    if !target.is_object() || patch.contains_key("file") {
        *target = json!({});
    }
    let members = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Every `{"file": …}` with its paths taken from a folder.
fn anchored(value: &Value, folder: &Path) -> Value {
    let join = |path: &Value| json!(folder.join(path.as_str().unwrap()));
    match (value, value.get("file")) {
        (_, Some(Value::String(path))) => json!({ "file": folder.join(path) }),
        (_, Some(Value::Array(paths))) => json!({ "file": paths.iter().map(join).collect::<Vec<_>>() }),
        (Value::Object(members), _) => {
            members.iter().map(|(key, value)| (key.clone(), anchored(value, folder))).collect()
        }
        _ => value.clone(),
    }
}

/// Every `{"file": …}` replaced by the file's text.
fn with_texts(value: &Value, folder: &Path) -> Value {
    match (value, value.get("file")) {
        (_, Some(Value::String(path))) => json!(std::fs::read_to_string(folder.join(path)).unwrap()),
        (Value::Object(members), _) => {
            members.iter().map(|(key, value)| (key.clone(), with_texts(value, folder))).collect()
        }
        (Value::Array(items), _) => items.iter().map(|item| with_texts(item, folder)).collect(),
        _ => value.clone(),
    }
}

/// JSON as an inline value of TOML: texts and numbers are written alike.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| format!("{} = {}", json!(key), toml_of(value));
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

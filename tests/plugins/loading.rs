//! What does not load, and what the operator is told.

use dunnage::plugins::{LoadError, Plugins};

use super::folder::Folder;
use super::guests::{CHECK_SETTINGS, DESCRIBE, GENERATE, Guest, LANGUAGES, REVIEW_INVOKE, altered_wit};

/// A policy at calls that abstains.
fn policy() -> Guest {
    let mut guest = Guest::new("invoke-policy");
    let abstain = guest.data.abstain();
    guest.answers(REVIEW_INVOKE, abstain)
}

async fn refused(component: &[u8]) -> LoadError {
    let limits = "limits = { cpu-ms = 50, wall-ms = 900, memory-mib = 16 }";
    let loaded = Folder::new().with("it", component, limits).load().await;
    let error = loaded.err().expect("it does not load");
    assert_eq!(error.plugin, "it");
    assert!(!error.what.ends_with('.') && error.remedy.ends_with('.'), "{error}");
    error
}

#[track_caller]
fn assert_refused(error: &LoadError, code: &str, what: &str) {
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[tokio::test]
async fn a_good_plugin_shows_its_state() {
    let folder = Folder::new().with("it", &policy().build(), "");
    let states = folder.load().await.unwrap().states();
    assert_eq!((states[0].name.as_str(), states[0].version.as_str()), ("it", "1.2.3"));
    assert_eq!(states[0].summary, "A guest of the tests.");
    assert_eq!(states[0].points, ["dunnage:admission/on-invoke@0.1.0"]);
    assert_eq!(states[0].digest.len(), 64);
}

#[tokio::test]
async fn no_manifest_is_a_host_without_plugins() {
    let plugins = Plugins::load(None, Folder::new().metrics.clone()).await.unwrap();
    assert!(plugins.states().is_empty() && plugins.languages().is_empty());
    super::folder::review_invoke(&plugins).await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_components() {
    assert_refused(&refused(b"").await, "not-a-component", "is empty");
    assert_refused(&refused(b"\n(component)").await, "not-a-component", "text form");
    assert_refused(&refused(b"\x7fELF\x02\x01\x01").await, "not-a-component", "program");
    assert_refused(&refused(b"hello").await, "not-a-component", "not WebAssembly");
    assert_refused(&refused(&policy().module()).await, "core-module", "wasm-tools component new");
    let whole = policy().build();
    for length in [8, 9, whole.len() / 2, whole.len() - 1] {
        let code = refused(&whole[..length]).await.code;
        assert!(["invalid-component", "no-extension-point"].contains(&code), "{length} bytes: {code}");
    }
}

#[tokio::test]
async fn a_missing_file_and_a_fifo() {
    let folder = Folder::new().with("it", b"", "");
    let file = folder.dir.path().join("it.wasm");
    std::fs::remove_file(&file).unwrap();
    assert_refused(&folder.load().await.err().unwrap(), "unreadable", "it.wasm");
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert_refused(&folder.load().await.err().unwrap(), "unreadable", "regular file");
}

#[tokio::test]
async fn imports_that_no_plugin_gets() {
    let component =
        |import: &str| wat::parse_str(format!("(component (import \"{import}\" (instance)))")).unwrap();
    let error = refused(&component("wasi:http/types@0.2.0")).await;
    assert_refused(&error, "import-refused", "disableFeatures");
    let error = refused(&component("wasi:sockets/tcp@0.2.0")).await;
    assert_refused(&error, "import-refused", "--stub-wasi");
    let error = refused(&component("dunnage:secrets/read@0.1.0")).await;
    assert_refused(&error, "import-refused", "dunnage:secrets/read@0.1.0");
    let error = refused(&component("dunnage:plugin/log@0.4.0")).await;
    assert_refused(&error, "unknown-version", "0.4.0");
}

#[tokio::test]
async fn components_without_what_is_asked() {
    let empty = wat::parse_str("(component)").unwrap();
    assert_refused(&refused(&empty).await, "no-extension-point", "dunnage:admission/on-deploy");
    let base = Guest::new("base").build();
    assert_refused(&refused(&base).await, "no-extension-point", "dunnage:response/post-process");
}

#[tokio::test]
async fn another_version_is_named() {
    let wit = altered_wit("dunnage:admission@0.1.0", "dunnage:admission@0.3.0");
    for (from, to) in [("on-invoke@0.1.0", "on-invoke@0.3.0"), ("on-deploy@0.1.0", "on-deploy@0.3.0")] {
        let world = wit.path().join("dunnage.wit");
        let text = std::fs::read_to_string(&world).unwrap().replace(from, to);
        std::fs::write(world, text).unwrap();
    }
    let mut guest = Guest::new("invoke-policy");
    let abstain = guest.data.abstain();
    let guest = guest.answers("dunnage:admission/on-invoke@0.3.0#review", abstain);
    let error = refused(&guest.build_against(wit.path())).await;
    assert_refused(&error, "unknown-version", "in version 0.3.0; this host speaks dunnage:admission 0.1");
}

#[tokio::test]
async fn altered_types_are_found_at_load() {
    let wit = altered_wit("concurrency: option<u32>,", "concurrency: option<u32>, burst: option<u32>,");
    let error = refused(&policy().build_against(wit.path())).await;
    assert_refused(&error, "altered-interface", "altered copy");
    let wit = altered_wit("allow(allowance),", "allow(allowance), maybe,");
    assert_refused(&refused(&policy().build_against(wit.path())).await, "altered-interface", "");
}

#[tokio::test]
async fn what_happens_at_the_start_is_found_at_load() {
    let trap = policy().with("(func $start unreachable) (start $start)");
    assert_refused(&refused(&trap.build()).await, "trial-failed", "unreachable");
    let endless = policy().with("(func $start (loop $again (br $again))) (start $start)");
    assert_refused(&refused(&endless.build()).await, "trial-failed", "50 ms");
    let large = policy().memory("300");
    assert_refused(&refused(&large.build()).await, "trial-failed", "16 MiB");
}

#[tokio::test]
async fn what_the_engine_does_not_offer() {
    let module = |memory: &str| {
        wat::parse_str(format!("(component (core module $m {memory}) (core instance (instantiate $m)))"))
            .unwrap()
    };
    for memory in ["(memory i64 1)", "(memory 65536)", "(memory 1 1 shared)", "(table 10000000 funcref)"] {
        assert_refused(&refused(&module(memory)).await, "invalid-component", "");
    }
}

#[tokio::test]
async fn descriptions_are_checked() {
    let described = |version: &str, schema: Option<&str>| {
        let mut guest = policy();
        let at = guest.data.description(version, schema);
        guest.function(DESCRIBE, &format!("(result i32) (i32.const {at})")).build()
    };
    assert_refused(&refused(&described("one", None)).await, "trial-failed", "semantic version");
    assert_refused(&refused(&described("1.0.0", Some("{"))).await, "trial-failed", "schema is not JSON");
    assert_refused(&refused(&described("1.0.0", Some("3"))).await, "trial-failed", "neither an object");
    let good = described("1.0.0", Some("{\"type\": \"object\"}"));
    Folder::new().with("it", &good, "").load().await.unwrap();
}

#[tokio::test]
async fn refused_settings_are_shown() {
    let mut guest = policy();
    let finding = guest.data.finding("caps", "memory-mib is no number.");
    let list = guest.data.list(&[finding]);
    let at = guest.data.words(&[1, list[0], list[1]]);
    let guest = guest.function(CHECK_SETTINGS, &format!("(param i32 i32) (result i32) (i32.const {at})"));
    assert_refused(&refused(&guest.build()).await, "settings-refused", "memory-mib is no number");
}

/// A plugin that builds one language, with no plan.
fn builder(name: &str, aliases: &[&str], markers: &[&str]) -> Vec<u8> {
    let mut guest = Guest::new("dockerfile");
    let mut language = guest.data.text(name).to_vec();
    language.extend(guest.data.texts(aliases));
    language.extend(guest.data.texts(&["1"]));
    language.extend(guest.data.texts(markers));
    let list = guest.data.list(&[language]);
    let at = guest.data.words(&[0, list[0], list[1]]);
    guest.answers(LANGUAGES, at).function(GENERATE, "(param i32) (result i32) unreachable").build()
}

#[tokio::test]
async fn a_language_is_served_once() {
    let folder = Folder::new().with("first", &builder("python", &["py"], &["main.py"]), "").with(
        "second",
        &builder("micropython", &["py"], &[]),
        "",
    );
    let error = folder.load().await.err().unwrap();
    assert_eq!((error.plugin.as_str(), error.code), ("second", "language-taken"));
    assert!(error.what.contains("\"py\"") && error.what.contains("first"), "{error}");
}

#[tokio::test]
async fn languages_are_checked() {
    let bad = [
        builder("Python", &[], &[]),
        builder("python", &["p y"], &[]),
        builder("python", &[], &["../main.py"]),
        builder("python", &[], &["/etc/passwd"]),
        builder(&"x".repeat(100), &[], &[]),
    ];
    for component in bad {
        assert_refused(&refused(&component).await, "trial-failed", "a language's");
    }
}

//! Manifests and settings: what is wrong with them, and how they change under a running host.

use dunnage::metrics::Metrics;
use dunnage::plugins::Plugins;

use super::folder::{Folder, failure, review_invoke};
use super::guests::{CHECK_SETTINGS, Guest};

/// Fails every review with its settings as the reason, and refuses settings over 40 bytes.
fn echo() -> Vec<u8> {
    let review = "(i32.store (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.load (local.get 0)))
        (i32.store (i32.const 24) (i32.load offset=4 (local.get 0))) (i32.const 16)";
    let mut guest = Guest::on_invoke(review);
    let finding = guest.data.finding("size", "They are too long.");
    let list = guest.data.list(&[finding]);
    let (good, bad) = (guest.data.words(&[0, 0, 0]), guest.data.words(&[1, list[0], list[1]]));
    let check = format!(
        "(param i32 i32) (result i32)
        (select (i32.const {bad}) (i32.const {good}) (i32.gt_u (local.get 1) (i32.const 40)))"
    );
    guest.function(CHECK_SETTINGS, &check).build()
}

async fn settings(plugins: &Plugins) -> String {
    failure(review_invoke(plugins).await).reason
}

#[tokio::test]
async fn settings_arrive_as_json() {
    let with = |text: &str| Folder::new().with("echo", &echo(), text);
    assert_eq!(settings(&with("").load().await.unwrap()).await, "{}");
    let folder = with("settings = { a = 1, b = [true, 'x'] }");
    assert_eq!(settings(&folder.load().await.unwrap()).await, r#"{"a":1,"b":[true,"x"]}"#);
}

#[tokio::test]
async fn files_in_settings_are_read_again() {
    let folder = Folder::new().with("echo", &echo(), "settings = { t = { file = ['mine', 'theirs'] } }");
    folder.write("theirs", b"shipped");
    let plugins = folder.load().await.unwrap();
    assert_eq!(settings(&plugins).await, r#"{"t":"shipped"}"#);
    // A file dropped beside it comes first, but only once the host looks.
    folder.write("mine", b"own");
    assert_eq!(settings(&plugins).await, r#"{"t":"shipped"}"#);
    plugins.refresh().await;
    assert_eq!(settings(&plugins).await, r#"{"t":"own"}"#);
    let checked = folder.calls("echo", "check-settings", "ok");
    plugins.refresh().await;
    assert_eq!(folder.calls("echo", "check-settings", "ok"), checked, "nothing changed");
    // What the plugin refuses, what is no text, and what is gone leave the last good ones.
    folder.write("mine", "x".repeat(100).as_bytes());
    plugins.refresh().await;
    assert_eq!(settings(&plugins).await, r#"{"t":"own"}"#);
    folder.write("mine", &[0xff]);
    plugins.refresh().await;
    assert_eq!(settings(&plugins).await, r#"{"t":"own"}"#);
    std::fs::remove_file(folder.dir.path().join("theirs")).unwrap();
    std::fs::remove_file(folder.dir.path().join("mine")).unwrap();
    plugins.refresh().await;
    assert_eq!(settings(&plugins).await, r#"{"t":"own"}"#);
    folder.write("mine", b"good again");
    plugins.refresh().await;
    assert_eq!(settings(&plugins).await, r#"{"t":"good again"}"#);
}

#[tokio::test]
async fn wrong_manifests_are_explained() {
    let component = echo();
    let entry = "[[plugin]]\nname = 'a'\nfile = 'a.wasm'\n";
    let cases = [
        ("not toml at all [".to_owned(), "manifest-invalid", "(manifest)"),
        (format!("{entry}orders = 1"), "manifest-invalid", "(manifest)"),
        (format!("{entry}[[plugin]]\nname = 'a'\nfile = 'b.wasm'"), "name-doubled", "a"),
        (entry.replace("'a'", "'A'"), "name-invalid", "(manifest)"),
        (entry.replace("a.wasm", "none.wasm"), "unreadable", "a"),
        (format!("{entry}settings = {{ t = {{ file = 'none' }} }}"), "settings-file", "a"),
        (format!("{entry}settings = {{ t = {{ file = 7 }} }}"), "settings-file", "a"),
        (format!("{entry}settings = {{ t = '{}' }}", "x".repeat(50)), "settings-refused", "a"),
        (format!("{entry}limits = {{ wall-ms = 100000 }}"), "limit-out-of-range", "a"),
        (entry.repeat(65), "too-many-plugins", "(manifest)"),
    ];
    for (manifest, code, plugin) in cases {
        let folder = Folder::new();
        folder.write("a.wasm", &component);
        folder.write("plugins.toml", manifest.as_bytes());
        let metrics = std::sync::Arc::new(Metrics::new().unwrap());
        let error = Plugins::load(Some(&folder.path()), metrics).await.err().unwrap();
        assert_eq!((error.code, error.plugin.as_str()), (code, plugin), "{error}");
        assert!(!error.what.is_empty() && error.remedy.ends_with('.'), "{error}");
    }
    let nowhere = std::path::Path::new("/nowhere/plugins.toml");
    let metrics = std::sync::Arc::new(Metrics::new().unwrap());
    assert_eq!(Plugins::load(Some(nowhere), metrics).await.err().unwrap().code, "manifest-unreadable");
}

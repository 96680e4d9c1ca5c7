//! What a reader of the code may rely on, held by tests.

use std::path::{Path, PathBuf};

use crate::support::root;

/// Every Rust file that cargo builds as part of the workspace or its tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["host", "migrations", "tests", "plugins"] {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "{} files were found", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
}

/// Each library belongs to one module, which is the only one to name it.
#[test]
fn libraries_stay_in_their_modules() {
    let owners = [
        ("sea_orm", &["host/src/db", "migrations/", "tests/db", "host/src/telemetry.rs"][..]),
        ("wasmtime", &["host/src/plugins", "tests/plugins"]),
        ("podman_api", &["host/src/containers"]),
        ("aws_sdk_s3", &["host/src/blobs", "tests/blobs"]),
        ("StatusCode", &["host/src/http", "host/src/containers", "host/src/invoke/protocol", "tests/"]),
    ];
    for (path, text) in sources() {
        let name = path.display().to_string();
        if name == "tests/tidy.rs" {
            continue;
        }
        for (library, allowed) in owners {
            let here = allowed.iter().any(|prefix| name.starts_with(prefix));
            assert!(here || !text.contains(library), "{name} names {library}, which belongs to {allowed:?}");
        }
    }
}

/// Deploy and invoke do not import each other, and nothing below HTTP imports it.
#[test]
fn imports_go_one_way() {
    let forbidden = [
        ("host/src/deploy", &["crate::invoke", "crate::http"][..]),
        ("host/src/invoke", &["crate::deploy", "crate::http"]),
        (
            "host/src/plugins",
            &["crate::deploy", "crate::invoke", "crate::http", "crate::db", "crate::containers"],
        ),
        (
            "host/src/containers",
            &["crate::deploy", "crate::invoke", "crate::http", "crate::db", "crate::plugins"],
        ),
        ("host/src/blobs", &["crate::deploy", "crate::invoke", "crate::http", "crate::db", "crate::plugins"]),
        (
            "host/src/db",
            &["crate::deploy", "crate::invoke", "crate::http", "crate::containers", "crate::plugins"],
        ),
    ];
    for (path, text) in sources() {
        let name = path.display().to_string();
        for (prefix, names) in forbidden {
            if name.starts_with(prefix) {
                for import in names {
                    assert!(!text.contains(import), "{name} imports {import}");
                }
            }
        }
    }
}

/// What decides does no IO and reads no clock.
#[test]
fn deciding_parts_are_pure() {
    for (path, text) in sources() {
        let name = path.display().to_string();
        if name.ends_with("_state.rs") || name.ends_with("http/route.rs") {
            for impure in ["tokio", "now()", "std::fs", "std::net"] {
                assert!(!text.contains(impure), "{name} names {impure}");
            }
        }
    }
}

#[test]
fn files_and_functions_are_short() {
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 500, "{} has {} lines", path.display(), lines.len());
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = &line[..line.len() - code.len()];
            let code = code
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub ");
            let code = code.trim_start_matches("async ").trim_start_matches("const ");
            if !code.starts_with("fn ") || line.ends_with('}') || line.ends_with(';') {
                continue;
            }
            let end = format!("{indent}}}");
            let length = lines[start..].iter().position(|l| *l == end).unwrap_or(0);
            assert!(length <= 70, "{}:{} is a function of {length} lines", path.display(), start + 1);
        }
    }
}

/// `#[allow]` hides; `#[expect]` with a reason is noticed when it is needed no more.
#[test]
fn nothing_is_silently_allowed() {
    for (path, text) in sources() {
        if path != Path::new("tests/tidy.rs") {
            let found = text.contains("#[allow(") || text.contains("#![allow(");
            assert!(!found, "{} allows a lint", path.display());
        }
    }
}

/// The architecture's page names functions; they are there.
#[test]
fn the_stories_name_what_exists() {
    let page = std::fs::read_to_string(root().join("host/README.md")).unwrap();
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut named = 0;
    for code in page.split('`').skip(1).step_by(2) {
        if let Some(function) = code.strip_suffix("()") {
            let name = function.rsplit("::").next().unwrap();
            assert!(all.contains(&format!("fn {name}")), "host/README.md names {function}, which is nowhere");
            named += 1;
        }
    }
    assert!(named >= 10, "only {named} functions are named");
}

//! What a component's type says before any of its code runs: what it wants, and what it serves.

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::LoadError;

/// The versions of all `dunnage` packages that this host speaks, in words.
const SPOKEN: &str = "0.1";

/// Interfaces that may be imported: the log, and those that hold nothing but types.
const IMPORTS: [&str; 3] = ["dunnage:plugin/log", "dunnage:plugin/types", "dunnage:admission/types"];
/// Packages of the quiet WASI.
const WASI_PACKAGES: [&str; 5] = ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random"];

pub(super) const GUEST: &str = "dunnage:plugin/guest";
/// Where a plugin can be asked.
pub(super) const DOCKERFILE: &str = "dunnage:build/dockerfile";
pub(super) const ON_DEPLOY: &str = "dunnage:admission/on-deploy";
pub(super) const ON_INVOKE: &str = "dunnage:admission/on-invoke";
pub(super) const POST_PROCESS: &str = "dunnage:response/post-process";
const POINTS: [&str; 4] = [DOCKERFILE, ON_DEPLOY, ON_INVOKE, POST_PROCESS];

/// The extension points that a component serves, by the full names of its exports.
#[derive(Debug)]
pub(super) struct Served(pub(super) Vec<String>);

impl Served {
    pub(super) fn has(&self, point: &str) -> bool {
        self.0.iter().any(|name| split(name).0 == point)
    }
}

pub(super) fn inspect(plugin: &str, component: &Component, engine: &Engine) -> Result<Served, LoadError> {
    let about = component.component_type();
    for (name, _) in about.imports(engine) {
        check_import(plugin, name)?;
    }
    let instances = about
        .exports(engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name);
    served(plugin, instances)
}

fn check_import(plugin: &str, name: &str) -> Result<(), LoadError> {
    let (interface, version) = split(name);
    if interface.starts_with("dunnage:") {
        return check_own_import(plugin, name, interface, version);
    }
    let package = interface.split('/').next().unwrap_or(interface);
    if WASI_PACKAGES.contains(&package) {
        return Ok(());
    }
    let remedy = match package {
        "wasi:http" => {
            "Build it without: componentize-js takes disableFeatures: ['http', 'fetch-event'], and Rust \
             built for wasm32-unknown-unknown imports nothing."
        }
        "wasi:sockets" => {
            "Build it without: componentize-py takes --stub-wasi, and Rust built for \
             wasm32-unknown-unknown imports nothing."
        }
        other if other.starts_with("wasi:") => {
            "Build it for a target without it: Rust built for wasm32-unknown-unknown imports nothing."
        }
        _ => "The one import of a plugin is dunnage:plugin/log: build it against the worlds in wit/.",
    };
    Err(LoadError::new(plugin, "import-refused", format!("it imports {name}, which no plugin gets"), remedy))
}

fn check_own_import(
    plugin: &str,
    name: &str,
    interface: &str,
    version: Option<&str>,
) -> Result<(), LoadError> {
    if !spoken(version) {
        return Err(unknown_version(plugin, name));
    }
    if IMPORTS.contains(&interface) {
        return Ok(());
    }
    let what = format!("it imports {name}, which this host does not provide");
    Err(LoadError::new(plugin, "import-refused", what, "Build it against the worlds in wit/ of this host."))
}

fn served<'a>(plugin: &str, names: impl Iterator<Item = &'a str>) -> Result<Served, LoadError> {
    let mut points = Vec::new();
    let mut described = false;
    for name in names.filter(|name| name.starts_with("dunnage:")) {
        let (interface, version) = split(name);
        if !spoken(version) {
            return Err(unknown_version(plugin, name));
        }
        if POINTS.contains(&interface) {
            points.push(name.to_owned());
        } else if interface == GUEST {
            described = true;
        } else if !IMPORTS.contains(&interface) {
            let what = format!("it exports {name}, at which this host asks nothing");
            let remedy = format!("Update the host, or export of these: {}.", POINTS.join(", "));
            return Err(LoadError::new(plugin, "unknown-point", what, &remedy));
        }
    }
    if points.is_empty() {
        let what = "it exports no extension point of this host".to_owned();
        let remedy = format!("Export at least one of these in version {SPOKEN}: {}.", POINTS.join(", "));
        return Err(LoadError::new(plugin, "no-extension-point", what, &remedy));
    }
    if !described {
        let what = format!("it does not export {GUEST}, by which a plugin describes itself");
        return Err(LoadError::new(plugin, "no-guest", what, "Build it against one of the worlds in wit/."));
    }
    Ok(Served(points))
}

fn unknown_version(plugin: &str, name: &str) -> LoadError {
    let (interface, version) = split(name);
    let package = interface.split('/').next().unwrap_or(interface);
    let version = version.map_or("without a version".to_owned(), |version| format!("in version {version}"));
    let what = format!("it speaks {interface} {version}; this host speaks {package} {SPOKEN}");
    LoadError::new(
        plugin,
        "unknown-version",
        what,
        &format!("Update the host, or rebuild it against {SPOKEN}."),
    )
}

/// The interface and its version, of `dunnage:admission/on-deploy@0.1.0`.
fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

fn spoken(version: Option<&str>) -> bool {
    let parsed = version.and_then(|v| semver::Version::parse(v).ok());
    parsed.is_some_and(|v| v.major == 0 && v.minor == 1 && v.pre.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import_code(name: &str) -> &'static str {
        check_import("p", name).map_or_else(|error| error.code, |()| "ok")
    }

    #[test]
    fn only_harmless_imports_pass() {
        for good in ["dunnage:plugin/log@0.1.3", "dunnage:admission/types@0.1.0", "wasi:io/streams@0.2.6"] {
            assert_eq!(import_code(good), "ok", "{good}");
        }
        for bad in ["wasi:http/types@0.2.0", "wasi:sockets/tcp@0.2.0", "wasi:nn/graph", "env", "a:b/c@0.1.0"]
        {
            assert_eq!(import_code(bad), "import-refused", "{bad}");
        }
        assert_eq!(import_code("dunnage:plugin/secrets@0.1.0"), "import-refused");
        for bad in ["dunnage:plugin/log@0.2.0", "dunnage:plugin/log", "dunnage:plugin/log@0.1.0-rc.1"] {
            assert_eq!(import_code(bad), "unknown-version", "{bad}");
        }
    }

    #[test]
    fn points_come_from_the_exports() {
        let served = |names: &[&str]| served("p", names.iter().copied());
        let good = served(&["dunnage:plugin/guest@0.1.0", "dunnage:admission/on-deploy@0.1.4", "exports"]);
        let good = good.unwrap();
        assert!(good.has(ON_DEPLOY) && !good.has(ON_INVOKE));
        let code = |names: &[&str]| served(names).unwrap_err().code;
        assert_eq!(code(&[]), "no-extension-point");
        assert_eq!(code(&["dunnage:admission/on-invoke@0.1.0"]), "no-guest");
        assert_eq!(code(&["dunnage:admission/on-invoke@0.3.0"]), "unknown-version");
        assert_eq!(code(&["dunnage:queue/on-message@0.1.0"]), "unknown-point");
    }
}

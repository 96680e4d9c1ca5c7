//! From a file to a plugin that was tried: nothing that is wrong with it is left for its first caller.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{AsContextMut, Engine};

use super::bindings::exports::dunnage::admission::{on_deploy, on_invoke};
use super::bindings::exports::dunnage::build::dockerfile;
use super::bindings::exports::dunnage::plugin::guest;
use super::bindings::exports::dunnage::response::post_process;
use super::call::{Callee, Guest, Runtime};
use super::guest_state::GuestState;
use super::inspect::{self, Served, inspect};
use super::manifest::{Entry, read_file};
use super::sanitise::{cut, one_line};
use super::{Failure, LoadError, PluginState};
use crate::limits;

/// A component that can be called.
pub(super) struct Loaded {
    pub(super) name: Arc<str>,
    pub(super) entry: Entry,
    pub(super) points: Points,
    pub(super) state: PluginState,
    pub(super) runtime: Arc<Runtime>,
    pre: InstancePre<GuestState>,
}

/// Where its exports are, looked up once.
pub(super) struct Points {
    pub(super) guest: guest::GuestIndices,
    pub(super) dockerfile: Option<dockerfile::GuestIndices>,
    pub(super) on_deploy: Option<on_deploy::GuestIndices>,
    pub(super) on_invoke: Option<on_invoke::GuestIndices>,
    pub(super) post_process: Option<post_process::GuestIndices>,
}

impl Loaded {
    pub(super) fn callee(&self) -> Callee<'_> {
        Callee { name: &self.name, pre: &self.pre, bounds: self.entry.bounds }
    }

    pub(super) fn error(&self, code: &'static str, what: String, remedy: &str) -> LoadError {
        LoadError::new(&self.name, code, what, remedy)
    }

    /// For a failure while it was loaded or given settings.
    pub(super) fn failed(&self, failure: Failure) -> LoadError {
        let what = format!("it failed at {}: {}", failure.point, failure.reason);
        let remedy = match failure.class {
            "timeout" | "memory" => "Have it do less, or raise its limits in plugins.toml.",
            "busy" => "Try again when the host has less to do.",
            _ => "This is a fault of the plugin: tell its author.",
        };
        self.error("trial-failed", what, remedy)
    }
}

pub(super) async fn load(
    runtime: &Arc<Runtime>,
    linker: &Linker<GuestState>,
    entry: Entry,
) -> Result<Loaded, LoadError> {
    let name: Arc<str> = entry.name.as_str().into();
    let (component, digest) = compile(&runtime.engine, &entry).await?;
    let served = inspect(&name, &component, &runtime.engine)?;
    let pre = linker.instantiate_pre(&component).map_err(|error| not_linked(&name, &error))?;
    let points = Points::find(&pre, &served).map_err(|error| altered(&name, &error.to_string()))?;
    let state = PluginState {
        name: entry.name.clone(),
        version: String::new(),
        summary: String::new(),
        digest,
        points: served.0,
    };
    let mut loaded = Loaded { name, entry, points, state, runtime: runtime.clone(), pre };
    loaded.try_out().await?;
    let described = loaded.describe().await.map_err(|failure| loaded.failed(failure))?;
    loaded.state.version = described.version;
    loaded.state.summary = described.summary;
    Ok(loaded)
}

impl Loaded {
    /// Instantiates it once. Only then do types show that differ from the host's.
    async fn try_out(&self) -> Result<(), LoadError> {
        let ask = async |mut guest: Guest| {
            let Guest { store, instance } = &mut guest;
            let checked = self.points.check(store, instance).map_err(|error| error.root_cause().to_string());
            (guest, Ok(checked))
        };
        let tried = self.runtime.call(self.callee(), "load", ask, |checked| Ok(("ok", checked))).await;
        match tried {
            Ok(Ok(())) => Ok(()),
            Ok(Err(mismatch)) => Err(altered(&self.name, &mismatch)),
            Err(failure) if failure.class == "bad-output" => Err(altered(&self.name, &failure.reason)),
            Err(failure) => Err(self.failed(failure)),
        }
    }
}

impl Points {
    fn find(pre: &InstancePre<GuestState>, served: &Served) -> wasmtime::Result<Points> {
        let has = |point| served.has(point).then_some(pre);
        Ok(Points {
            guest: guest::GuestIndices::new(pre)?,
            dockerfile: has(inspect::DOCKERFILE).map(dockerfile::GuestIndices::new).transpose()?,
            on_deploy: has(inspect::ON_DEPLOY).map(on_deploy::GuestIndices::new).transpose()?,
            on_invoke: has(inspect::ON_INVOKE).map(on_invoke::GuestIndices::new).transpose()?,
            post_process: has(inspect::POST_PROCESS).map(post_process::GuestIndices::new).transpose()?,
        })
    }

    /// Compares every function's type with the host's.
    fn check(
        &self,
        mut store: impl AsContextMut<Data = GuestState>,
        instance: &wasmtime::component::Instance,
    ) -> wasmtime::Result<()> {
        self.guest.load(&mut store, instance)?;
        self.dockerfile.as_ref().map(|i| i.load(&mut store, instance)).transpose()?;
        self.on_deploy.as_ref().map(|i| i.load(&mut store, instance)).transpose()?;
        self.on_invoke.as_ref().map(|i| i.load(&mut store, instance)).transpose()?;
        self.post_process.as_ref().map(|i| i.load(&mut store, instance)).transpose()?;
        Ok(())
    }
}

/// Reads and compiles on a thread that may block; gives the component and the digest of its bytes.
async fn compile(engine: &Engine, entry: &Entry) -> Result<(Component, String), LoadError> {
    let (engine, entry) = (engine.clone(), entry.clone());
    let name = entry.name.clone();
    let compiling = tokio::task::spawn_blocking(move || {
        let bytes = read_component(&entry)?;
        let component = Component::new(&engine, &bytes).map_err(|error| not_valid(&entry.name, &error))?;
        Ok((component, hex::encode(Sha256::digest(&bytes))))
    });
    compiling.await.unwrap_or_else(|_| {
        let what = "the compiler gave up on it".to_owned();
        Err(LoadError::new(
            &name,
            "invalid-component",
            what,
            "Rebuild it, with other optimisations if need be.",
        ))
    })
}

fn read_component(entry: &Entry) -> Result<Vec<u8>, LoadError> {
    let most = usize::try_from(limits::PLUGIN_BYTES_MAX).unwrap_or(usize::MAX);
    let bytes = read_file(&entry.file, most).map_err(|error| {
        let what = format!("its file {} cannot be read: {error}", entry.file.display());
        let remedy = "Correct `file` in plugins.toml; it is relative to the manifest's folder.";
        LoadError::new(&entry.name, "unreadable", what, remedy)
    })?;
    match preamble(&bytes) {
        Preamble::Component => Ok(bytes),
        Preamble::CoreModule => {
            let what = format!("{} is a core module and not a component", entry.file.display());
            let remedy = "Make it one by `wasm-tools component new`, or build it by plugins/build.sh.";
            Err(LoadError::new(&entry.name, "core-module", what, remedy))
        }
        Preamble::Other => Err(not_wasm(&entry.name, &entry.file, &bytes)),
    }
}

enum Preamble {
    Component,
    CoreModule,
    Other,
}

/// Four bytes of magic, two of version, two that tell modules from components.
fn preamble(bytes: &[u8]) -> Preamble {
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Preamble::CoreModule,
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Preamble::Component,
        _ => Preamble::Other,
    }
}

fn not_wasm(plugin: &str, file: &Path, bytes: &[u8]) -> LoadError {
    let is = match bytes {
        [] => "is empty",
        [0x7f, b'E', b'L', b'F', ..] => "is a program of this machine",
        _ if bytes.trim_ascii_start().starts_with(b"(") => "is WebAssembly in its text form",
        _ => "is not WebAssembly",
    };
    let remedy = "Name a component in its binary form; plugins/build.sh makes those of this repository.";
    LoadError::new(plugin, "not-a-component", format!("{} {is}", file.display()), remedy)
}

fn not_valid(plugin: &str, error: &wasmtime::Error) -> LoadError {
    let what = format!("it cannot be compiled: {}", readable(&format!("{error:#}")));
    let remedy =
        "Rebuild it with a current tool chain; memory64, threads and memories over the limit are refused.";
    LoadError::new(plugin, "invalid-component", what, remedy)
}

fn not_linked(plugin: &str, error: &wasmtime::Error) -> LoadError {
    let what = format!("its imports do not match: {}", readable(&format!("{error:#}")));
    LoadError::new(plugin, "import-refused", what, "Rebuild it against wit/ of this host.")
}

fn altered(plugin: &str, mismatch: &str) -> LoadError {
    let what = format!("it was built against an altered copy of the interfaces: {}", readable(mismatch));
    LoadError::new(plugin, "altered-interface", what, "Rebuild it against wit/ of this host.")
}

/// wasmtime's words may hold names that the component chose.
fn readable(text: &str) -> String {
    one_line(cut(text, limits::PLUGIN_REASON_BYTES_MAX)).trim_end_matches('.').to_owned()
}

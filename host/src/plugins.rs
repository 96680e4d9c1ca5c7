//! Plugins: WebAssembly components of the operator, asked at three extension points.
//!
//! The only module that names wasmtime. A plugin's "no" is a [`Denied`]; a plugin's failure is a
//! [`Failure`], and the two never look alike.

mod manifest;
mod settings;

mod engine;
mod guest_log;
mod guest_state;

mod inspect;
mod load;
mod registry;

mod ask;
mod call;

mod answer;
mod edit;
mod sanitise;

mod bindings;
mod convert;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;
use uuid::Uuid;

use crate::metrics::Metrics;
use crate::model::{Finding, FunctionRef, FunctionResponse, Limits, Plan, Principal, SourceFile};
use answer::Judged;
use ask::Said;
use call::Runtime;
use registry::{Active, Complaints, Registry};

/// All plugins that the manifest names, loaded and tried.
pub struct Plugins {
    /// Replaced as a whole, so that no call sees half a change.
    registry: RwLock<Arc<Registry>>,
    /// One refresh at a time.
    complaints: Mutex<Complaints>,
}

/// What every plugin call carries.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: Uuid,
    /// Milliseconds since 1970: the only clock a plugin sees.
    pub at: u64,
    /// Facts the host adds, documented in `wit/README.md`: name and JSON text.
    pub attributes: Vec<(String, String)>,
}

/// A source tree that asks for a Dockerfile.
#[derive(Clone, Debug)]
pub struct Source {
    pub function: FunctionRef,
    pub language_version: Option<String>,
    pub entrypoint: Option<String>,
    pub files: Vec<SourceFile>,
}

/// A language that some plugin builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Language {
    pub name: String,
    pub aliases: Vec<String>,
    pub versions: Vec<String>,
    /// File names that show the language is meant.
    pub markers: Vec<String>,
    /// The plugin that serves it.
    pub plugin: String,
}

/// A deploy as admission policies see it.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub function: FunctionRef,
    pub limits: Limits,
    pub source_digest: String,
    pub source_bytes: u64,
    pub dockerfile: String,
    pub environment: Vec<(String, String)>,
    /// The version that is current now.
    pub replaces: Option<u64>,
}

/// A call as admission policies see it; its body is not shown.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub function: FunctionRef,
    pub limits: Limits,
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body_bytes: Option<u64>,
    pub remote: Option<String>,
}

/// Every policy agreed, or had nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// As asked for, or tighter.
    pub limits: Limits,
    pub warnings: Vec<Finding>,
}

/// A policy said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub plugin: String,
    pub findings: Vec<Finding>,
}

/// A plugin itself failed: trap, timeout, memory, bad output. Never the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plugin {plugin} failed at {point}: {reason}")]
pub struct Failure {
    pub plugin: String,
    pub point: &'static str,
    /// `trap`, `timeout`, `memory`, `bad-output`, `busy`, `error`.
    pub class: &'static str,
    pub reason: String,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum ReviewError {
    #[error("the plugin {} denied it", .0.plugin)]
    Denied(Denied),
    #[error(transparent)]
    Failed(#[from] Failure),
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// No plugin serves the language.
    #[error("no plugin builds {0:?}")]
    NoSuchLanguage(String),
    /// The plugin refused the source, with what to fix.
    #[error("the plugin {} refused the source", .0.plugin)]
    Refused(Denied),
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What becomes of a function's answer.
#[derive(Clone, Debug)]
pub enum Processed {
    Response(FunctionResponse),
    /// The caller gets 502 with these findings in its place.
    Withheld(Denied),
}

/// For `GET /api/plugins` and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginState {
    pub name: String,
    pub version: String,
    pub summary: String,
    /// sha-256 of the component, hex.
    pub digest: String,
    /// `dunnage:admission/on-deploy@0.1.0`, …
    pub points: Vec<String>,
}

/// One plugin that could not be loaded: names it, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}: {what}. {remedy}")]
pub struct LoadError {
    pub plugin: String,
    /// Stable, kebab-case: `unreadable`, `core-module`, `import-refused`, …
    pub code: &'static str,
    pub what: String,
    pub remedy: String,
}

impl Plugins {
    /// Loads what the manifest names; `None` gives a host without plugins.
    pub async fn load(manifest: Option<&Path>, metrics: Arc<Metrics>) -> Result<Plugins, LoadError> {
        let entries = manifest.map(manifest::read).transpose()?.unwrap_or_default();
        let mut plugins = Vec::with_capacity(entries.len());
        if !entries.is_empty() {
            let engine = engine::start().map_err(|error| no_engine(&error))?;
            let linker = engine::linker(&engine).map_err(|error| no_engine(&error))?;
            let runtime = Arc::new(Runtime::new(engine, metrics));
            for entry in entries {
                let loaded = load::load(&runtime, &linker, entry).await?;
                plugins.push(Active::first(loaded).await?);
            }
        }
        let registry = RwLock::new(Arc::new(Registry::new(plugins)?));
        Ok(Plugins { registry, complaints: Mutex::default() })
    }

    pub fn states(&self) -> Vec<PluginState> {
        self.registry().plugins.iter().map(|plugin| plugin.loaded.state.clone()).collect()
    }

    /// Those that the plugins serve under the settings in force.
    pub fn languages(&self) -> Arc<[Language]> {
        self.registry().languages.clone()
    }

    /// Reads the files that settings name again. Settings that changed and that their plugin accepts
    /// are in force from here on; else the last good ones stay, and the log says why.
    pub async fn refresh(&self) {
        let mut complaints = self.complaints.lock().await;
        let current = self.registry();
        if let Some(next) = current.refreshed(&mut complaints).await {
            *self.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
    }

    /// Asks the plugin that serves `source.function.language`.
    pub async fn generate(&self, call: &Call, source: &Source) -> Result<Plan, PlanError> {
        let registry = self.registry();
        let language = &source.function.language;
        let served = registry.serving(language).and_then(|p| Some((p, p.loaded.points.dockerfile.as_ref()?)));
        let Some((plugin, export)) = served else {
            return Err(PlanError::NoSuchLanguage(language.clone()));
        };
        let planned = plugin.generate(export, &convert::call(call), &convert::source(source)).await?;
        planned.map_err(|findings| PlanError::Refused(plugin.denied(findings)))
    }

    /// Asks every on-deploy policy in the manifest's order.
    pub async fn review_deploy(
        &self,
        call: &Call,
        by: &Principal,
        what: &Deployment,
    ) -> Result<Admitted, ReviewError> {
        let registry = self.registry();
        let mut admitted = Admitted { limits: what.limits, warnings: Vec::new() };
        let (call, by, mut what) = (convert::call(call), convert::principal(by), convert::deployment(what));
        for plugin in &registry.plugins {
            if let Some(export) = &plugin.loaded.points.on_deploy {
                what.limits = convert::wit_limits(admitted.limits);
                let judged = plugin.review_deploy(export, &call, &by, &what, admitted.limits).await?;
                admitted.take(judged, plugin)?;
            }
        }
        Ok(admitted)
    }

    /// Asks every on-invoke policy in the manifest's order; `by` is none for a public function.
    pub async fn review_invoke(
        &self,
        call: &Call,
        by: Option<&Principal>,
        what: &Invocation,
    ) -> Result<Admitted, ReviewError> {
        let registry = self.registry();
        let mut admitted = Admitted { limits: what.limits, warnings: Vec::new() };
        if registry.plugins.iter().all(|plugin| plugin.loaded.points.on_invoke.is_none()) {
            return Ok(admitted);
        }
        let (call, by) = (convert::call(call), by.map(convert::principal));
        let mut what = convert::invocation(what);
        for plugin in &registry.plugins {
            if let Some(export) = &plugin.loaded.points.on_invoke {
                what.limits = convert::wit_limits(admitted.limits);
                let judged = plugin.review_invoke(export, &call, by.as_ref(), &what, admitted.limits).await?;
                admitted.take(judged, plugin)?;
            }
        }
        Ok(admitted)
    }

    /// Passes the answer through every post-processor in the manifest's order.
    pub async fn post_process(
        &self,
        call: &Call,
        function: &FunctionRef,
        duration_us: u64,
        response: FunctionResponse,
    ) -> Result<Processed, Failure> {
        let registry = self.registry();
        if registry.plugins.iter().all(|plugin| plugin.loaded.points.post_process.is_none()) {
            return Ok(Processed::Response(response));
        }
        let (call, function) = (convert::call(call), convert::function(function));
        let (mut response, unseen) = convert::response(response, duration_us);
        for plugin in &registry.plugins {
            if let Some(export) = &plugin.loaded.points.post_process {
                match plugin.process(export, &call, &function, &response).await? {
                    Said::Keep => {}
                    Said::Edit(edit) => edit.apply(&mut response),
                    Said::Withhold(findings) => return Ok(Processed::Withheld(plugin.denied(findings))),
                }
            }
        }
        Ok(Processed::Response(convert::function_response(response, unseen)))
    }

    fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Admitted {
    fn take(&mut self, judged: Judged, plugin: &Active) -> Result<(), ReviewError> {
        match judged {
            Judged::Allow { limits, warnings } => {
                self.limits = limits;
                self.warnings.extend(warnings);
                Ok(())
            }
            Judged::Deny(findings) => Err(ReviewError::Denied(plugin.denied(findings))),
            Judged::Abstain => Ok(()),
        }
    }
}

impl Active {
    fn denied(&self, findings: Vec<Finding>) -> Denied {
        Denied { plugin: self.loaded.entry.name.clone(), findings }
    }
}

impl LoadError {
    fn new(plugin: &str, code: &'static str, what: String, remedy: &str) -> Self {
        Self { plugin: plugin.to_owned(), code, what, remedy: remedy.to_owned() }
    }
}

fn no_engine(error: &wasmtime::Error) -> LoadError {
    let what = format!("no WebAssembly engine could be started: {error:#}");
    LoadError::new("(engine)", "no-engine", what, "Give the host more address space and threads.")
}

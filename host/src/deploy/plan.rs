//! Plan: which function, which language, which Dockerfile.

use std::path::Path;

use uuid::Uuid;

use super::{Error, FunctionConfig, SourceTree, dockerfile};
use crate::app::App;
use crate::clock;
use crate::db::{DeployTarget, FunctionRecord};
use crate::limits;
use crate::model::{Finding, FunctionName, FunctionRef, Limits, Plan, SourceFile};
use crate::plugins::{Call, Language, PlanError, Source};

/// The function that a deploy is for, as it stands before.
pub(super) struct Subject {
    pub(super) name: FunctionName,
    /// None when this deploy makes it.
    pub(super) existing: Option<FunctionRecord>,
    pub(super) replaces: Option<u64>,
    /// The number that the version gets unless another deploy is faster.
    next: u64,
}

pub(super) struct Planned {
    pub(super) language: String,
    pub(super) plan: Plan,
    pub(super) function: FunctionRef,
    pub(super) limits: Limits,
}

pub(super) async fn resolve(app: &App, target: &DeployTarget) -> Result<Subject, Error> {
    let existing = match target {
        DeployTarget::Id(id) => {
            let found = app.db.function(*id).await?;
            Some(found.ok_or_else(|| Error::NoSuchFunction(id.to_string()))?)
        }
        DeployTarget::Name(name) => app.db.function_by_name(name).await?,
    };
    let name = match (target, &existing) {
        (_, Some(function)) => function.name.clone(),
        (DeployTarget::Name(name), None) => name.clone(),
        (DeployTarget::Id(id), None) => return Err(Error::NoSuchFunction(id.to_string())),
    };
    let (replaces, next) = match &existing {
        Some(function) => {
            let current = app.db.current_version(function.id).await?;
            (current.map(|v| v.number), app.db.next_number(function.id).await?)
        }
        None => (None, 1),
    };
    Ok(Subject { name, existing, replaces, next })
}

/// Asks the plugin that serves the language for a Dockerfile, and checks what it says.
pub(super) async fn plan(
    app: &App,
    subject: &Subject,
    config: &FunctionConfig,
    source: &SourceTree,
) -> Result<Planned, Error> {
    let limits = wanted_limits(app, config)?;
    app.plugins.refresh().await;
    let languages = app.plugins.languages();
    let language = choose_language(&languages, config, subject, source)?;
    let function = FunctionRef {
        id: subject.existing.as_ref().map_or(Uuid::nil(), |f| f.id),
        name: subject.name.clone(),
        version: subject.next,
        language: language.name.clone(),
        labels: config.labels.clone(),
    };
    let request = Source {
        function: function.clone(),
        language_version: config.language_version.clone(),
        entrypoint: config.entrypoint.clone(),
        files: source_files(source, &language.markers),
    };
    let call = call(app);
    let plan = app.plugins.generate(&call, &request).await.map_err(|error| match error {
        PlanError::NoSuchLanguage(language) => no_such_language(&languages, language),
        PlanError::Refused(denied) => Error::PlanRefused { by: denied.plugin, findings: denied.findings },
        PlanError::Failed(failure) => Error::Plugin(failure),
    })?;
    dockerfile::check_plan(&plan)
        .map_err(|findings| Error::PlanRefused { by: "host".to_owned(), findings })?;
    Ok(Planned { language: language.name.clone(), plan, function, limits })
}

/// What every plugin call of a deploy carries.
pub(super) fn call(app: &App) -> Call {
    let base_image = app.config.podman.base_image.as_ref();
    Call {
        id: Uuid::now_v7(),
        at: clock::now_millis().unsigned_abs(),
        attributes: base_image
            .map(|image| ("base-image".to_owned(), serde_json::Value::from(image.as_str()).to_string()))
            .into_iter()
            .collect(),
    }
}

/// What the client asks for, within what the operator allows to any function.
fn wanted_limits(app: &App, config: &FunctionConfig) -> Result<Limits, Error> {
    let most = app.config.functions.default_limits();
    let within = |name: &str, wanted: Option<u32>, most: u32| match wanted {
        Some(value) if value > most => Err(Error::Config(Finding {
            rule: "limit-over-host-maximum".to_owned(),
            message: format!("limits.{name} is {value}; this host allows {most} at most"),
            path: Some(format!("limits.{name}")),
            hint: Some("ask for less, or have the operator raise the host's limit".to_owned()),
        })),
        wanted => Ok(wanted.unwrap_or(most)),
    };
    let wanted = &config.limits;
    Ok(Limits {
        memory_mib: within("memory_mib", wanted.memory_mib, most.memory_mib)?,
        cpu_millis: within("cpu_millis", wanted.cpu_millis, most.cpu_millis)?,
        timeout_ms: within("timeout_ms", wanted.timeout_ms, most.timeout_ms)?,
        concurrency: within("concurrency", wanted.concurrency, most.concurrency)?,
    })
}

/// The language that the client or `init` named, else the one whose marker is in the archive.
fn choose_language<'a>(
    known: &'a [Language],
    config: &FunctionConfig,
    subject: &Subject,
    source: &SourceTree,
) -> Result<&'a Language, Error> {
    let of_function = subject.existing.as_ref().and_then(|f| f.language.as_ref());
    if let Some(wanted) = config.language.as_ref().or(of_function) {
        let serves = |l: &&Language| l.name == *wanted || l.aliases.contains(wanted);
        return known.iter().find(serves).ok_or_else(|| no_such_language(known, wanted.clone()));
    }
    let shown = |l: &&Language| source.files.iter().any(|file| l.markers.contains(&file.path));
    let found: Vec<&Language> = known.iter().filter(shown).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::LanguageUnknown { known: names(known) }),
        many => Err(Error::LanguageAmbiguous { found: many.iter().map(|l| l.name.clone()).collect() }),
    }
}

fn no_such_language(known: &[Language], language: String) -> Error {
    Error::NoSuchLanguage { language, known: names(known) }
}

fn names(languages: &[Language]) -> Vec<String> {
    languages.iter().map(|l| l.name.clone()).collect()
}

fn source_files(source: &SourceTree, markers: &[String]) -> Vec<SourceFile> {
    let root = source.dir.path().join("src");
    let file = |entry: &super::SourceEntry| SourceFile {
        path: entry.path.clone(),
        bytes: entry.bytes,
        text: marker_text(&root, entry, markers),
    };
    source.files.iter().map(file).collect()
}

fn marker_text(root: &Path, entry: &super::SourceEntry, markers: &[String]) -> Option<String> {
    let wanted = markers.contains(&entry.path) && entry.bytes <= limits::MARKER_TEXT_BYTES_MAX;
    wanted.then(|| std::fs::read_to_string(root.join(&entry.path)).ok()).flatten()
}

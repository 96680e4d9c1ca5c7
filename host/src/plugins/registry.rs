//! Which plugins are in force, with which settings, serving which languages.

use std::collections::HashMap;
use std::sync::Arc;

use super::load::Loaded;
use super::settings;
use super::{Language, LoadError};
use crate::model::Finding;

/// One generation. A call holds on to the one that it began with.
pub(super) struct Registry {
    pub(super) plugins: Vec<Active>,
    pub(super) languages: Arc<[Language]>,
}

/// A plugin under settings that it accepted.
#[derive(Clone)]
pub(super) struct Active {
    pub(super) loaded: Arc<Loaded>,
    pub(super) settings: Arc<str>,
    languages: Vec<Language>,
}

/// The complaint that was last logged of a plugin's new settings.
pub(super) type Complaints = HashMap<String, String>;

impl Registry {
    pub(super) fn new(plugins: Vec<Active>) -> Result<Registry, LoadError> {
        let mut taken: HashMap<&str, &str> = HashMap::new();
        let languages: Arc<[Language]> = plugins.iter().flat_map(|p| p.languages.iter().cloned()).collect();
        for language in languages.iter() {
            for name in std::iter::once(&language.name).chain(&language.aliases) {
                if let Some(other) = taken.insert(name, &language.plugin) {
                    return Err(claimed_twice(name, &language.plugin, other));
                }
            }
        }
        Ok(Registry { plugins, languages })
    }

    /// The plugin that serves a language, by its name or an alias.
    pub(super) fn serving(&self, language: &str) -> Option<&Active> {
        self.plugins.iter().find(|plugin| {
            plugin.languages.iter().any(|l| l.name == language || l.aliases.iter().any(|a| a == language))
        })
    }

    /// The generation that follows, or none where no settings changed.
    pub(super) async fn refreshed(&self, complaints: &mut Complaints) -> Option<Registry> {
        let mut next: Option<Registry> = None;
        for index in 0..self.plugins.len() {
            let name = &self.plugins[index].loaded.entry.name;
            let base = next.as_ref().unwrap_or(self);
            match base.with_settings_of(index).await {
                Ok(None) => {
                    complaints.remove(name);
                }
                Ok(Some(registry)) => {
                    complaints.remove(name);
                    tracing::info!(plugin = name, "New settings are in force.");
                    next = Some(registry);
                }
                Err(refused) => {
                    let text = refused.to_string();
                    if complaints.get(name) != Some(&text) {
                        tracing::warn!(
                            plugin = name,
                            error = text,
                            "New settings are not used; the last good ones stay."
                        );
                        complaints.insert(name.clone(), text);
                    }
                }
            }
        }
        next
    }

    /// This generation with one plugin's settings as its files are now; none where they are the same.
    async fn with_settings_of(&self, index: usize) -> Result<Option<Registry>, LoadError> {
        let plugin = &self.plugins[index];
        let text = read_settings(&plugin.loaded).await?;
        if text == plugin.settings {
            return Ok(None);
        }
        let mut plugins = self.plugins.clone();
        plugins[index] = Active::new(plugin.loaded.clone(), text).await?;
        Registry::new(plugins).map(Some)
    }
}

impl Active {
    /// With the settings as they are now.
    pub(super) async fn first(loaded: Loaded) -> Result<Active, LoadError> {
        let settings = read_settings(&loaded).await?;
        Active::new(Arc::new(loaded), settings).await
    }

    /// Once the plugin accepted the settings.
    async fn new(loaded: Arc<Loaded>, settings: Arc<str>) -> Result<Active, LoadError> {
        let checked = loaded.check_settings(&settings).await.map_err(|failure| loaded.failed(failure))?;
        checked.map_err(|findings| {
            let what = format!("it refuses its settings: {}", in_words(&findings));
            loaded.error(
                "settings-refused",
                what,
                "Correct `settings` in plugins.toml, or the files it names.",
            )
        })?;
        let languages = loaded.languages(&settings).await.map_err(|failure| loaded.failed(failure))?;
        Ok(Active { loaded, settings, languages })
    }
}

async fn read_settings(loaded: &Loaded) -> Result<Arc<str>, LoadError> {
    let entry = loaded.entry.clone();
    tokio::task::spawn_blocking(move || settings::resolve(&entry)).await.unwrap_or_else(|_| {
        let what = "its settings could not be read, for the host is stopping".to_owned();
        Err(loaded.error("settings-file", what, "Start the host again."))
    })
}

fn in_words(findings: &[Finding]) -> String {
    let one = |finding: &Finding| match &finding.path {
        Some(path) => format!("{path}: {}", finding.message),
        None => finding.message.clone(),
    };
    let all: Vec<String> = findings.iter().map(one).collect();
    all.join("; ").trim_end_matches('.').to_owned()
}

fn claimed_twice(language: &str, plugin: &str, other: &str) -> LoadError {
    let what = format!("it serves the language {language:?}, as {other} does");
    LoadError::new(
        plugin,
        "language-taken",
        what,
        "Have only one plugin serve it; an alias counts as a name.",
    )
}

//! The configuration: `dunnage.toml`, overridden by the environment.
//!
//! Unknown keys are refused. Any secret may come as `NAME_FILE`, the path of a file that holds it.
//! Each key is documented in `examples/dunnage.toml`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::model::Limits;

/// Looks one environment variable up; a parameter so that tests need no global state.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    /// SQLite in the data directory when none.
    pub database_url: Option<Secret>,
    pub storage: Storage,
    pub s3: S3,
    pub podman: Podman,
    pub functions: Functions,
    /// The plugins' manifest; a host without plugins can build nothing.
    pub plugins: Option<PathBuf>,
    pub admin_token: Option<Secret>,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// Where `dunnage-init` is; beside this executable when none.
    pub init: Option<PathBuf>,
    /// Start even where the engine ignores limits.
    pub allow_unlimited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    Local,
    S3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// None is AWS itself, or R2 where `account_id` is set.
    pub endpoint: Option<String>,
    pub bucket: String,
    pub region: Option<String>,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
    /// A Cloudflare R2 account: gives the endpoint.
    pub account_id: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Podman {
    /// The socket of a running service. None: the usual places, else the host starts its own.
    pub socket: Option<PathBuf>,
    /// Goes before an image's name.
    pub registry: String,
    /// What templates may name as `{{base_image}}`.
    pub base_image: Option<String>,
    /// Whether `RUN` steps of a build have a network.
    pub build_network: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Functions {
    pub timeout_seconds: f64,
    pub max_memory_mb: u32,
    pub cpu_millis: u32,
    /// Invocations that run at once on this host.
    pub max_concurrent: u32,
    /// MiB.
    pub max_request_size_mb: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("/var/lib/dunnage"),
            database_url: None,
            storage: Storage::Local,
            s3: S3::default(),
            podman: Podman::default(),
            functions: Functions::default(),
            plugins: None,
            admin_token: None,
            log_format: LogFormat::Text,
            init: None,
            allow_unlimited: false,
        }
    }
}

impl Default for Podman {
    fn default() -> Self {
        Self { socket: None, registry: "localhost".to_owned(), base_image: None, build_network: false }
    }
}

impl Default for Functions {
    fn default() -> Self {
        Self {
            timeout_seconds: 5.0,
            max_memory_mb: 128,
            cpu_millis: 1000,
            max_concurrent: 10,
            max_request_size_mb: 5,
        }
    }
}

impl Functions {
    /// What a function gets that asks for nothing.
    pub fn default_limits(&self) -> Limits {
        Limits {
            memory_mib: self.max_memory_mb,
            cpu_millis: self.cpu_millis,
            timeout_ms: (self.timeout_seconds * 1000.0) as u32,
            concurrency: self.max_concurrent,
        }
    }

    pub fn max_request_bytes(&self) -> usize {
        self.max_request_size_mb as usize * limits::MIB
    }
}

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The value itself; every call of this is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "(secret)" })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the configuration file {path} cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the configuration file {path} is not valid: {detail}")]
    Invalid { path: PathBuf, detail: String },
    #[error("{name} is not valid: {detail}")]
    Variable { name: String, detail: String },
    #[error("{0}")]
    Rule(String),
}

impl Config {
    /// Reads the file (none is all defaults), then the environment, then checks the whole.
    pub fn load(file: Option<&Path>, env: Environment<'_>) -> Result<Self, Error> {
        let mut config = match file {
            Some(path) => read(path)?,
            None => Self::default(),
        };
        config.override_from(env)?;
        config.resolve();
        config.check()?;
        Ok(config)
    }

    /// The URL to connect to; SQLite in the data directory by default.
    pub fn database_url(&self) -> Secret {
        self.database_url.clone().unwrap_or_else(|| {
            Secret::new(format!("sqlite://{}/dunnage.db?mode=rwc", self.data_dir.display()))
        })
    }

    /// Where `dunnage-init` is.
    pub fn init_path(&self) -> PathBuf {
        self.init.clone().unwrap_or_else(|| {
            let beside = std::env::current_exe().ok();
            let folder = beside.as_deref().and_then(Path::parent);
            folder.unwrap_or(Path::new("/usr/local/bin")).join("dunnage-init")
        })
    }

    fn override_from(&mut self, env: Environment<'_>) -> Result<(), Error> {
        let secret = |name: &str| secret_from(env, name);
        set(&mut self.listen, env, "DUNNAGE_LISTEN")?;
        if let Some(port) = parsed::<u16>(env, "PORT")? {
            self.listen.set_port(port);
        }
        set(&mut self.data_dir, env, "DUNNAGE_DATA_DIR")?;
        if let Some(kind) = env("DUNNAGE_STORAGE") {
            self.storage = match kind.as_str() {
                "local" => Storage::Local,
                "s3" => Storage::S3,
                _ => return Err(variable("DUNNAGE_STORAGE", "local and s3 are the kinds")),
            };
        }
        if let Some(kind) = env("DUNNAGE_LOG_FORMAT") {
            self.log_format = match kind.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => {
                    return Err(variable("DUNNAGE_LOG_FORMAT", "text and json are the formats"));
                }
            };
        }
        replace(&mut self.database_url, secret("DATABASE_URL")?);
        replace(&mut self.admin_token, secret("DUNNAGE_ADMIN_TOKEN")?);
        replace(&mut self.plugins, env("DUNNAGE_PLUGINS").map(PathBuf::from));
        replace(&mut self.init, env("DUNNAGE_INIT").map(PathBuf::from));
        self.s3.override_from(env)?;
        replace(&mut self.podman.socket, env("PODMAN_SOCKET").map(PathBuf::from));
        replace(&mut self.podman.base_image, env("DOCKER_BASE_IMAGE"));
        set(&mut self.podman.registry, env, "DOCKER_REGISTRY")?;
        set(&mut self.functions.timeout_seconds, env, "FUNCTION_TIMEOUT_SECONDS")?;
        set(&mut self.functions.max_memory_mb, env, "FUNCTION_MAX_MEMORY_MB")?;
        set(&mut self.functions.max_concurrent, env, "FUNCTION_MAX_CONCURRENT")?;
        set(&mut self.functions.max_request_size_mb, env, "FUNCTION_MAX_REQUEST_SIZE_MB")
    }

    /// Paths are absolute from here on: Podman and SQLite are given them.
    fn resolve(&mut self) {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.data_dir = absolute(&self.data_dir);
        for path in [&mut self.plugins, &mut self.init, &mut self.podman.socket].into_iter().flatten() {
            *path = absolute(path);
        }
    }

    fn check(&self) -> Result<(), Error> {
        let rule = |ok: bool, text: &str| {
            if ok { Ok(()) } else { Err(Error::Rule(text.to_owned())) }
        };
        let f = &self.functions;
        let timeout_ms = f.timeout_seconds * 1000.0;
        let timeouts = f64::from(limits::TIMEOUT_MS_MIN)..=f64::from(limits::TIMEOUT_MS_MAX);
        rule(
            timeouts.contains(&timeout_ms),
            "FUNCTION_TIMEOUT_SECONDS (functions.timeout_seconds) is 0.1 to 900",
        )?;
        let memory = limits::MEMORY_MIB_MIN..=limits::MEMORY_MIB_MAX;
        rule(
            memory.contains(&f.max_memory_mb),
            "FUNCTION_MAX_MEMORY_MB (functions.max_memory_mb) is 16 to 65536",
        )?;
        let cpu = limits::CPU_MILLIS_MIN..=limits::CPU_MILLIS_MAX;
        rule(cpu.contains(&f.cpu_millis), "functions.cpu_millis is 10 to 64000")?;
        let concurrency = 1..=limits::CONCURRENCY_MAX;
        rule(
            concurrency.contains(&f.max_concurrent),
            "FUNCTION_MAX_CONCURRENT (functions.max_concurrent) is 1 to 1000",
        )?;
        rule(
            (1..=1024).contains(&f.max_request_size_mb),
            "FUNCTION_MAX_REQUEST_SIZE_MB (functions.max_request_size_mb) is 1 to 1024",
        )?;
        rule(!self.podman.registry.is_empty(), "DOCKER_REGISTRY (podman.registry) must not be empty")?;
        if let Some(url) = &self.database_url {
            let known = ["sqlite:", "postgres://", "postgresql://"];
            rule(
                known.iter().any(|scheme| url.expose().starts_with(scheme)),
                "DATABASE_URL (database_url) begins with sqlite: or postgres://",
            )?;
        }
        if self.storage == Storage::S3 {
            rule(
                !self.s3.bucket.is_empty(),
                "S3_BUCKET_NAME (s3.bucket) must be set where the storage is s3",
            )?;
            rule(
                !self.s3.access_key_id.is_empty(),
                "S3_ACCESS_KEY_ID (s3.access_key_id) must be set where the storage is s3",
            )?;
            rule(
                !self.s3.secret_access_key.is_empty(),
                "S3_SECRET_ACCESS_KEY (s3.secret_access_key) must be set where the storage is s3",
            )?;
        }
        Ok(())
    }
}

impl S3 {
    fn override_from(&mut self, env: Environment<'_>) -> Result<(), Error> {
        replace(&mut self.endpoint, env("S3_ENDPOINT"));
        replace(&mut self.region, env("S3_REGION"));
        replace(&mut self.account_id, env("S3_ACCOUNT_ID"));
        set(&mut self.bucket, env, "S3_BUCKET_NAME")?;
        if let Some(id) = secret_from(env, "S3_ACCESS_KEY_ID")? {
            self.access_key_id = id.expose().to_owned();
        }
        if let Some(key) = secret_from(env, "S3_SECRET_ACCESS_KEY")? {
            self.secret_access_key = key;
        }
        replace(&mut self.session_token, secret_from(env, "S3_SESSION_TOKEN")?);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| Error::Invalid { path: path.to_owned(), detail: error.message().to_owned() })
}

fn variable(name: &str, detail: &str) -> Error {
    Error::Variable { name: name.to_owned(), detail: detail.to_owned() }
}

fn parsed<T: std::str::FromStr<Err: fmt::Display>>(
    env: Environment<'_>,
    name: &str,
) -> Result<Option<T>, Error> {
    match env(name).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error: T::Err| variable(name, &error.to_string())),
    }
}

fn set<T: std::str::FromStr<Err: fmt::Display>>(
    slot: &mut T,
    env: Environment<'_>,
    name: &str,
) -> Result<(), Error> {
    if let Some(value) = parsed(env, name)? {
        *slot = value;
    }
    Ok(())
}

fn replace<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

fn secret_from(env: Environment<'_>, name: &str) -> Result<Option<Secret>, Error> {
    let file_name = format!("{name}_FILE");
    match (env(name).filter(|text| !text.is_empty()), env(&file_name)) {
        (Some(_), Some(_)) => Err(variable(name, "set it or its _FILE, not both")),
        (Some(text), None) => Ok(Some(Secret(text))),
        (None, Some(path)) => std::fs::read_to_string(&path)
            .map(|text| Some(Secret(text.trim_end().to_owned())))
            .map_err(|error| variable(&file_name, &format!("{path}: {error}"))),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Config::load(Some(file.path()), &find)
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load(
            "listen = '0.0.0.0:1'\n[functions]\nmax_memory_mb = 64\n",
            &[("PORT", "9000"), ("FUNCTION_MAX_MEMORY_MB", "256")],
        )
        .unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:9000");
        assert_eq!(config.functions.max_memory_mb, 256);
        assert_eq!(config.functions.default_limits().timeout_ms, 5000);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused_in_a_sentence() {
        for (toml, env, says) in [
            ("lisen = 'x'", &[][..], "unknown field `lisen`"),
            ("", &[("PORT", "many")][..], "PORT is not valid"),
            ("", &[("FUNCTION_TIMEOUT_SECONDS", "NaN")][..], "FUNCTION_TIMEOUT_SECONDS"),
            ("storage = 's3'", &[][..], "S3_BUCKET_NAME"),
            ("", &[("DATABASE_URL", "mysql://x")][..], "DATABASE_URL"),
            ("", &[("DUNNAGE_STORAGE", "tape")][..], "local and s3"),
            ("", &[("S3_SECRET_ACCESS_KEY", "a"), ("S3_SECRET_ACCESS_KEY_FILE", "b")][..], "not both"),
        ] {
            let error = load(toml, env).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            load("", &[("DATABASE_URL", "postgres://u:hunter2@h/d"), ("S3_SECRET_ACCESS_KEY", "hunter2")])
                .unwrap();
        let printed = format!("{config:?}{}", serde_json::to_string(&config).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

//! The parts of a running host, wired once, in the order in which they need each other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::blobs::Blobs;
use crate::blobs::local::Local;
use crate::blobs::s3::S3;
use crate::catalog::{Catalog, Deployed};
use crate::config::{Config, Storage};
use crate::containers::Containers;
use crate::containers::podman::{Podman, PodmanOptions};
use crate::db::{Db, InvocationRecord, PluginEvent};
use crate::http::auth;
use crate::invoke::Invoker;
use crate::invoke::protocol::Peers;
use crate::metrics::Metrics;
use crate::model::Scope;
use crate::plugins::Plugins;
use crate::{blobs, clock, containers, db, deploy, invoke, limits, plugins, reconcile};

pub struct App {
    pub config: Config,
    /// Kept in `{data}/host.id`; marks what this host makes in Podman and the database.
    pub host_id: Uuid,
    pub db: Db,
    pub blobs: Arc<dyn Blobs>,
    pub containers: Arc<dyn Containers>,
    pub plugins: Plugins,
    pub catalog: Catalog,
    pub invoker: Invoker,
    /// Images that are built at once.
    pub builds: Semaphore,
    pub metrics: Arc<Metrics>,
    /// Cancelled when the host is told to stop: nothing new is begun.
    pub shutdown: CancellationToken,
    /// Every task that outlives its request.
    pub tasks: TaskTracker,
    /// Cancelled when all requests are answered: what they left is written.
    flush: CancellationToken,
    /// Cancelled last: ends the engine's service when it is this host's own.
    engine_stop: CancellationToken,
    /// Held for as long as the host lives; one host per data directory.
    _data_lock: File,
}

/// Why a host does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{doing} {path}")]
    DataDir {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "another dunnage uses the data directory {0}: stop it, or set DUNNAGE_DATA_DIR to a directory of this host's own"
    )]
    DataDirInUse(PathBuf),
    #[error("{0} does not hold a UUID; remove it to have this host take a new identity")]
    HostId(PathBuf),
    #[error("DUNNAGE_ADMIN_TOKEN is shorter than {} characters", limits::ADMIN_TOKEN_CHARS_MIN)]
    WeakAdminToken,
    #[error(
        "{0} is missing: build it (cargo build -p dunnage-init) and put it beside the dunnage executable, or name it by DUNNAGE_INIT"
    )]
    NoInit(PathBuf),
    #[error(
        "functions would run without limits here: {0}. Mend that, or start with --allow-unlimited if every function is trusted"
    )]
    NoLimits(String),
    #[error(transparent)]
    Plugin(#[from] plugins::LoadError),
    #[error(transparent)]
    Db(#[from] db::Error),
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    #[error(transparent)]
    Containers(#[from] containers::Error),
    #[error("what an earlier run left behind could not be removed")]
    Reconcile(#[source] deploy::Error),
    #[error("the metrics could not be registered")]
    Metrics(#[from] prometheus::Error),
}

impl App {
    /// Opens everything, removes what an earlier run left behind, and is ready to serve.
    pub async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let data_lock = claim_data_dir(&config.data_dir)?;
        let host_id = host_id(&config.data_dir)?;
        let metrics = Arc::new(Metrics::new()?);
        let db = open_database(&config).await?;
        let blobs = open_blobs(&config, &metrics).await?;
        let plugins = load_plugins(&config, &metrics, &db).await?;
        let engine_stop = CancellationToken::new();
        let containers = connect_engine(&config, engine_stop.clone()).await?;
        let (tasks, flush) = (TaskTracker::new(), CancellationToken::new());
        let options = invoke::Options {
            containers: containers.clone(),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            run_dir: run_dir(&config.data_dir),
            host_id,
            places: config.functions.max_concurrent as usize,
            wait_max: limits::INVOKE_WAIT_MAX,
            peers: Peers::of_functions(),
        };
        let invoker = Invoker::start(options, record_in(db.clone()), flush.clone());
        let app = Self {
            config,
            host_id,
            db,
            blobs,
            containers,
            plugins,
            catalog: Catalog::default(),
            invoker,
            builds: Semaphore::new(limits::BUILDS_CONCURRENT_MAX),
            metrics,
            shutdown: CancellationToken::new(),
            tasks,
            flush,
            engine_stop,
            _data_lock: data_lock,
        };
        app.clear_temporary_dirs()?;
        reconcile::reconcile(&app).await.map_err(StartError::Reconcile)?;
        for (function, version) in app.db.current_versions().await? {
            app.catalog.insert(Deployed { function, version });
        }
        app.ensure_admin_token().await?;
        let app = Arc::new(app);
        app.tasks.spawn(reconcile::prune_records_for_ever(app.clone()));
        Ok(app)
    }

    /// Ends what outlives requests; called when the last request was answered.
    pub async fn stop(&self) {
        self.flush.cancel();
        self.builds.close();
        self.tasks.close();
        if tokio::time::timeout(limits::DRAIN_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("Some work did not end in time; the next start cleans up after it.");
        }
        self.engine_stop.cancel();
        self.containers.stopped().await;
    }

    /// Unpacked archives; emptied at start.
    pub fn uploads_dir(&self) -> PathBuf {
        self.config.data_dir.join("tmp")
    }

    /// Runtime sockets, one directory a container; emptied at start.
    pub fn run_dir(&self) -> PathBuf {
        run_dir(&self.config.data_dir)
    }

    /// Where the first start leaves the token that may do all.
    pub fn admin_token_path(data_dir: &Path) -> PathBuf {
        data_dir.join("admin.token")
    }

    fn clear_temporary_dirs(&self) -> Result<(), StartError> {
        for dir in [self.uploads_dir(), self.run_dir()] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(data_dir_error("emptying", &dir)(error));
                }
                _ => make_private_dir(&dir)?,
            }
        }
        Ok(())
    }

    /// The configured admin token is stored; without one, the first start makes one.
    async fn ensure_admin_token(&self) -> Result<(), StartError> {
        let path = Self::admin_token_path(&self.config.data_dir);
        let (token, name) = match &self.config.admin_token {
            Some(token) if token.expose().len() < limits::ADMIN_TOKEN_CHARS_MIN => {
                return Err(StartError::WeakAdminToken);
            }
            Some(token) => (token.clone(), "admin-configured"),
            None => (read_or_make_admin_token(&path)?, "admin"),
        };
        let hash = auth::hash_token(token.expose());
        if self.db.token_by_hash(&hash).await?.is_none() {
            // A name is taken once; a replaced token keeps its row, so the hash tells them apart.
            let name = format!("{name}-{}", &hash[..8]);
            self.db.create_token(&name, &hash, &[Scope::Admin], None).await?;
        }
        Ok(())
    }
}

fn claim_data_dir(dir: &Path) -> Result<File, StartError> {
    make_private_dir(dir)?;
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(data_dir_error("opening", &path))?;
    lock.try_lock().map_err(|_| StartError::DataDirInUse(dir.to_owned()))?;
    Ok(lock)
}

fn host_id(dir: &Path) -> Result<Uuid, StartError> {
    let path = dir.join("host.id");
    match std::fs::read_to_string(&path) {
        Ok(text) => Uuid::parse_str(text.trim()).map_err(|_| StartError::HostId(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::new_v4();
            write_private(&path, &id.to_string()).map_err(data_dir_error("writing", &path))?;
            Ok(id)
        }
        Err(error) => Err(data_dir_error("reading", &path)(error)),
    }
}

/// Connects; the embedded default makes its own schema, any other database is left to `dunnage migrate`.
async fn open_database(config: &Config) -> Result<Db, StartError> {
    let db = Db::connect(config.database_url().expose()).await?;
    if config.database_url.is_none() && db.is_empty().await? {
        db.migrate().await?;
    }
    db.check_schema().await?;
    Ok(db)
}

async fn open_blobs(config: &Config, metrics: &Arc<Metrics>) -> Result<Arc<dyn Blobs>, StartError> {
    Ok(match config.storage {
        Storage::Local => Arc::new(Local::open(config.data_dir.join("blobs"), metrics.clone())?),
        Storage::S3 => Arc::new(S3::connect(&config.s3, metrics.clone())?),
    })
}

async fn load_plugins(config: &Config, metrics: &Arc<Metrics>, db: &Db) -> Result<Plugins, StartError> {
    let event = |plugin: &str, digest: Option<String>, event: &str, detail: String| PluginEvent {
        plugin: plugin.to_owned(),
        digest,
        event: event.to_owned(),
        detail,
        at: clock::now_millis(),
    };
    match Plugins::load(config.plugins.as_deref(), metrics.clone()).await {
        Ok(plugins) => {
            for state in plugins.states() {
                tracing::info!(plugin = state.name, version = state.version, points = ?state.points, "Plugin loaded.");
                db.add_plugin_event(&event(&state.name, Some(state.digest), "loaded", state.version)).await?;
            }
            Ok(plugins)
        }
        Err(error) => {
            db.add_plugin_event(&event(&error.plugin, None, "refused", error.to_string())).await?;
            Err(error.into())
        }
    }
}

async fn connect_engine(config: &Config, stop: CancellationToken) -> Result<Arc<dyn Containers>, StartError> {
    let init = config.init_path();
    if !init.is_file() {
        return Err(StartError::NoInit(init));
    }
    let options =
        PodmanOptions { socket: config.podman.socket.clone(), data_dir: config.data_dir.clone(), init };
    let podman = Podman::connect(options, stop).await?;
    let engine = podman.engine().await?;
    match engine.limits_hold {
        Err(why) if !config.allow_unlimited => return Err(StartError::NoLimits(why)),
        Err(why) => tracing::warn!(why, "Functions run without limits."),
        Ok(()) => tracing::info!(engine = engine.description, "Container engine found."),
    }
    Ok(Arc::new(podman))
}

/// Writes batches of invocation records; the writer owns the connection it writes through.
fn record_in(db: Db) -> impl Fn(Arc<[InvocationRecord]>) -> Recording + Send + Sync + 'static {
    move |batch| {
        let db = db.clone();
        Box::pin(async move { db.record_invocations(&batch).await })
    }
}

type Recording = Pin<Box<dyn Future<Output = Result<(), db::Error>> + Send>>;

fn run_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("run")
}

fn read_or_make_admin_token(path: &Path) -> Result<crate::config::Secret, StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(crate::config::Secret::new(text.trim())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = auth::mint_token();
            write_private(path, token.expose()).map_err(data_dir_error("writing", path))?;
            tracing::info!(path = %path.display(), "An admin token was made.");
            Ok(token)
        }
        Err(error) => Err(data_dir_error("reading", path)(error)),
    }
}

fn make_private_dir(dir: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(data_dir_error("making the directory", dir))
}

/// Whole or not at all, and for this user's eyes only.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn data_dir_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::DataDir { doing, path, source }
}

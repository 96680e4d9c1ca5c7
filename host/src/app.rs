//! The parts of a running host, wired once.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::containers::Containers;
use crate::db::Db;
use crate::metrics::Metrics;
use crate::plugins::Plugins;

pub struct App {
    pub config: Config,
    /// Kept in `{data}/host.id`; marks what this host makes in Podman and the database.
    pub host_id: Uuid,
    pub db: Db,
    pub blobs: Arc<dyn Blobs>,
    pub containers: Arc<dyn Containers>,
    pub plugins: Plugins,
    pub catalog: Catalog,
    pub metrics: Arc<Metrics>,
    /// Cancelled when the host is told to stop.
    pub shutdown: CancellationToken,
    /// Every task that outlives its request.
    pub tasks: TaskTracker,
}

impl App {
    /// Unpacked archives; emptied at start.
    pub fn uploads_dir(&self) -> PathBuf {
        self.config.data_dir.join("tmp")
    }

    /// Runtime sockets, one directory a container; emptied at start.
    pub fn run_dir(&self) -> PathBuf {
        self.config.data_dir.join("run")
    }
}

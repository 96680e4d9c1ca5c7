//! What the crate `podman-api` does as it should: the engine's description, images, lists.
//!
//! It reads answers whole, so it is used only for those whose size the engine's store bounds.

use std::collections::{BTreeMap, HashMap};

use podman_api::models::{Info, InspectImageResponseLibpod, LibpodImageSummary};
use podman_api::opts::{ContainerListFilter, ContainerListOpts, ImageListFilter, ImageListOpts};

use super::request::{clean, within};
use super::service::Service;
use crate::containers::{ContainerId, Engine, Error, Image};
use crate::limits;

const NOT_FOUND: u16 = 404;
const SERVER_ERROR: u16 = 500;
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

pub(super) struct Api {
    api: podman_api::Podman,
    socket: std::path::PathBuf,
}

impl Api {
    pub(super) fn new(service: &Service) -> Self {
        Self { api: podman_api::Podman::unix(&service.socket), socket: service.socket.clone() }
    }

    pub(super) async fn engine(&self) -> Result<Engine, Error> {
        self.call("asking the engine about itself", self.api.info()).await.map(|info| engine(&info))
    }

    pub(super) async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        if !is_reference(reference) {
            return Ok(None);
        }
        let image = self.api.images().get(reference);
        match self.call("inspecting an image", image.inspect()).await {
            Ok(data) => inspected(data).map(Some),
            Err(Error::Refused { status: NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn images(&self, label: &str, value: &str) -> Result<Vec<Image>, Error> {
        let filter = ImageListFilter::LabelKeyVal(label.to_owned(), value.to_owned());
        let opts = ImageListOpts::builder().filter([filter]).build();
        let images = self.api.images();
        let mut attempt = 1;
        loop {
            match self.call("listing images", images.list(&opts)).await {
                // Podman's list fails as a whole where an image is removed while it reads them.
                Err(Error::Refused { status: SERVER_ERROR, message, .. })
                    if message.contains("image not known") && attempt < limits::IMAGE_LIST_ATTEMPTS =>
                {
                    attempt += 1;
                    tokio::time::sleep(limits::IMAGE_LIST_RETRY_DELAY).await;
                }
                summaries => return summaries?.into_iter().map(listed).collect(),
            }
        }
    }

    pub(super) async fn remove_image(&self, reference: &str) -> Result<(), Error> {
        if !is_reference(reference) {
            return Ok(());
        }
        let image = self.api.images().get(reference);
        match self.call("removing an image", image.delete()).await {
            Err(Error::Refused { status: NOT_FOUND, .. }) => Ok(()),
            end => end,
        }
    }

    pub(super) async fn containers(&self, label: &str, value: &str) -> Result<Vec<ContainerId>, Error> {
        let filter = ContainerListFilter::LabelKeyVal(label.to_owned(), value.to_owned());
        let opts = ContainerListOpts::builder().all(true).filter([filter]).build();
        let containers = self.api.containers();
        let listed = self.call("listing containers", containers.list(&opts)).await?;
        listed
            .into_iter()
            .map(|container| hex_id("listing containers", container.id).map(ContainerId))
            .collect()
    }

    async fn call<T>(
        &self,
        doing: &'static str,
        request: impl Future<Output = podman_api::Result<T>>,
    ) -> Result<T, Error> {
        within(doing, limits::ENGINE_REQUEST_TIMEOUT, async {
            request.await.map_err(|e| self.error(doing, e))
        })
        .await
    }

    fn error(&self, doing: &'static str, error: podman_api::Error) -> Error {
        match error {
            podman_api::Error::Fault { code, message } => {
                Error::Refused { doing, status: code.as_u16(), message: clean(&message) }
            }
            podman_api::Error::SerdeJsonError(error) => Error::Protocol { doing, detail: error.to_string() },
            error => Error::Unreachable { socket: self.socket.clone(), source: Box::new(error) },
        }
    }
}

/// What may stand in a URL's path as it is. Anything else is no name of an image.
pub(super) fn is_reference(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    !text.is_empty()
        && text.bytes().all(allowed)
        && !text.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn engine(info: &Info) -> Engine {
    let unknown = || "?".to_owned();
    let host = info.host.as_ref();
    let version = info.version.as_ref().and_then(|version| version.version.clone()).unwrap_or_else(unknown);
    let runtime = host.and_then(|host| host.oci_runtime.as_ref()?.name.clone()).unwrap_or_else(unknown);
    let cgroups = host.and_then(|host| host.cgroup_version.clone()).unwrap_or_else(unknown);
    let rootless = host.and_then(|host| host.security.as_ref()?.rootless).unwrap_or(true);
    let controllers = host.and_then(|host| host.cgroup_controllers.clone()).unwrap_or_default();
    let user = if rootless { "rootless" } else { "root" };
    Engine {
        description: clean(&format!("podman {version}, {runtime}, cgroup {cgroups}, {user}")),
        limits_hold: limits_hold(rootless, &cgroups, &controllers),
    }
}

fn limits_hold(rootless: bool, cgroups: &str, controllers: &[String]) -> Result<(), String> {
    if rootless && cgroups != "v2" {
        let why =
            "Podman runs without root on cgroup v1, where it ignores limits of memory, CPU and processes";
        return Err(format!("{why}; run it as root, or boot with cgroup v2"));
    }
    let missing: Vec<&str> =
        CONTROLLERS.into_iter().filter(|needed| !controllers.iter().any(|c| c == needed)).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "Podman may not use the cgroup controllers {}; delegate them to its user",
            missing.join(", ")
        ))
    }
}

fn inspected(data: InspectImageResponseLibpod) -> Result<Image, Error> {
    let (entrypoint, command) = match data.config {
        Some(config) => (config.entrypoint, config.cmd),
        None => (None, None),
    };
    Ok(Image {
        id: hex_id("inspecting an image", data.id)?,
        tags: data.repo_tags.unwrap_or_default(),
        labels: sorted(data.labels),
        entrypoint: entrypoint.unwrap_or_default(),
        command: command.unwrap_or_default(),
        size_bytes: size(data.size),
    })
}

/// A list tells no command.
fn listed(summary: LibpodImageSummary) -> Result<Image, Error> {
    Ok(Image {
        id: hex_id("listing images", summary.id)?,
        tags: summary.repo_tags.unwrap_or_default(),
        labels: sorted(summary.labels),
        entrypoint: Vec::new(),
        command: Vec::new(),
        size_bytes: size(summary.size),
    })
}

/// Ids are put into paths later on.
fn hex_id(doing: &'static str, id: Option<String>) -> Result<String, Error> {
    let id = id.unwrap_or_default();
    let id = id.strip_prefix("sha256:").unwrap_or(&id);
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(id.to_owned())
    } else {
        Err(Error::Protocol { doing, detail: "an id is not hexadecimal".to_owned() })
    }
}

fn sorted(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

fn size(bytes: Option<i64>) -> u64 {
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_images_get_into_a_path() {
        for good in ["localhost/dunnage/python:latest", "abc123", "a@sha256:00ff", "127.0.0.1:5000/x:v1"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["", "../x", "a/../b", "a b", "a?force=true", "a#b", "a//b", "a%2e", "é", "/a"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn limits_hold_where_they_are_enforced() {
        let all = ["cpu", "memory", "pids"].map(str::to_owned);
        assert_eq!(limits_hold(false, "v1", &all), Ok(()));
        assert_eq!(limits_hold(true, "v2", &all), Ok(()));
        assert!(limits_hold(true, "v1", &all).unwrap_err().contains("cgroup v1"));
        let why = limits_hold(true, "v2", &all[1..2]).unwrap_err();
        assert!(why.contains("controllers cpu, pids"), "{why}");
    }
}

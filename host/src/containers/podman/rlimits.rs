//! The resource limits that the engine is able to give: none above its own.

use std::path::Path;

use rustix::net::sockopt::socket_peercred;
use tokio::net::UnixStream;

use crate::limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rlimits {
    pub(super) files: u64,
    pub(super) processes: u64,
}

impl Rlimits {
    /// A service without the right to raise limits fails to start a container that asks for more
    /// than it has itself.
    pub(super) async fn of_service(socket: &Path) -> Self {
        let peer = match UnixStream::connect(socket).await {
            Ok(stream) => socket_peercred(&stream).ok(),
            Err(_) => None,
        };
        let text = peer.and_then(|peer| {
            std::fs::read_to_string(format!("/proc/{}/limits", peer.pid.as_raw_nonzero())).ok()
        });
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let hard = |name: &str| -> Option<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Self {
            files: hard("Max open files").unwrap_or(u64::MAX).min(limits::CONTAINER_FILES_MAX),
            processes: hard("Max processes").unwrap_or(u64::MAX).min(limits::CONTAINER_USER_PROCESSES_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_s_own_limits_bind() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             4096                 8192                 processes\n\
                    Max open files            256                  512                  files\n";
        assert_eq!(Rlimits::parse(text), Rlimits { files: 512, processes: 8192 });
        let unlimited = "Max processes  unlimited  unlimited  processes\n";
        let most =
            Rlimits { files: limits::CONTAINER_FILES_MAX, processes: limits::CONTAINER_USER_PROCESSES_MAX };
        assert_eq!(Rlimits::parse(unlimited), most);
    }
}

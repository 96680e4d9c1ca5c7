//! What is asked of libpod for a function's container: every limit in one place.

use std::path::Path;

use serde_json::{Value, json};

use super::rlimits::Rlimits;
use crate::containers::{ContainerSpec, FUNCTION_UID, INIT_PATH, RUNTIME_DIR, SCRATCH_DIR};
use crate::limits::{self, MIB};

const CPU_PERIOD_US: u64 = 100_000;
/// More willing to be killed than anything of the machine's own.
const OOM_SCORE_ADJ: i32 = 500;

/// The host's files that containers see.
pub(super) struct Files<'a> {
    pub(super) init: &'a Path,
    pub(super) seccomp: &'a Path,
}

pub(super) fn create_request(spec: &ContainerSpec, files: &Files<'_>, rlimits: Rlimits) -> Value {
    let mut request = isolation(files, rlimits);
    let environment: serde_json::Map<String, Value> =
        spec.environment.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let own = json!({
        "name": spec.name,
        "image": spec.image,
        "entrypoint": [INIT_PATH],
        "command": spec.init_args,
        "env": environment,
        "labels": spec.labels,
        "resource_limits": resources(spec),
        "mounts": [
            tmpfs("/tmp", spec.scratch_bytes),
            tmpfs(SCRATCH_DIR, spec.scratch_bytes),
            bind(RUNTIME_DIR, &spec.runtime_dir, &["noexec"]),
            bind(INIT_PATH, files.init, &[]),
        ],
    });
    if let (Value::Object(request), Value::Object(own)) = (&mut request, own) {
        request.extend(own);
    }
    request
}

/// The same for every container.
fn isolation(files: &Files<'_>, rlimits: Rlimits) -> Value {
    json!({
        "user": format!("{FUNCTION_UID}:{FUNCTION_UID}"),
        "cap_drop": ["all"],
        "no_new_privileges": true,
        "seccomp_profile_path": files.seccomp,
        "read_only_filesystem": true,
        "read_write_tmpfs": false,
        "image_volume_mode": "ignore",
        "volatile": true,
        "netns": {"nsmode": "none"},
        "pidns": {"nsmode": "private"},
        "ipcns": {"nsmode": "private"},
        "utsns": {"nsmode": "private"},
        "cgroupns": {"nsmode": "private"},
        "hostname": "function",
        "use_image_hosts": true,
        "use_image_resolve_conf": true,
        "env_host": false,
        "httpproxy": false,
        "umask": "0022",
        "shm_size": limits::CONTAINER_SHM_BYTES,
        "oom_score_adj": OOM_SCORE_ADJ,
        "r_limits": [
            rlimit("nofile", rlimits.files),
            rlimit("nproc", rlimits.processes),
            rlimit("core", 0),
        ],
        "log_configuration": {"driver": "none"},
        "healthconfig": {"Test": ["NONE"]},
        "init": false,
        "systemd": "false",
        "terminal": false,
        "stdin": false,
        "restart_policy": "no",
        "stop_signal": 9,
        "stop_timeout": 0,
    })
}

fn resources(spec: &ContainerSpec) -> Value {
    let memory = u64::from(spec.limits.memory_mib) * MIB as u64;
    let quota = u64::from(spec.limits.cpu_millis) * CPU_PERIOD_US / 1000;
    json!({
        // The second counts both: as much as the first is no swap.
        "memory": {"limit": memory, "swap": memory},
        "cpu": {"quota": quota, "period": CPU_PERIOD_US},
        "pids": {"limit": spec.pids_max},
    })
}

fn rlimit(kind: &str, limit: u64) -> Value {
    json!({"type": kind, "soft": limit, "hard": limit})
}

/// Without `notmpcopyup` what an image holds there would be copied and count.
fn tmpfs(destination: &str, bytes: u64) -> Value {
    let size = format!("size={bytes}");
    json!({
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["rw", "nosuid", "nodev", "noexec", "notmpcopyup", "mode=1777", size],
    })
}

fn bind(destination: &str, source: &Path, more: &[&str]) -> Value {
    let mut options = vec!["rbind", "ro", "nosuid", "nodev", "rprivate"];
    options.extend(more);
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

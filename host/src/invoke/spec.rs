//! Spec: what the container of one call is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use uuid::Uuid;

use super::protocol::SOCKET_NAME;
use crate::catalog::Deployed;
use crate::containers::{ContainerSpec, FUNCTION_LABEL, HOST_LABEL, RUNTIME_DIR, SCRATCH_DIR, VERSION_LABEL};
use crate::limits;
use crate::model::{Contract, Limits};

pub(super) fn spec(
    function: &Deployed,
    limits: &Limits,
    host_id: Uuid,
    short: &str,
    runtime_dir: PathBuf,
) -> ContainerSpec {
    ContainerSpec {
        name: format!("dunnage-{short}"),
        // The tag: an image that was built again has another id.
        image: function.version.image_tag.clone(),
        init_args: init_args(function),
        environment: environment(function, limits),
        limits: *limits,
        pids_max: limits::INSTANCE_PIDS_MAX,
        runtime_dir,
        scratch_bytes: limits::INSTANCE_SCRATCH_BYTES,
        labels: BTreeMap::from([
            (HOST_LABEL.to_owned(), host_id.to_string()),
            (FUNCTION_LABEL.to_owned(), function.function.id.to_string()),
            (VERSION_LABEL.to_owned(), function.version.number.to_string()),
        ]),
    }
}

fn init_args(function: &Deployed) -> Vec<String> {
    let contract = match function.version.contract {
        Contract::RuntimeApi => "runtime-api",
        Contract::OneShot => "one-shot",
    };
    let own = ["--contract", contract, "--"].map(str::to_owned);
    own.into_iter().chain(function.version.command.iter().cloned()).collect()
}

/// The function's own variables, then those that it may rely on, which it cannot replace.
fn environment(function: &Deployed, limits: &Limits) -> Vec<(String, String)> {
    let mut set = BTreeMap::from([
        ("HOME".to_owned(), SCRATCH_DIR.to_owned()),
        ("TMPDIR".to_owned(), "/tmp".to_owned()),
    ]);
    if !function.version.entrypoint.is_empty() {
        set.insert("_HANDLER".to_owned(), function.version.entrypoint.clone());
    }
    set.extend(function.version.environment.iter().cloned());
    let fixed = [
        ("DUNNAGE_RUNTIME_SOCKET", format!("{RUNTIME_DIR}/{SOCKET_NAME}")),
        ("FUNCTION_TIMEOUT_MS", limits.timeout_ms.to_string()),
        ("FUNCTION_MAX_MEMORY_MB", limits.memory_mib.to_string()),
        ("DART_CLOUD_RESTRICTED", "true".to_owned()),
        ("SHARED_PATH", SCRATCH_DIR.to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", function.function.name.to_string()),
    ];
    set.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    set.into_iter().collect()
}

//! Review: the on-deploy policies see the whole plan, and may tighten its limits.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::plan::{Planned, Subject, call};
use super::{Error, FunctionConfig, SourceTree};
use crate::app::App;
use crate::model::{Finding, Limits, Plan, Principal};
use crate::plugins::{Deployment, ReviewError};

/// A version as it will be, but for its number and image.
pub(super) struct Draft {
    pub(super) language: String,
    pub(super) plan: Plan,
    pub(super) limits: Limits,
    pub(super) config: FunctionConfig,
    /// Same archive, configuration, limits and plan: same digest.
    pub(super) content_digest: String,
    pub(super) warnings: Vec<Finding>,
}

pub(super) async fn review(
    app: &App,
    by: &Principal,
    subject: &Subject,
    config: FunctionConfig,
    planned: Planned,
    source: &SourceTree,
) -> Result<Draft, Error> {
    let deployment = Deployment {
        function: planned.function,
        limits: planned.limits,
        source_digest: source.digest.clone(),
        source_bytes: source.archive_bytes,
        dockerfile: planned.plan.dockerfile.clone(),
        environment: config.env.clone().into_iter().collect(),
        replaces: subject.replaces,
    };
    let admitted =
        app.plugins.review_deploy(&call(app), by, &deployment).await.map_err(|error| match error {
            ReviewError::Denied(denied) => Error::Denied(denied),
            ReviewError::Failed(failure) => Error::Plugin(failure),
        })?;
    let content_digest = content_digest(&source.digest, &config, &admitted.limits, &planned.plan);
    let mut warnings = planned.plan.notes.clone();
    warnings.extend(admitted.warnings);
    Ok(Draft {
        language: planned.language,
        plan: planned.plan,
        limits: admitted.limits,
        config,
        content_digest,
        warnings,
    })
}

/// Taken after the plan was made and admitted, so that a changed template or policy gives a new
/// version of an unchanged archive.
fn content_digest(archive: &str, config: &FunctionConfig, limits: &Limits, plan: &Plan) -> String {
    #[derive(Serialize)]
    struct Content<'a> {
        archive: &'a str,
        config: &'a FunctionConfig,
        limits: &'a Limits,
        plan: &'a Plan,
    }
    let content = Content { archive, config, limits, plan };
    let text = serde_json::to_vec(&content).expect("strings and numbers are always JSON");
    hex::encode(Sha256::digest(text))
}

//! Review: the on-invoke policies see the call, without its body, and may tighten its limits.

use super::{Error, Request};
use crate::app::App;
use crate::catalog::Deployed;
use crate::clock;
use crate::model::{FunctionRef, Principal};
use crate::plugins::{Admitted, Call, Invocation, ReviewError};

pub(super) async fn review(
    app: &App,
    call: &Call,
    function: &Deployed,
    by: Option<&Principal>,
    request: &Request,
) -> Result<Admitted, Error> {
    let invocation = Invocation {
        function: reference(function),
        limits: function.version.limits,
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body_bytes: Some(request.body_bytes),
        remote: request.remote.clone(),
    };
    app.plugins.review_invoke(call, by, &invocation).await.map_err(|error| match error {
        ReviewError::Denied(denied) => Error::Denied(denied),
        ReviewError::Failed(failure) => Error::Plugin(failure),
    })
}

/// What every plugin call of an invocation carries.
pub(super) fn plugin_call(request: &Request) -> Call {
    Call { id: request.id, at: clock::now_millis().unsigned_abs(), attributes: Vec::new() }
}

pub(super) fn reference(function: &Deployed) -> FunctionRef {
    FunctionRef {
        id: function.function.id,
        name: function.function.name.clone(),
        version: function.version.number,
        language: function.version.language.clone(),
        labels: function.version.labels.clone(),
    }
}

//! Functions: made, listed, shown, rolled back, deleted.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, Api, Call, parse_object, read_json};
use crate::db::FunctionRecord;
use crate::deploy::{self, RollbackTo};
use crate::http::body;
use crate::http::problem::{Code, Problem};
use crate::http::wire::log::parse_limit;
use crate::http::wire::{
    DeleteRequest, Deployments, InitRequest, Inited, Message, Plugin, RollbackRequest, RolledBack, Shown,
    Summary,
};
use crate::limits;
use crate::model::FunctionName;

pub(super) async fn init(api: &Api, call: Call) -> Answer {
    let request: InitRequest = read_json(call.body).await?;
    let name = request.check()?;
    let labels = request.labels.unwrap_or_default();
    let skip_signing = request.skip_signing.unwrap_or(false);
    let db = &api.app.db;
    match db.create_function(&name, skip_signing, request.language.as_deref(), &labels).await? {
        Ok(function) => Ok(body::json(StatusCode::CREATED, &Inited::new(&function))),
        Err(existing) => {
            let current = db.current_version(existing.id).await?;
            ok(&Inited::existing(&existing, current.map(|version| version.number)))
        }
    }
}

pub(super) async fn list(api: &Api, call: &Call) -> Answer {
    let (limit, after) = page(call.query())?;
    let (functions, total) = api.app.db.functions(limit, after.as_ref()).await?;
    let list: Vec<Summary> =
        functions.iter().map(|(function, version)| Summary::new(function, *version)).collect();
    let mut response = body::json(StatusCode::OK, &list);
    response.headers_mut().insert("x-total-count", HeaderValue::from(total));
    Ok(response)
}

fn page(query: &str) -> Result<(u64, Option<FunctionName>), Problem> {
    let (mut limit, mut after) = (limits::PAGE_ROWS_DEFAULT, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "limit" => limit = parse_limit(&value)?,
            "after" => after = Some(value.parse::<FunctionName>()?),
            _ => {}
        }
    }
    Ok((limit, after))
}

pub(super) async fn show(api: &Api, call: &Call) -> Answer {
    let function = call.function(&api.app).await?;
    let current = api.app.db.current_version(function.id).await?;
    ok(&Shown::new(&function, current.as_ref()))
}

pub(super) async fn deployments(api: &Api, call: &Call) -> Answer {
    let function = call.function(&api.app).await?;
    let versions = api.app.db.versions(function.id).await?;
    ok(&Deployments::new(&function, &versions))
}

/// Runs to its end even if the client goes: a delete that is begun is not left half done.
pub(super) async fn delete(api: &Arc<Api>, call: Call) -> Answer {
    let function = call.function(&api.app).await?;
    let confirmation = call.body.read(limits::JSON_BODY_BYTES_MAX).await?;
    confirm(&confirmation, &function)?;
    let (app, id) = (api.app.clone(), function.id);
    to_its_end(api, async move { deploy::delete(&app, id).await }).await?;
    ok(&Message { message: format!("{} was deleted", function.name) })
}

fn confirm(body: &[u8], function: &FunctionRecord) -> Result<(), Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let request: DeleteRequest = parse_object(body)?;
    if request.delete && request.name == function.name.as_str() {
        return Ok(());
    }
    let detail = format!("a body of a delete is {{\"name\": \"{}\", \"delete\": true}}", function.name);
    Err(Problem::new(Code::InvalidRequest, detail))
}

pub(super) async fn rollback(api: &Arc<Api>, call: Call) -> Answer {
    let function = call.function(&api.app).await?;
    let to = rollback_to(&read_json(call.body).await?)?;
    let app = api.app.clone();
    let version = to_its_end(api, async move { deploy::rollback(&app, function.id, to).await }).await?;
    ok(&RolledBack::new(&version))
}

fn rollback_to(request: &RollbackRequest) -> Result<RollbackTo, Problem> {
    match (request.version, &request.deployment_uuid) {
        (Some(number), None) => Ok(RollbackTo::Number(number)),
        (None, Some(id)) => Uuid::try_parse(id)
            .map(RollbackTo::Id)
            .map_err(|_| Problem::new(Code::VersionNotFound, "the deployment's id is no UUID")),
        _ => Err(Problem::new(Code::InvalidRequest, "name the version by version or by deployment_uuid")),
    }
}

pub(super) fn plugins(api: &Api) -> Answer {
    let states: Vec<Plugin> = api.app.plugins.states().into_iter().map(Plugin::from).collect();
    ok(&states)
}

/// Runs work in a task of the app's, so that a client that hangs up does not cut it off in the middle.
pub(super) async fn to_its_end<T: Send + 'static>(
    api: &Api,
    work: impl Future<Output = Result<T, deploy::Error>> + Send + 'static,
) -> Result<T, Problem> {
    let task = api.app.tasks.spawn(tracing::Instrument::in_current_span(work));
    match task.await {
        Ok(result) => Ok(result?),
        Err(error) => {
            Err(Problem::new(Code::Internal, "something went wrong within the host").caused_by(error))
        }
    }
}

fn ok<T: Serialize>(value: &T) -> Answer {
    Ok(body::json(StatusCode::OK, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_or_refused() {
        assert_eq!(page("").unwrap(), (limits::PAGE_ROWS_DEFAULT, None));
        assert_eq!(page("limit=7&after=hello&x=1").unwrap(), (7, Some("hello".parse().unwrap())));
        assert_eq!(page("limit=0").unwrap_err().code(), Code::InvalidRequest);
        assert_eq!(page("after=No").unwrap_err().code(), Code::InvalidName);
    }

    #[test]
    fn a_rollback_names_one_version() {
        let read = |text: &str| rollback_to(&parse_object(text.as_bytes())?);
        let id = Uuid::from_u128(5);
        assert_eq!(read(r#"{"version": 3}"#).unwrap(), RollbackTo::Number(3));
        for member in ["deployment_uuid", "deploymentId", "deployment_id"] {
            assert_eq!(read(&format!(r#"{{"{member}": "{id}"}}"#)).unwrap(), RollbackTo::Id(id));
        }
        for bad in ["{}", "[3]", "3", "", r#"{"version": -1}"#, r#"{"version": "3"}"#] {
            assert_eq!(read(bad).unwrap_err().code(), Code::InvalidRequest, "{bad}");
        }
        assert_eq!(read(r#"{"deployment_uuid": "3"}"#).unwrap_err().code(), Code::VersionNotFound);
    }
}

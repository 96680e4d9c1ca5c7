//! Wire: the shapes of requests and answers, as clients rely on them, and nothing else's.
//!
//! Some members are written twice, as older clients read one spelling and newer ones the other.

use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use crate::db::{FunctionRecord, FunctionStatus, Millis, VersionRecord};
use crate::deploy;
use crate::limits;
use crate::model::{Finding, FunctionName, Labels, Limits};
use crate::plugins::PluginState;

pub mod log;

/// RFC 3339 in UTC, to the millisecond.
pub fn time(at: Millis) -> String {
    /// The end of the year 9999, after which the format has no digits.
    const LAST: u64 = 253_402_300_799_999;
    let millis = u64::try_from(at).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
}

/// Reads RFC 3339, with `Z` or an offset.
pub fn parse_time(text: &str) -> Option<Millis> {
    let (local, offset_minutes) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => split_offset(text)?,
    };
    let at = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let millis = i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    Some(millis - offset_minutes * 60_000)
}

fn split_offset(text: &str) -> Option<(&str, i64)> {
    let at = text.len().checked_sub("+00:00".len())?;
    let (local, offset) = text.split_at_checked(at)?;
    let (sign, rest) = match offset.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, max: i64| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<i64>().ok()).flatten().filter(|n| *n <= max)
    };
    Some((local, sign * (number(hours, 23)? * 60 + number(minutes, 59)?)))
}

#[derive(Debug, Deserialize)]
pub struct InitRequest {
    pub name: String,
    #[serde(default, alias = "skipSigning")]
    pub skip_signing: Option<bool>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    pub labels: Option<Labels>,
}

impl InitRequest {
    /// The name, once all else holds too.
    pub fn check(&self) -> Result<FunctionName, Problem> {
        let short = |text: &String| text.len() <= limits::LABEL_BYTES_MAX;
        let labels = self.labels.iter().flatten().all(|(key, value)| short(key) && short(value));
        if self.labels.as_ref().map_or(0, Labels::len) > limits::LABELS_MAX || !labels {
            let (count, bytes) = (limits::LABELS_MAX, limits::LABEL_BYTES_MAX);
            let detail = format!("labels has {count} entries at most, of {bytes} bytes each");
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        if !self.language.iter().all(short) {
            let detail = format!("language has {} bytes at most", limits::LABEL_BYTES_MAX);
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        Ok(self.name.parse::<FunctionName>()?)
    }
}

/// A body that a delete may have, as a second thought.
#[derive(Debug, Deserialize)]
pub struct DeleteRequest {
    pub name: String,
    pub delete: bool,
}

#[derive(Debug, Deserialize)]
pub struct RollbackRequest {
    #[serde(default)]
    pub version: Option<u64>,
    #[serde(default, alias = "deploymentId", alias = "deployment_id")]
    pub deployment_uuid: Option<String>,
}

#[derive(Debug, Serialize)]
struct Identity {
    id: String,
    uuid: String,
    name: String,
}

impl Identity {
    fn of(function: &FunctionRecord) -> Self {
        let id = function.id.to_string();
        Self { uuid: id.clone(), id, name: function.name.to_string() }
    }
}

#[derive(Debug, Serialize)]
struct Created {
    #[serde(rename = "createdAt")]
    camel: String,
    #[serde(rename = "created_at")]
    snake: String,
}

impl Created {
    fn at(at: Millis) -> Self {
        Self { camel: time(at), snake: time(at) }
    }
}

#[derive(Debug, Serialize)]
struct Signing {
    skip_signing: bool,
    #[serde(rename = "skipSigning")]
    camel: bool,
}

impl Signing {
    fn of(function: &FunctionRecord) -> Self {
        Self { skip_signing: function.skip_signing, camel: function.skip_signing }
    }
}

#[derive(Debug, Serialize)]
pub struct Inited {
    message: &'static str,
    #[serde(flatten)]
    identity: Identity,
    status: &'static str,
    #[serde(flatten)]
    signing: Signing,
    #[serde(flatten)]
    created: Created,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    already_exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_version: Option<u64>,
}

impl Inited {
    pub fn new(function: &FunctionRecord) -> Self {
        Self {
            message: "the function was made; deploy it next",
            identity: Identity::of(function),
            status: status(function.status),
            signing: Signing::of(function),
            created: Created::at(function.created_at),
            already_exists: false,
            deployment_version: None,
        }
    }

    pub fn existing(function: &FunctionRecord, version: Option<u64>) -> Self {
        Self {
            message: "the function exists already",
            already_exists: true,
            // A count: 0 when nothing is deployed.
            deployment_version: Some(version.unwrap_or(0)),
            ..Self::new(function)
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    identity: Identity,
    status: &'static str,
    language: Option<String>,
    version: Option<u64>,
    #[serde(flatten)]
    created: Created,
}

impl Summary {
    pub fn new(function: &FunctionRecord, version: Option<u64>) -> Self {
        Self {
            identity: Identity::of(function),
            status: status(function.status),
            language: function.language.clone(),
            version,
            created: Created::at(function.created_at),
        }
    }
}

/// One function with all that is in force for its calls.
#[derive(Debug, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    summary: Summary,
    #[serde(flatten)]
    signing: Signing,
    updated_at: String,
    labels: Labels,
    limits: Option<Limits>,
    instances: Option<u32>,
    public: Option<bool>,
    last_deploy: Option<Deployment>,
}

impl Shown {
    pub fn new(function: &FunctionRecord, current: Option<&VersionRecord>) -> Self {
        Self {
            summary: Summary::new(function, current.map(|v| v.number)),
            signing: Signing::of(function),
            updated_at: time(function.updated_at),
            labels: function.labels.clone(),
            limits: current.map(|v| v.limits),
            instances: current.map(|v| v.instances),
            public: current.map(|v| v.public),
            last_deploy: current.map(Deployment::new),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Deployment {
    uuid: String,
    version: u64,
    image_tag: String,
    s3_key: String,
    status: &'static str,
    is_active: bool,
    deployed_at: String,
    archive_digest: String,
    archive_bytes: u64,
    image_digest: String,
    language: String,
}

impl Deployment {
    fn new(version: &VersionRecord) -> Self {
        Self {
            uuid: version.id.to_string(),
            version: version.number,
            image_tag: version.image_tag.clone(),
            s3_key: version.archive_key.clone(),
            status: version_status(version),
            is_active: version.is_current,
            deployed_at: time(version.deployed_at),
            archive_digest: version.archive_digest.clone(),
            archive_bytes: version.archive_bytes,
            image_digest: version.image_digest.clone(),
            language: version.language.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Deployments {
    function_uuid: String,
    function_name: String,
    function_status: &'static str,
    deployments: Vec<Deployment>,
}

impl Deployments {
    pub fn new(function: &FunctionRecord, versions: &[VersionRecord]) -> Self {
        Self {
            function_uuid: function.id.to_string(),
            function_name: function.name.to_string(),
            function_status: status(function.status),
            deployments: versions.iter().map(Deployment::new).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct DeploymentId {
    #[serde(rename = "deploymentId")]
    camel: String,
    #[serde(rename = "deployment_id")]
    snake: String,
}

impl DeploymentId {
    fn of(version: &VersionRecord) -> Self {
        Self { camel: version.id.to_string(), snake: version.id.to_string() }
    }
}

#[derive(Debug, Serialize)]
pub struct Deployed {
    #[serde(flatten)]
    identity: Identity,
    version: u64,
    #[serde(flatten)]
    deployment: DeploymentId,
    status: &'static str,
    #[serde(rename = "isFirstDeployment")]
    first: bool,
    #[serde(rename = "isNewFunction")]
    new_function: bool,
    /// The same was deployed before: nothing was built.
    known: bool,
    #[serde(flatten)]
    created: Created,
    deployed_at: String,
    image_tag: String,
    language: String,
    warnings: Vec<Finding>,
}

impl Deployed {
    pub fn new(deployed: &deploy::Deployed) -> Self {
        let version = &deployed.version;
        Self {
            identity: Identity::of(&deployed.function),
            version: version.number,
            deployment: DeploymentId::of(version),
            status: if deployed.known { "active" } else { version_status(version) },
            first: deployed.first,
            new_function: deployed.new_function,
            known: deployed.known,
            created: Created::at(deployed.function.created_at),
            deployed_at: time(version.deployed_at),
            image_tag: version.image_tag.clone(),
            language: version.language.clone(),
            warnings: deployed.warnings.clone(),
        }
    }

    pub fn status(&self) -> StatusCode {
        if self.first { StatusCode::CREATED } else { StatusCode::OK }
    }
}

#[derive(Debug, Serialize)]
pub struct RolledBack {
    message: String,
    version: u64,
    #[serde(flatten)]
    deployment: DeploymentId,
}

impl RolledBack {
    pub fn new(version: &VersionRecord) -> Self {
        Self {
            message: format!("version {} is the current one", version.number),
            version: version.number,
            deployment: DeploymentId::of(version),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct Message {
    pub message: String,
}

#[derive(Debug, Serialize)]
pub struct Plugin {
    name: String,
    version: String,
    summary: String,
    digest: String,
    points: Vec<String>,
}

impl From<PluginState> for Plugin {
    fn from(state: PluginState) -> Self {
        let PluginState { name, version, summary, digest, points } = state;
        Self { name, version, summary, digest, points }
    }
}

fn status(status: FunctionStatus) -> &'static str {
    match status {
        FunctionStatus::Init => "init",
        FunctionStatus::Building => "building",
        FunctionStatus::Active => "active",
        FunctionStatus::Deleted => "deleted",
    }
}

fn version_status(version: &VersionRecord) -> &'static str {
    if version.is_current { "active" } else { "inactive" }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn function() -> FunctionRecord {
        FunctionRecord {
            id: Uuid::nil(),
            name: "hello".parse().unwrap(),
            status: FunctionStatus::Init,
            skip_signing: true,
            language: None,
            labels: Labels::new(),
            created_at: 1_700_000_000_123,
            updated_at: 1_700_000_000_123,
        }
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(-5), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_with_any_offset() {
        let at = Some(1_700_000_000_123);
        for text in [
            "2023-11-14T22:13:20.123Z",
            "2023-11-14T22:13:20.123z",
            "2023-11-15T00:13:20.123+02:00",
            "2023-11-14T16:43:20.123-05:30",
        ] {
            assert_eq!(parse_time(text), at, "{text}");
        }
        for bad in [
            "",
            "now",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20+25:00",
            "é+00:00",
            "+0:000",
            "2023-11-14T22:13:20.123+0a:00",
            "2023-99-14T22:13:20Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn init_answers_in_both_spellings() {
        let made = serde_json::to_value(Inited::new(&function())).unwrap();
        let id = Uuid::nil().to_string();
        assert_eq!(
            made,
            json!({
                "message": "the function was made; deploy it next", "id": id, "uuid": id, "name": "hello",
                "status": "init", "skip_signing": true, "skipSigning": true,
                "createdAt": "2023-11-14T22:13:20.123Z", "created_at": "2023-11-14T22:13:20.123Z",
            })
        );
        let existing = serde_json::to_value(Inited::existing(&function(), Some(3))).unwrap();
        assert_eq!(existing["already_exists"], true);
        assert_eq!(existing["deployment_version"], 3);
    }

    #[test]
    fn a_function_without_a_version_is_shown_with_nulls() {
        let shown = serde_json::to_value(Shown::new(&function(), None)).unwrap();
        for member in ["limits", "last_deploy", "version", "language", "public"] {
            assert_eq!(shown[member], Value::Null, "{member}");
        }
        assert_eq!(shown["status"], "init");
    }

    #[test]
    fn init_takes_both_spellings_and_holds_its_bounds() {
        for text in [r#"{"name":"a","skip_signing":true}"#, r#"{"name":"a","skipSigning":true,"else":1}"#] {
            let request: InitRequest = serde_json::from_str(text).unwrap();
            assert_eq!(request.skip_signing, Some(true));
            assert_eq!(request.check().unwrap().as_str(), "a");
        }
        let check =
            |value: Value| serde_json::from_value::<InitRequest>(value).unwrap().check().unwrap_err().code();
        assert_eq!(check(json!({"name": "A b"})), Code::InvalidName);
        let long = "x".repeat(limits::LABEL_BYTES_MAX + 1);
        assert_eq!(check(json!({"name": "a", "labels": {"k": &long}})), Code::InvalidRequest);
        assert_eq!(check(json!({"name": "a", "language": long})), Code::InvalidRequest);
        let many: Labels = (0..=limits::LABELS_MAX).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(check(json!({"name": "a", "labels": many})), Code::InvalidRequest);
    }
}

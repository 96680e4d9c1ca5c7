//! What the program talks about: functions, versions, limits, findings.
//!
//! Plain values without IO. Rows (`db`), wire shapes (`http::wire`) and WIT types
//! (`plugins::convert`) never meet: each is converted from and to these at its edge.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Free-form `key: value` marks that policies read.
pub type Labels = BTreeMap<String, String>;

/// A function's name: 1 to 63 of `a-z 0-9 -`, the first a letter. Safe in paths, tags and URLs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(String);

/// The rule that [`FunctionName`] holds, as a sentence for whoever broke it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a function name has 1 to 63 characters of a-z, 0-9 and '-', and begins with a letter")]
pub struct InvalidName;

impl FunctionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if starts_well && text.len() <= 63 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName)
        }
    }
}

impl TryFrom<String> for FunctionName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> String {
        name.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one invocation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// MiB, swap included.
    pub memory_mib: u32,
    /// Thousandths of one core.
    pub cpu_millis: u32,
    /// Milliseconds of running, from the request handed over to the answer complete.
    pub timeout_ms: u32,
    /// Invocations of the function under way at once on one host.
    pub concurrency: u32,
}

/// One thing a person should read: why a request was refused, or what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The plugin's stable name for the rule, kebab-case.
    pub rule: String,
    pub message: String,
    /// What it is about, as a dotted path into the request or the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Who asks: a token's name and its scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub id: String,
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// `admin` may do all.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&Scope::Admin) || self.scopes.contains(&scope)
    }
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Admin,
    Deploy,
    Invoke,
    Read,
}

impl Scope {
    pub const ALL: [Scope; 4] = [Scope::Admin, Scope::Deploy, Scope::Invoke, Scope::Read];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Admin => "admin",
            Scope::Deploy => "deploy",
            Scope::Invoke => "invoke",
            Scope::Read => "read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no scope {0:?}: admin, deploy, invoke and read are the scopes")]
pub struct UnknownScope(pub String);

/// A function as policies and Dockerfile plugins see it. `version` counts deploys from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRef {
    pub id: Uuid,
    pub name: FunctionName,
    pub version: u64,
    pub language: String,
    pub labels: Labels,
}

/// How a program in a container takes its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contract {
    /// A loop of its own over the Runtime API socket.
    RuntimeApi,
    /// Run once per request; `dunnage-init` adapts it.
    OneShot,
}

/// The image label by which a Dockerfile names the contract of its program: `runtime-api` or
/// `one-shot`. Without it the program is taken for one-shot.
pub const CONTRACT_LABEL: &str = "org.dunnage.contract";

/// What a Dockerfile plugin answers: everything needed to build an image from a source tree.
///
/// The build context is laid out by the host: the function's files under `src/`, the plan's
/// under `plan/`, and `.dockerignore` from `ignore`. The two can so never collide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub dockerfile: String,
    pub files: Vec<PlanFile>,
    pub ignore: Vec<String>,
    pub build_args: Vec<(String, String)>,
    pub notes: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Relative to `plan/`.
    pub path: String,
    pub text: String,
    pub executable: bool,
}

/// One file of an unpacked archive, as a Dockerfile plugin sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Relative, `/`-separated.
    pub path: String,
    pub bytes: u64,
    /// Text of the files that a plugin named as markers, when small enough and UTF-8.
    pub text: Option<String>,
}

/// An answer on its way out to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionResponse {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_the_rule() {
        for good in ["a", "hello-python", "x1", &"a".repeat(63)] {
            assert_eq!(good.parse::<FunctionName>().unwrap().as_str(), good);
        }
        for bad in ["", "1a", "-a", "A", "a_b", "a/b", "..", "ä", &"a".repeat(64)] {
            assert_eq!(bad.parse::<FunctionName>(), Err(InvalidName), "{bad:?}");
        }
    }
}

//! Route: which endpoint a method and a path mean. Pure.

use hyper::Method;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::model::{FunctionName, Scope};

/// Everything that the API answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Health,
    Ready,
    Metrics,
    OpenApi,
    ProblemPage,
    InitFunction,
    DeployFunction,
    ListFunctions,
    ShowFunction,
    DeleteFunction,
    DeleteFunctionAlias,
    ListDeployments,
    Rollback,
    Logs,
    Invoke,
    ListPlugins,
}

/// Who may use an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Anyone,
    /// A token with that scope.
    Scope(Scope),
    /// A token with the `invoke` scope, or anyone if the function is public.
    PublicFunctionOr(Scope),
}

/// A request that has a place to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub endpoint: Endpoint,
    /// What stands in the path's variable segment, decoded; empty when it has none.
    pub argument: String,
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    UnknownPath,
    /// The methods that the path has, for `Allow`.
    WrongMethod {
        allow: String,
    },
}

/// How a client names a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FunctionId {
    Id(Uuid),
    Name(FunctionName),
}

impl Endpoint {
    pub const ALL: [Endpoint; 16] = [
        Endpoint::Health,
        Endpoint::Ready,
        Endpoint::Metrics,
        Endpoint::OpenApi,
        Endpoint::ProblemPage,
        Endpoint::InitFunction,
        Endpoint::DeployFunction,
        Endpoint::ListFunctions,
        Endpoint::ShowFunction,
        Endpoint::DeleteFunction,
        Endpoint::DeleteFunctionAlias,
        Endpoint::ListDeployments,
        Endpoint::Rollback,
        Endpoint::Logs,
        Endpoint::Invoke,
        Endpoint::ListPlugins,
    ];

    /// The path with its variables in braces: for the contract, spans and metrics.
    pub fn template(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::ProblemPage => "/problems/{code}",
            Self::InitFunction => "/api/functions/init",
            Self::DeployFunction => "/api/functions/deploy",
            Self::ListFunctions => "/api/functions",
            Self::ShowFunction | Self::DeleteFunction => "/api/functions/{id}",
            Self::DeleteFunctionAlias => "/api/functions/{id}/delete",
            Self::ListDeployments => "/api/functions/{id}/deployments",
            Self::Rollback => "/api/functions/{id}/rollback",
            Self::Logs => "/api/functions/{id}/logs",
            Self::Invoke => "/api/functions/{id}/invoke",
            Self::ListPlugins => "/api/plugins",
        }
    }

    pub fn method(self) -> Method {
        match self {
            Self::InitFunction | Self::DeployFunction | Self::Rollback | Self::Invoke => Method::POST,
            Self::DeleteFunction | Self::DeleteFunctionAlias => Method::DELETE,
            Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::OpenApi
            | Self::ProblemPage
            | Self::ListFunctions
            | Self::ShowFunction
            | Self::ListDeployments
            | Self::Logs
            | Self::ListPlugins => Method::GET,
        }
    }

    pub fn access(self) -> Access {
        match self {
            Self::Health | Self::Ready | Self::Metrics | Self::OpenApi | Self::ProblemPage => Access::Anyone,
            Self::InitFunction
            | Self::DeployFunction
            | Self::DeleteFunction
            | Self::DeleteFunctionAlias
            | Self::Rollback => Access::Scope(Scope::Deploy),
            Self::ListFunctions | Self::ShowFunction | Self::ListDeployments | Self::Logs => {
                Access::Scope(Scope::Read)
            }
            Self::Invoke => Access::PublicFunctionOr(Scope::Invoke),
            Self::ListPlugins => Access::Scope(Scope::Admin),
        }
    }
}

/// Finds the endpoint. `HEAD` is answered wherever `GET` is; one slash at the end changes nothing.
pub fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let segments = segments(path);
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    if let Some((endpoint, argument)) = find(wanted.as_str(), &segments) {
        return Ok(Route { endpoint, argument: argument.to_owned() });
    }
    match allowed(&segments) {
        allow if allow.is_empty() => Err(NoRoute::UnknownPath),
        allow => Err(NoRoute::WrongMethod { allow: allow.join(", ") }),
    }
}

/// A UUID as it is commonly written, else a name; none when it can be neither.
pub fn function_id(text: &str) -> Option<FunctionId> {
    const HYPHENATED_CHARS: usize = 36;
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == HYPHENATED_CHARS => Some(FunctionId::Id(id)),
        _ => text.parse().ok().map(FunctionId::Name),
    }
}

fn find<'a>(method: &str, segments: &[&'a str]) -> Option<(Endpoint, &'a str)> {
    Some(match (method, segments) {
        ("GET", ["health"]) => (Endpoint::Health, ""),
        ("GET", ["ready"]) => (Endpoint::Ready, ""),
        ("GET", ["metrics"]) => (Endpoint::Metrics, ""),
        ("GET", ["openapi.json"]) => (Endpoint::OpenApi, ""),
        ("GET", ["problems", code]) => (Endpoint::ProblemPage, *code),
        ("POST", ["api", "functions", "init"]) => (Endpoint::InitFunction, ""),
        ("POST", ["api", "functions", "deploy"]) => (Endpoint::DeployFunction, ""),
        ("GET", ["api", "functions"]) => (Endpoint::ListFunctions, ""),
        ("GET", ["api", "functions", id]) => (Endpoint::ShowFunction, *id),
        ("DELETE", ["api", "functions", id]) => (Endpoint::DeleteFunction, *id),
        ("DELETE", ["api", "functions", id, "delete"]) => (Endpoint::DeleteFunctionAlias, *id),
        ("GET", ["api", "functions", id, "deployments"]) => (Endpoint::ListDeployments, *id),
        ("POST", ["api", "functions", id, "rollback"]) => (Endpoint::Rollback, *id),
        ("GET", ["api", "functions", id, "logs"]) => (Endpoint::Logs, *id),
        ("POST", ["api", "functions", id, "invoke"]) => (Endpoint::Invoke, *id),
        ("GET", ["api", "plugins"]) => (Endpoint::ListPlugins, ""),
        _ => return None,
    })
}

fn allowed(segments: &[&str]) -> Vec<&'static str> {
    let mut allow = Vec::new();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        if find(method, segments).is_some() {
            allow.push(method);
            if method == "GET" {
                allow.push("HEAD");
            }
        }
    }
    allow
}

/// Split first, decoded after, so that an encoded slash stays within its segment. What is no
/// UTF-8 becomes a character that no name has.
fn segments(path: &str) -> Vec<String> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> (Endpoint, String) {
        let route =
            route(&method.parse().unwrap(), path).unwrap_or_else(|e| panic!("{method} {path}: {e:?}"));
        (route.endpoint, route.argument)
    }

    #[test]
    fn every_endpoint_is_found_by_its_method_and_template() {
        for (position, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, position, "{endpoint:?} is listed twice or not at all");
            let path = endpoint.template().replace("{id}", "some-name").replace("{code}", "not-found");
            assert_eq!(found(endpoint.method().as_str(), &path).0, endpoint);
            assert_eq!(found(endpoint.method().as_str(), &format!("{path}/")).0, endpoint);
        }
        assert_eq!(Endpoint::ALL.len(), Endpoint::ListPlugins as usize + 1);
    }

    #[test]
    fn only_what_needs_no_secret_is_open() {
        for endpoint in Endpoint::ALL {
            let open = !endpoint.template().starts_with("/api");
            assert_eq!(endpoint.access() == Access::Anyone, open, "{endpoint:?}");
        }
    }

    #[test]
    fn head_is_answered_where_get_is() {
        assert_eq!(found("HEAD", "/health").0, Endpoint::Health);
        assert_eq!(found("HEAD", "/api/functions/a/logs").0, Endpoint::Logs);
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        for (method, path, expected) in [
            ("POST", "/health", "GET, HEAD"),
            ("PUT", "/api/functions/a", "GET, HEAD, DELETE"),
            ("GET", "/api/functions/a/invoke", "POST"),
            ("BREW", "/api/functions", "GET, HEAD"),
            ("get", "/health", "GET, HEAD"),
            // `init` may be a function's name as well.
            ("PUT", "/api/functions/init", "GET, HEAD, POST, DELETE"),
        ] {
            let refusal = route(&method.parse().unwrap(), path);
            assert_eq!(refusal, Err(NoRoute::WrongMethod { allow: expected.to_owned() }), "{method} {path}");
        }
    }

    #[test]
    fn an_unknown_path_is_unknown() {
        for path in [
            "",
            "/",
            "//",
            "*",
            "/health//",
            "//health",
            "/api",
            "/api/",
            "/API/functions",
            "/problems",
            "/api/functions/a/b/c",
            "/api//functions",
            "/health%2f",
            "/api%2ffunctions",
            "/fn/a",
        ] {
            assert_eq!(route(&Method::GET, path), Err(NoRoute::UnknownPath), "{path}");
        }
    }

    #[test]
    fn segments_are_decoded_once_and_never_split_by_it() {
        for (path, argument) in [
            ("/api/functions/a%2Db", "a-b"),
            ("/api/functions/..%2f..%2Fetc", "../../etc"),
            ("/api/functions/%252e", "%2e"),
            ("/api/functions/%zz%", "%zz%"),
            ("/api/functions/%ff", "\u{fffd}"),
            ("/api/functions/a+b", "a+b"),
            ("/api/functions/%00", "\0"),
        ] {
            assert_eq!(found("GET", path), (Endpoint::ShowFunction, argument.to_owned()), "{path}");
        }
    }

    #[test]
    fn an_id_is_a_uuid_as_commonly_written_or_a_name() {
        let text = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        assert_eq!(function_id(text), Some(FunctionId::Id(text.parse().unwrap())));
        assert_eq!(function_id(&text.to_uppercase()), Some(FunctionId::Id(text.parse().unwrap())));
        assert_eq!(function_id("hello"), Some(FunctionId::Name("hello".parse().unwrap())));
        let plain = "abcdef00abcdef00abcdef00abcdef00";
        assert_eq!(function_id(plain), Some(FunctionId::Name(plain.parse().unwrap())));
        for neither in ["", "..", "A", "{0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b}", "\u{fffd}", "a b", "é"] {
            assert_eq!(function_id(neither), None, "{neither:?}");
        }
    }
}

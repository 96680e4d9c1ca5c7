//! The contract as OpenAPI 3.1: kept by hand in `host/openapi.json`, held to the routes by a test.

use bytes::Bytes;
use serde_json::Value;

/// The document, with this program's version.
pub fn document() -> Bytes {
    let mut document: Value =
        serde_json::from_str(include_str!("../../openapi.json")).expect("a test reads the same text");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document.to_string().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::problem::Code;
    use crate::http::route::{Access, Endpoint};

    fn parsed() -> Value {
        serde_json::from_slice(&document()).unwrap()
    }

    fn operations(document: &Value) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(m, _)| *m != "parameters") {
                all.push((path.clone(), method.to_uppercase(), operation.clone()));
            }
        }
        all
    }

    #[test]
    fn every_route_is_in_it_and_nothing_else() {
        let document = parsed();
        let listed: BTreeSet<_> =
            operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
        let routes: BTreeSet<_> =
            Endpoint::ALL.iter().map(|e| (e.template().to_owned(), e.method().to_string())).collect();
        assert_eq!(listed, routes);
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn security_is_as_the_routes_have_it() {
        for (path, method, operation) in operations(&parsed()) {
            let endpoint = Endpoint::ALL
                .into_iter()
                .find(|e| e.template() == path && e.method().as_str() == method)
                .unwrap();
            let expected = match endpoint.access() {
                Access::Anyone => serde_json::json!([]),
                Access::Scope(scope) => serde_json::json!([{"token": [scope]}]),
                Access::PublicFunctionOr(scope) => serde_json::json!([{"token": [scope]}, {}]),
            };
            assert_eq!(operation["security"], expected, "{method} {path}");
        }
    }

    #[test]
    fn references_lead_somewhere() {
        let document = parsed();
        let text = document.to_string();
        let mut count = 0;
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
            count += 1;
        }
        assert!(count > 20, "{count} references");
    }

    #[test]
    fn the_codes_of_problems_are_all_named() {
        let document = parsed();
        let listed: BTreeSet<_> = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect();
        let codes: BTreeSet<_> = Code::ALL.iter().map(|c| format!("/problems/{}", c.as_str())).collect();
        assert_eq!(listed, codes);
    }
}

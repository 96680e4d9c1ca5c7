//! What becomes of one answer.

use serde_json::Value;

use crate::bindings::dunnage::plugin::types::Finding;
use crate::bindings::exports::dunnage::response::post_process::{Body, Edit, Outcome, Response};
use crate::mask::mask_anywhere;
use crate::rules::Rules;

pub(crate) const BODY_TOO_LARGE: &str = "body-too-large";
pub(crate) const BODY_UNREADABLE: &str = "body-unreadable";

pub(crate) fn apply(rules: &Rules, response: &Response) -> Outcome {
    let body = match masked_body(rules, response) {
        Ok(body) => body,
        Err(finding) => return Outcome::Withhold(vec![finding]),
    };
    let dropped = |(name, _): &&(String, String)| rules.drop_headers.iter().any(|p| p.matches(name));
    let mut remove_headers: Vec<String> =
        response.headers.iter().filter(dropped).map(|(name, _)| name.clone()).collect();
    remove_headers.sort_unstable();
    remove_headers.dedup();
    if remove_headers.is_empty() && body.is_none() {
        return Outcome::Keep;
    }
    Outcome::Edit(Edit { status: None, remove_headers, set_headers: Vec::new(), body })
}

/// The body with its fields masked; none where it is to stay, byte for byte.
fn masked_body(rules: &Rules, response: &Response) -> Result<Option<Vec<u8>>, Finding> {
    if !rules.mask_bodies() {
        return Ok(None);
    }
    let bytes = match &response.body {
        Body::Bytes(bytes) => bytes,
        Body::Omitted(_) if rules.withhold_omitted => {
            let message = "the body is too large to be searched for what must not go out";
            return Err(refusal(BODY_TOO_LARGE, message, "have the function answer in smaller parts"));
        }
        Body::Omitted(_) => return Ok(None),
    };
    let Ok(mut value) = serde_json::from_slice::<Value>(bytes) else {
        if rules.withhold_unreadable && !bytes.is_empty() && says_json(response) {
            let message = "the body says that it is JSON and cannot be read as such";
            return Err(refusal(BODY_UNREADABLE, message, "answer with valid JSON, or with its real type"));
        }
        return Ok(None);
    };
    let by_path: usize = rules.mask_fields.iter().map(|path| path.mask(&mut value, &rules.mask)).sum();
    let by_name = mask_anywhere(&rules.mask_anywhere, &mut value, &rules.mask);
    Ok((by_path + by_name > 0).then(|| value.to_string().into_bytes()))
}

/// Whether the content type is `application/json`, `application/problem+json` or another of them.
fn says_json(response: &Response) -> bool {
    let types = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let mut essences = types.filter_map(|(_, value)| value.split(';').next());
    essences.any(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence.ends_with("/json") || essence.ends_with("+json")
    })
}

fn refusal(rule: &str, message: &str, hint: &str) -> Finding {
    Finding {
        rule: rule.to_owned(),
        message: message.to_owned(),
        path: Some("body".to_owned()),
        hint: Some(hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = r#"{"drop-headers": ["server", "x-*"], "mask-anywhere": ["password"]}"#;

    fn response(headers: &[(&str, &str)], body: Body) -> Response {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Response { status: 200, headers, body, duration_us: 1 }
    }

    fn outcome(settings: &str, headers: &[(&str, &str)], body: Body) -> Outcome {
        apply(&settings::parse(settings, Rules::read).unwrap(), &response(headers, body))
    }

    fn json(text: &str) -> Body {
        Body::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn headers_go_and_bodies_without_secrets_stay_as_they_are() {
        let headers = [("server", "a"), ("x-a", "1"), ("etag", "x"), ("x-a", "2")];
        let Outcome::Edit(edit) = outcome(SETTINGS, &headers, json("{ \"a\" : 1 }")) else { panic!() };
        assert_eq!(edit.remove_headers, ["server", "x-a"]);
        assert_eq!(edit.body, None);
        assert!(matches!(outcome(SETTINGS, &[], json("{\"a\": 1}")), Outcome::Keep));
        assert!(matches!(outcome(SETTINGS, &[], json("password: no JSON")), Outcome::Keep));
    }

    #[test]
    fn secrets_are_masked_whatever_the_content_type() {
        let Outcome::Edit(edit) = outcome(SETTINGS, &[], json("{\"password\": \"x\"}")) else { panic!() };
        assert_eq!(edit.body.unwrap(), b"{\"password\":\"***\"}");
    }

    #[test]
    fn what_cannot_be_searched_is_withheld_where_the_operator_says_so() {
        let broken = || json("{\"password\": ");
        let typed = [("content-type", "Application/Problem+JSON; charset=utf-8")];
        let Outcome::Withhold(findings) = outcome(SETTINGS, &typed, broken()) else { panic!() };
        assert_eq!(findings[0].rule, BODY_UNREADABLE);
        assert!(matches!(outcome(SETTINGS, &[("content-type", "text/plain")], broken()), Outcome::Keep));
        let lax = r#"{"mask-anywhere": "password", "on-unreadable": "keep"}"#;
        assert!(matches!(outcome(lax, &typed, broken()), Outcome::Keep));
        assert!(matches!(outcome(SETTINGS, &[], Body::Omitted(Some(9))), Outcome::Keep));
        let strict = r#"{"mask-anywhere": "password", "on-omitted": "withhold"}"#;
        let Outcome::Withhold(findings) = outcome(strict, &[], Body::Omitted(None)) else { panic!() };
        assert_eq!(findings[0].rule, BODY_TOO_LARGE);
        let headers_only = r#"{"drop-headers": "x", "on-omitted": "withhold"}"#;
        assert!(matches!(outcome(headers_only, &[], Body::Omitted(None)), Outcome::Keep));
    }
}

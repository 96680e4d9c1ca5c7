//! Respond: what a function posted, understood; then shown to the post-processors.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::review::reference;
use super::{Error, Outcome, Output};
use crate::app::App;
use crate::catalog::Deployed;
use crate::limits;
use crate::model::FunctionResponse;
use crate::plugins::{Call, Processed};

const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";

/// The members that make an answer a full response; any others are left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Full<'a> {
    #[serde(borrow, default)]
    status_code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    headers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    is_base64_encoded: Option<&'a RawValue>,
}

/// A full response when it is an object with an integer `statusCode`, else the JSON itself is the
/// result. `Err` is a sentence about what cannot be passed on.
pub(super) fn parse(answer: &Bytes) -> Result<Output, String> {
    let json: &RawValue = serde_json::from_slice(answer)
        .map_err(|error| format!("the function's answer is not JSON: {error}"))?;
    if json.get().starts_with('{') {
        let full: Full<'_> = serde_json::from_str(json.get())
            .map_err(|error| format!("the function's answer is not understood: {error}"))?;
        if let Some(status) = full.status_code.and_then(|raw| raw.get().parse::<i64>().ok()) {
            return full.response(status).map(Output::Full);
        }
    }
    Ok(Output::Json(answer.slice_ref(json.get().as_bytes())))
}

impl Full<'_> {
    fn response(&self, status: i64) -> Result<FunctionResponse, String> {
        let valid = u16::try_from(status).ok().filter(|status| (200..=599).contains(status));
        let status =
            valid.ok_or_else(|| format!("the function's statusCode {status} is not within 200 to 599"))?;
        let mut headers = self.headers()?;
        let body = self.body()?;
        let is_text = self.body.is_none_or(|raw| raw.get().starts_with('"') || raw.get() == "null");
        if !is_text && !headers.iter().any(|(name, _)| name == CONTENT_TYPE) {
            headers.push((CONTENT_TYPE.to_owned(), JSON.to_owned()));
        }
        Ok(FunctionResponse { status, headers, body })
    }

    fn headers(&self) -> Result<Vec<(String, String)>, String> {
        let Some(raw) = self.headers.filter(|raw| raw.get() != "null") else { return Ok(Vec::new()) };
        if raw.get().len() > 2 * limits::RESPONSE_HEADER_BYTES_MAX {
            return Err("the function's headers are too large".to_owned());
        }
        let given: serde_json::Map<String, serde_json::Value> = serde_json::from_str(raw.get())
            .map_err(|error| format!("the function's headers are not an object: {error}"))?;
        let headers =
            given.iter().map(|(name, value)| header(name, value)).collect::<Result<Vec<_>, String>>()?;
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.len() > limits::RESPONSE_HEADERS_MAX || bytes > limits::RESPONSE_HEADER_BYTES_MAX {
            return Err(format!(
                "the function gave more than {} headers or {} bytes of them",
                limits::RESPONSE_HEADERS_MAX,
                limits::RESPONSE_HEADER_BYTES_MAX
            ));
        }
        Ok(headers)
    }

    /// A string is the body itself, or its base64; any other JSON is sent as JSON.
    fn body(&self) -> Result<Bytes, String> {
        let Some(raw) = self.body.filter(|raw| raw.get() != "null") else { return Ok(Bytes::new()) };
        if !raw.get().starts_with('"') {
            return Ok(Bytes::copy_from_slice(raw.get().as_bytes()));
        }
        let text: String = serde_json::from_str(raw.get())
            .map_err(|error| format!("the function's body is not a valid string: {error}"))?;
        if self.is_base64_encoded.is_some_and(|raw| raw.get() == "true") {
            let bytes = STANDARD
                .decode(text)
                .map_err(|error| format!("the function's body is not base64: {error}"))?;
            return Ok(bytes.into());
        }
        Ok(text.into())
    }
}

fn header(name: &str, value: &serde_json::Value) -> Result<(String, String), String> {
    let name: HeaderName =
        name.parse().map_err(|_| "a header of the function has no valid name".to_owned())?;
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Bool(flag) => flag.to_string(),
        _ => return Err(format!("the function's header {name} is not text")),
    };
    HeaderValue::from_str(&text).map_err(|_| format!("the function's header {name} has no valid value"))?;
    Ok((name.as_str().to_owned(), text))
}

/// Passes what a function answered through the post-processors; a failure has nothing to process.
pub(super) async fn post_process(
    app: &App,
    call: &Call,
    function: &Deployed,
    run_us: u64,
    outcome: Outcome,
) -> Result<Outcome, Error> {
    let Outcome::Answered(output) = outcome else { return Ok(outcome) };
    let (shown, plain) = match output {
        Output::Json(json) => (as_response(json), true),
        Output::Full(response) => (response, false),
    };
    let processed = app.plugins.post_process(call, &reference(function), run_us, shown).await?;
    match processed {
        Processed::Response(response) => Ok(Outcome::Answered(as_output(response, plain))),
        Processed::Withheld(denied) => Err(Error::Withheld(denied)),
    }
}

/// A plain result as post-processors see it: the response that it will be.
fn as_response(json: Bytes) -> FunctionResponse {
    let headers = vec![(CONTENT_TYPE.to_owned(), JSON.to_owned())];
    FunctionResponse { status: 200, headers, body: json }
}

/// A plain result stays one, unless a plugin made of it what only a full response can be.
fn as_output(response: FunctionResponse, plain: bool) -> Output {
    let typed = |(name, value): &(String, String)| name == CONTENT_TYPE && value == JSON;
    let still_plain = plain
        && response.status == 200
        && response.headers.iter().all(typed)
        && serde_json::from_slice::<&RawValue>(&response.body).is_ok();
    if still_plain { Output::Json(response.body) } else { Output::Full(response) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> Result<FunctionResponse, String> {
        match parse(&Bytes::copy_from_slice(text.as_bytes()))? {
            Output::Full(response) => Ok(response),
            Output::Json(json) => panic!("{json:?} is a plain result"),
        }
    }

    fn plain(text: &str) -> String {
        match parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap() {
            Output::Json(json) => String::from_utf8(json.to_vec()).unwrap(),
            Output::Full(response) => panic!("{response:?} is a full response"),
        }
    }

    #[test]
    fn any_json_is_a_result() {
        for same in ["null", "1.50", "\"text\"", "[1, 2]", "{\"b\":1,\"a\":2}", "{\"body\":1}", "{}"] {
            assert_eq!(plain(same), same);
        }
        assert_eq!(plain(" \n{\"a\": 1} \n"), "{\"a\": 1}");
        // A status that is no integer is the function's own affair.
        for same in ["{\"statusCode\":\"200\"}", "{\"statusCode\":200.5}", "{\"statusCode\":null}"] {
            assert_eq!(plain(same), same);
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(plain(&deep), deep);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in ["", "{no json", "1 2", "undefined", "{\"statusCode\":200", "\"\u{1}\""] {
            assert!(
                parse(&Bytes::copy_from_slice(bad.as_bytes())).unwrap_err().contains("not JSON"),
                "{bad:?}"
            );
        }
        assert!(parse(&Bytes::from_static(b"\"\xff\"")).is_err());
    }

    #[test]
    fn a_status_makes_a_full_response() {
        let response =
            full(r#"{"statusCode":418,"headers":{"X-Mine":"yes","n":1,"b":true},"body":"tea"}"#).unwrap();
        assert_eq!((response.status, &response.body[..]), (418, &b"tea"[..]));
        let mut headers = response.headers;
        headers.sort();
        let expected = [("b", "true"), ("n", "1"), ("x-mine", "yes")];
        assert_eq!(headers, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(full(r#"{"statusCode":204}"#).unwrap().body, "");
        assert_eq!(full(r#"{"statusCode":200,"body":null,"headers":null}"#).unwrap().headers, []);
    }

    #[test]
    fn a_body_is_text_base64_or_json() {
        let encoded = full(r#"{"statusCode":200,"body":"/wA=","isBase64Encoded":true}"#).unwrap();
        assert_eq!(encoded.body, &b"\xff\x00"[..]);
        let json = full(r#"{"statusCode":200,"body":{"a":1.50}}"#).unwrap();
        assert_eq!(json.body, r#"{"a":1.50}"#);
        assert_eq!(json.headers, [(CONTENT_TYPE.to_owned(), JSON.to_owned())]);
        let typed = full(r#"{"statusCode":200,"headers":{"Content-Type":"x/y"},"body":[1]}"#).unwrap();
        assert_eq!(typed.headers, [(CONTENT_TYPE.to_owned(), "x/y".to_owned())]);
    }

    #[test]
    fn a_bad_response_is_refused_in_a_sentence() {
        let many: Vec<_> = (0..65).map(|n| format!("\"h{n}\":\"x\"")).collect();
        let many = format!("{{\"statusCode\":200,\"headers\":{{{}}}}}", many.join(","));
        let long = format!("{{\"statusCode\":200,\"headers\":{{\"h\":\"{}\"}}}}", "x".repeat(9000));
        for (text, says) in [
            (r#"{"statusCode":99}"#, "200 to 599"),
            (r#"{"statusCode":101}"#, "200 to 599"),
            (r#"{"statusCode":600}"#, "200 to 599"),
            (r#"{"statusCode":-1}"#, "200 to 599"),
            (r#"{"statusCode":200,"headers":[]}"#, "not an object"),
            (r#"{"statusCode":200,"headers":{"a b":"x"}}"#, "no valid name"),
            (r#"{"statusCode":200,"headers":{"a":"x\r\ny: z"}}"#, "no valid value"),
            (r#"{"statusCode":200,"headers":{"a":["x"]}}"#, "is not text"),
            (r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#, "not base64"),
            (r#"{"statusCode":200,"body":"\ud800"}"#, "not a valid string"),
            (r#"{"statusCode":200,"statusCode":201}"#, "not understood"),
            (&many, "more than 64 headers"),
            (&long, "more than 64 headers or 8192 bytes"),
        ] {
            let refused = full(text).unwrap_err();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }

    #[test]
    fn a_plain_result_stays_plain_unless_a_plugin_changes_that() {
        let response = || as_response(Bytes::from_static(b"{}"));
        assert!(matches!(as_output(response(), true), Output::Json(_)));
        assert!(matches!(as_output(response(), false), Output::Full(_)));
        let other_status = FunctionResponse { status: 201, ..response() };
        assert!(matches!(as_output(other_status, true), Output::Full(_)));
        let no_json = FunctionResponse { body: Bytes::from_static(b"masked"), ..response() };
        assert!(matches!(as_output(no_json, true), Output::Full(_)));
        let dropped_type = FunctionResponse { headers: Vec::new(), ..response() };
        assert!(matches!(as_output(dropped_type, true), Output::Json(_)));
    }
}

//! The translation of calls and answers, without a function behind it.

use serde_json::json;

use super::*;
use crate::invoke::{Answer as Told, FailureKind, Start};

fn id() -> RequestId {
    RequestId::from_headers(&HeaderMap::new())
}

fn read(text: &str) -> Result<invoke::Request, Problem> {
    request(text.as_bytes(), &id(), None)
}

fn told(outcome: Outcome) -> Told {
    Told {
        outcome,
        version: 3,
        start: Start::Cold,
        wait_us: 5,
        run_us: 1_500,
        memory_peak_bytes: Some(9),
        warnings: Vec::new(),
    }
}

async fn json_of(response: Response<ResponseBody>) -> Value {
    use http_body_util::BodyExt;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn the_event_has_five_members_whatever_was_sent() {
    let nothing = r#"{"body":null,"query":{},"headers":{},"method":"POST","path":"/"}"#;
    for text in ["", "  \n", "{}", r#"{"body":null,"extra":1,"headers":null}"#] {
        assert_eq!(read(text).unwrap().event.get(), nothing, "{text:?}");
    }
    let sent = r#"{"path":"/p","method":"PUT","headers":{"b":"2","a":1},"query":{"q":[1]},"body":{"z":1.50,  "a":"\u00e9","big":12345678901234567890123}}"#;
    let request = read(sent).unwrap();
    let expected = r#"{"body":{"z":1.50,  "a":"\u00e9","big":12345678901234567890123},"query":{"q":[1]},"headers":{"a":"1","b":"2"},"method":"PUT","path":"/p"}"#;
    assert_eq!(request.event.get(), expected, "the body is passed on to the letter");
    assert_eq!((request.method.as_str(), request.path.as_str()), ("PUT", "/p"));
    assert_eq!(request.headers, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    assert_eq!(request.body_bytes, r#"{"z":1.50,  "a":"\u00e9","big":12345678901234567890123}"#.len() as u64);
}

#[test]
fn what_is_no_call_is_refused() {
    for bad in [
        "[]",
        "null",
        "1",
        "\"x\"",
        "{",
        "{\"body\":",
        "{\"body\":1,\"body\":2}",
        "{} {}",
        "{\"headers\":[]}",
        "{\"headers\":{\"a\":[\"b\"]}}",
        "{\"method\":1}",
        "{\"path\":{}}",
        "{\"body\":nan}",
        "[null,null,null,null,null]",
    ] {
        assert_eq!(read(bad).unwrap_err().code(), Code::InvalidRequest, "{bad}");
    }
    assert_eq!(request(b"{\"body\":\"\xff\"}", &id(), None).unwrap_err().code(), Code::InvalidRequest);
}

#[test]
fn a_deeply_nested_body_breaks_nothing() {
    let deep = format!("{{\"body\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&deep).unwrap().body_bytes, 200_000);
    let headers = format!("{{\"headers\":{{\"a\":{}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&headers).unwrap_err().code(), Code::InvalidRequest);
}

#[tokio::test]
async fn a_result_is_json_where_it_is_json() {
    let id = id();
    let context = Context { path: "/x", request_id: &id };
    for (bytes, expected, encoded) in [
        (&b"{\"a\": 1}"[..], json!({"a": 1}), false),
        (b"\"text\"", json!("text"), false),
        (b"plain text", json!("plain text"), false),
        (b"", json!(""), false),
        (b"\xff\xfe", json!("//4="), true),
    ] {
        let response = FunctionResponse { status: 418, headers: Vec::new(), body: Bytes::from(bytes) };
        let answer = told(Outcome::Answered(Output::Full(response)));
        let Outcome::Answered(output) = &answer.outcome else { unreachable!() };
        let body = json_of(answered(output, &answer, &context)).await;
        assert_eq!(body["result"], expected, "{bytes:?}");
        assert_eq!(body["success"], true);
        assert_eq!(body["error"], Value::Null);
        assert!(body.as_object().unwrap().contains_key("error"));
        assert_eq!(body["status_code"], 418);
        assert_eq!(body["duration_ms"], 1.5);
        assert_eq!(body["request_id"], id.as_str());
        assert_eq!(body.get("is_base64_encoded").is_some(), encoded);
    }
}

#[test]
fn headers_that_repeat_become_an_array() {
    let headers = [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(Value::from(header_members(&headers)), json!({"a": ["1", "3", "4"], "b": "2"}));
}

#[tokio::test]
async fn a_failure_is_a_problem_and_an_answer_at_once() {
    let id = id();
    let failure = Failure {
        kind: FailureKind::FunctionError,
        message: "it failed".to_owned(),
        error_type: Some("ValueError".to_owned()),
        exit_code: Some(3),
        log_tail: vec!["last words".to_owned()],
    };
    let answer = told(Outcome::Failed(failure.clone()));
    let mut response = failed(&failure, &answer, &Context { path: "/x", request_id: &id });
    describe(&answer, response.headers_mut());
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["x-dunnage-version"], "3");
    assert_eq!(response.headers()["x-dunnage-instance"], "cold");
    assert_eq!(response.headers()["x-dunnage-memory-peak-bytes"], "9");
    let body = json_of(response).await;
    assert_eq!(body["type"], "/problems/function-failed");
    assert_eq!(body["success"], false);
    assert_eq!(body["error"], "it failed");
    assert_eq!(body["kind"], "function-error");
    assert_eq!(body["error_type"], "ValueError");
    assert_eq!(body["exit_code"], 3);
    assert_eq!(body["logs"], json!(["last words"]));
}

#[test]
fn a_raw_answer_is_the_functions_own_but_for_the_connection() {
    let pairs = [
        ("x-mine", "yes"),
        ("content-type", "text/css"),
        ("connection", "close"),
        ("content-length", "9999"),
        ("transfer-encoding", "chunked"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];
    let headers = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
    let function = FunctionResponse { status: 418, headers, body: Bytes::from_static(b"a{}") };
    let response = raw_response(&function).unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["content-type"], "text/css");
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    for gone in ["connection", "content-length", "transfer-encoding"] {
        assert!(response.headers().get(gone).is_none(), "{gone}");
    }
    for (status, name, value) in
        [(99, "a", "b"), (101, "a", "b"), (1000, "a", "b"), (200, "a b", "c"), (200, "a", "x\r\ny: z")]
    {
        let headers = vec![(name.to_owned(), value.to_owned())];
        assert!(
            raw_response(&FunctionResponse { status, headers, body: Bytes::new() }).is_none(),
            "{status} {name}"
        );
    }
}

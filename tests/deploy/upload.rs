//! Receiving: fields in any order, each wrong body with its own error, nothing left of any.

use std::time::Duration;

use bytes::Bytes;
use dunnage::db::DeployTarget;
use dunnage::deploy::upload::{Error, receive};
use dunnage::deploy::{self, FunctionConfig};
use dunnage::model::Finding;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::forge::{file, tar_gz};
use super::form::{CONTENT_TYPE, Uploads, body, chunked};

type Field<'a> = (&'a str, &'a [u8]);

fn archive() -> Vec<u8> {
    tar_gz(&[file("main.py", "print(1)")])
}

#[tokio::test]
async fn fields_come_in_any_order() {
    let (uploads, archive) = (Uploads::new(), archive());
    let config = json!({"language": "python", "env": {"A": "1"}, "labels": {"team": "x"}, "limits": {"memory_mib": 64}});
    let config = config.to_string();
    let fields: [(&str, &[u8]); 3] =
        [("archive", &archive), ("config", config.as_bytes()), ("function_id", b"hello")];
    let request = uploads.receive(body(&fields)).await.unwrap();
    assert_eq!(request.target, DeployTarget::Name("hello".parse().unwrap()));
    assert_eq!(request.config.limits.memory_mib, Some(64));
    assert_eq!(request.config.env["A"], "1");
    let id = uuid::Uuid::now_v7();
    let by_id = body(&[("function_id", id.to_string().as_bytes()), ("archive", &archive)]);
    let request = uploads.receive(by_id).await.unwrap();
    assert_eq!(request.target, DeployTarget::Id(id));
    assert_eq!(request.config, FunctionConfig::default());
    drop(request);
    // One byte at a time.
    let slow = receive(CONTENT_TYPE, chunked(body(&fields), 1), uploads.path()).await.unwrap();
    assert_eq!(slow.source.files[0].path, "main.py");
}

#[tokio::test]
async fn wrong_fields_are_told_apart() {
    let archive = archive();
    let (name, file): (Field<'_>, Field<'_>) = (("name", b"hello"), ("archive", &archive));
    let long = [b'a'; 70_000];
    let cases: Vec<(Vec<Field<'_>>, &str)> = vec![
        (vec![file], "field-missing"),
        (vec![name], "field-missing"),
        (vec![], "field-missing"),
        (vec![name, file, name], "field-doubled"),
        (vec![name, file, file], "field-doubled"),
        (vec![name, ("function_id", b"6d3b6d3e-0000-4000-8000-000000000000"), file], "field-doubled"),
        (vec![name, ("config", b"{}"), ("config", b"{}"), file], "field-doubled"),
        (vec![name, ("archiv", b"x"), file], "field-unknown"),
        (vec![("name", b"Not-A-Name"), file], "function-name"),
        (vec![("name", b"6d3b6d3e-0000-4000-8000-000000000000"), file], "function-name"),
        (vec![("function_id", b"../x"), file], "function-name"),
        (vec![("name", b"\xff"), file], "field-not-text"),
        (vec![("name", &long), file], "field-too-long"),
        (vec![file, name, ("config", &long)], "field-too-long"),
        (vec![name, ("archive", b"")], "archive-format"),
    ];
    for (fields, code) in cases {
        let error = Uploads::new().refused(body(&fields)).await;
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(error.too_large(), code == "field-too-long", "{error}");
    }
    let unnamed = b"--XbX\r\nContent-Type: text/plain\r\n\r\nx\r\n--XbX--\r\n".to_vec();
    assert!(matches!(Uploads::new().refused(unnamed).await, Error::UnnamedField));
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let uploads = Uploads::new();
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for content_type in
        ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=\"\"", &long]
    {
        let result = receive(content_type, chunked(vec![], 1), uploads.path()).await;
        assert!(matches!(result, Err(deploy::Error::Upload(Error::NotMultipart))), "{content_type}");
    }
}

#[tokio::test]
async fn a_body_cut_off_anywhere_leaves_nothing() {
    let uploads = Uploads::new();
    let whole = body(&[("archive", &archive()), ("name", b"hello")]);
    // The last line's end may be missing.
    for end in 0..whole.len() - 2 {
        let error = uploads.refused(whole[..end].to_vec()).await;
        assert!(matches!(error, Error::CutOff), "at {end}: {error:?}");
    }
    assert!(uploads.receive(whole[..whole.len() - 2].to_vec()).await.is_ok());
    let broken = chunked(whole[..whole.len() / 2].to_vec(), 100)
        .chain(stream::iter([Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]));
    let result = receive(CONTENT_TYPE, broken, uploads.path()).await;
    assert!(matches!(result, Err(deploy::Error::Upload(Error::Body(_)))));
    uploads.assert_empty();
}

#[tokio::test]
async fn what_is_between_fields_is_bounded() {
    let uploads = Uploads::new();
    let noise = || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 50_000])));
    let result = receive(CONTENT_TYPE, noise(), uploads.path()).await;
    assert!(matches!(result, Err(deploy::Error::Upload(Error::HeadTooLong))));
    let head = Bytes::from_static(b"--XbX\r\nContent-Disposition: ");
    let result = receive(CONTENT_TYPE, stream::iter([Ok(head)]).chain(noise()), uploads.path()).await;
    assert!(matches!(result, Err(deploy::Error::Upload(Error::HeadTooLong))));
    // An archive without end stops at its bound.
    let head = body(&[("archive", b"\x1f\x8b")]);
    let head = Bytes::copy_from_slice(&head[..head.len() - 11]);
    let result = receive(CONTENT_TYPE, stream::iter([Ok(head)]).chain(noise()), uploads.path()).await;
    assert!(matches!(result, Err(deploy::Error::Upload(Error::ArchiveTooLong))));
    uploads.assert_empty();
}

#[tokio::test]
async fn a_dropped_request_leaves_nothing() {
    let uploads = Uploads::new();
    let whole = body(&[("name", b"hello"), ("archive", &archive())]);
    for end in [0, 100, whole.len() - 60, whole.len() - 10] {
        let silent = chunked(whole[..end].to_vec(), 64).chain(stream::pending());
        let received = receive(CONTENT_TYPE, silent, uploads.path());
        assert!(tokio::time::timeout(Duration::from_millis(60), received).await.is_err());
        uploads.assert_empty_soon().await;
    }
    let texts: Vec<_> = (0..5000).map(|n| file(&format!("d{}/f{n}", n % 50), &"x".repeat(3000))).collect();
    let large = body(&[("name", b"hello"), ("archive", &tar_gz(&texts))]);
    let mut cut = 0;
    for wait in [1, 20, 60, 120, 200, 300] {
        let received = uploads.receive(large.clone());
        cut += usize::from(tokio::time::timeout(Duration::from_millis(wait), received).await.is_err());
        uploads.assert_empty_soon().await;
    }
    assert!(cut >= 2, "{cut} were dropped in the middle");
}

async fn config_refused(config: &str) -> Finding {
    let uploads = Uploads::new();
    let result =
        uploads.receive(body(&[("name", b"hello"), ("archive", &archive()), ("config", config.as_bytes())]));
    match result.await {
        Err(deploy::Error::Config(finding)) => {
            uploads.assert_empty();
            finding
        }
        Err(other) => panic!("{config}: {other:?}"),
        Ok(_) => panic!("it was taken: {config}"),
    }
}

#[tokio::test]
async fn configurations_are_checked_key_by_key() {
    let many = |n: usize| (0..n).map(|i| (format!("K{i}"), json!("v"))).collect::<serde_json::Map<_, _>>();
    let cases = [
        (json!({"memory": 1}), "unknown-key", "memory"),
        (json!({"limits": {"memory_mb": 1}}), "unknown-key", "memory_mb"),
        (json!({"limits": {"memory_mib": 1}}), "out-of-range", "limits.memory_mib"),
        (json!({"limits": {"cpu_millis": 1}}), "out-of-range", "limits.cpu_millis"),
        (json!({"limits": {"timeout_ms": 99}}), "out-of-range", "limits.timeout_ms"),
        (json!({"limits": {"concurrency": 0}}), "out-of-range", "limits.concurrency"),
        (json!({"instances": 1_000_000}), "out-of-range", "instances"),
        (json!({"language": ""}), "bad-text", "language"),
        (json!({"entrypoint": "a\nRUN x"}), "bad-text", "entrypoint"),
        (json!({"entrypoint": "a\0"}), "bad-text", "entrypoint"),
        (json!({"entrypoint": "x".repeat(1025)}), "bad-text", "entrypoint"),
        (json!({"labels": many(65)}), "too-many", "labels"),
        (json!({"labels": {"a": "x".repeat(257)}}), "bad-text", "labels.a"),
        (json!({"env": many(129)}), "too-many", "env"),
        (json!({"env": {"1A": ""}}), "bad-name", "env.1A"),
        (json!({"env": {"A=B": ""}}), "bad-name", "env.A=B"),
        (json!({"env": {"": ""}}), "bad-name", "env."),
        (json!({"env": {"LD_PRELOAD": ""}}), "reserved-name", "env.LD_PRELOAD"),
        (json!({"env": {"DUNNAGE_RUNTIME_SOCKET": ""}}), "reserved-name", "env.DUNNAGE_RUNTIME_SOCKET"),
        (json!({"env": {"function_input": ""}}), "reserved-name", "env.function_input"),
        (json!({"env": {"HTTP_BODY": ""}}), "reserved-name", "env.HTTP_BODY"),
        (json!({"env": {"SHARED_PATH": ""}}), "reserved-name", "env.SHARED_PATH"),
        (json!({"env": {"A": "x\0"}}), "bad-value", "env.A"),
        (json!({"env": {"A": "x".repeat(32 * 1024 + 1)}}), "bad-value", "env.A"),
        (json!({"env": {"A": 5}}), "wrong-type", "config"),
        (json!([]), "wrong-type", "config"),
        (json!({"limits": [64, 100, 1000, 1]}), "wrong-type", "config"),
    ];
    for (config, rule, path) in cases {
        let finding = config_refused(&config.to_string()).await;
        assert_eq!((finding.rule.as_str(), finding.path.as_deref()), (rule, Some(path)), "{finding:?}");
    }
    assert_eq!(config_refused("{").await.rule, "not-json");
    assert_eq!(config_refused(r#"{"language":"a","language":"b"}"#).await.rule, "doubled-key");
    let secret = config_refused(r#"{"env":"hunter2"}"#).await;
    assert!(!secret.message.contains("hunter2"), "{secret:?}");
}

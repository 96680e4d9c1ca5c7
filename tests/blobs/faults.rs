//! S3 when the server refuses, is away, or breaks in the middle.

use std::error::Error as _;
use std::time::{Duration, Instant};

use dunnage::blobs::memory::Fault;

use super::proxy::{Act, Proxy};
use super::*;

fn through(proxy: &Proxy) -> Corner {
    Corner::of_s3(&S3Config { endpoint: Some(proxy.endpoint.clone()), ..s3_config() })
}

/// All that an error would show anywhere.
fn shown(error: &Error) -> String {
    let mut text = format!("{error:?} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause:?} {cause}"));
        source = cause.source();
    }
    text
}

/// The uploads in parts that the bucket knows of, below a corner.
async fn uploads_left(corner: &Corner) -> usize {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let config = s3_config();
    let secret = config.secret_access_key.expose();
    let sdk = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(Credentials::new(&config.access_key_id, secret, None, None, "test"))
        .region(Region::new("us-east-1"))
        .endpoint_url(config.endpoint.unwrap())
        .force_path_style(true)
        .build();
    let request = aws_sdk_s3::Client::from_conf(sdk).list_multipart_uploads().bucket(config.bucket);
    let listed = request.send().await.unwrap();
    let ours = |key: Option<&str>| key.is_some_and(|key| key.starts_with(&corner.prefix));
    listed.uploads().iter().filter(|upload| ours(upload.key())).count()
}

#[tokio::test]
async fn credentials_that_are_refused_are_told_apart_and_not_shown() {
    let wrong_secret = S3Config { secret_access_key: Secret::new("a-very-wrong-secret"), ..s3_config() };
    let wrong_key = S3Config { access_key_id: "nobody".to_owned(), ..s3_config() };
    for (config, code) in [(wrong_secret, "SignatureDoesNotMatch"), (wrong_key, "InvalidAccessKeyId")] {
        let corner = Corner::of_s3(&config);
        let key = corner.key("object");
        let errors = [
            corner.put(&key, b"x").await.unwrap_err(),
            corner.put(&key, &bytes_of(LARGE_BYTES, 1)).await.unwrap_err(),
            corner.blobs.get(&key).await.err().unwrap(),
            corner.blobs.copy(&key, &corner.key("copy")).await.unwrap_err(),
            corner.blobs.delete(&key).await.unwrap_err(),
            corner.blobs.list(&corner.prefix).await.unwrap_err(),
            corner.blobs.check().await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, Error::Denied { detail, .. } if detail.contains(code)), "{error:?}");
            assert!(!shown(&error).contains("a-very-wrong-secret"), "{error:?}");
        }
        assert_eq!(corner.counted(), [0, 2, 0, 1]);
    }
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_not_an_object_that_is_missing() {
    let corner = Corner::of_s3(&S3Config { bucket: "no-such-bucket-here".to_owned(), ..s3_config() });
    let error = corner.blobs.get(&corner.key("object")).await.err().unwrap();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert!(shown(&error).contains("NoSuchBucket"), "{error:?}");
}

/// A server that speaks another protocol knows nothing of objects, whatever it answers.
#[tokio::test]
async fn an_endpoint_that_is_no_object_store_has_failed() {
    let proxy = Proxy::start(|_, _| Act::Nonsense).await;
    let corner = through(&proxy);
    let error = corner.blobs.get(&corner.key("object")).await.err().unwrap();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert!(shown(&error).contains("404"), "{error:?}");
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_fails_within_a_bound() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let corner = Corner::of_s3(&S3Config { endpoint: Some(endpoint), ..s3_config() });
    let started = Instant::now();
    let error = corner.put(&corner.key("object"), b"x").await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert!(shown(&error).contains("refused"), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(corner.counted(), [0, 1, 0, 0]);
}

#[tokio::test]
async fn what_fails_a_few_times_succeeds_and_is_counted_once() {
    for act in [Act::Unavailable, Act::Cut, Act::CutAnswer] {
        let proxy = Proxy::start(move |_, n| if n % 3 < 2 { act } else { Act::Pass }).await;
        let corner = through(&proxy);
        let key = corner.key("object");
        corner.put(&key, b"bytes").await.unwrap();
        assert_eq!(corner.read(&key).await.unwrap(), b"bytes", "{act:?}");
        corner.blobs.copy(&key, &corner.key("copy")).await.unwrap();
        assert_eq!(corner.names("").await, ["copy", "object"]);
        assert_eq!(proxy.requests().len(), 12, "{act:?}");
        assert_eq!(corner.counted(), [1, 0, 1, 0], "{act:?}");
        Corner::s3().blobs.delete(&key).await.unwrap();
        Corner::s3().blobs.delete(&corner.key("copy")).await.unwrap();
    }
}

#[tokio::test]
async fn parts_are_sent_again_until_they_arrive() {
    let proxy = Proxy::start(|_, n| match n % 4 {
        1 => Act::Cut,
        3 => Act::Unavailable,
        _ => Act::Pass,
    })
    .await;
    let corner = through(&proxy);
    let (key, bytes) = (corner.key("large"), bytes_of(LARGE_BYTES, 7));
    corner.put(&key, &bytes).await.unwrap();
    assert!(corner.read(&key).await.unwrap() == bytes);
    assert_eq!(corner.counted(), [1, 0, 1, 0]);
    assert_eq!(uploads_left(&corner).await, 0);
    corner.clear().await;
}

fn completes(line: &str) -> bool {
    line.starts_with("POST") && line.contains("uploadId=")
}

/// The server has joined the parts, but its answer was lost: some servers then say so again, for
/// others the upload is no more.
#[tokio::test]
async fn an_upload_whose_completion_was_not_heard_is_complete() {
    for again in [Act::Pass, Act::NoSuchUpload] {
        let heard = std::sync::atomic::AtomicBool::new(false);
        let proxy = Proxy::start(move |line, _| match completes(line) {
            true if !heard.swap(true, std::sync::atomic::Ordering::SeqCst) => Act::CutAnswer,
            true => again,
            false => Act::Pass,
        })
        .await;
        let corner = through(&proxy);
        let (key, bytes) = (corner.key("large"), bytes_of(LARGE_BYTES, 8));
        corner.put(&key, b"what was there before").await.unwrap();
        corner.put(&key, &bytes).await.unwrap();
        assert_eq!(proxy.count("POST"), 3, "one begins, two complete");
        assert!(corner.read(&key).await.unwrap() == bytes);
        assert_eq!(corner.counted(), [2, 0, 1, 0]);
        corner.clear().await;
    }
}

#[tokio::test]
async fn an_upload_that_is_no_more_has_failed() {
    let proxy = Proxy::start(|line, _| if completes(line) { Act::NoSuchUpload } else { Act::Pass }).await;
    let corner = through(&proxy);
    let key = corner.key("large");
    corner.put(&key, b"what was there before").await.unwrap();
    let error = corner.put(&key, &bytes_of(LARGE_BYTES, 13)).await.unwrap_err();
    assert!(shown(&error).contains("NoSuchUpload"), "{error:?}");
    assert_eq!(corner.read(&key).await.unwrap(), b"what was there before");
    assert_eq!(uploads_left(&corner).await, 0);
    corner.clear().await;
}

#[tokio::test]
async fn an_upload_that_fails_leaves_no_parts() {
    let proxy =
        Proxy::start(|line, _| if line.contains("partNumber=2") { Act::Unavailable } else { Act::Pass })
            .await;
    let corner = through(&proxy);
    let error = corner.put(&corner.key("large"), &bytes_of(LARGE_BYTES, 9)).await.unwrap_err();
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    assert!(shown(&error).contains("503"), "{error:?}");
    assert_eq!(proxy.count("partNumber=2"), limits::S3_ATTEMPTS as usize);
    assert_eq!(uploads_left(&corner).await, 0);
    assert_eq!(corner.names("").await, [""; 0]);
    assert_eq!(corner.counted(), [0, 1, 0, 0]);
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_no_parts() {
    // While the second part is on its way, and while the upload is being begun.
    for stuck in ["partNumber=2", "?uploads"] {
        let proxy =
            Proxy::start(
                move |line, _| {
                    if line.contains(stuck) && stuck != "?uploads" { Act::Silence } else { Act::Pass }
                },
            )
            .await;
        let corner = through(&proxy);
        let (key, bytes) = (corner.key("large"), bytes_of(LARGE_BYTES, 10));
        {
            let put = corner.put(&key, &bytes);
            tokio::pin!(put);
            while proxy.count(stuck) == 0 {
                let wait = tokio::time::sleep(Duration::from_millis(1));
                tokio::select! { biased; _ = &mut put => panic!("it was to be given up"), () = wait => {} }
            }
        }
        assert_eq!(corner.counted(), [0, 1, 0, 0]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while proxy.count("DELETE") == 0 || uploads_left(&corner).await > 0 {
            assert!(Instant::now() < deadline, "{stuck}: {:#?}", proxy.requests());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(corner.names("").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_download_that_breaks_is_an_error_and_not_a_short_archive() {
    let corner = Corner::s3();
    let (key, bytes) = (corner.key("object"), bytes_of(300_000, 11));
    corner.put(&key, &bytes).await.unwrap();
    for act in [Act::CutAfter(100_000), Act::Spoil(200_000), Act::StallAfter(100_000)] {
        let proxy = Proxy::start(move |_, _| act).await;
        let broken = through(&proxy);
        let started = Instant::now();
        broken.read(&key).await.unwrap_err();
        assert!(started.elapsed() < limits::S3_STALL_TIMEOUT * 3, "{act:?}: {:?}", started.elapsed());
        assert_eq!(broken.counted(), [0, 0, 0, 1], "{act:?}");
    }
    assert_eq!(corner.read(&key).await.unwrap(), bytes);
    corner.clear().await;
}

/// So the server refuses bytes that changed on the way to it.
#[tokio::test]
async fn bodies_are_signed_over_their_digest() {
    let proxy = Proxy::start(|_, _| Act::Pass).await;
    let corner = through(&proxy);
    corner.put(&corner.key("small"), b"abc").await.unwrap();
    corner.put(&corner.key("large"), &bytes_of(LARGE_BYTES, 12)).await.unwrap();
    let header = |head: &str| {
        let line = head.lines().find(|line| line.starts_with("x-amz-content-sha256: ")).expect("is signed");
        line["x-amz-content-sha256: ".len()..].to_owned()
    };
    for head in proxy.requests().iter().filter(|head| head.starts_with("PUT")) {
        let digest = header(head);
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{head}");
    }
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(header(&proxy.requests()[0]), abc);
    assert!(proxy.requests()[0].contains(&format!("x-amz-meta-sha256: {abc}")));
    corner.clear().await;
}

#[tokio::test]
async fn a_session_token_is_sent_along() {
    let proxy = Proxy::start(|_, _| Act::Unavailable).await;
    let token = Some(Secret::new("the-session-token"));
    let config = S3Config { endpoint: Some(proxy.endpoint.clone()), session_token: token, ..s3_config() };
    let error = Corner::of_s3(&config).blobs.check().await.unwrap_err();
    assert!(!shown(&error).contains("the-session-token"), "{error:?}");
    assert!(proxy.requests()[0].contains("x-amz-security-token: the-session-token"));
}

#[tokio::test]
async fn the_double_does_what_its_script_says() {
    let memory = Arc::new(Memory::new(Arc::new(Metrics::new().unwrap())));
    let corner = Corner { blobs: memory.clone(), ..Corner::memory() };
    let key = corner.key("object");
    memory.script([
        Fault::Fail,
        Fault::Deny,
        Fault::None,
        Fault::CutOff(2),
        Fault::Delay(Duration::from_millis(30)),
    ]);
    assert!(matches!(corner.put(&key, b"bytes").await, Err(Error::Failed { .. })));
    assert!(matches!(corner.put(&key, b"bytes").await, Err(Error::Denied { .. })));
    corner.put(&key, b"bytes").await.unwrap();
    corner.read(&key).await.unwrap_err();
    let started = Instant::now();
    assert_eq!(corner.read(&key).await.unwrap(), b"bytes");
    assert!(started.elapsed() >= Duration::from_millis(30));
}

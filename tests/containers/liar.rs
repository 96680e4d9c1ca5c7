//! An engine that answers nonsense: an error each time, never a hang or a panic.

use std::time::Duration;

use dunnage::containers::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// Answers pings rightly and anything else with `answer`, then closes.
async fn liar(answer: Vec<u8>) -> (Podman, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("liar.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                if String::from_utf8_lossy(&request[..read]).contains("/_ping") {
                    let ping = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nBuildah-Version: 1.28.0\r\nCache-Control: no-cache\r\nPragma: no-cache\r\nLibpod-Buildah-Version: 1.28.0\r\nDocker-Experimental: true\r\nContent-Length: 2\r\n\r\nOK";
                    let _ = stream.write_all(ping.as_bytes()).await;
                } else {
                    let _ = stream.write_all(&answer).await;
                }
            });
        }
    });
    let podman = Podman::connect(options(Some(socket), dir.path()), CancellationToken::new()).await.unwrap();
    (podman, dir)
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

#[tokio::test]
async fn nonsense_is_an_error() {
    let huge = [b"{\"Id\": \"".as_slice(), &vec![b'a'; 20 * MIB], b"\"}"].concat();
    let answers = [
        ("nothing", Vec::new()),
        ("no HTTP", b"\x00\x01\x02 hello\r\n\r\n".to_vec()),
        ("no JSON", http("200 OK", b"<html>")),
        ("other JSON", http("200 OK", b"[1, 2, {}]")),
        ("cut off", b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n{\"Id\":".to_vec()),
        ("no id", http("201 Created", b"{\"Id\": \"../../etc\"}")),
        ("huge", http("201 Created", &huge)),
        ("refusal", http("500 Oh", b"{\"message\": \"\\u001b[31mno\"}")),
        (
            "broken frames",
            b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nnonsense without end"
                .to_vec(),
        ),
    ];
    let id = ContainerId("0123456789abcdef".to_owned());
    for (name, answer) in answers {
        let (podman, dir) = liar(answer).await;
        let spec = spec(dir.path().to_owned(), BTreeMap::new(), SHELL_IMAGE, "");
        let all = async {
            assert!(podman.create(&spec).await.is_err(), "{name}");
            assert!(podman.start(&id).await.is_err(), "{name}");
            assert!(
                podman.build(plain_build(SHELL_IMAGE, "", &[]), mpsc::channel(64).0).await.is_err(),
                "{name}"
            );
            if name != "other JSON" {
                assert!(podman.images("a", "b").await.is_err(), "{name}");
                assert!(podman.containers("a", "b").await.is_err(), "{name}");
            }
            let _ = (
                podman.engine().await,
                podman.image("a").await,
                podman.kill(&id).await,
                podman.remove(&id).await,
            );
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap_or_else(|_| panic!("{name} hangs"));
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_engine_s_words() {
    let (podman, dir) = liar(http("500 Oh", b"{\"message\": \"\\u001b[31mno\"}")).await;
    let spec = spec(dir.path().to_owned(), BTreeMap::new(), SHELL_IMAGE, "");
    let Err(Error::Refused { status, message, .. }) = podman.create(&spec).await else { panic!() };
    assert_eq!((status, message.as_str()), (500, " [31mno"));
}

#[tokio::test]
async fn a_build_s_answer_has_bounds() {
    let endless = [b"{\"stream\": \"".as_slice(), &vec![b'a'; 3 * MIB]].concat();
    for body in [endless, b"{\"stream\": 1}\n".to_vec(), b"{\"stream\": \"half".to_vec()] {
        let (podman, _dir) = liar(http("200 OK", &body)).await;
        let end = podman.build(plain_build(SHELL_IMAGE, "", &[]), mpsc::channel(64).0).await;
        assert!(matches!(end, Err(Error::Protocol { .. })), "{end:?}");
    }
}

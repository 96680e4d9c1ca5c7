//! Hostile functions, one per limit: each is held, told apart from the others, and leaves nothing.

use serde_json::{Value, json};

use super::deploy::left_containers;
use super::{deploy_python, result_of, says};
use crate::support::{Backing, Host, Reply};

/// A host on which a call may take longer than by default, so that floods end by themselves.
async fn host() -> Host {
    Host::start_with(Backing::SqliteLocal, &[("FUNCTION_TIMEOUT_SECONDS", "30")]).await
}

/// Deploys the code and calls it, with a second or what `config` says to run.
async fn attack(host: &Host, name: &str, code: &str, timeout_ms: u32) -> Reply {
    deploy_python(host, name, code, json!({"limits": {"timeout_ms": timeout_ms}})).await;
    host.invoke(name, Value::Null).await
}

#[track_caller]
fn failed_as(reply: &Reply, kind: &str) -> Value {
    let body = reply.expect(400);
    assert_eq!(body["success"], false, "{body}");
    assert_eq!(body["kind"], kind, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_hog_is_out_of_memory() {
    let host = host().await;
    let in_handler =
        "def handler(e, c):\n    hold = []\n    while True:\n        hold.append(bytearray(8 << 20))\n";
    let reply = attack(&host, "hog", in_handler, 20_000).await;
    failed_as(&reply, "out-of-memory");
    let peak: u64 = reply.header("x-dunnage-memory-peak-bytes").unwrap().parse().unwrap();
    assert!((100 << 20..=129 << 20).contains(&peak), "{peak}");
    // A child is killed, not the program that answers.
    let in_child = "import subprocess, sys\ndef handler(e, c):\n    return subprocess.run([sys.executable, '-c', 'x=bytearray(400<<20)']).returncode\n";
    failed_as(&attack(&host, "hog-child", in_child, 20_000).await, "out-of-memory");
    let at_start = "hold = bytearray(400 << 20)\ndef handler(e, c):\n    return 1\n";
    failed_as(&attack(&host, "hog-start", at_start, 20_000).await, "out-of-memory");
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_stops_at_the_limit() {
    let host = host().await;
    let code = "import os, time
def handler(event, context):
    forked = 0
    try:
        while forked < 10000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            forked += 1
    except OSError as error:
        return [forked, error.errno]
    return [forked, 0]
";
    let result = attack(&host, "bomb", code, 10_000).await.expect(200)["result"].clone();
    let forked = result[0].as_u64().unwrap();
    assert!((1..=64).contains(&forked), "{result}");
    assert_eq!(result[1], 11, "EAGAIN: {result}");
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spinning_function_times_out_and_is_gone() {
    let host = host().await;
    let spin = "def handler(event, context):\n    while True:\n        pass\n";
    let begun = std::time::Instant::now();
    failed_as(&attack(&host, "spin", spin, 1_000).await, "timeout");
    let ignores = "import signal, time
for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(s, signal.SIG_IGN)
def handler(event, context):
    while True:
        time.sleep(1)
";
    failed_as(&attack(&host, "deaf", ignores, 1_000).await, "timeout");
    assert!(begun.elapsed().as_secs() < 60);
    assert_eq!(left_containers(&host), Vec::<String>::new());
    let stuck_at_start = "import time\ntime.sleep(3600)\n";
    failed_as(&attack(&host, "late", stuck_at_start, 1_000).await, "init-error");
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_root_and_network_are_closed() {
    let host = host().await;
    let code = "import errno, os, socket
def fill(path):
    written = 0
    try:
        with open(path, 'wb') as file:
            while written < 1 << 30:
                written += file.write(b'x' * (1 << 20))
                file.flush()
    except OSError as error:
        return [written, errno.errorcode[error.errno]]
    return [written, None]
def connect(address):
    try:
        socket.create_connection(address, 2)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
def handler(event, context):
    return {
        'tmp': fill('/tmp/x'), 'root': fill('/x'), 'app': fill('/app/x'), 'runtime': fill('/run/dunnage/x'),
        'shm': fill('/dev/shm/x'),
        'net': connect(('192.0.2.1', 80)), 'interfaces': sorted(os.listdir('/sys/class/net')), 'uid': os.getuid(),
    }
";
    let reply = attack(&host, "closed", code, 20_000).await.expect(200);
    let result = &reply["result"];
    assert_eq!(result["tmp"][1], "ENOSPC", "{result}");
    assert!(result["tmp"][0].as_u64().unwrap() <= 16 << 20, "{result}");
    assert_eq!(result["root"], json!([0, "EROFS"]));
    assert_eq!(result["app"], json!([0, "EROFS"]));
    assert_eq!(result["runtime"], json!([0, "EROFS"]));
    assert!(result["shm"][0].as_u64().unwrap() <= 64 << 20, "{result}");
    assert_eq!(result["net"], "ENETUNREACH");
    assert_eq!(result["interfaces"], json!(["lo"]));
    assert_eq!(result["uid"], 65534);
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_cannot_be_had() {
    let host = host().await;
    let code = "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(f, *args):
    r = f(*args)
    return ctypes.get_errno() if r else 0
def handler(event, context):
    status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)
    return {
        'unshare': call(libc.unshare, 0x10000000), 'mount': call(libc.mount, b'x', b'/tmp', b'tmpfs', 0, None),
        'setuid': call(libc.setuid, 0), 'ptrace': libc.ptrace(16, 1, 0, 0) and ctypes.get_errno(),
        'caps': [status['CapEff'], status['CapBnd']], 'nnp': status['NoNewPrivs'], 'seccomp': status['Seccomp'],
    }
";
    let result = attack(&host, "privileged", code, 5_000).await.expect(200)["result"].clone();
    for refused in ["unshare", "mount", "setuid", "ptrace"] {
        assert_eq!(result[refused], 1, "EPERM for {refused}: {result}");
    }
    assert_eq!(result["caps"], json!(["0000000000000000", "0000000000000000"]));
    assert_eq!(result["nnp"], "1");
    assert_eq!(result["seccomp"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_costs_the_host_nothing() {
    let host = host().await;
    let code = "import os
def handler(event, context):
    chunk = b'flood ' * 10922 + b'\\n'
    left = 1 << 30
    while left > 0:
        left -= os.write(1, chunk)
    return 'flooded'
";
    deploy_python(&host, "calm", &says("calm"), Value::Null).await;
    let before = resident_bytes(host.pid());
    let reply = attack(&host, "flood", code, 30_000).await;
    assert_eq!(reply.expect(200)["result"], "flooded");
    let grown = resident_bytes(host.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "the host grew by {grown} bytes");
    let mut logs = host.get("/api/functions/flood/logs?limit=1000").await;
    // The record is written once the container is gone.
    for _ in 0..100 {
        if logs.text.contains("flood flood") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        logs = host.get("/api/functions/flood/logs?limit=1000").await;
    }
    assert!(logs.text.len() < 256 << 10, "{} bytes of logs were kept", logs.text.len());
    assert!(logs.text.contains("flood flood"));
    assert_eq!(result_of(&host, "calm", Value::Null).await, "calm");
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What a function does behind the runtime's back, over the same socket.
const LIAR: &str = "import socket, os
def talk(request):
    s = socket.socket(socket.AF_UNIX)
    s.connect('/run/dunnage/runtime.sock')
    s.sendall(request)
    s.settimeout(2)
    try:
        return s.recv(65536).decode('latin-1').split('\\r\\n')[0]
    except OSError as e:
        return str(e)
def post(path, body):
    head = 'POST /2018-06-01/runtime/%s HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n' % (path, len(body))
    return talk(head.encode() + body)
";

#[tokio::test(flavor = "multi_thread")]
async fn lies_to_the_runtime_api_hurt_nobody_else() {
    let host = host().await;
    let foreign = format!("{LIAR}
def handler(event, context):
    answers = [post('invocation/00000000-0000-0000-0000-000000000000/response', b'\"forged\"'), talk(b'GARBAGE\\r\\n\\r\\n'),
               talk(b'GET /../../etc/passwd HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'), post('invocation/x/../y/response', b'1')]
    return answers
");
    let reply = attack(&host, "liar", &foreign, 10_000).await.expect(200);
    for answer in reply["result"].as_array().unwrap() {
        let text = answer.as_str().unwrap();
        assert!(text.contains(" 4") || text.is_empty(), "{reply}");
    }
    // It answers itself, then again, then returns: the first answer counts, once.
    let twice = format!(
        "{LIAR}
def handler(event, context):
    post('invocation/' + context.aws_request_id + '/response', b'\"first\"')
    post('invocation/' + context.aws_request_id + '/response', b'\"second\"')
    return 'third'
"
    );
    assert_eq!(attack(&host, "twice", &twice, 10_000).await.expect(200)["result"], "first");
    let no_json = format!(
        "{LIAR}
def handler(event, context):
    post('invocation/' + context.aws_request_id + '/response', b'{{no json')
    return 'x'
"
    );
    failed_as(&attack(&host, "no-json", &no_json, 10_000).await, "bad-response");
    let status =
        "def handler(e, c):\n    return {'statusCode': 99, 'headers': {'a b': 'x\\r\\ny: z'}, 'body': 'x'}\n";
    failed_as(&attack(&host, "bad-status", status, 10_000).await, "bad-response");
    let exits = "import os\ndef handler(e, c):\n    os._exit(3)\n";
    let body = failed_as(&attack(&host, "exits", exits, 10_000).await, "exited");
    assert_eq!(body["exit_code"], 3, "{body}");
    let raises = "def handler(e, c):\n    raise ValueError('my own fault')\n";
    let body = failed_as(&attack(&host, "raises", raises, 10_000).await, "function-error");
    assert!(body["error"].as_str().unwrap().contains("my own fault"), "{body}");
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_answer_is_refused() {
    let host = host().await;
    let code = "def handler(event, context):\n    return 'x' * (20 << 20)\n";
    failed_as(&attack(&host, "huge", code, 20_000).await, "response-too-large");
    assert_eq!(left_containers(&host), Vec::<String>::new());
}

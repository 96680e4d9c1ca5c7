//! Whatever ends a call is told apart, and leaves nothing behind.

use std::time::{Duration, Instant};

use dunnage::containers::{Exit, Memory, Stream};
use dunnage::invoke;

use super::rig::{Double, Fault, Rig, exit, failed, function, program, result};

/// A program that hangs without an answer.
async fn for_ever() -> Exit {
    std::future::pending().await
}

fn answers(text: &'static str) -> Double {
    Double::new(program(move |inside| async move {
        inside.connect().await.serve(text).await;
        for_ever().await
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_and_the_container_goes() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        inside.print(Stream::Stdout, "hello\n").await;
        let mut client = inside.connect().await;
        let call = client.next().await;
        inside.print(Stream::Stderr, "a warn").await;
        let echo = format!("[{}]", call.body);
        client.respond(call.id(), &echo).await;
        inside.print(Stream::Stderr, "ing, after the answer\n").await;
        for_ever().await
    })));
    let function = function(5_000, 1);
    let answer = rig.call(&function, r#"{"a": 1.50}"#).await.unwrap();
    assert_eq!(result(&answer), r#"[{"a": 1.50}]"#);
    assert_eq!(answer.memory_peak_bytes, Some(7 << 20));
    let records = rig.stop().await;
    assert_eq!(rig.engine.calls(), ["create", "start", "remove"]);
    assert_eq!((rig.engine.left(), rig.cleanups("ok"), rig.invocations("ok")), (0, 1, 1));
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.outcome.as_str(), record.status, record.version), ("ok", 200, 3));
    assert_eq!(record.function_id, function.function.id);
    let logs: Vec<_> = record.logs.iter().map(|l| (l.level.as_str(), l.message.as_str())).collect();
    assert_eq!(logs, [("info", "hello"), ("warn", "a warning, after the answer")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_is_what_the_version_says() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        inside.connect().await.next().await;
        for_ever().await
    })));
    let function = function(300, 1);
    let (answer, specs) = tokio::join!(rig.call(&function, "{}"), async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        rig.engine.specs()
    });
    failed(&answer.unwrap(), "timeout");
    let [spec] = specs.as_slice() else { panic!("{specs:?}") };
    assert_eq!(spec.image, "localhost/double:v3");
    assert_eq!(spec.init_args, ["--contract", "runtime-api", "--", "/function", "--flag"]);
    let variable = |name: &str| {
        let values: Vec<_> = spec.environment.iter().filter(|(n, _)| n == name).collect();
        assert_eq!(values.len(), 1, "{name} is set once: {:?}", spec.environment);
        values[0].1.clone()
    };
    assert_eq!(variable("DUNNAGE_RUNTIME_SOCKET"), "/run/dunnage/runtime.sock");
    assert_eq!(variable("MINE"), "yes");
    assert_eq!(variable("HOME"), "/app");
    assert_eq!(variable("SHARED_PATH"), "/shared");
    assert_eq!(variable("FUNCTION_TIMEOUT_MS"), "300");
    assert_eq!(variable("FUNCTION_MAX_MEMORY_MB"), "128");
    assert_eq!(spec.labels["org.dunnage.version"], "3");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_slow_is_a_timeout_and_is_killed() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        inside.connect().await.next().await;
        inside.print(Stream::Stdout, "thinking\n").await;
        for_ever().await
    })));
    let begun = Instant::now();
    let answer = rig.call(&function(200, 1), "{}").await.unwrap();
    let failure = failed(&answer, "timeout");
    assert_eq!(failure.log_tail, ["thinking"]);
    assert!(answer.run_us >= 200_000 && begun.elapsed() < Duration::from_secs(5));
    let records = rig.stop().await;
    assert_eq!(rig.engine.calls(), ["create", "start", "kill", "remove"]);
    assert_eq!((records[0].outcome.as_str(), records[0].status), ("timeout", 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_before_ready_and_one_after_are_told_apart() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        inside.print(Stream::Stderr, "cannot begin\n").await;
        exit(2)
    })));
    let failure = failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "init-error");
    assert_eq!((failure.exit_code, failure.log_tail), (Some(2), vec!["cannot begin".to_owned()]));
    rig.stop().await;
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        client.next().await;
        inside.print(Stream::Stderr, "no newline at the end").await;
        exit(3)
    })));
    let failure = failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "exited");
    assert_eq!((failure.exit_code, failure.log_tail), (Some(3), vec!["no newline at the end".to_owned()]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_just_before_the_end_counts() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        let call = client.next().await;
        let path = format!("invocation/{}/response", call.id());
        client.send(super::runtime::request("POST", &path, "\"last words\"").as_bytes()).await;
        exit(0)
    })));
    for _ in 0..20 {
        assert_eq!(result(&rig.call(&function(5_000, 1), "{}").await.unwrap()), "\"last words\"");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_the_function_reports_are_its_own() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        let call = client.next().await;
        let path = format!("invocation/{}/error", call.id());
        let error =
            r#"{"errorMessage":"my fault","errorType":"ValueError","stackTrace":["at x\n"],"exitCode":9}"#;
        assert_eq!(client.ask("POST", &path, error).await.status, 202);
        for_ever().await
    })));
    let failure = failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "function-error");
    assert_eq!((failure.message.as_str(), failure.error_type.as_deref()), ("my fault", Some("ValueError")));
    assert_eq!((failure.exit_code, failure.log_tail), (Some(9), vec!["at x".to_owned()]));
    rig.stop().await;
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        client.ask("POST", "init/error", r#"{"errorMessage":"no module"}"#).await;
        exit(1)
    })));
    let failure = failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "init-error");
    assert_eq!(failure.message, "no module");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_memory_is_seen_whoever_died() {
    // A child was killed, the program answers as if nothing had been.
    let mut engine = answers("0");
    engine.memory = Some(Memory { peak_bytes: 128 << 20, oom_kills: 1 });
    let rig = Rig::new(engine);
    let answer = rig.call(&function(5_000, 1), "{}").await.unwrap();
    failed(&answer, "out-of-memory");
    assert_eq!(answer.memory_peak_bytes, Some(128 << 20));
    rig.stop().await;
    // The program itself, before and after it was ready; its cgroup is gone.
    for ready in [false, true] {
        let mut engine = Double::new(program(move |inside| async move {
            let mut client = inside.connect().await;
            if ready {
                client.next().await;
            }
            Exit { code: Some(137), oom_killed: true, memory_peak_bytes: Some(99) }
        }));
        engine.memory = None;
        let rig = Rig::new(engine);
        let answer = rig.call(&function(5_000, 1), "{}").await.unwrap();
        assert_eq!(failed(&answer, "out-of-memory").exit_code, Some(137));
        assert_eq!(answer.memory_peak_bytes, Some(99));
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_cannot_be_passed_on() {
    let rig = Rig::new(answers("{no json"));
    failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "bad-response");
    rig.stop().await;
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        let call = client.next().await;
        let path = format!("invocation/{}/response", call.id());
        client.send(super::runtime::request("POST", &path, &"x".repeat(7 << 20)).as_bytes()).await;
        for_ever().await
    })));
    failed(&rig.call(&function(5_000, 1), "{}").await.unwrap(), "response-too-large");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_drained_and_bounded() {
    let rig = Rig::new(Double::new(program(|inside| async move {
        let mut client = inside.connect().await;
        let call = client.next().await;
        for _ in 0..4_000 {
            inside.print(Stream::Stdout, &"flood ".repeat(5_000)).await;
        }
        client.respond(call.id(), "1").await;
        for_ever().await
    })));
    rig.call(&function(20_000, 1), "{}").await.unwrap();
    let records = rig.stop().await;
    let bytes: usize = records[0].logs.iter().map(|line| line.message.len()).sum();
    assert!((1..=70_000).contains(&bytes), "{bytes}");
    assert!(records[0].logs.iter().any(|line| line.message.contains("were dropped here")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_engine_is_an_error_and_leaves_nothing() {
    for (fault, calls) in
        [(Fault::CreateFails, &["create", "remove"][..]), (Fault::StartFails, &["create", "start", "remove"])]
    {
        let mut engine = answers("1");
        engine.fault = fault;
        let rig = Rig::new(engine);
        let error = rig.call(&function(5_000, 1), "{}").await.unwrap_err();
        assert!(matches!(error, invoke::Error::Containers(_)), "{error}");
        let records = rig.stop().await;
        assert_eq!(rig.engine.calls(), calls);
        assert_eq!((rig.engine.left(), rig.invocations("engine-failed")), (0, 1));
        assert_eq!(records[0].outcome, "engine-failed");
    }
    // The caller builds the image again and calls again with the same id: no record yet.
    let mut engine = answers("1");
    engine.fault = Fault::NoSuchImage;
    let rig = Rig::new(engine);
    let error = rig.call(&function(5_000, 1), "{}").await.unwrap_err();
    assert!(
        matches!(error, invoke::Error::Containers(dunnage::containers::Error::NoSuchImage(_))),
        "{error}"
    );
    assert_eq!(rig.stop().await, []);
    assert_eq!(rig.engine.calls(), ["create"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_given_up() {
    let mut engine = answers("1");
    engine.fault = Fault::CreateHangs;
    let rig = Rig::new(engine);
    let error = rig.call(&function(5_000, 1), "{}").await.unwrap_err();
    assert!(
        matches!(error, invoke::Error::Containers(dunnage::containers::Error::TimedOut { .. })),
        "{error}"
    );
    rig.stop().await;
    assert_eq!(rig.engine.calls(), ["create", "remove"], "what may have been made is removed by its name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_tried_again_and_counted() {
    for (fault, ok, error) in [(Fault::RemoveFailsTwice, 1, 0), (Fault::RemoveFails, 0, 1)] {
        let mut engine = answers("1");
        engine.fault = fault;
        let rig = Rig::new(engine);
        rig.call(&function(5_000, 1), "{}").await.unwrap();
        assert_eq!(rig.stop().await.len(), 1);
        assert_eq!((rig.cleanups("ok"), rig.cleanups("error")), (ok, error));
    }
}

/// A caller that goes away, at any moment: every container goes, every place is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_leaves_nothing() {
    let rig = Rig::with_places(
        Double::new(program(|inside| async move {
            inside.connect().await.next().await;
            for_ever().await
        })),
        2,
        Duration::from_secs(5),
    );
    let function = function(60_000, 10);
    let calls = (0..40).map(|n| {
        let patience = Duration::from_millis(n);
        tokio::time::timeout(patience, rig.call(&function, "{}"))
    });
    for gone in futures_util::future::join_all(calls).await {
        assert!(gone.is_err());
    }
    assert_eq!(rig.metrics.active_executions.get(), 0);
    let records = rig.stop().await;
    assert_eq!(rig.engine.left(), 0);
    assert!(rig.invocations("cancelled") >= 39);
    assert!(records.iter().all(|r| r.outcome == "cancelled"), "{records:?}");
    assert!(rig.engine.calls().contains(&"kill"));
}

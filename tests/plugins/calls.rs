//! What becomes of good answers, and of those that are well-formed and wrong.

use dunnage::limits;
use dunnage::model::{Finding, FunctionResponse};
use dunnage::plugins::{Failure, PlanError, Plugins, Processed};

use super::folder::{
    Folder, LIMITS, call, denied, failure, function, response, review_invoke, rules, source,
};
use super::guests::{Data, Edit, GENERATE, Guest, LANGUAGES, PROCESS, REVIEW_INVOKE};

/// A policy at calls that always gives this verdict.
fn policy(verdict: impl FnOnce(&mut Data) -> u32) -> Vec<u8> {
    let mut guest = Guest::new("invoke-policy");
    let at = verdict(&mut guest.data);
    guest.answers(REVIEW_INVOKE, at).build()
}

#[tokio::test]
async fn policies_are_asked_in_order_until_one_denies() {
    let folder = Folder::new()
        .with("quiet", &policy(Data::abstain), "")
        .with("first", &policy(|d| d.allow(&[("odd", "Odd.")], Some(64), None)), "")
        .with("no", &policy(|d| d.deny(&[("never", "Not\u{1b}[2J\ntoday.")])), "")
        .with("after", &policy(Data::abstain), "");
    let plugins = folder.load().await.unwrap();
    let denied = denied(review_invoke(&plugins).await);
    let finding = Finding { rule: "never".into(), message: "Not [2J today.".into(), path: None, hint: None };
    assert_eq!((denied.plugin.as_str(), denied.findings), ("no", vec![finding]));
    assert_eq!(folder.calls("quiet", "on-invoke", "abstain"), 1.0);
    assert_eq!(folder.calls("first", "on-invoke", "allow"), 1.0);
    assert_eq!(folder.calls("no", "on-invoke", "deny"), 1.0);
    assert_eq!(folder.calls("after", "on-invoke", "abstain"), 0.0);
}

#[tokio::test]
async fn limits_are_only_ever_tightened() {
    let folder = Folder::new().with("low", &policy(|d| d.allow(&[], Some(64), Some(5000))), "").with(
        "high",
        &policy(|d| d.allow(&[("odd", "Odd.")], Some(u32::MAX), Some(1000))),
        "",
    );
    let admitted = review_invoke(&folder.load().await.unwrap()).await.unwrap();
    assert_eq!((admitted.limits.memory_mib, admitted.limits.timeout_ms), (64, 1000));
    assert_eq!(admitted.limits.cpu_millis, LIMITS.cpu_millis);
    // Each change with its reason, and what was asked for in vain.
    assert_eq!(rules(&admitted.warnings), ["cap", "odd", "cap", "cap"]);
    let vain = &admitted.warnings[2];
    assert!(vain.message.contains("4294967295") && vain.message.contains("64"), "{vain:?}");
}

#[tokio::test]
async fn verdicts_that_cannot_be_used() {
    let long = "x".repeat(limits::PLUGIN_FINDING_TEXT_BYTES_MAX + 1);
    let many = vec![("rule", "Text."); limits::PLUGIN_FINDINGS_MAX + 1];
    let bad = [
        policy(|d| d.deny(&[])),
        policy(|d| d.deny(&[("Not Kebab", "Text.")])),
        policy(|d| d.deny(&[("", "Text.")])),
        policy(|d| d.deny(&[("rule", " \n\u{202e} ")])),
        policy(|d| d.deny(&[("rule", &long)])),
        policy(|d| d.deny(&many)),
        policy(|d| d.allow(&many, None, None)),
        policy(|d| d.allow(&[], Some(0), None)),
    ];
    for (case, component) in bad.iter().enumerate() {
        let folder = Folder::new().with("bad", component, "");
        let failure = failure(review_invoke(&folder.load().await.unwrap()).await);
        assert_eq!(failure.class, "bad-output", "case {case}: {failure}");
    }
}

#[tokio::test]
async fn calls_at_once_get_their_own_answers() {
    // It fails with the id of its call, which is at 8 of its parameters.
    let echo = "(i32.store (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.load offset=8 (local.get 0)))
        (i32.store (i32.const 24) (i32.load offset=12 (local.get 0))) (i32.const 16)";
    let folder = Folder::new().with("echo", &Guest::on_invoke(echo).build(), "");
    let plugins = std::sync::Arc::new(folder.load().await.unwrap());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let plugins = plugins.clone();
        asked.spawn(async move {
            let call = call();
            let result = plugins.review_invoke(&call, None, &super::folder::invocation()).await;
            (call.id.to_string(), failure(result).reason)
        });
    }
    for (id, reason) in asked.join_all().await {
        assert_eq!(id, reason);
    }
}

/// A post-processor that always answers this.
fn processor(answer: impl FnOnce(&mut Data) -> u32) -> Vec<u8> {
    let mut guest = Guest::new("post-process");
    let at = answer(&mut guest.data);
    guest.answers(PROCESS, at).build()
}

fn editor(edit: &Edit) -> Vec<u8> {
    processor(|data| data.edit(edit))
}

async fn process(plugins: &Plugins, response: FunctionResponse) -> Result<Processed, Failure> {
    plugins.post_process(&call(), &function(), 1234, response).await
}

async fn processed(component: &[u8], response: FunctionResponse) -> Result<FunctionResponse, Failure> {
    let folder = Folder::new().with("it", component, "");
    match process(&folder.load().await.unwrap(), response).await? {
        Processed::Response(response) => Ok(response),
        Processed::Withheld(denied) => panic!("withheld: {denied:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_kept_stays_as_it_is() {
    let keep = processor(|data| data.words(&[0, 0]));
    for size in [0, 5, limits::POST_PROCESS_BODY_BYTES_MAX, limits::POST_PROCESS_BODY_BYTES_MAX + 1] {
        let body = vec![b'x'; size];
        assert_eq!(processed(&keep, response(&body)).await.unwrap(), response(&body), "{size} bytes");
    }
}

#[tokio::test]
async fn edits_are_made_in_order() {
    let first = editor(&Edit {
        status: Some(201),
        remove: &["Server"],
        set: &[("Set-Cookie", "b=2"), ("set-cookie", "c=3")],
        body: Some(b"first"),
    });
    let second = editor(&Edit { body: Some(b"second"), ..Edit::default() });
    let folder = Folder::new().with("first", &first, "").with("second", &second, "");
    let Processed::Response(made) = process(&folder.load().await.unwrap(), response(b"body")).await.unwrap()
    else {
        panic!("withheld");
    };
    assert_eq!((made.status, &made.body[..]), (201, &b"second"[..]));
    let headers: Vec<_> = made.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(headers, [("content-type", "text/plain"), ("set-cookie", "b=2"), ("set-cookie", "c=3")]);
}

#[tokio::test]
async fn edits_that_cannot_be_made() {
    const LARGE: &[u8] = &[b'x'; limits::POST_PROCESS_BODY_BYTES_MAX + 1];
    let bad = [
        Edit { status: Some(0), ..Edit::default() },
        Edit { status: Some(101), ..Edit::default() },
        Edit { status: Some(999), ..Edit::default() },
        Edit { status: Some(204), ..Edit::default() },
        Edit { set: &[("x-a", "b\r\nx-evil: 1")], ..Edit::default() },
        Edit { set: &[("x a", "b")], ..Edit::default() },
        Edit { set: &[("", "b")], ..Edit::default() },
        Edit { set: &[("Content-Length", "3")], ..Edit::default() },
        Edit { set: &[("transfer-encoding", "chunked")], ..Edit::default() },
        Edit { set: &[("Connection", "close")], ..Edit::default() },
        Edit { set: &[("x-dunnage-version", "9")], ..Edit::default() },
        Edit { set: &[("x-a", "1"); limits::RESPONSE_HEADERS_MAX], ..Edit::default() },
        Edit { body: Some(LARGE), ..Edit::default() },
    ];
    for (case, edit) in bad.iter().enumerate() {
        let failure = processed(&editor(edit), response(b"body")).await.unwrap_err();
        assert_eq!((failure.class, failure.point), ("bad-output", "post-process"), "case {case}: {failure}");
    }
}

#[tokio::test]
async fn a_body_that_was_not_shown_is_not_replaced() {
    let large = vec![b'x'; limits::POST_PROCESS_BODY_BYTES_MAX + 1];
    let failure = processed(&editor(&Edit { body: Some(b"y"), ..Edit::default() }), response(&large)).await;
    assert!(failure.unwrap_err().reason.contains("not shown"));
    let edited = processed(&editor(&Edit { status: Some(203), ..Edit::default() }), response(&large)).await;
    let edited = edited.unwrap();
    assert_eq!((edited.status, edited.body.len()), (203, large.len()));
}

#[tokio::test]
async fn an_answer_can_be_withheld_with_a_reason() {
    let withhold = |findings: &[(&str, &str)]| {
        processor(|data| {
            let items: Vec<_> = findings.iter().map(|(rule, text)| data.finding(rule, text)).collect();
            let [at, count] = data.list(&items);
            data.words(&[0, 2, at, count])
        })
    };
    let folder = Folder::new().with("it", &withhold(&[("leak", "It holds a key.")]), "");
    let Processed::Withheld(denied) = process(&folder.load().await.unwrap(), response(b"")).await.unwrap()
    else {
        panic!("not withheld");
    };
    assert_eq!((denied.plugin.as_str(), rules(&denied.findings)), ("it", vec!["leak"]));
    assert_eq!(processed(&withhold(&[]), response(b"")).await.unwrap_err().class, "bad-output");
}

/// A plugin that builds `python`, also known as `py`, by this answer.
fn builder(answer: impl FnOnce(&mut Data) -> u32) -> Vec<u8> {
    let mut guest = Guest::new("dockerfile");
    let mut language = guest.data.text("python").to_vec();
    language.extend(guest.data.texts(&["py"]));
    language.extend(guest.data.texts(&["3.13", "3.12"]));
    language.extend(guest.data.texts(&["requirements.txt"]));
    let list = guest.data.list(&[language]);
    let languages = guest.data.words(&[0, list[0], list[1]]);
    let at = answer(&mut guest.data);
    guest.answers(LANGUAGES, languages).answers(GENERATE, at).build()
}

#[tokio::test]
async fn a_plan_comes_from_the_plugin_of_the_language() {
    let component = builder(|data| {
        let mut words = vec![0];
        words.extend(data.text("FROM python\n"));
        let mut file = [data.text("run.py"), data.text("print()")].concat();
        file.push(1);
        words.extend(data.list(&[file]));
        words.extend(data.texts(&["src/.git"]));
        words.extend(data.pairs(&[("A", "1")]));
        let note = data.finding("old-python", "Python 3.12 is old.");
        words.extend(data.list(&[note]));
        data.words(&words)
    });
    let folder = Folder::new().with("templates", &component, "");
    let plugins = folder.load().await.unwrap();
    let languages = plugins.languages();
    assert_eq!((languages[0].name.as_str(), languages[0].plugin.as_str()), ("python", "templates"));
    assert_eq!(languages[0].versions, ["3.13", "3.12"]);
    for language in ["python", "py"] {
        let plan = plugins.generate(&call(), &source(language)).await.unwrap();
        assert_eq!(plan.dockerfile, "FROM python\n");
        assert_eq!((plan.files[0].path.as_str(), plan.files[0].executable), ("run.py", true));
        assert_eq!((plan.ignore, plan.build_args), (vec!["src/.git".into()], vec![("A".into(), "1".into())]));
        assert_eq!(rules(&plan.notes), ["old-python"]);
    }
    let none = plugins.generate(&call(), &source("cobol")).await;
    assert!(matches!(none, Err(PlanError::NoSuchLanguage(language)) if language == "cobol"));
}

#[tokio::test]
async fn a_source_can_be_refused() {
    let component = builder(|data| {
        let finding = data.finding("no-entrypoint", "There is no main.py.");
        let [at, count] = data.list(&[finding]);
        data.words(&[1, at, count])
    });
    let folder = Folder::new().with("templates", &component, "");
    match folder.load().await.unwrap().generate(&call(), &source("python")).await {
        Err(PlanError::Refused(denied)) => assert_eq!(rules(&denied.findings), ["no-entrypoint"]),
        other => panic!("{other:?}"),
    }
}

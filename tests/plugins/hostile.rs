//! Guests that mean harm, or are broken. Each fails alone, is called what it is, and leaves the host
//! as it was.

use std::time::Duration;

use dunnage::limits;
use dunnage::plugins::Failure;

use super::folder::{Folder, failure, review_deploy, review_invoke};
use super::guests::{Guest, REVIEW_DEPLOY, sleeper};

const LIMITS: &str = "limits = { cpu-ms = 50, wall-ms = 900, memory-mib = 16 }";

/// A policy at deploys that has nothing to say: a neighbour that must not notice.
fn neighbour() -> Vec<u8> {
    let mut guest = Guest::new("deploy-policy");
    let abstain = guest.data.abstain();
    guest.answers(REVIEW_DEPLOY, abstain).build()
}

/// How the guest's review of a call fails, once the neighbour was seen to answer after it.
async fn fails(guest: &Guest) -> Failure {
    let folder = Folder::new().with("hostile", &guest.build(), LIMITS).with("good", &neighbour(), "");
    let plugins = folder.load().await.unwrap();
    let failure = failure(review_invoke(&plugins).await);
    assert_eq!((failure.plugin.as_str(), failure.point), ("hostile", "on-invoke"));
    assert_eq!(folder.calls("hostile", "on-invoke", failure.class), 1.0);
    review_deploy(&plugins).await.unwrap();
    assert_eq!(folder.calls("good", "on-deploy", "abstain"), 1.0);
    failure
}

#[track_caller]
fn assert_failed(failure: &Failure, class: &str, reason: &str) {
    assert_eq!(failure.class, class, "{failure}");
    assert!(failure.reason.contains(reason), "{failure}");
}

#[tokio::test]
async fn an_endless_loop_is_cut_by_its_cpu_time() {
    let guest = Guest::on_invoke("(loop $again (br $again)) unreachable");
    assert_failed(&fails(&guest).await, "timeout", "50 ms");
}

/// On the one thread of this test, another task runs on only because the guest yields.
#[tokio::test]
async fn an_endless_loop_blocks_nobody() {
    let guest = Guest::on_invoke("(loop $again (br $again)) unreachable");
    let plugins = Folder::new().with("hostile", &guest.build(), "").load().await.unwrap();
    let mut turns = 0;
    let other = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let failure = tokio::select! {
        result = review_invoke(&plugins) => failure(result),
        () = other => unreachable!("it has no end"),
    };
    assert_failed(&failure, "timeout", "ms");
    assert!(turns > 3, "{turns} turns of the other task");
}

#[tokio::test]
async fn memory_is_bounded_and_named_as_the_cause() {
    let grow_for_ever =
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    assert_failed(&fails(&Guest::on_invoke(grow_for_ever)).await, "memory", "16 MiB");
    let at_once = "(drop (memory.grow (i32.const 60000))) unreachable";
    assert_failed(&fails(&Guest::on_invoke(at_once)).await, "memory", "16 MiB");
    let table = Guest::on_invoke("(drop (table.grow $t (ref.null func) (i32.const 10000000))) unreachable")
        .with("(table $t 1 funcref)");
    assert_failed(&fails(&table).await, "memory", "");
}

#[tokio::test]
async fn a_refused_growth_that_the_guest_bears_is_no_failure() {
    let mut guest = Guest::on_invoke("unreachable");
    let abstain = guest.data.abstain();
    let code =
        format!("(param i32) (result i32) (drop (memory.grow (i32.const 60000))) (i32.const {abstain})");
    let guest = guest.function(super::guests::REVIEW_INVOKE, &code);
    let folder = Folder::new().with("modest", &guest.build(), LIMITS);
    review_invoke(&folder.load().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn what_a_guest_passes_out_is_bounded() {
    let huge_string = "(drop (memory.grow (i32.const 200)))
        (i32.store (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 0))
        (i32.store (i32.const 24) (i32.const 12000000)) (i32.const 16)";
    assert_failed(&fails(&Guest::on_invoke(huge_string)).await, "bad-output", "1024 KiB");
    let huge_list = "(drop (memory.grow (i32.const 200)))
        (i32.store (i32.const 20) (i32.const 1)) (i32.store (i32.const 24) (i32.const 65536))
        (i32.store (i32.const 28) (i32.const 200000)) (i32.const 16)";
    assert_failed(&fails(&Guest::on_invoke(huge_list)).await, "bad-output", "1024 KiB");
    let huge_line = "(drop (memory.grow (i32.const 200)))
        (call $log (i32.const 1) (i32.const 0) (i32.const 12000000)) unreachable";
    assert_failed(&fails(&Guest::on_invoke(huge_line)).await, "bad-output", "1024 KiB");
}

#[tokio::test]
async fn a_flood_of_log_lines_ends_the_call() {
    let flood =
        "(loop $again (call $log (i32.const 0) (i32.const 1024) (i32.const 4)) (br $again)) unreachable";
    let most = limits::PLUGIN_LOG_CALLS_MAX.to_string();
    assert_failed(&fails(&Guest::on_invoke(flood)).await, "trap", &most);
}

#[tokio::test]
async fn answers_that_are_no_values_are_bad_output() {
    let not_utf8 = "(i32.store (i32.const 32) (i32.const 0xfffefdfc))
        (i32.store (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 32))
        (i32.store (i32.const 24) (i32.const 4)) (i32.const 16)";
    assert_failed(&fails(&Guest::on_invoke(not_utf8)).await, "bad-output", "utf-8");
    let no_such_case = "(i32.store (i32.const 20) (i32.const 77)) (i32.const 16)";
    assert_failed(&fails(&Guest::on_invoke(no_such_case)).await, "bad-output", "");
    let outside = "(i32.store (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const -16))
        (i32.store (i32.const 24) (i32.const 8)) (i32.const 16)";
    assert_failed(&fails(&Guest::on_invoke(outside)).await, "bad-output", "");
    assert_failed(&fails(&Guest::on_invoke("(i32.const -8)")).await, "bad-output", "");
    assert_failed(&fails(&Guest::on_invoke("(i32.const 17)")).await, "bad-output", "");
}

#[tokio::test]
async fn traps_are_named() {
    assert_failed(&fails(&Guest::on_invoke("unreachable")).await, "trap", "unreachable");
    assert_failed(&fails(&Guest::on_invoke("(i32.load (i32.const -4))")).await, "trap", "out of bounds");
    let deep = Guest::on_invoke("(call $deep (local.get 0))")
        .with("(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))");
    assert_failed(&fails(&deep).await, "trap", "stack");
}

#[tokio::test]
async fn a_failure_of_its_own_is_its_own() {
    let mut guest = Guest::on_invoke("unreachable");
    let text = guest.data.text("no\u{1b}[31m database\n");
    let at = guest.data.words(&[1, text[0], text[1]]);
    let failure = fails(&guest.answers(super::guests::REVIEW_INVOKE, at)).await;
    assert_failed(&failure, "error", "no [31m database ");
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_leaves_nothing_behind() {
    let guest = Guest::on_invoke("(loop $again (br $again)) unreachable");
    let folder = Folder::new().with("hostile", &guest.build(), "limits = { wall-ms = 900 }").with(
        "good",
        &neighbour(),
        "",
    );
    let plugins = folder.load().await.unwrap();
    for _ in 0..2 * limits::PLUGIN_INSTANCES_MAX {
        let left = tokio::time::timeout(Duration::from_millis(6), review_invoke(&plugins)).await;
        assert!(left.is_err(), "{left:?}");
    }
    review_deploy(&plugins).await.unwrap();
}

/// No instruction is run meanwhile, so that only the clock on the wall can end it.
#[tokio::test]
async fn a_sleep_is_cut_by_its_time() {
    let folder = Folder::new().with("hostile", &sleeper(), "limits = { wall-ms = 100 }");
    let failure = failure(review_invoke(&folder.load().await.unwrap()).await);
    assert_failed(&failure, "timeout", "more than 100 ms");
}

/// The pool's places are all held by guests that sleep; those who wait for one in vain are told so.
#[tokio::test]
async fn a_full_pool_is_busy_and_then_free() {
    let folder = Folder::new().with("hostile", &sleeper(), "").with("good", &neighbour(), "");
    let plugins = folder.load().await.unwrap();
    let calls = limits::PLUGIN_INSTANCES_MAX as usize + 3;
    let all = futures_util::future::join_all((0..calls).map(|_| review_invoke(&plugins))).await;
    let classes: Vec<&str> = all.into_iter().map(|result| failure(result).class).collect();
    assert_eq!(classes.iter().filter(|class| **class == "busy").count(), 3, "{classes:?}");
    assert_eq!(classes.iter().filter(|class| **class == "timeout").count(), calls - 3, "{classes:?}");
    review_deploy(&plugins).await.unwrap();
}

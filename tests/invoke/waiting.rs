//! Places: bounds on what runs and waits, and what those are told who find none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dunnage::containers::Exit;
use dunnage::invoke;

use super::rig::{Double, Rig, function, program, result};

/// A program that counts how many of it are in a call at once.
fn counting(most: Arc<AtomicUsize>, takes: Duration) -> Double {
    let now = Arc::new(AtomicUsize::new(0));
    Double::new(program(move |inside| {
        let (now, most) = (now.clone(), most.clone());
        async move {
            let mut client = inside.connect().await;
            let call = client.next().await;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(takes).await;
            now.fetch_sub(1, Ordering::SeqCst);
            client.respond(call.id(), &call.body).await;
            std::future::pending::<Exit>().await
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_run_at_once_than_there_are_places() {
    for (places, concurrency, allowed) in [(3, 10, 3), (10, 2, 2)] {
        let most = Arc::new(AtomicUsize::new(0));
        let rig = Rig::with_places(
            counting(most.clone(), Duration::from_millis(30)),
            places,
            Duration::from_secs(30),
        );
        let function = function(10_000, concurrency);
        let calls = (0..20).map(|n| {
            let (rig, function) = (&rig, &function);
            async move {
                let answer = rig.call(function, &n.to_string()).await.unwrap();
                assert_eq!(result(&answer), n.to_string(), "everybody gets their own answer");
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(most.load(Ordering::SeqCst), allowed);
        assert!((1..=2).contains(&rig.engine.most_starting()), "{}", rig.engine.most_starting());
        assert_eq!(rig.stop().await.len(), 20);
        assert_eq!(rig.engine.left(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_wait_a_call_is_told_when_to_come_again() {
    let slow = counting(Arc::default(), Duration::from_millis(1500));
    let rig = Rig::with_places(slow, 1, Duration::from_millis(200));
    let function = function(10_000, 1);
    let (first, second) = tokio::join!(rig.call(&function, "1"), rig.call(&function, "2"));
    let refused = [first, second].into_iter().find_map(Result::err).expect("one is refused");
    assert!(matches!(refused, invoke::Error::Full { retry_after_seconds: 1..=120 }), "{refused}");
    assert_eq!((rig.invocations("full"), rig.invocations("ok")), (1, 1));
    assert_eq!(rig.stop().await.len(), 1, "a call that never started has no record");
}

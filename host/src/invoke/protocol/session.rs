//! What may be said when, in the conversation with one instance.
//!
//! ```text
//! Starting ──next──▶ Waiting ──offer──▶ Offered ──taken──▶ Running ──answer──▶ Ended
//!    └──────────────────────── init/error ────────────────────────────────────▶ Ended
//! ```
//! An event is offered when the function has shown that it is ready. In `Ended` a further `next`
//! hangs until the container is gone.

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

use super::super::output::clean;
use crate::limits;

/// What a function gets for `next`.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: String,
    /// Milliseconds since 1970.
    pub deadline_ms: i64,
    /// Names the function, in the place of Lambda's ARN.
    pub function: String,
    pub trace: String,
    pub body: Bytes,
}

/// What a function said that moves its call on.
#[derive(Debug)]
pub enum Said {
    /// It asked for its first event.
    Ready,
    InitFailed(Report),
    Answered(Bytes),
    /// Its answer was over [`limits::RESPONSE_BYTES_MAX`].
    TooLarge,
    Failed(Report),
}

/// An error as a function reports it; bounded, without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub message: String,
    pub error_type: Option<String>,
    pub exit_code: Option<i32>,
    pub stack_trace: Vec<String>,
}

/// Why something said is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    WrongId,
    Answered,
    /// An error of the start, when it is over.
    Started,
    TooLarge,
    CutOff,
}

#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Waiting,
    Offered(Event),
    Running(String),
    Ended(Option<String>),
}

pub(super) struct Session {
    phase: watch::Sender<Phase>,
    said: mpsc::Sender<Said>,
}

impl Session {
    /// Things said in one session: it is ready, then answers or fails.
    const SAID_MAX: usize = 2;

    pub(super) fn new() -> (Self, mpsc::Receiver<Said>) {
        let (said, heard) = mpsc::channel(Self::SAID_MAX);
        (Self { phase: watch::Sender::new(Phase::Starting), said }, heard)
    }

    pub(super) fn offer(&self, event: Event) {
        self.change(|phase| matches!(phase, Phase::Waiting).then_some(Phase::Offered(event)));
    }

    /// Waits for the event; one caller gets it, any other waits for ever.
    pub(super) async fn next(&self) -> Event {
        let first = self.change(|phase| matches!(phase, Phase::Starting).then_some(Phase::Waiting));
        if first {
            self.say(Said::Ready);
        }
        let mut phases = self.phase.subscribe();
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            if phases.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether that call is under way, before its answer is read.
    pub(super) fn check(&self, id: &str) -> Result<(), Refused> {
        match &*self.phase.borrow() {
            Phase::Running(running) if running == id => Ok(()),
            Phase::Ended(Some(ended)) if ended == id => Err(Refused::Answered),
            _ => Err(Refused::WrongId),
        }
    }

    /// The first answer counts.
    pub(super) fn answer(&self, id: &str, said: Said) -> Result<(), Refused> {
        let counts = self.change(|phase| match phase {
            Phase::Running(running) if running == id => Some(Phase::Ended(Some(running.clone()))),
            _ => None,
        });
        if !counts {
            self.check(id)?;
        }
        self.say(said);
        Ok(())
    }

    pub(super) fn fail_init(&self, report: Report) -> Result<(), Refused> {
        if !self.change(|phase| matches!(phase, Phase::Starting).then_some(Phase::Ended(None))) {
            return Err(Refused::Started);
        }
        self.say(Said::InitFailed(report));
        Ok(())
    }

    /// Nothing that is said from here on counts.
    pub(super) fn end(&self) {
        self.change(|_| Some(Phase::Ended(None)));
    }

    fn take(&self) -> Option<Event> {
        let mut taken = None;
        self.change(|phase| match phase {
            Phase::Offered(event) => {
                let id = event.id.clone();
                taken = Some(event.clone());
                Some(Phase::Running(id))
            }
            _ => None,
        });
        taken
    }

    fn change(&self, to: impl FnOnce(&Phase) -> Option<Phase>) -> bool {
        self.phase.send_if_modified(|phase| match to(phase) {
            Some(next) => {
                *phase = next;
                true
            }
            None => false,
        })
    }

    /// Each thing is said at most once, so the channel has room; it is closed when nobody listens.
    fn say(&self, said: Said) {
        let _ = self.said.try_send(said);
    }
}

impl Report {
    /// What is not understood is no reason to refuse: the function failed, whatever it says about it.
    pub(super) fn parse(body: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Posted {
            error_message: serde_json::Value,
            error_type: serde_json::Value,
            exit_code: serde_json::Value,
            stack_trace: serde_json::Value,
        }
        let posted: Posted = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: &serde_json::Value, max| value.as_str().map(|text| bounded(text, max));
        let message = text(&posted.error_message, limits::ERROR_MESSAGE_BYTES_MAX);
        let frames = posted.stack_trace.as_array().map_or(&[][..], Vec::as_slice);
        Self {
            message: message
                .filter(|text| !text.trim().is_empty())
                .unwrap_or_else(|| "the function failed and did not say why".to_owned()),
            error_type: text(&posted.error_type, limits::ERROR_TYPE_BYTES_MAX).filter(|t| !t.is_empty()),
            exit_code: posted.exit_code.as_i64().and_then(|code| i32::try_from(code).ok()),
            stack_trace: frames.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
        }
    }
}

/// Cut at a character, without control characters but line ends.
fn bounded(text: &str, bytes_max: usize) -> String {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    text.split('\n').map(|line| clean(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        Event {
            id: id.to_owned(),
            deadline_ms: 0,
            function: String::new(),
            trace: String::new(),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn a_call_is_taken_once_and_answered_once() {
        let (session, mut heard) = Session::new();
        session.offer(event("0"));
        let (taken, ()) = tokio::join!(session.next(), async {
            assert!(matches!(heard.recv().await, Some(Said::Ready)));
            assert_eq!(session.check("1"), Err(Refused::WrongId));
            session.offer(event("1"));
            assert_eq!(session.answer("1", Said::TooLarge), Err(Refused::WrongId), "nobody took it");
        });
        assert_eq!(taken.id, "1");
        session.offer(event("2"));
        assert!(session.take().is_none(), "a fresh instance serves one call");
        assert_eq!(session.check("2"), Err(Refused::WrongId));
        assert_eq!(session.check("1"), Ok(()));
        assert_eq!(session.answer("1", Said::Answered(Bytes::from_static(b"1"))), Ok(()));
        assert_eq!(session.answer("1", Said::TooLarge), Err(Refused::Answered));
        assert_eq!(session.fail_init(Report::default()), Err(Refused::Started));
        assert!(matches!(heard.recv().await, Some(Said::Answered(body)) if body == "1"));
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_failed_start_ends_the_session() {
        let (session, mut heard) = Session::new();
        session.fail_init(Report::default()).unwrap();
        assert_eq!(session.fail_init(Report::default()), Err(Refused::Started));
        session.offer(event("1"));
        assert!(session.take().is_none());
        assert!(matches!(heard.recv().await, Some(Said::InitFailed(_))));
    }

    #[test]
    fn reports_are_read_leniently_and_bounded() {
        let report = Report::parse(
            br#"{"errorMessage":"a\u001bb\nc","errorType":"E","exitCode":3,"stackTrace":["x",1,"y"]}"#,
        );
        assert_eq!(report.message, "a\u{fffd}b\nc");
        assert_eq!((report.error_type.as_deref(), report.exit_code), (Some("E"), Some(3)));
        assert_eq!(report.stack_trace, ["x", "y"]);
        for silent in [&b"no json"[..], b"[]", b"{}", br#"{"errorMessage":7,"exitCode":"x"}"#, b""] {
            let report = Report::parse(silent);
            assert!(report.message.contains("did not say why"));
            assert_eq!(report.exit_code, None);
        }
        let long = format!("{{\"errorMessage\":\"{}\"}}", "ä".repeat(10_000));
        assert!(Report::parse(long.as_bytes()).message.len() <= limits::ERROR_MESSAGE_BYTES_MAX);
    }
}

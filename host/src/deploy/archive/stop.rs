//! Stop: blocking work learns that nobody waits for it any more.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::refusal::{Failure, Refusal};

#[derive(Clone, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

/// Runs on a thread that may block, until done or until this future is dropped.
pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let stop = Stop::default();
    let _stopper = Stopper(stop.clone());
    match tokio::task::spawn_blocking(move || work(&stop)).await {
        Ok(result) => result,
        Err(error) => Err(Failure::Io { doing: "working on an archive", source: error.into() }),
    }
}

struct Stopper(Stop);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Stopped) } else { Ok(()) }
    }

    /// Marks the errors of `inner`, so that [`reading`] can tell them from damaged data.
    pub(super) fn watch<R>(&self, inner: R) -> Watched<R> {
        Watched { inner, stop: self.clone() }
    }
}

pub(super) struct Watched<R> {
    inner: R,
    stop: Stop,
}

#[derive(Debug, thiserror::Error)]
#[error("the source failed")]
struct SourceFailed(#[source] io::Error);

#[derive(Debug, thiserror::Error)]
#[error("nobody waits for it")]
struct StopAsked;

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(|_| io::Error::other(StopAsked))?;
        self.inner.read(into).map_err(mark)
    }
}

impl<R: Seek> Seek for Watched<R> {
    /// To before the start is asked only by damaged data.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => error,
            _ => mark(error),
        })
    }
}

fn mark(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        _ => io::Error::other(SourceFailed(error)),
    }
}

/// What a failed read of unpacked data means.
pub(super) fn reading(error: io::Error) -> Failure {
    let inner = error.get_ref();
    if inner.is_some_and(|e| e.is::<StopAsked>()) {
        return Failure::Stopped;
    }
    if inner.is_some_and(|e| e.is::<SourceFailed>()) {
        return Failure::Io { doing: "reading the archive", source: error };
    }
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    Refusal::Damaged(what).into()
}

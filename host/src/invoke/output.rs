//! Output: what a function writes, kept within a bound, the first of it and the last.
//!
//! Taking bytes in costs a copy and no more, so that a flood is drained as fast as it comes; lines
//! are made of them once, at the end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::clock;
use crate::containers::Stream;
use crate::db::Millis;
use crate::limits;

/// The output of one call, shared by the task that drains it and the call.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Kept>>);

/// One line, fit for a database and a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: &'static str,
    pub(super) text: String,
    pub(super) at: Millis,
}

#[derive(Default)]
struct Kept {
    head: Vec<Piece>,
    head_bytes: usize,
    tail: VecDeque<Piece>,
    tail_bytes: usize,
    dropped_bytes: u64,
}

/// Bytes of one stream that came one after the other.
struct Piece {
    stream: Stream,
    at: Millis,
    bytes: Vec<u8>,
}

impl Log {
    pub(super) fn push(&self, stream: Stream, bytes: &[u8]) {
        self.0.lock().expect("no panic holds this lock").push(stream, bytes, clock::now_millis());
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.0.lock().expect("no panic holds this lock").lines()
    }

    /// The last lines, for whoever is shown a failure.
    pub(super) fn tail(&self) -> Vec<String> {
        let lines = self.lines();
        let skip = lines.len().saturating_sub(limits::PROBLEM_LOG_LINES);
        lines.into_iter().skip(skip).map(|line| line.text).collect()
    }
}

impl Kept {
    const TAIL_BYTES: usize = limits::LOG_BYTES_PER_CALL_MAX - limits::LOG_HEAD_BYTES;

    fn push(&mut self, stream: Stream, bytes: &[u8], at: Millis) {
        let room = limits::LOG_HEAD_BYTES - self.head_bytes;
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head_bytes += first.len();
        for part in first.chunks(limits::LOG_PIECE_BYTES) {
            match self.head.last_mut() {
                Some(last) if last.takes(stream, part) => last.bytes.extend_from_slice(part),
                _ => self.head.push(Piece { stream, at, bytes: part.to_vec() }),
            }
        }
        for part in rest.chunks(limits::LOG_PIECE_BYTES) {
            self.push_tail(stream, part, at);
        }
    }

    fn push_tail(&mut self, stream: Stream, part: &[u8], at: Millis) {
        self.tail_bytes += part.len();
        match self.tail.back_mut() {
            Some(last) if last.takes(stream, part) => last.bytes.extend_from_slice(part),
            _ => self.tail.push_back(Piece { stream, at, bytes: part.to_vec() }),
        }
        while self.tail_bytes > Self::TAIL_BYTES {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.bytes.len();
            self.dropped_bytes += oldest.bytes.len() as u64;
        }
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Lines::default();
        self.head.iter().for_each(|piece| lines.add(piece));
        if self.dropped_bytes > 0 {
            lines.end_partial();
            lines.note(
                format!("({} bytes of output were dropped here)", self.dropped_bytes),
                clock::now_millis(),
            );
        }
        self.tail.iter().for_each(|piece| lines.add(piece));
        lines.end_partial();
        shorten(lines.done)
    }
}

impl Piece {
    fn takes(&self, stream: Stream, part: &[u8]) -> bool {
        self.stream == stream && self.bytes.len() + part.len() <= limits::LOG_PIECE_BYTES
    }
}

/// Lines in the making: the two streams interleave, each has its own unfinished line.
#[derive(Default)]
struct Lines {
    done: Vec<Line>,
    partial: [Option<Partial>; 2],
}

struct Partial {
    at: Millis,
    bytes: Vec<u8>,
    cut: bool,
}

impl Lines {
    fn add(&mut self, piece: &Piece) {
        for part in piece.bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let partial = self.partial[index(piece.stream)].get_or_insert_with(|| Partial {
                at: piece.at,
                bytes: Vec::new(),
                cut: false,
            });
            let room = limits::LOG_LINE_BYTES_MAX - partial.bytes.len();
            partial.cut |= text.len() > room;
            partial.bytes.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line(piece.stream);
            }
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let Some(partial) = self.partial[index(stream)].take() else { return };
        let mut text = clean(&partial.bytes);
        if partial.cut {
            text.push('…');
        }
        if !text.is_empty() {
            self.done.push(Line { level: level(stream), text, at: partial.at });
        }
    }

    fn end_partial(&mut self) {
        self.end_line(Stream::Stdout);
        self.end_line(Stream::Stderr);
    }

    fn note(&mut self, text: String, at: Millis) {
        self.done.push(Line { level: "warn", text, at });
    }
}

/// Keeps the first and the last lines when there are too many.
fn shorten(mut lines: Vec<Line>) -> Vec<Line> {
    let over = lines.len().saturating_sub(limits::LOG_LINES_PER_CALL_MAX);
    if over > 0 {
        let from = limits::LOG_LINES_PER_CALL_MAX / 2;
        let (at, text) = (lines[from].at, format!("({} lines were dropped here)", over + 1));
        let gap = Line { level: "warn", text, at };
        lines.splice(from..=from + over, [gap]);
    }
    lines
}

/// Text without control characters, which could forge lines or drive a terminal.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn level(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "info",
        Stream::Stderr => "warn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<String> {
        log.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn chunks_become_lines_of_their_stream() {
        let log = Log::default();
        log.push(Stream::Stdout, b"on");
        log.push(Stream::Stderr, b"oh no\r\n\n");
        log.push(Stream::Stdout, b"e\ntwo\nthr");
        log.push(Stream::Stdout, b"ee");
        assert_eq!(texts(&log), ["oh no", "one", "two", "three"]);
        assert_eq!(log.lines()[0].level, "warn");
        assert_eq!(log.lines()[1].level, "info");
    }

    #[test]
    fn control_characters_are_replaced() {
        let log = Log::default();
        log.push(Stream::Stdout, b"\x1b[31mred\0\ttab \xff\n");
        assert_eq!(texts(&log), ["\u{fffd}[31mred\u{fffd}\ttab \u{fffd}"]);
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let log = Log::default();
        for n in 0..100_000 {
            log.push(Stream::Stdout, format!("line number {n}\n").as_bytes());
        }
        let lines = texts(&log);
        assert_eq!(lines[0], "line number 0");
        assert_eq!(lines.last().unwrap(), "line number 99999");
        assert!(lines.len() <= limits::LOG_LINES_PER_CALL_MAX);
        assert!(lines.iter().any(|l| l.contains("were dropped here")));
        assert!(lines.iter().map(String::len).sum::<usize>() <= limits::LOG_BYTES_PER_CALL_MAX);
        let kept = log.0.lock().unwrap();
        assert!(kept.head_bytes + kept.tail_bytes <= limits::LOG_BYTES_PER_CALL_MAX);
        assert_eq!(kept.tail_bytes, kept.tail.iter().map(|p| p.bytes.len()).sum::<usize>());
    }

    #[test]
    fn one_endless_line_is_cut() {
        let log = Log::default();
        for _ in 0..64 {
            log.push(Stream::Stderr, &[b'x'; 10_000]);
        }
        let lines = texts(&log);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].ends_with("x…") && lines[2].ends_with("x…"));
        assert_eq!(lines[0].chars().count(), limits::LOG_LINE_BYTES_MAX + 1);
    }

    #[test]
    fn many_short_lines_are_bounded_in_number() {
        let log = Log::default();
        log.push(Stream::Stdout, "a\n".repeat(5_000).as_bytes());
        let lines = texts(&log);
        assert_eq!(lines.len(), limits::LOG_LINES_PER_CALL_MAX);
        assert!(lines[limits::LOG_LINES_PER_CALL_MAX / 2].contains("4001 lines were dropped"));
        assert_eq!(log.tail().len(), limits::PROBLEM_LOG_LINES);
    }
}

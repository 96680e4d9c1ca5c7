//! The output of an attached container: frames of eight bytes of header and a payload.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::containers::{Output, Stream};
use crate::limits;

const HEADER_BYTES: usize = 8;

/// Why the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The container closed its output, or the engine cut it off.
    Closed,
    /// Nobody reads any more.
    Dropped,
    /// The engine sent what is no frame.
    Broken,
}

/// Passes the output on until it ends. Reads no further than is taken from `output`.
pub(super) async fn pump(mut stream: impl AsyncRead + Unpin, output: mpsc::Sender<Output>) -> End {
    let mut frames = Frames::default();
    let mut buffer = BytesMut::with_capacity(limits::OUTPUT_CHUNK_BYTES_MAX);
    loop {
        while let Some(chunk) = frames.next(&mut buffer) {
            let Ok(chunk) = chunk else { return End::Broken };
            if output.send(chunk).await.is_err() {
                return End::Dropped;
            }
        }
        buffer.reserve(limits::OUTPUT_CHUNK_BYTES_MAX);
        tokio::select! {
            read = stream.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => return End::Closed,
                Ok(_) => {}
            },
            () = output.closed() => return End::Dropped,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct NoFrame;

/// Where in the frames the reader is. A frame's payload is passed on in the pieces in which it comes.
#[derive(Default)]
struct Frames {
    current: Option<(Stream, usize)>,
}

impl Frames {
    /// Takes the next piece from the buffer, none when more bytes are needed.
    fn next(&mut self, buffer: &mut BytesMut) -> Option<Result<Output, NoFrame>> {
        loop {
            match self.current {
                None if buffer.len() < HEADER_BYTES => return None,
                None => match header(buffer.split_to(HEADER_BYTES).freeze()) {
                    Ok(frame) => self.current = Some(frame),
                    Err(error) => return Some(Err(error)),
                },
                Some((_, 0)) => self.current = None,
                Some(_) if buffer.is_empty() => return None,
                Some((stream, left)) => {
                    let bytes = buffer.split_to(left.min(buffer.len())).freeze();
                    self.current = Some((stream, left - bytes.len()));
                    return Some(Ok(Output { stream, bytes }));
                }
            }
        }
    }
}

fn header(mut bytes: Bytes) -> Result<(Stream, usize), NoFrame> {
    let stream = match bytes.get_u32() >> 24 {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Err(NoFrame),
    };
    match usize::try_from(bytes.get_u32()) {
        Ok(length) if length <= limits::OUTPUT_FRAME_BYTES_MAX => Ok((stream, length)),
        _ => Err(NoFrame),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    async fn pumped(bytes: &[u8]) -> (Vec<Output>, End) {
        let (sender, mut receiver) = mpsc::channel(1000);
        let end = pump(bytes, sender).await;
        let mut all = Vec::new();
        while let Some(output) = receiver.recv().await {
            all.push(output);
        }
        (all, end)
    }

    #[tokio::test]
    async fn frames_are_taken_apart() {
        let bytes = [frame(1, b"out"), frame(2, b""), frame(2, b"err")].concat();
        let (all, end) = pumped(&bytes).await;
        assert_eq!(end, End::Closed);
        let expected = [(Stream::Stdout, "out"), (Stream::Stderr, "err")]
            .map(|(stream, text)| Output { stream, bytes: text.into() });
        assert_eq!(all, expected);
    }

    #[test]
    fn a_frame_may_come_in_any_pieces() {
        let bytes = [frame(1, b"hello"), frame(2, b"x")].concat();
        for cut in 0..bytes.len() {
            let (mut frames, mut buffer) = (Frames::default(), BytesMut::new());
            let mut text = (Vec::new(), Vec::new());
            for piece in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(piece);
                while let Some(output) = frames.next(&mut buffer) {
                    let output = output.unwrap();
                    match output.stream {
                        Stream::Stdout => text.0.extend(output.bytes),
                        Stream::Stderr => text.1.extend(output.bytes),
                    }
                }
            }
            assert_eq!(text, (b"hello".to_vec(), b"x".to_vec()), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_output() {
        let good = frame(1, b"good");
        for bad in
            [frame(0, b"x"), frame(9, b"x"), vec![1, 0, 0, 0, 255, 255, 255, 255], b"HTTP/1.1".to_vec()]
        {
            let (all, end) = pumped(&[good.clone(), bad].concat()).await;
            assert_eq!((all.len(), end), (1, End::Broken));
        }
        let (all, end) = pumped(&good[..good.len() - 1]).await;
        assert_eq!((all[0].bytes.as_ref(), end), (&b"goo"[..], End::Closed));
    }

    #[tokio::test]
    async fn nobody_reading_ends_it() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let (silent, _held) = tokio::io::duplex(8);
        assert_eq!(pump(silent, sender).await, End::Dropped);
    }
}

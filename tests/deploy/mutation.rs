//! Valid archives with random damage, by fixed seeds: each is taken or refused as the client's
//! fault, none makes the host fail, and none leaves anything.

use dunnage::deploy::Error;

use super::forge::{entry, file, gzip, pax, tar, zip};
use super::form::{Uploads, body};

/// A small generator (xorshift), so that a seed gives the same run everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    /// Flips, removes, doubles or zeroes something, a few times.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(40)).min(bytes.len());
            match self.below(5) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = u8::try_from(self.below(256)).unwrap(),
                2 => drop(bytes.drain(at..end)),
                3 => bytes[at..end].fill(0xff),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
    }
}

fn sample_tar() -> Vec<u8> {
    tar(&[
        entry(b'5', b"dir/", b"", b""),
        file("dir/a", "some text"),
        entry(b'x', b"p", b"", &pax(&[("path", "dir/long"), ("mtime", "1")])),
        file("short", "more text"),
        entry(b'L', b"l", b"", b"dir/longer\0"),
        file("short", "most text"),
        entry(b'2', b"link", b"dir/a", b""),
        entry(b'1', b"hard", b"dir/a", b""),
    ])
}

/// Fixes the checksums of headers that are still at their places, so that damage goes deeper.
fn mend_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

async fn survives(uploads: &Uploads, body: Vec<u8>, what: &str) -> bool {
    let result = uploads.receive(body).await;
    let taken = match result {
        Ok(request) => {
            drop(request);
            true
        }
        Err(Error::Upload(_) | Error::Config(_)) => false,
        Err(other) => panic!("{what}: {other:?}"),
    };
    uploads.assert_empty();
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_archives_are_survived() {
    let uploads = Uploads::new();
    let zipped =
        zip(&[("d/", 0o755, ""), ("d/a", 0o755, "some text"), ("b", 0o644, "more"), ("l", 0o120_777, "b")]);
    let (tarred, gzipped) = (sample_tar(), gzip(&sample_tar()));
    let mut taken = 0;
    for seed in 1..=400 {
        for kind in ["gzip", "tar", "mended tar", "zip", "body"] {
            let mut random = Random::new(seed);
            let mut bytes = match kind {
                "gzip" => gzipped.clone(),
                "zip" => zipped.clone(),
                "body" => body(&[("name", b"hello"), ("config", b"{}"), ("archive", &zipped)]),
                _ => tarred.clone(),
            };
            random.damage(&mut bytes);
            if kind == "mended tar" {
                mend_checksums(&mut bytes);
            }
            let whole = match kind {
                "body" => bytes,
                "gzip" | "zip" => body(&[("name", b"hello"), ("archive", &bytes)]),
                _ => body(&[("name", b"hello"), ("archive", &gzip(&bytes))]),
            };
            taken += usize::from(survives(&uploads, whole, &format!("{kind}, seed {seed}")).await);
        }
    }
    assert!((1..1500).contains(&taken), "{taken} of 2000 were taken");
}

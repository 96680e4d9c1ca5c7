//! Hostile archives: each is refused for the right reason, and nothing of it is left.

use super::forge::{entry, file, gzip, header, in_central, in_end, in_local, patched, pax, tar, tar_gz, zip};
use super::form::Uploads;

/// What it is, the archive, the code it must be refused with, and a word of the message.
type Case = (&'static str, Vec<u8>, &'static str, &'static str);

async fn all_refused(cases: Vec<Case>) {
    for (what, archive, code, word) in cases {
        let error = Uploads::new().refused_archive(&archive).await;
        assert_eq!(error.code(), code, "{what}: {error}");
        assert!(error.to_string().contains(word), "{what}: {error}");
    }
}

fn named(name: &[u8]) -> Vec<u8> {
    tar_gz(&[file("good", "x"), entry(b'0', name, b"", b"x")])
}

fn with(entries: &[Vec<u8>]) -> Vec<u8> {
    tar_gz(&[vec![file("good", "x")], entries.to_vec()].concat())
}

#[tokio::test]
async fn paths() {
    all_refused(vec![
        ("absolute", named(b"/etc/passwd"), "archive-path", "absolute"),
        ("parent", named(b"../x"), "archive-path", "`..`"),
        ("parent inside", named(b"a/../../x"), "archive-path", "`..`"),
        ("parent at the end", named(b"a/.."), "archive-path", "`..`"),
        ("backslash", named(b"a\\..\\x"), "archive-path", "backslash"),
        ("newline", named(b"a\nb"), "archive-path", "control"),
        ("C1 control", named("a\u{9b}b".as_bytes()), "archive-path", "control"),
        ("not UTF-8", named(b"a\xff"), "archive-path", "UTF-8"),
        ("empty component", named(b"a//b"), "archive-path", "empty"),
        ("deep", named(("d/".repeat(40) + "x").as_bytes()), "archive-path", "deeper"),
        (
            "long name",
            with(&[entry(b'L', b"l", b"", &[b'x'; 2000]), file("t", "x")]),
            "archive-path",
            "longer",
        ),
        (
            "long component",
            with(&[entry(b'L', b"l", b"", &[b'x'; 256]), file("t", "x")]),
            "archive-path",
            "longer",
        ),
        (
            "PAX path",
            with(&[entry(b'x', b"p", b"", &pax(&[("path", "../../x")])), file("t", "x")]),
            "archive-path",
            "`..`",
        ),
        (
            "PAX NUL",
            with(&[entry(b'x', b"p", b"", &pax(&[("path", "a\0b")])), file("t", "x")]),
            "archive-path",
            "control",
        ),
        ("GNU name", with(&[entry(b'L', b"l", b"", b"/abs\0"), file("t", "x")]), "archive-path", "absolute"),
    ])
    .await;
}

#[tokio::test]
async fn links() {
    let link = |target: &[u8]| with(&[entry(b'2', b"a/link", target, b"")]);
    let hard = |target: &[u8]| with(&[entry(b'1', b"hard", target, b"")]);
    all_refused(vec![
        ("absolute", link(b"/etc/passwd"), "archive-link", "out of"),
        ("above", link(b"../../x"), "archive-link", "out of"),
        ("up after down", link(b"x/../y"), "archive-link", "out of"),
        ("empty", link(b""), "archive-link", "out of"),
        (
            "PAX target",
            with(&[entry(b'x', b"p", b"", &pax(&[("linkpath", "/etc")])), entry(b'2', b"l", b"ok", b"")]),
            "archive-link",
            "out of",
        ),
        ("through", with(&[entry(b'2', b"d", b".", b""), file("d/x", "x")]), "archive-link", "through"),
        (
            "through, by chain",
            with(&[entry(b'2', b"a", b"b", b""), entry(b'2', b"b", b".", b""), file("a/b/x", "x")]),
            "archive-link",
            "through",
        ),
        (
            "replaced by a file",
            with(&[entry(b'2', b"l", b"good", b""), file("l", "x")]),
            "archive-name-clash",
            "twice",
        ),
        ("hard, absolute", hard(b"/etc/passwd"), "archive-path", "absolute"),
        ("hard, above", hard(b"../x"), "archive-path", "`..`"),
        ("hard, missing", hard(b"none"), "archive-link", "no file"),
        (
            "hard, to a link",
            with(&[entry(b'2', b"l", b"good", b""), entry(b'1', b"h", b"l", b"")]),
            "archive-link",
            "no file",
        ),
    ])
    .await;
}

#[tokio::test]
async fn names_that_clash() {
    let pair = |a: &str, b: &str| tar_gz(&[file(a, "1"), file(b, "2")]);
    all_refused(vec![
        ("same", pair("a", "a"), "archive-name-clash", "twice"),
        ("same but for ./", pair("a", "./a"), "archive-name-clash", "twice"),
        ("case", pair("README", "readme"), "archive-name-clash", "case"),
        ("case beyond ASCII", pair("\u{c4}", "\u{e4}"), "archive-name-clash", "case"),
        ("composition", pair("\u{e9}", "e\u{301}"), "archive-name-clash", "case"),
        ("case of a directory", pair("A/x", "a/y"), "archive-name-clash", "case"),
        ("file in a file", pair("a", "a/b"), "archive-name-clash", "directory"),
        ("file on a directory", pair("a/b", "a"), "archive-name-clash", "directory"),
        (
            "directory twice",
            with(&[entry(b'5', b"d/", b"", b""), entry(b'5', b"d", b"", b"")]),
            "archive-name-clash",
            "twice",
        ),
        ("directory on a file", with(&[entry(b'5', b"good/", b"", b"")]), "archive-name-clash", "directory"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_file() {
    let of = |kind: u8| with(&[entry(kind, b"odd", b"", b"")]);
    let sparse = pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]);
    all_refused(vec![
        ("character device", of(b'3'), "archive-special-file", "device"),
        ("block device", of(b'4'), "archive-special-file", "device"),
        ("FIFO", of(b'6'), "archive-special-file", "FIFO"),
        ("volume label", of(b'V'), "archive-special-file", "unknown"),
        ("sparse, GNU", of(b'S'), "archive-special-file", "sparse"),
        (
            "sparse, PAX",
            with(&[entry(b'x', b"p", b"", &sparse), file("t", "x")]),
            "archive-special-file",
            "sparse",
        ),
        ("directory with data", with(&[entry(b'5', b"d", b"", b"x")]), "archive-damaged", "has data"),
        (
            "zip FIFO",
            in_central(zip(&[("f", 0o644, "x")]), 0, 38, &(0o010_644_u32 << 16).to_le_bytes()),
            "archive-special-file",
            "FIFO",
        ),
        (
            "zip socket",
            in_central(zip(&[("f", 0o644, "x")]), 0, 38, &(0o140_644_u32 << 16).to_le_bytes()),
            "archive-special-file",
            "socket",
        ),
    ])
    .await;
}

#[tokio::test]
async fn damage() {
    let good = tar_gz(&[file("good", "some text that is long enough to be cut off somewhere")]);
    let raw = tar(&[file("good", "x")]);
    let mut checksum = good.clone();
    let end = checksum.len() - 6;
    checksum[end] ^= 1;
    let mut header_flipped = raw.clone();
    header_flipped[0] = b'X';
    let two_pax = [entry(b'x', b"p", b"", &pax(&[("a", "b")])), entry(b'x', b"p", b"", &pax(&[("a", "b")]))];
    all_refused(vec![
        ("nothing", vec![], "archive-format", "neither"),
        ("text", b"hello, world".to_vec(), "archive-format", "neither"),
        ("plain tar", raw.clone(), "archive-format", "neither"),
        ("cut in half", good[..good.len() / 2].to_vec(), "archive-damaged", "damaged"),
        ("cut checksum", good[..good.len() - 1].to_vec(), "archive-damaged", "early"),
        ("wrong checksum", checksum, "archive-damaged", "damaged"),
        ("garbage after", [good.clone(), b"garbage".to_vec()].concat(), "archive-damaged", "damaged"),
        ("hidden after the end", gzip(&[raw.clone(), file("x", "y")].concat()), "archive-damaged", "follows"),
        ("tar without end", gzip(&raw[..1024]), "archive-damaged", "early"),
        ("tar cut in a file", gzip(&raw[..600]), "archive-damaged", "early"),
        ("header checksum", gzip(&header_flipped), "archive-damaged", "checksum"),
        ("extension of nothing", with(&[entry(b'L', b"l", b"", b"name")]), "archive-damaged", "no entry"),
        ("two PAX headers", with(&[two_pax.concat(), file("t", "x")]), "archive-damaged", "two PAX"),
        (
            "malformed PAX",
            with(&[entry(b'x', b"p", b"", b"99999 path=x\n"), file("t", "x")]),
            "archive-damaged",
            "malformed",
        ),
        (
            "two sizes",
            with(&[entry(b'x', b"p", b"", &pax(&[("size", "1000")])), file("t", "x")]),
            "archive-damaged",
            "two sizes",
        ),
        (
            "global path",
            with(&[entry(b'g', b"p", b"", &pax(&[("path", "x")])), file("t", "x")]),
            "archive-damaged",
            "global",
        ),
        ("huge extension", with(&[header(b'x', b"p", b"", 400 << 20, 0)]), "archive-too-large", "longer"),
        ("huge long name", with(&[header(b'L', b"p", b"", 1 << 40, 0)]), "archive-too-large", "longer"),
        ("endless size", with(&[header(b'0', b"p", b"", u64::MAX / 2, 0)]), "archive-too-large", "unpacks"),
        ("no entry", tar_gz(&[]), "archive-empty", "no file"),
        (
            "only directories",
            tar_gz(&[entry(b'5', b"d", b"", b""), entry(b'2', b"l", b"d", b"")]),
            "archive-empty",
            "no file",
        ),
    ])
    .await;
}

#[tokio::test]
async fn zips() {
    let good = || zip(&[("one.txt", 0o644, "first text"), ("two.txt", 0o644, "second text")]);
    let end = good();
    let last = end.len() - 22;
    let directory_start = u32::from_le_bytes(end[last + 16..last + 20].try_into().unwrap());
    let flags = |z| in_local(in_central(z, 0, 8, &[1, 0]), 0, 6, &[1, 0]);
    let method = |z| in_local(in_central(z, 0, 10, &[12, 0]), 0, 8, &[12, 0]);
    let link = |target| zip(&[("one.txt", 0o644, "x"), ("l", 0o120_777, target)]);
    all_refused(vec![
        ("parent", patched(good(), b"two.txt", b"../.txt"), "archive-path", "`..`"),
        ("absolute", patched(good(), b"two.txt", b"/wo.txt"), "archive-path", "absolute"),
        ("backslash", patched(good(), b"two.txt", b"..\\.txt"), "archive-path", "backslash"),
        ("not UTF-8", patched(good(), b"two.txt", b"\xffwo.txt"), "archive-path", "UTF-8"),
        ("same name", patched(good(), b"two.txt", b"one.txt"), "archive-name-clash", "twice"),
        ("case", patched(good(), b"two.txt", b"ONE.txt"), "archive-name-clash", "case"),
        ("link outside", link("../x"), "archive-link", "out of"),
        ("link to root", link("/"), "archive-link", "out of"),
        ("through a link", zip(&[("d", 0o120_777, "."), ("d/x", 0o644, "x")]), "archive-link", "through"),
        ("encrypted", flags(good()), "archive-method", "encrypted"),
        ("bzip2", method(good()), "archive-method", "method"),
        ("told shorter", in_central(good(), 0, 24, &[3, 0, 0, 0]), "archive-damaged", "damaged"),
        ("told longer", in_central(good(), 0, 24, &[99, 0, 0, 0]), "archive-damaged", "damaged"),
        ("checksum", in_central(good(), 0, 16, &[1, 2, 3, 4]), "archive-damaged", "damaged"),
        ("overlapping", in_central(good(), 1, 42, &[0; 4]), "archive-damaged", "damaged"),
        ("data beyond", in_central(good(), 0, 20, &[0xf0, 0xff, 0, 0]), "archive-damaged", "damaged"),
        ("header beyond", in_central(good(), 0, 42, &[0, 0, 0xff, 0]), "archive-damaged", "damaged"),
        ("more entries than told", in_end(good(), 8, &[9, 0, 9, 0]), "archive-damaged", "damaged"),
        ("zip64 lie", in_end(good(), 8, &[0xff; 4]), "archive-too-large", "entries"),
        ("zip64 offsets", in_end(good(), 12, &[0xff; 8]), "archive-damaged", "directory"),
        (
            "directory elsewhere",
            in_end(good(), 16, &(directory_start - 1).to_le_bytes()),
            "archive-damaged",
            "directory",
        ),
        ("of several", in_end(good(), 4, &[1, 0]), "archive-damaged", "several"),
        ("cut off", end[..end.len() - 30].to_vec(), "archive-damaged", "end"),
        ("garbage after", [good(), vec![b'x'; 10]].concat(), "archive-damaged", "follows"),
        ("garbage before", [b"PK\x03\x04".to_vec(), good()].concat(), "archive-damaged", "directory"),
        ("no entry", zip(&[]), "archive-empty", "no file"),
    ])
    .await;
}

//! Context: the build context as a tar stream, `src/` from the tree, `plan/` from the plan.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType};
use tokio::io::AsyncRead;

use super::archive::{Chunks, Directories, append_tree, chunks, normal_header};
use crate::model::Plan;

/// Streams `Dockerfile`, `.dockerignore`, `plan/…` and the files of `tree` as `src/…`.
///
/// A thread writes it as it is read. When the reader is dropped the thread ends; when the tree cannot
/// be read to its end, reading fails.
pub fn stream(tree: PathBuf, plan: Plan) -> impl AsyncRead + Send + Sync + Unpin + 'static {
    let (mut writer, reader) = chunks();
    tokio::task::spawn_blocking(move || {
        let mut tar = Builder::new(&mut writer);
        let written = write(&mut tar, &tree, &plan).and_then(|()| tar.finish());
        if written.is_err() {
            // The builder ends the tar when dropped; what is short must not look whole.
            tar.get_mut().discard();
        }
        drop(tar);
        writer.end(written);
    });
    reader
}

type Tar<'a> = Builder<&'a mut Chunks>;

fn write(tar: &mut Tar<'_>, tree: &Path, plan: &Plan) -> io::Result<()> {
    text(tar, "Dockerfile", &plan.dockerfile, false)?;
    text(tar, ".dockerignore", &ignore(&plan.ignore), false)?;
    directory(tar, "plan/")?;
    let mut made = BTreeSet::new();
    for file in &plan.files {
        for (end, _) in file.path.match_indices('/') {
            if made.insert(&file.path[..end]) {
                directory(tar, &format!("plan/{}/", &file.path[..end]))?;
            }
        }
        text(tar, &format!("plan/{}", file.path), &file.text, file.executable)?;
    }
    directory(tar, "src/")?;
    append_tree(tar, tree, "src/", Directories::All, || Ok(()))
}

/// The last line wins: no pattern can hide the Dockerfile.
fn ignore(lines: &[String]) -> String {
    let lines = lines.iter().map(String::as_str).chain(["!Dockerfile"]);
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn text(tar: &mut Tar<'_>, path: &str, text: &str, executable: bool) -> io::Result<()> {
    let mut header = normal_header(EntryType::Regular, text.len() as u64, executable);
    tar.append_data(&mut header, path, text.as_bytes())
}

fn directory(tar: &mut Tar<'_>, path: &str) -> io::Result<()> {
    tar.append_data(&mut normal_header(EntryType::Directory, 0, true), path, io::empty())
}

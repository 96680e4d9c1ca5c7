//! Path: which names of an archive's entries are taken.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::refusal::{Refusal, shown};
use crate::limits::{PATH_BYTES_MAX, PATH_COMPONENT_BYTES_MAX, PATH_DEPTH_MAX};

/// A relative path of plain components below the tree's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::deploy) struct EntryPath(String);

/// The rule that a path breaks; Display continues "the path … ".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule {
    Absolute,
    Parent,
    NotUtf8,
    Character,
    NotNormal,
    TooLong,
    TooDeep,
}

impl fmt::Display for PathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute => f.write_str("is absolute"),
            Self::Parent => f.write_str("has a component `..`"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Character => f.write_str("has a control character or a backslash"),
            Self::NotNormal => f.write_str("has an empty component or a `.` in its middle"),
            Self::TooLong => write!(
                f,
                "is longer than {PATH_BYTES_MAX} bytes, or one of its components than {PATH_COMPONENT_BYTES_MAX}"
            ),
            Self::TooDeep => write!(f, "is deeper than {PATH_DEPTH_MAX} directories"),
        }
    }
}

impl EntryPath {
    /// None is the root itself. A leading `./` and a trailing `/` mean nothing.
    pub(in crate::deploy) fn parse(raw: &[u8]) -> Result<Option<Self>, Refusal> {
        check(raw).map_err(|rule| Refusal::Path { path: shown(raw), rule })
    }

    pub(in crate::deploy) fn as_str(&self) -> &str {
        &self.0
    }

    /// Every directory above it, the topmost first.
    pub(super) fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }

    /// Where a symbolic link at this path may lead, in its shortest form.
    ///
    /// `..` is taken only at the beginning, where the directories above are real ones, since nothing
    /// is written through links. A target that only descends after that cannot leave the tree, even
    /// when it meets other links, as the same holds for each of them.
    pub(super) fn link_target(&self, raw: &[u8]) -> Result<String, Refusal> {
        let outside = || Refusal::LinkOutside { path: shown(self.0.as_bytes()), target: shown(raw) };
        let bad = |rule| Refusal::Path { path: shown(raw), rule };
        let text = std::str::from_utf8(raw).map_err(|_| bad(PathRule::NotUtf8))?;
        plain_text(text).map_err(bad)?;
        if text.is_empty() || text.starts_with('/') {
            return Err(outside());
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let ups = parts.iter().take_while(|part| **part == "..").count();
        if ups > self.parents().count() || parts[ups..].contains(&"..") {
            return Err(outside());
        }
        Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
    }
}

/// The same for names that differ only by case or by how their letters are composed.
pub(in crate::deploy) fn fold(name: &str) -> String {
    name.nfc().flat_map(char::to_lowercase).nfc().collect()
}

fn check(raw: &[u8]) -> Result<Option<EntryPath>, PathRule> {
    let text = std::str::from_utf8(raw).map_err(|_| PathRule::NotUtf8)?;
    plain_text(text)?;
    if text.starts_with('/') {
        return Err(PathRule::Absolute);
    }
    let mut rest = text.strip_suffix('/').unwrap_or(text);
    while let Some(after) = rest.strip_prefix("./") {
        rest = after;
    }
    if rest == "." {
        return Ok(None);
    }
    for component in rest.split('/') {
        match component {
            ".." => return Err(PathRule::Parent),
            "" | "." => return Err(PathRule::NotNormal),
            long if long.len() > PATH_COMPONENT_BYTES_MAX => return Err(PathRule::TooLong),
            _ => {}
        }
    }
    if rest.split('/').count() > PATH_DEPTH_MAX {
        return Err(PathRule::TooDeep);
    }
    Ok(Some(EntryPath(rest.to_owned())))
}

fn plain_text(text: &str) -> Result<(), PathRule> {
    if text.len() > PATH_BYTES_MAX {
        return Err(PathRule::TooLong);
    }
    if text.contains(|c: char| c.is_control() || c == '\\') {
        return Err(PathRule::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken() {
        for (raw, path) in [("a", "a"), ("./a/b/", "a/b"), ("././x", "x"), ("ä/.git", "ä/.git")] {
            assert_eq!(EntryPath::parse(raw.as_bytes()).unwrap().unwrap().as_str(), path);
        }
        for root in [".", "./", "./."] {
            assert_eq!(EntryPath::parse(root.as_bytes()), Ok(None), "{root}");
        }
    }

    #[test]
    fn others_are_refused() {
        let (component, path) = ("x".repeat(256), "long/".repeat(300));
        for (raw, rule) in [
            (&b"/a"[..], PathRule::Absolute),
            (b"a/../b", PathRule::Parent),
            (b"..", PathRule::Parent),
            (b"a//b", PathRule::NotNormal),
            (b"", PathRule::NotNormal),
            (b"a/./b", PathRule::NotNormal),
            (b"a\\b", PathRule::Character),
            (b"a\nb", PathRule::Character),
            (b"a\0b", PathRule::Character),
            ("a\u{85}".as_bytes(), PathRule::Character),
            (b"\xff", PathRule::NotUtf8),
            (component.as_bytes(), PathRule::TooLong),
            (path.as_bytes(), PathRule::TooLong),
            ("d/".repeat(33).as_bytes(), PathRule::TooDeep),
        ] {
            assert_eq!(check(raw), Err(rule), "{raw:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        let link = EntryPath::parse(b"a/b/link").unwrap().unwrap();
        for (target, kept) in
            [("x", "x"), ("../../x", "../../x"), ("./x//y/", "x/y"), (".", "."), ("..", "..")]
        {
            assert_eq!(link.link_target(target.as_bytes()).unwrap(), kept);
        }
        for target in ["/etc", "../../../x", "x/..", "../x/../../..", "", "a\\b"] {
            assert!(link.link_target(target.as_bytes()).is_err(), "{target}");
        }
    }

    #[test]
    fn folding_ignores_case_and_composition() {
        assert_eq!(fold("README"), fold("readme"));
        assert_eq!(fold("\u{c9}t\u{e9}"), fold("e\u{301}te\u{301}"));
        assert_ne!(fold("a"), fold("b"));
    }
}

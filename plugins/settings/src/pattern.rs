//! Names with wildcards: `localhost/dunnage/*`.

/// A name in which `*` stands for any text, none and `/` included. Case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().expect("split gives one part at least");
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        // The leftmost place for each part leaves most to those after it.
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name) in [
            ("scratch", "scratch"),
            ("*", ""),
            ("*", "anything/at:all"),
            ("localhost/dunnage/*", "localhost/dunnage/python:latest"),
            ("a*b*c", "aXbYbZc"),
            ("x-*", "X-Powered-By"),
            ("*a*a", "aa"),
            ("**", "x"),
        ] {
            assert!(Pattern::new(pattern).matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("scratch", "scratchy"),
            ("scratch", "a/scratch"),
            ("localhost/dunnage/*", "localhost/dunnag"),
            ("a*b*c", "acb"),
            ("aa*aa", "aaa"),
            ("", "x"),
        ] {
            assert!(!Pattern::new(pattern).matches(name), "{pattern} {name}");
        }
    }
}

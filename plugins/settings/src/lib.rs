//! Reads a plugin's settings and names every mistake by its path.
//!
//! An operator who wrote three mistakes is told of three, so nothing here stops at the first: each
//! reader gives what it could read and notes what is wrong with the rest.

mod pattern;
mod section;

use serde_json::Value;

pub use pattern::Pattern;
pub use section::Section;

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted, from the root of the settings: `languages.python.dockerfile`.
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// Reads `text` by `read`; every mistake, where there is any.
pub fn parse<T>(text: &str, read: impl FnOnce(&Section) -> T) -> Result<T, Vec<Mistake>> {
    let root = |message: String| Mistake {
        path: String::new(),
        message,
        hint: "settings are a table of keys and values".to_owned(),
    };
    let value: Value = serde_json::from_str(text).map_err(|e| vec![root(format!("no JSON: {e}"))])?;
    let Value::Object(object) = value else {
        return Err(vec![root("the settings are no table".to_owned())]);
    };
    let mistakes = section::Mistakes::default();
    let section = Section::root(&object, &mistakes);
    let read = read(&section);
    section.refuse_unread();
    match mistakes.into_inner() {
        none if none.is_empty() => Ok(read),
        some => Err(some),
    }
}

//! One table of the settings, and what is wrong in it.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::{Mistake, Pattern};

pub(crate) type Mistakes = RefCell<Vec<Mistake>>;

/// A table. A key that nobody asked for is a mistake: it is a typing error, or the operator believes
/// in a setting that has no effect.
pub struct Section<'a> {
    path: String,
    object: &'a Map<String, Value>,
    read: RefCell<Vec<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Section<'a> {
    pub(crate) fn root(object: &'a Map<String, Value>, mistakes: &'a Mistakes) -> Self {
        Self { path: String::new(), object, read: RefCell::default(), mistakes }
    }

    /// Where `key` of this table is, as a dotted path.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a mistake in `key`.
    pub fn mistake(&self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let mistake = Mistake { path: self.path_of(key), message: message.into(), hint: hint.into() };
        self.mistakes.borrow_mut().push(mistake);
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        self.get(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub fn number<N: TryFrom<u64>>(&self, key: &'static str) -> Option<N> {
        self.get(key, "a whole number that is not too large", |value| N::try_from(value.as_u64()?).ok())
    }

    /// A list of texts; one text alone is a list of one. Empty where the key is absent.
    pub fn texts(&self, key: &'static str) -> Vec<String> {
        self.get(key, "a list of texts", texts).unwrap_or_default()
    }

    pub fn patterns(&self, key: &'static str) -> Vec<Pattern> {
        self.texts(key).iter().map(|text| Pattern::new(text)).collect()
    }

    /// One of the words, or the first where the key is absent.
    pub fn word(&self, key: &'static str, words: &[&'static str]) -> &'static str {
        let known = |value: &Value| words.iter().copied().find(|word| value.as_str() == Some(word));
        let wanted = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        self.get(key, &wanted, known).unwrap_or(words[0])
    }

    /// Reads the table under `key`, if there is one.
    pub fn table<T>(&self, key: &'static str, read: impl FnOnce(&Section) -> T) -> Option<T> {
        let object = self.get(key, "a table", |value| value.as_object().cloned())?;
        Some(self.enter(key, &object, read))
    }

    /// Reads each table of the table `key`, under its own name.
    pub fn named_tables<T>(&self, key: &'static str, read: impl Fn(&str, &Section) -> T) -> Vec<T> {
        self.each(key, |tables, name, value| match value.as_object() {
            Some(object) => Some(tables.enter(name, object, |table| read(name, table))),
            None => {
                tables.mistake(name, "is no table", "write a table of keys and values");
                None
            }
        })
    }

    /// Reads each table of the list `key`.
    pub fn tables<T>(&self, key: &'static str, read: impl Fn(&Section) -> T) -> Vec<T> {
        let list = self.get(key, "a list of tables", |value| {
            value.as_array()?.iter().map(|item| item.as_object().cloned()).collect::<Option<Vec<_>>>()
        });
        let numbered = list.unwrap_or_default().into_iter().enumerate();
        numbered.map(|(n, object)| self.enter(&format!("{key}.{n}"), &object, &read)).collect()
    }

    /// The names and texts of the table `key`.
    pub fn named_texts(&self, key: &'static str) -> Vec<(String, String)> {
        self.each(key, |table, name, value| match value.as_str() {
            Some(text) => Some((name.to_owned(), text.to_owned())),
            None => {
                table.mistake(name, "is no text", "write a text, or { file = \"path\" }");
                None
            }
        })
    }

    /// The names and lists of texts of the table `key`.
    pub fn named_lists(&self, key: &'static str) -> Vec<(String, Vec<String>)> {
        self.each(key, |table, name, value| match texts(value) {
            Some(list) => Some((name.to_owned(), list)),
            None => {
                table.mistake(name, "is no list of texts", "write [\"a\", \"b\"], or [] for any");
                None
            }
        })
    }

    /// Notes every key that nothing has read.
    pub(crate) fn refuse_unread(&self) {
        let read = self.read.borrow();
        for key in self.object.keys().filter(|key| !read.contains(&key.as_str())) {
            let hint = format!("known here: {}", read.join(", "));
            self.mistake(key, "there is no such setting", hint);
        }
    }

    fn get<T>(&self, key: &'static str, wanted: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        self.read.borrow_mut().push(key);
        let value = self.object.get(key)?;
        let found = read(value);
        if found.is_none() {
            self.mistake(key, format!("is not {wanted}"), format!("write {wanted}"));
        }
        found
    }

    /// Every entry of the table `key`, whose names are the operator's to choose.
    fn each<T>(&self, key: &'static str, read: impl Fn(&Section, &str, &Value) -> Option<T>) -> Vec<T> {
        let object = self.get(key, "a table", |value| value.as_object().cloned()).unwrap_or_default();
        let table = self.under(key, &object);
        object.iter().filter_map(|(name, value)| read(&table, name, value)).collect()
    }

    fn enter<T>(&self, key: &str, object: &Map<String, Value>, read: impl FnOnce(&Section) -> T) -> T {
        let table = self.under(key, object);
        let read = read(&table);
        table.refuse_unread();
        read
    }

    fn under<'b>(&self, key: &str, object: &'b Map<String, Value>) -> Section<'b>
    where
        'a: 'b,
    {
        Section { path: self.path_of(key), object, read: RefCell::default(), mistakes: self.mistakes }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn every_mistake_is_named_by_its_path() {
        let text =
            r#"{"caps": {"memory": "much", "tiem": 1}, "list": [1], "rows": [{"a": 2}], "more": true}"#;
        let mistakes = parse(text, |root| {
            root.table("caps", |caps| caps.number::<u32>("memory"));
            root.texts("list");
            root.tables("rows", |row| row.text("a"));
        })
        .unwrap_err();
        let paths: Vec<_> = mistakes.iter().map(|m| m.path.as_str()).collect();
        assert_eq!(paths, ["caps.memory", "caps.tiem", "list", "rows.0.a", "more"]);
        assert_eq!(mistakes[1].hint, "known here: memory");
    }

    #[test]
    fn what_is_right_is_read() {
        let text = r#"{"n": 4294967295, "one": "x", "word": "deny", "labels": {"a": [], "b": "c"}}"#;
        let read = parse(text, |root| {
            (
                root.number::<u32>("n"),
                root.texts("one"),
                root.word("word", &["tighten", "deny"]),
                root.word("absent", &["tighten", "deny"]),
                root.named_lists("labels"),
            )
        });
        let labels = vec![("a".to_owned(), vec![]), ("b".to_owned(), vec!["c".to_owned()])];
        assert_eq!(read, Ok((Some(u32::MAX), vec!["x".to_owned()], "deny", "tighten", labels)));
        assert!(parse("[]", |_| ()).is_err());
        assert!(parse("{", |_| ()).is_err());
    }
}

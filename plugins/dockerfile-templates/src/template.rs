//! Texts with placeholders: `FROM {{base_image}}`.
//!
//! There is nothing but placeholders: no conditions, no loops. What a template says can so be seen
//! by reading it, and a value can never become an instruction.

use std::collections::BTreeMap;

/// Every placeholder; the README says what each stands for.
pub(crate) const PLACEHOLDERS: [&str; 9] = [
    "base_image",
    "contract",
    "entrypoint",
    "entrypoint_function",
    "entrypoint_module",
    "entrypoint_path",
    "language",
    "name",
    "version",
];

/// Longer values are refused.
const VALUE_CHARS_MAX: usize = 256;

pub(crate) type Values = BTreeMap<&'static str, String>;

/// Every placeholder of the text that is not one of these.
pub(crate) fn check(text: &str, known: &[&str]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let wrong = pieces(content).filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Placeholder(name) if known.contains(&name) => None,
            Piece::Placeholder(name) => Some(format!("line {line}: there is no placeholder {{{{{name}}}}}")),
            Piece::Unclosed => Some(format!("line {line}: {{{{ is not closed by }}}} on the same line")),
        });
        mistakes.extend(wrong);
    }
    mistakes
}

/// Whether the text has this placeholder.
pub(crate) fn uses(text: &str, name: &str) -> bool {
    text.lines().any(|line| pieces(line).any(|piece| matches!(piece, Piece::Placeholder(n) if n == name)))
}

/// The text with its placeholders replaced; the name of the first that has no safe value, if any.
pub(crate) fn render(text: &str, values: &Values) -> Result<String, &'static str> {
    let mut rendered = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        for piece in pieces(line) {
            match piece {
                Piece::Text(text) => rendered.push_str(text),
                Piece::Placeholder(name) => rendered.push_str(value_of(name, values)?),
                Piece::Unclosed => return Err("{{"),
            }
        }
    }
    Ok(rendered)
}

/// Whether the value can stand in an instruction without becoming another: letters, digits and
/// `. _ / : @ + -`, the first no `-`.
pub(crate) fn is_safe(value: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._/:@+-".contains(&b);
    !value.is_empty()
        && value.len() <= VALUE_CHARS_MAX
        && !value.starts_with('-')
        && value.bytes().all(allowed)
}

fn value_of<'a>(name: &str, values: &'a Values) -> Result<&'a str, &'static str> {
    let known = PLACEHOLDERS.into_iter().find(|known| *known == name).unwrap_or("{{");
    values.get(name).map(String::as_str).filter(|value| is_safe(value)).ok_or(known)
}

enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'a str),
    Unclosed,
}

fn pieces(line: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = line;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(start) = rest.find("{{") else { return Some(Piece::Text(std::mem::take(&mut rest))) };
        if start > 0 {
            let (text, after) = rest.split_at(start);
            rest = after;
            return Some(Piece::Text(text));
        }
        let Some((name, after)) = rest[2..].split_once("}}") else {
            rest = "";
            return Some(Piece::Unclosed);
        };
        rest = after;
        Some(Piece::Placeholder(name.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_nothing_else() {
        let values = Values::from([("name", "hello".to_owned()), ("version", "3".to_owned())]);
        let text = "A {{name}}{{ version }}\r\nB { {x} } ${Y}\n";
        assert_eq!(render(text, &values).unwrap(), "A hello3\r\nB { {x} } ${Y}\n");
        assert_eq!(render("{{base_image}}", &values), Err("base_image"));
        assert!(uses("x {{ name}}", "name") && !uses("x {name}", "name"));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let told = check("{{name}}\n{{nmae}} {{#if}}\n{{name", &["name"]);
        assert_eq!(
            told,
            [
                "line 2: there is no placeholder {{nmae}}",
                "line 2: there is no placeholder {{#if}}",
                "line 3: {{ is not closed by }} on the same line",
            ]
        );
    }

    #[test]
    fn a_value_cannot_become_an_instruction() {
        for bad in
            ["", "a\nRUN x", "a b", "$X", "a\\", "\"a", "-v", "a;b", "ä", "a\u{0}", "`a`", &"x".repeat(257)]
        {
            assert!(!is_safe(bad), "{bad:?}");
            assert_eq!(render("{{name}}", &Values::from([("name", bad.to_owned())])), Err("name"));
        }
        for good in ["main.handler", "localhost/dunnage/python:latest", "a@sha256:0f", "src/x-y_z.w"] {
            assert!(is_safe(good), "{good}");
        }
    }
}

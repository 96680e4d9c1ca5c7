//! Text from a guest on its way to logs, terminals and clients: nothing in it may act on them.

use std::borrow::Cow;

/// The text with each character that could break a line, move a cursor or reverse the reading
/// direction replaced by a space.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) {
        Cow::Owned(text.chars().map(|c| if acts(c) { ' ' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The longest beginning of at most `bytes` bytes that is still text.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// Lower-case words of letters and digits, joined by single hyphens, the first beginning with a letter.
pub(super) fn is_kebab(text: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.split('-').all(word)
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{061c}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_is_left() {
        assert_eq!(one_line("plain, with ä and 漢"), "plain, with ä and 漢");
        assert_eq!(one_line("a\r\nb\u{1b}[31m\u{202e}c\u{0}"), "a  b [31m c ");
        assert_eq!(one_line("\u{85}\u{2028}\u{2066}"), "   ");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("abc", 10), "abc");
    }

    #[test]
    fn kebab_case_is_strict() {
        for good in ["a", "memory-cap", "x1-2"] {
            assert!(is_kebab(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a--b", "1a", "A", "a_b", "ä", "a b"] {
            assert!(!is_kebab(bad), "{bad}");
        }
    }
}

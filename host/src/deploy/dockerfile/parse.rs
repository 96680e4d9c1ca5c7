//! Parse: a Dockerfile's text to its instructions, as every builder would read them.

/// One instruction, its continued lines joined.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// In upper case.
    pub(super) name: String,
    /// `--…` words before the rest.
    pub(super) flags: Vec<String>,
    pub(super) rest: String,
}

/// What cannot be read, or only by guessing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear {
    pub(super) line: usize,
    pub(super) rule: &'static str,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

pub(super) fn parse(text: &str) -> Result<Vec<Instruction>, Unclear> {
    let mut instructions = Vec::new();
    let mut lines = text.split('\n').enumerate().map(|(index, line)| (index + 1, line));
    while let Some((start, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(comment) = line.strip_prefix('#') {
            // Builders look for directives before the first instruction; some skip blank lines there.
            if instructions.is_empty() {
                refuse_directive(start, comment)?;
            }
            continue;
        }
        let mut whole = String::new();
        let (mut number, mut part) = (start, line);
        while let Some(continued) = continued(number, part)? {
            whole.push_str(continued);
            (number, part) = next_part(&mut lines, number)?;
        }
        whole.push_str(part);
        instructions.push(instruction(start, &whole)?);
    }
    Ok(instructions)
}

/// The line without the backslash that ends it, if one does.
fn continued(line: usize, part: &str) -> Result<Option<&str>, Unclear> {
    let Some(before) = part.trim_end().strip_suffix('\\') else { return Ok(None) };
    if before.ends_with('\\') {
        return Err(Unclear {
            line,
            rule: "dockerfile-continuation",
            message: "two backslashes end it, which builders read differently".to_owned(),
            hint: "end the line by one backslash, or by another character",
        });
    }
    Ok(Some(before))
}

/// The next line of a continued instruction; comments at the very start of a line are skipped.
fn next_part<'a>(
    lines: &mut impl Iterator<Item = (usize, &'a str)>,
    last: usize,
) -> Result<(usize, &'a str), Unclear> {
    let unclear = |line, message: &str, hint| Unclear {
        line,
        rule: "dockerfile-continuation",
        message: message.to_owned(),
        hint,
    };
    for (number, part) in lines {
        if part.starts_with('#') {
            continue;
        }
        if part.trim_start().starts_with('#') {
            let message = "an indented comment stands in a continued instruction";
            return Err(unclear(number, message, "put the '#' at the line's very start"));
        }
        if part.trim().is_empty() {
            let message = "an empty line stands in a continued instruction";
            return Err(unclear(number, message, "remove the empty line"));
        }
        return Ok((number, part));
    }
    let message = "a backslash ends the last line";
    Err(unclear(last, message, "end the instruction"))
}

fn refuse_directive(line: usize, comment: &str) -> Result<(), Unclear> {
    let Some((name, value)) = comment.split_once('=') else { return Ok(()) };
    let refused = |rule, message: &str, hint| Err(Unclear { line, rule, message: message.to_owned(), hint });
    match name.trim().to_ascii_lowercase().as_str() {
        "syntax" => refused(
            "dockerfile-syntax",
            "a foreign frontend would read the Dockerfile",
            "remove the line `# syntax=`",
        ),
        "escape" if value.trim() != "\\" => refused(
            "dockerfile-escape",
            "an escape character other than the backslash is set",
            "remove the line `# escape=`",
        ),
        _ => Ok(()),
    }
}

fn instruction(line: usize, whole: &str) -> Result<Instruction, Unclear> {
    let whole = whole.trim();
    let (name, rest) = whole.split_once([' ', '\t']).unwrap_or((whole, ""));
    let (flags, rest) = split_flags(line, rest.trim())?;
    Ok(Instruction { line, name: name.to_ascii_uppercase(), flags, rest: rest.to_owned() })
}

/// Flags are the leading words that begin with two dashes. Quotes, escapes and variables in them are
/// refused, as they could spell any other flag.
fn split_flags(line: usize, mut rest: &str) -> Result<(Vec<String>, &str), Unclear> {
    let mut flags = Vec::new();
    while rest.starts_with("--") {
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        let (flag, after) = rest.split_at(end);
        if flag.contains(['\\', '"', '\'', '$', '`']) {
            return Err(Unclear {
                line,
                rule: "dockerfile-flag",
                message: "a flag has a quote, a backslash or a variable".to_owned(),
                hint: "write the flag's value out plainly",
            });
        }
        flags.push(flag.to_owned());
        rest = after.trim_start();
    }
    Ok((flags, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|i| (i.line, i.name, i.rest)).collect()
    }

    #[test]
    fn instructions_are_joined_from_their_lines() {
        let text = "# a comment\nfrom x\n\n  RUN a \\\n# not ADD http://x\n  b \\  \n c\nCMD [\"x\"]";
        let expected = [(2, "FROM", "x"), (4, "RUN", "a   b  c"), (8, "CMD", "[\"x\"]")];
        assert_eq!(names(text), expected.map(|(l, n, r)| (l, n.to_owned(), r.to_owned())));
    }

    #[test]
    fn flags_are_told_from_the_rest() {
        let parsed = parse("COPY --from=a\t--chown=1:1 --  b --c").unwrap();
        assert_eq!(parsed[0].flags, ["--from=a", "--chown=1:1", "--"]);
        assert_eq!(parsed[0].rest, "b --c");
    }

    #[test]
    fn what_builders_read_differently_is_refused() {
        for (text, line, rule) in [
            ("FROM x\nRUN a \\\\\nRUN b", 2, "dockerfile-continuation"),
            ("FROM x\nRUN a \\\n  # c\nRUN b", 3, "dockerfile-continuation"),
            ("FROM x\nRUN a \\\n\nRUN b", 3, "dockerfile-continuation"),
            ("FROM x\nRUN a \\", 2, "dockerfile-continuation"),
            ("FROM x\nCOPY --fr\\om=y a b", 2, "dockerfile-flag"),
            ("FROM x\nCOPY --from=\"y\" a b", 2, "dockerfile-flag"),
            ("# Syntax = x\nFROM x", 1, "dockerfile-syntax"),
            ("# c\n\n#syntax=x\nFROM x", 3, "dockerfile-syntax"),
            ("# escape=`\nFROM x", 1, "dockerfile-escape"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.rule), (line, rule), "{text:?}");
        }
        assert!(parse("# escape=\\\nFROM x\n# syntax=late").is_ok());
    }
}

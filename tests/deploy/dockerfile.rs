//! What the host refuses in a plan: the Dockerfile rule by rule, then the rest.

use dunnage::deploy::dockerfile::check_plan;
use dunnage::limits;
use dunnage::model::{Plan, PlanFile};

use super::mutation::Random;

fn plan(dockerfile: &str) -> Plan {
    let (files, ignore, build_args, notes) = (vec![], vec![], vec![], vec![]);
    Plan { dockerfile: dockerfile.to_owned(), files, ignore, build_args, notes }
}

fn rules(plan: &Plan) -> Vec<String> {
    check_plan(plan).err().unwrap_or_default().into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn ordinary_dockerfiles_are_taken() {
    for text in [
        "FROM scratch\nCOPY src/app /app\nENTRYPOINT [\"/app\"]\n",
        "# escape=\\\nARG V=1\nfrom --platform=linux/amd64 docker.io/library/python:3.12@sha256:00 as Build\nRUN pip \\\n# why\n  install x\nFROM localhost:5000/a/b:c\nCOPY --from=build --chown=1:1 /a /b\nCOPY --from=0 /a /b\n",
        "FROM x\nRUN --mount=type=cache,target=/root/.cache,id=pip --network=none pip install\n",
        "FROM x\nRUN --mount=type=bind,source=src/a,target=/a --mount=type=tmpfs,target=/t cat <<<x\n",
        "FROM x\nADD src/a.tar /\nADD [\"src/b\", \"/\"]\nHEALTHCHECK --interval=5s CMD true\n",
        "FROM a AS b\nFROM b\nLABEL x=\"<<y\"\nENV A=b\\ c\nRUN echo $((1+1)) ${HOME}\n",
    ] {
        assert_eq!(check_plan(&plan(text)), Ok(()), "{text}");
    }
}

/// Text, the rule that it breaks, and where; 0 is nowhere.
const REFUSED: &[(&str, &str, usize)] = &[
    ("", "dockerfile-no-from", 0),
    ("# nothing", "dockerfile-no-from", 0),
    ("ARG X=1", "dockerfile-no-from", 0),
    ("RUN x\nFROM y", "dockerfile-no-from", 1),
    ("# syntax=docker/dockerfile:1\nFROM x", "dockerfile-syntax", 1),
    ("\n# c\n#  SYNTAX = x\nFROM x", "dockerfile-syntax", 3),
    ("# escape=`\nFROM x", "dockerfile-escape", 1),
    ("FROM x\r\nRUN y", "dockerfile-character", 1),
    ("FROM x\nRUN y\0", "dockerfile-character", 2),
    ("\u{feff}FROM x", "dockerfile-character", 1),
    ("FROM x\n\u{a0}ADD http://x /", "dockerfile-character", 2),
    ("FROM x\u{2028}RUN y", "dockerfile-character", 1),
    ("FROM x\u{b}RUN y", "dockerfile-character", 1),
    ("FROM x\nINCLUDE y", "dockerfile-instruction", 2),
    ("FROM x\nonbuild RUN y", "dockerfile-onbuild", 2),
    ("FROM x\nADD https://x/y /", "dockerfile-add-remote", 2),
    ("FROM x\nadd \\\n  http://x/y /", "dockerfile-add-remote", 2),
    ("FROM x\nADD [\"HTTP://x\", \"/\"]", "dockerfile-add-remote", 2),
    ("FROM x\nADD [\"ht\\u0074p://x\", \"/\"]", "dockerfile-add-remote", 2),
    ("FROM x\nADD git@host:a/b /", "dockerfile-add-remote", 2),
    ("FROM x\nADD github.com/a/b.git#main /", "dockerfile-add-remote", 2),
    ("FROM x\nARG U\nADD $U /", "dockerfile-add-unclear", 3),
    ("FROM x\nADD ht\\tp://x /", "dockerfile-add-unclear", 2),
    ("FROM x\nADD h\"ttp\"://x /", "dockerfile-add-unclear", 2),
    ("FROM x\nCOPY --from=python:3 /a /b", "dockerfile-copy-from", 2),
    ("FROM x AS a\nCOPY --from=a /a /b", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --from=0 /a /b", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --from=later /a /b\nFROM y AS later", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --from= /a /b", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --chown=1 --from=evil /a /b", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --from=$X /a /b", "dockerfile-flag", 2),
    ("FROM x\nCOPY --fr\\om=x /a /b", "dockerfile-flag", 2),
    ("FROM x\nCOPY --from='x' /a /b", "dockerfile-flag", 2),
    ("FROM x\nCOPY --fro\\\nm=evil /a /b", "dockerfile-copy-from", 2),
    ("FROM x\nCOPY --parents /a /b", "dockerfile-flag", 2),
    ("FROM x\nRUN --mount=type=secret,id=a x", "dockerfile-mount-secret", 2),
    ("FROM x\nRUN --mount=id=a,type=ssh x", "dockerfile-mount-secret", 2),
    ("FROM x\nRUN --mount=type=bind,from=y,target=/y x", "dockerfile-mount-from", 2),
    ("FROM x\nRUN --mount=type=bind,source=../..,target=/y x", "dockerfile-mount-option", 2),
    ("FROM x\nRUN --mount=type=bind,bind-propagation=shared x", "dockerfile-mount-option", 2),
    ("FROM x\nRUN --mount=type=tmpfs,type=secret x", "dockerfile-mount-option", 2),
    ("FROM x\nRUN --mount=type=devpts x", "dockerfile-mount-option", 2),
    ("FROM x\nRUN --mount=type=cache,id=a/b,target=/c x", "dockerfile-mount-cache", 2),
    ("FROM x\nRUN --mount=type=cache,source=a,target=/c x", "dockerfile-mount-cache", 2),
    ("FROM x\nRUN --network=host x", "dockerfile-run-network", 2),
    ("FROM x\nRUN --security=insecure x", "dockerfile-run-security", 2),
    ("FROM x\nRUN --device=/dev/x y", "dockerfile-flag", 2),
    ("FROM x\nRUN <<EOF\nFROM y\nEOF", "dockerfile-heredoc", 2),
    ("FROM x\nCOPY <<-'E' /a\nE", "dockerfile-heredoc", 2),
    ("FROM $BASE", "dockerfile-from-variable", 1),
    ("ARG B=x\nFROM ${B:-y}", "dockerfile-from-variable", 2),
    ("FROM docker-archive:/etc/x.tar", "dockerfile-from-image", 1),
    ("FROM dir:x", "dockerfile-from-image", 1),
    ("FROM oci:x:y", "dockerfile-from-image", 1),
    ("FROM docker://x", "dockerfile-from-image", 1),
    ("FROM ./x", "dockerfile-from-image", 1),
    ("FROM /x", "dockerfile-from-image", 1),
    ("FROM \"x\"", "dockerfile-from-image", 1),
    ("FROM", "dockerfile-from", 1),
    ("FROM x AS", "dockerfile-from", 1),
    ("FROM x AS 0", "dockerfile-from", 1),
    ("FROM x\nRUN a \\\\\nADD http://x /", "dockerfile-continuation", 2),
    ("FROM x\nRUN a \\\n # c\nADD http://x /", "dockerfile-continuation", 3),
    ("FROM x\nRUN a \\\n\nRUN b", "dockerfile-continuation", 3),
    ("FROM x\nRUN a \\", "dockerfile-continuation", 2),
];

#[test]
fn each_rule_names_its_line() {
    for &(text, rule, line) in REFUSED {
        let findings = check_plan(&plan(text)).expect_err(text);
        let found = findings.iter().find(|f| f.rule == rule);
        let finding = found.unwrap_or_else(|| panic!("{text:?}: {findings:?}"));
        assert_eq!(finding.path.as_deref(), Some("dockerfile"));
        assert!(finding.hint.is_some());
        if line > 0 {
            assert!(finding.message.starts_with(&format!("line {line}: ")), "{text:?}: {finding:?}");
        }
    }
    let large = format!("FROM x\n#{}", "x".repeat(limits::DOCKERFILE_BYTES_MAX));
    assert_eq!(rules(&plan(&large)), ["dockerfile-too-large"]);
    let many = format!("FROM x\n{}", "BAD x\n".repeat(100));
    assert_eq!(rules(&plan(&many)).len(), limits::PLUGIN_FINDINGS_MAX);
}

#[test]
fn the_rest_of_a_plan_is_checked_too() {
    let file = |path: &str| PlanFile { path: path.to_owned(), text: String::new(), executable: false };
    let with_files =
        |paths: &[&str]| Plan { files: paths.iter().map(|p| file(p)).collect(), ..plan("FROM x") };
    let with_args = |args: &[(&str, &str)]| {
        let build_args = args.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Plan { build_args, ..plan("FROM x") }
    };
    assert_eq!(check_plan(&with_files(&["a", "b/c", "b/d"])), Ok(()));
    assert_eq!(check_plan(&with_args(&[("A_1", "x y"), ("_b", "")])), Ok(()));
    for path in ["/a", "../a", "a/..", "", ".", "./a", "a/", "a//b", "a\\b", "a\nb"] {
        let findings = check_plan(&with_files(&["ok", path])).unwrap_err();
        assert_eq!(
            (findings[0].rule.as_str(), findings[0].path.as_deref()),
            ("file-path", Some("files[1].path")),
            "{path:?}"
        );
    }
    for clash in [["a", "A"], ["a", "a"], ["a", "a/b"], ["A/b", "a"], ["d/x", "D/y"]] {
        assert_eq!(rules(&with_files(&clash)), ["file-clash"], "{clash:?}");
    }
    for args in [&[("", "")][..], &[("1", "")], &[("A-B", "")], &[("A=B", "")]] {
        assert_eq!(rules(&with_args(args)), ["build-arg-name"]);
    }
    assert_eq!(rules(&with_args(&[("A", "x\0")])), ["build-arg-value"]);
    assert_eq!(rules(&with_args(&[("A", "1"), ("A", "2")])), ["build-arg-doubled"]);
    assert_eq!(rules(&Plan { ignore: vec!["a\nb".into()], ..plan("FROM x") }), ["ignore-pattern"]);
    let many: Vec<String> = (0..=limits::PLAN_FILES_MAX).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(rules(&with_files(&many)), ["plan-too-many"]);
    let mut large = with_files(&["a"]);
    large.files[0].text = "x".repeat(limits::PLAN_BYTES_MAX);
    assert_eq!(rules(&large), ["plan-too-large"]);
}

/// Whatever the text, there is an answer; and what must never pass does not, wherever it stands.
#[test]
fn no_text_makes_it_panic_or_pass() {
    const PIECES: [&str; 26] = [
        "FROM",
        "x",
        "\n",
        " ",
        "\\",
        "\\\n",
        "#",
        "--from=",
        "--mount=",
        "type=",
        ",",
        "=",
        "ADD ",
        "COPY ",
        "RUN ",
        "ONBUILD ",
        "<<",
        "$",
        "\"",
        "[",
        "é",
        "\u{2028}",
        "\0",
        "AS",
        "ARG ",
        "# escape=`",
    ];
    let mut random = Random::new(7);
    for _ in 0..20_000 {
        let pieces = random.below(30);
        let text: String = (0..pieces).map(|_| PIECES[random.below(PIECES.len())]).collect();
        let _ = check_plan(&plan(&text));
        let forbidden = format!("FROM x\n{text}\nADD http://x /\n");
        let after = !text.contains('\\') && check_plan(&plan(&forbidden)).is_ok();
        assert!(!after, "{forbidden:?}");
    }
}

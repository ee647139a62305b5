"""A corpus of hostile texts: what reaches a prompt, a comment, a title, a branch or a terminal, and what does not."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from bot.domain.command_parser import parse
from bot.domain.sanitise import (
    MAX_SLUG,
    MAX_TEXT,
    MAX_TITLE,
    ZWSP,
    cap,
    code_block,
    code_span,
    for_branch,
    for_comment,
    for_commit,
    for_inline,
    for_prompt,
    for_terminal,
    for_title,
    redact,
    visible,
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("a<!-- do evil -->b", "ab", id="a hidden comment goes"),
        pytest.param("a\n<!-- evil\n\nmore evil", "a", id="a comment that is never closed hides the rest"),
        pytest.param("a <!-- b", "a &lt;!-- b", id="inside a line it hides nothing and is shown"),
        pytest.param("<!<!-- x -->-- y -->", "", id="a comment that appears by removing another goes too"),
        pytest.param("```\n<!-- shown -->\n```", "```\n<!-- shown -->\n```", id="fenced code is what people see"),
        pytest.param(
            "<div>\n```\n<!-- hidden -->\n```\n</div>", "<div>\n```\n\n```\n</div>", id="a fence inside HTML is none"
        ),
        pytest.param("p\u200ba\u2060y\ufeff", "pay", id="zero-width characters go"),
        pytest.param("a\u202egpj.exe\u202c", "agpj.exe", id="direction changes go"),
        pytest.param("x\U000e0041\U000e0042y", "xy", id="tag characters go"),
        pytest.param("x\ufe0e\ufe00y", "xy", id="variation selectors go"),
        pytest.param("\x1b[31mred\x1b[0m\x1b]0;title\x07", "red", id="terminal sequences go"),
        pytest.param("a\x00b\x08c\x9b31md", "abcd", id="control characters go"),
        pytest.param("![alt evil](https://x.test/a.png) b", "(image) b", id="an image's hidden text goes"),
        pytest.param('<img src=x alt="evil"> b', "(image) b", id="an HTML image's hidden text goes"),
        pytest.param('<a title="evil" href="x">b</a>', "<a>b</a>", id="attributes go"),
        pytest.param('[r]: https://x.test "evil"', "", id="definitions that nothing refers to go"),
        pytest.param('see [r]\n\n[r]: https://x.test "evil"', "see [r]\n\n[r]: https://x.test", id="their titles go"),
        pytest.param("${{ secrets.X }}", "$ {{ secrets.X }}", id="workflow expressions are broken"),
        pytest.param("<?php evil ?>a<![CDATA[evil]]>b<!ELEMENT evil>c", "abc", id="other hidden HTML goes"),
        pytest.param("a\r\nb\rc\u2028d", "a\nb\nc\nd", id="line ends are one kind"),
        pytest.param("vector<int> a < b && c > d", "vector<int> a < b && c > d", id="ordinary code stays"),
        pytest.param("🎉 emoji ❤️ stays", "🎉 emoji ❤️ stays", id="emoji stay"),
        pytest.param("e\u0301", "é", id="letters are composed"),
    ],
)
def test_a_prompt_holds_only_what_people_see(text: str, clean: str) -> None:
    assert for_prompt(text) == clean


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        pytest.param("hi @octocat", "@octocat", id="a mention"),
        pytest.param("hi @org/team", "@org", id="a team"),
        pytest.param("Fixes #12", "Fixes #12", id="a closing keyword"),
        pytest.param("closes: owner/repo#12", "closes:", id="a closing keyword for another repository"),
        pytest.param("RESOLVED https://github.com/o/r/issues/1", "RESOLVED", id="a closing keyword with an address"),
        pytest.param("fix GH-12", "fix GH-12", id="a closing keyword with the old form"),
        pytest.param("/approve", "\n/approve", id="a command of another bot"),
        pytest.param("- /merge now", "- /merge", id="a command in a list"),
        pytest.param("[skip ci] done", "[skip ci]", id="a switch that skips CI"),
        pytest.param("[ci skip]", "[ci skip]", id="the other order"),
        pytest.param("[No CI]", "[No CI]", id="no CI"),
        pytest.param("[skip actions]", "[skip actions]", id="skip actions"),
        pytest.param("***NO_CI***", "***NO_CI***", id="the form of Azure"),
        pytest.param("x\n\nskip-checks: true", "skip-checks:", id="the trailer"),
        pytest.param("![x](https://x.test/a.png)", "![", id="an image"),
        pytest.param("<img src=x>", "<img", id="an HTML image"),
        pytest.param("</details>", "</details", id="the end of our collapsed part"),
        pytest.param("<!-- tgs:status -->", "<!--", id="a marker of ours"),
        pytest.param("@\u200boctocat @\u2060octocat", "@\u2060", id="a mention hidden by other means"),
        pytest.param("${{ x }}", "${{", id="a workflow expression"),
    ],
)
def test_nothing_acts_in_a_comment_or_commit_that_an_agent_wrote(text: str, gone: str) -> None:
    assert gone.strip("\n") in text
    for clean in (for_comment(text), for_commit(text)):
        assert gone not in f"\n{clean}"
        assert gone.strip() not in clean.split("\n")


def test_defused_text_reads_as_written() -> None:
    assert for_comment("Fixes #12 for @octocat").replace(ZWSP, "") == "Fixes #12 for @octocat"


def test_fenced_code_in_a_comment_is_left_alone_but_not_in_a_commit() -> None:
    code = "```python\n@property\n<b>\n```"
    assert for_comment(code) == code
    assert "@property" not in for_commit(code)


@pytest.mark.parametrize("text", ["```\nunclosed", "~~~~\nunclosed", "a\n\n````sh\nx\n```", "```"])
def test_an_open_fence_is_closed_so_that_our_words_stay_outside(text: str) -> None:
    html = MarkdownIt("commonmark").render(for_comment(text) + "\n\nour words")
    assert "<p>our words</p>" in html


@pytest.mark.parametrize("text", ["/tgs start", "  /TGS merge", "x\n/tgs stop --now"])
def test_an_agents_text_never_contains_a_command_of_ours(text: str) -> None:
    assert parse(text)
    assert parse(for_comment(text)) == ()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("  a\n b\t c ", "a b c"),
        ("", "Untitled"),
        ("\u200b\u202e", "Untitled"),
        ("<!-- x -->", "Untitled"),
        ("x [skip ci]", "x (skip ci)"),
        ("a" * 500, "a" * (MAX_TITLE - 1) + "…"),
        ("@all fixes #1", f"@{ZWSP}all f{ZWSP}ixes #1"),
        ("日本語", "日本語"),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert for_title(text) == title


@pytest.mark.parametrize(
    "text",
    [
        "**b** _i_ `c`",
        "[x](https://x.test)",
        "<img src=x onerror=alert(1)>",
        "@octocat",
        "fixes #3",
        "https://x.test www.x.test",
        "| a | b",
        "# h",
        "a\n- b",
        "![x](y)",
        "&lt;b&gt; ~~x~~",
        "/approve",
    ],
)
def test_a_foreign_text_in_our_sentence_is_shown_literally(text: str) -> None:
    shown = for_inline(text)
    (inline,) = [
        token
        for token in MarkdownIt("commonmark").enable("strikethrough").parse(f"Title: {shown} end")
        if token.type == "inline"
    ]
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    assert "@octocat" not in shown
    assert "#3" not in shown
    assert "https:" not in shown


@pytest.mark.parametrize("text", ["a", "`", "``a` b", "", "  ", "@x <b> \\", "a\nb", "`a`"])
def test_code_spans_hold_anything(text: str) -> None:
    (inline,) = [token for token in MarkdownIt("commonmark").parse(f"x {code_span(text)} y") if token.type == "inline"]
    spans = [child.content for child in inline.children or [] if child.type == "code_inline"]
    assert [span.strip() for span in spans] == [" ".join(text.split())]


@pytest.mark.parametrize("text", ["a", "```\nx\n```", "````", "~~~", "@x", ""])
def test_code_blocks_hold_anything(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(code_block(text) + "\n\nafter")
    assert [token.type for token in tokens if token.level == 0] == ["fence", "paragraph_open", "paragraph_close"]
    assert tokens[0].content.strip("\n") == text


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Hello, World", "hello-world"),
        ("..", "item"),
        ("-rf /", "rf"),
        ("a.lock", "a-lock"),
        ("x~^:?*[\\", "x"),
        ("refs/heads/main", "refs-heads-main"),
        ("$(rm -rf)", "rm-rf"),
        ("é" * 50, "e" * MAX_SLUG),
        ("", "item"),
    ],
)
def test_slugs(text: str, slug: str) -> None:
    assert for_branch(text) == slug


def test_a_terminal_gets_no_sequences() -> None:
    assert for_terminal("a\x1b[2Jb\tc\nd\x1b]8;;http://x\x1b\\e") == "ab\tc\nde"


def test_a_cut_text_says_so_and_fits() -> None:
    for limit in (100, MAX_TEXT):
        cut = cap("😀" * (limit + 1), limit)
        assert len(cut) <= limit
        assert cut.endswith("(shortened)")
    assert cap("x" * 10, 10) == "x" * 10
    assert len(cap("x" * 100, 5)) == 5
    assert len(for_comment("```\n" + "x\n" * 60_000)) <= MAX_TEXT
    assert len(for_prompt("x" * 100_000)) <= MAX_TEXT


def test_lone_surrogates_do_not_break_anything() -> None:
    assert visible("a\ud800b").encode() == "a\ufffdb".encode()


SECRETS = [
    "ghs_" + "a1B2" * 10,
    "ghs_123_eyJhbGciOi.eyJzdWIi.c2ln-natu_re",
    "ghp_" + "x" * 36,
    "gho_" + "x" * 36,
    "ghu_" + "x" * 36,
    "ghr_" + "x" * 36,
    "github_pat_" + "A1_" * 20,
    "sk-ant-api03-" + "x" * 40,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AKIA" + "A" * 16,
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMIIabc and the log was cut here",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_credentials_are_replaced_wherever_they_stand(secret: str) -> None:
    for around in ("{}", "x={} y", '{{"token": "{}"}}', "a\n{}\nb"):
        clean = redact(around.format(secret))
        assert "[redacted]" in clean
        for line in secret.split("\n"):
            assert line not in clean
        assert redact(clean) == clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://user:pass@host/x", "https://[redacted]@host/x"),
        ("https://x-access-token:abc@github.com/o/r", "https://[redacted]@github.com/o/r"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [redacted]"),
        ("authorization: Bearer abcdefgh.ijk", "authorization: [redacted]"),
        ("aws_secret_access_key = " + "a" * 40, "aws_secret_access_key[redacted]"),
        ("nothing secret: ghost_town, skant, https://host/x", "nothing secret: ghost_town, skant, https://host/x"),
        ("time 12:30 at a@b.test", "time 12:30 at a@b.test"),
    ],
)
def test_other_secrets_and_harmless_text(text: str, clean: str) -> None:
    assert redact(text) == clean

"""The one sanitiser: for every text of somebody else before it reaches a prompt, comment, title, branch or terminal.

Promise: every function is total (no text makes it raise), idempotent, and bounded in length. Nothing invisible gets
through: zero-width and direction characters, tag characters, control sequences, hidden HTML comments. In texts that an
agent wrote, everything GitHub or another bot would act on is defused: mentions, closing keywords, commands at the
start of a line, switches that skip CI, images, HTML. Defusing inserts a zero-width space, so that the text still reads
as written; fenced code in comments is left alone, because nothing acts on it.

Sanitising a prompt is one layer only: an agent must be harmless even when it believes everything it reads.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.domain.hidden import fence_line, strip_hidden, without_comments

MAX_TEXT: Final = 60_000
"""Characters of a comment, body or prompt part; GitHub's limit is 65,536 and our own lines come on top."""
MAX_TITLE: Final = 200
"""Characters of a title; GitHub's limit is 256 and a prefix of ours may come on top."""
MAX_SLUG: Final = 40
"""Characters of the readable part of a branch name."""
MAX_INLINE: Final = 200
"""Characters of a foreign text inside one of our sentences."""
SHORT: Final = 80
"""Characters of a text inside a sentence that is remembered: names, types, words of the product."""
REMEMBERED: Final = 512
"""So many of them; a status comment, which is made at every look at an item, has a dozen that never change."""
SHORTENED: Final = "\n\n… (shortened)"
ZWSP: Final = "\u200b"

# Characters that show nothing or change the direction of what follows: soft hyphen, joiners, marks, fillers, bidi
# embeddings and isolates, invisible operators, tags, and variation selectors except the one for emoji.
MAX_FENCE: Final = 8
"""Marks that open a code block at most; nobody needs more than one for each level of nesting."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|[ -/]*[0-~])"
    r"|\x9b[0-?]*[ -/]*[@-~]|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c\x90\x98\x9d-\x9f]*(?:\x07|\x1b\\|\x9c)"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_UNSEEN = re.compile(f"⟨(?=U\\+)|[\r\u2028\u2029]|{_INVISIBLE.pattern}|{_CONTROL.pattern}|[\x0b\x0c\x85]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029|\x85|\x0b|\x0c")
_LONG_FENCE = re.compile(r"`{9,}|~{9,}")
_EXPRESSION = re.compile(r"\$(?=\{\{)")

_IMAGE_START = re.compile(r"!(?=\[)")

_MENTION = re.compile(r"@(?=[A-Za-z0-9_-])")
_CLOSING = re.compile(
    r"\b(c|f|r)(?=(?:lose[sd]?|ix(?:e[sd])?|esolve[sd]?)\b\W{0,8}(?:#|GH-|https?://|[\w.-]{1,100}/[\w.-]{1,100}#))",
    re.IGNORECASE,
)
_LINE_COMMAND = re.compile(r"^([ \t]*(?:(?:[-*+>]|\d{1,9}[.)])[ \t]+)*)/(?=\S)", re.MULTILINE)
_SKIP_CI = re.compile(
    r"\[[ \t]*(skip[ \t_-]*ci|ci[ \t_-]*skip|no[ \t_-]*ci|skip[ \t_-]*actions|actions[ \t_-]*skip)[ \t]*\]",
    re.IGNORECASE,
)
_SKIP_OTHER = re.compile(r"\*{3}[ \t]*(NO_CI)[ \t]*\*{3}", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"\bskip-checks(?=[ \t]*:)", re.IGNORECASE)
_OPENING = re.compile("<!--")
_CREDIT = re.compile(
    r"^([ \t]*(?:co-authored|signed-off|reviewed|acked|tested)-by)(?=[ \t]*:)", re.IGNORECASE | re.MULTILINE
)
_HTML = re.compile(r"<(?=[A-Za-z/!?])")

_CLOSING_WORD = re.compile(r"\b(c|f|r)(?=(?:lose[sd]?|ix(?:e[sd])?|esolve[sd]?)\b\W{0,8}#?\w)", re.IGNORECASE)
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~$])")


def visible(text: str) -> str:
    """The text without anything invisible: control sequences, zero-width and direction characters. Lines end in LF."""
    text = _SURROGATE.sub("\ufffd", text)
    text = _fixpoint(text, lambda t: _CONTROL.sub("", _INVISIBLE.sub("", _ANSI.sub("", _LINE_ENDS.sub("\n", t)))))
    return unicodedata.normalize("NFC", text)


def spelled_out(text: str) -> str:
    """The text with everything invisible written as its number, `⟨U+202E⟩`: for people who must see all that is there.

    A mark that the text brings itself is written so too; nothing else is taken for one.
    """
    text = _SURROGATE.sub("\ufffd", text).replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def cap(text: str, limit: int = MAX_TEXT, mark: str = SHORTENED) -> str:
    """The text, cut to at most `limit` characters (code points) with a visible mark."""
    if len(text) <= limit:
        return text
    if limit <= len(mark):
        return text[:limit]
    return text[: limit - len(mark)].rstrip() + mark


def for_prompt(text: str, limit: int = MAX_TEXT) -> str:
    """What an agent may read of a text by people: only what people see on the page.

    What `bot/domain/hidden.py` knows to be unseen goes; fenced code keeps its content. Repeated until nothing changes,
    because removing one thing can uncover another.
    """

    def once(current: str) -> str:
        return _EXPRESSION.sub("$ ", _outside_code(visible(current), strip_hidden, fence_line))

    return cap(_fixpoint(text, once, last=lambda t: _EXPRESSION.sub("$ ", strip_hidden(visible(t)))).strip(), limit)


def for_comment(text: str, limit: int = MAX_TEXT) -> str:
    """Markdown that an agent (or any stranger) wrote, safe to post as the bot. Open code fences are closed."""
    plain = _EXPRESSION.sub("$ ", visible(text)).strip("\n")
    # Whoever opens a block with hundreds of marks would get a closing line as long.
    plain = _LONG_FENCE.sub(lambda m: m[0][:MAX_FENCE], plain)
    defused = _outside_code(plain, _defuse)
    return _close_fence(cap(defused, limit - MAX_FENCE))


def for_commit(text: str, limit: int = MAX_TEXT) -> str:
    """A commit message that an agent wrote: as `for_comment`, but a message has no code blocks to spare."""
    return cap(_defuse(_EXPRESSION.sub("$ ", visible(text))).strip(), limit)


def _defuse(text: str) -> str:
    text = _SKIP_CI.sub(r"(\1)", text)
    text = _SKIP_OTHER.sub(r"(\1)", text)
    text = _SKIP_TRAILER.sub(lambda m: m[0] + ZWSP, text)
    text = _CREDIT.sub(lambda m: m[1] + ZWSP, text)
    text = _MENTION.sub("@" + ZWSP, text)
    text = _CLOSING.sub(lambda m: m[1] + ZWSP, text)
    text = _LINE_COMMAND.sub(lambda m: f"{m[1]}{ZWSP}/", text)
    text = _IMAGE_START.sub("!" + ZWSP, text)
    return _HTML.sub("<" + ZWSP, text)


def one_line(text: str) -> str:
    """The visible text on one line, spaces collapsed, hidden comments removed."""
    shown = _fixpoint(visible(text), without_comments)
    return " ".join(shown.split())


def for_title(text: str, limit: int = MAX_TITLE) -> str:
    """A title for an issue or pull request: one line, never empty, nothing GitHub acts on."""
    # A title is no Markdown block: four leading spaces make no code that a comment could hide in.
    line = _EXPRESSION.sub("$ ", one_line(" ".join(text.split())))
    line = _SKIP_OTHER.sub(r"(\1)", _SKIP_CI.sub(r"(\1)", line))
    line = _CLOSING.sub(lambda m: m[1] + ZWSP, _MENTION.sub("@" + ZWSP, line))
    return cap(line, limit, "…").strip() or "Untitled"


def for_inline(text: str, limit: int = MAX_INLINE) -> str:
    """A foreign text inside one of our own Markdown sentences: shown literally, whatever it contains.

    Not idempotent by nature (escapes would be escaped again): apply it once, where the sentence is built.
    """
    return _inline(text, limit) if len(text) <= SHORT else _made_inline(text, limit)


@lru_cache(maxsize=REMEMBERED)
def _inline(text: str, limit: int) -> str:
    return _made_inline(text, limit)


def _made_inline(text: str, limit: int) -> str:
    line = cap(one_line(text), limit, "…")
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\1", line)
    escaped = re.sub(r"\\#(?=\d)", lambda m: m[0] + ZWSP, escaped)
    escaped = _MENTION.sub("@" + ZWSP, escaped)
    escaped = re.sub(r"\b(https?|www)(?=[:.])", lambda m: m[1] + ZWSP, escaped, flags=re.IGNORECASE)
    escaped = re.sub(r"\b(GH)-(?=\d)", lambda m: m[1] + ZWSP + "-", escaped, flags=re.IGNORECASE)
    escaped = _CLOSING_WORD.sub(lambda m: m[1] + ZWSP, escaped)
    return _LINE_COMMAND.sub(lambda m: f"{m[1]}{ZWSP}/", escaped)


def code_span(text: str, limit: int = MAX_INLINE) -> str:
    """A foreign text as inline code: shown literally; the fence is longer than any run of backticks inside."""
    line = cap(one_line(text), limit, "…") or " "
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def code_block(text: str, limit: int = MAX_TEXT, language: str = "") -> str:
    """A foreign text as a fenced block of its own lines."""
    # GitHub leaves code alone; bots that look for commands or marks line by line do not.
    body = _LINE_COMMAND.sub(lambda m: f"{m[1]}{ZWSP}/", cap(visible(text), limit).strip("\n"))
    body = _OPENING.sub("<" + ZWSP + "!--", body)
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def for_branch(text: str, limit: int = MAX_SLUG) -> str:
    """A slug for a branch name: a-z, 0-9 and single dashes, never empty, no dash or `.lock` at the ends."""
    plain = unicodedata.normalize("NFKD", visible(text)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:limit].strip("-")
    return slug or "item"


def for_terminal(text: str, limit: int = MAX_TEXT) -> str:
    """A text for a terminal or log: no control sequences, no tricks of direction; LF and tab stay."""
    return cap(visible(text), limit)


# --- helpers


def _fixpoint(text: str, step: Callable[[str], str], last: Callable[[str], str] | None = None) -> str:
    """Applies `step` until nothing changes. After 20 rounds (only built texts need more) `last` ends it."""
    for _ in range(20):
        after = step(text)
        if after == text:
            return text
        text = after
    for _ in range(len(text) + 1):
        after = (last or step)(text)
        if after == text:
            return text
        text = after
    return text


def _outside_code(text: str, change: Callable[[str], str], opening: Callable[[str], str] = str) -> str:
    """Applies `change` to every stretch of lines that is not a code block at the top level of the Markdown, and
    `opening` to the first line of each block.
    """
    lines = text.split("\n")
    parts: list[str] = []
    at = 0
    for start, end in _code_blocks(text):
        if start > at:
            parts.append(change("\n".join(lines[at:start])))
        parts.append("\n".join([opening(lines[start]), *lines[start + 1 : end]]))
        at = end
    if at < len(lines) or not parts:
        parts.append(change("\n".join(lines[at:])))
    return "\n".join(parts)


def _code_blocks(text: str) -> Iterator[tuple[int, int]]:
    if "```" not in text and "~~~" not in text:
        return
    for token in _block_tokens(text):
        if token.type == "fence" and token.level == 0 and token.map is not None:
            yield token.map[0], token.map[1]


def _block_tokens(text: str) -> list[Token]:
    # Blocks only: inline rules are not needed to know where code stands, and they are the slow part.
    return MarkdownIt("commonmark").disable("inline").parse(text)


def _close_fence(text: str) -> str:
    if "```" not in text and "~~~" not in text:
        return text
    last: Token | None = None
    for token in _block_tokens(text):
        if token.type == "fence" and token.level == 0:
            last = token
    lines = text.split("\n")
    if last is None or last.map is None or last.map[1] < len(lines):
        return text
    closing = lines[-1].strip()
    closed = last.map[1] - last.map[0] > 1 and set(closing) == set(last.markup[0]) and len(closing) >= len(last.markup)
    return text if closed else f"{text}\n{last.markup}"


# --- secrets


REDACTED: Final = "[redacted]"

_SECRETS = (
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9_.\-]{10,}"),
    re.compile(r"\bgithub_pat_[A-Za-z0-9_]{10,}"),
    re.compile(r"\btg[achpw]_[A-Za-z0-9_\-]{10,}"),
    re.compile(r"\bsk-ant-[A-Za-z0-9_\-]{8,}"),
    re.compile(r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"(?i)(?<=aws_secret_access_key)(\s*[=:]\s*[\"']?)[A-Za-z0-9/+=]{40}"),
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),
    re.compile(r"(?i)\b(?<=authorization: )(?:basic|bearer|token)\s+[A-Za-z0-9+/=._\-]{8,}"),
)


def redact(text: str) -> str:
    """The text with everything that looks like a credential replaced: GitHub and model keys, JWTs, cloud keys,
    private keys, secrets of our own, passwords in URLs and authorization headers. Idempotent; runs over logs, so it
    must not raise.
    """
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return text

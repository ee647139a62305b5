"""What stands in a Markdown text and is not seen on its page: taken out, so that an agent reads what people read.

Promise: total, idempotent, bounded in time for built texts too. Comments, attributes, images, the inside of elements
that pages do not show, titles of links, definitions of links and footnotes that nothing refers to, what follows the
language of a code block, spacing commands of formulas. What people see stays, as far as it can be told apart: the page
is rendered by GitHub, this is Markdown read by patterns, and when in doubt it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

# (how something hidden begins, how it ends, what is put in its place)
_COMMENT = re.compile("<!--"), "-->", ""
_HIDDEN: Final = (
    _COMMENT,
    (re.compile(r"<\?"), "?>", ""),
    (re.compile(r"<!\[CDATA\["), "]]>", ""),
    (re.compile(r"<![A-Za-z]"), ">", ""),
)
_OPEN_COMMENT_BLOCK = re.compile(r"^[ \t]{0,3}<!--.*\Z", re.DOTALL | re.MULTILINE)
_OPEN_COMMENT = re.compile(r"<!--")

# Elements whose content a page does not show as text, or shows in another form.
_UNSEEN_INSIDE: Final = (
    "audio canvas datalist dialog head iframe map math noembed noframes noscript object script style svg template "
    "textarea title video xmp"
)

_ELEMENTS = tuple(
    (re.compile(rf"<{name}\b[^<>]*>", re.IGNORECASE), re.compile(rf"</{name}\s*>", re.IGNORECASE))
    for name in _UNSEEN_INSIDE.split()
)
_PICTURE = re.compile(
    r"<(?:img|picture|source|svg|video|audio|iframe|object|embed)\b(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+>", re.IGNORECASE
)
_PICTURE_OPEN = re.compile(r"<(?:img|picture|source|svg|video|audio|iframe|object|embed)\b[^>]*>", re.IGNORECASE)
_TAG = (
    r"(?:a|abbr|area|article|aside|b|bdi|bdo|big|blockquote|body|br|button|caption|center|cite|code|col|colgroup|data|dd|"
    r"del|details|dfn|div|dl|dt|em|fieldset|figcaption|figure|font|footer|form|h[1-6]|header|hr|html|i|input|ins|kbd|"
    r"label|legend|li|link|main|mark|meta|nav|ol|optgroup|option|output|p|param|pre|progress|q|rp|rt|ruby|s|samp|section|"
    r"select|small|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|time|tr|track|tt|u|ul|var|wbr)"
)
_KNOWN_TAG = re.compile(rf"<({_TAG})\s(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+>", re.IGNORECASE)
_KNOWN_TAG_BROKEN = re.compile(rf"<({_TAG})\s[^<>]*>", re.IGNORECASE)
_OTHER_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9-]*)\s(?=[^<>=]*=)[^<>]*+>")

_TITLE = r"(?:\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+'|\((?:\\.|[^()\\])*+\))"
_LINK_TITLE = re.compile(rf"(\]\(\s{{0,9}}(?:<[^<>\n]*>|[^\s<>\"'(]+))\s{{1,99}}{_TITLE}\s{{0,9}}\)")
_SPACED_ADDRESS = re.compile(r"(\]\()\s{0,9}<[^<>\n]*\s[^<>\n]*>")
_PREFIX = r"^(?:[ \t]{0,9}(?:[-*+>]|\d{1,9}[.)])){0,9}[ \t]{0,9}"
_DEFINITION = re.compile(
    rf"({_PREFIX})\[(?!\^)((?:\\.|[^\]\[\\]){{1,999}})\]:[ \t]*(?:\n[ \t]*)?(<[^<>\n]*>|[^\s<]\S*)"
    rf"(?:[ \t]*(?:\n[ \t]*)?(?<=\s){_TITLE})?[ \t]*$",
    re.MULTILINE,
)
_FOOTNOTE = re.compile(rf"{_PREFIX}\[\^([^\]\s]{{1,99}})\]:[^\n]*(?:\n(?:[ ]{{2,}}|\t)[^\n]*)*", re.MULTILINE)
_FENCE_INFO = re.compile(rf"({_PREFIX}(?:`{{3,}}|~{{3,}}))[ \t]*([\w+#.-]{{0,30}})[^`\n]*$", re.MULTILINE)
_PHANTOM = re.compile(r"\\[hv]?phantom\s*\{[^{}]*\}")

ROUNDS: Final = 20
_MARKS = re.compile(r"[<>\[\]\\`~]")


def strip_hidden(text: str) -> str:
    """The text without what its page does not show; for stretches outside of code blocks."""
    return _until_stable(text, _once)


def fence_line(line: str) -> str:
    """The first line of a code block with its language only; the page shows nothing of what follows."""
    return _FENCE_INFO.sub(_language, line)


def without_comments(text: str) -> str:
    """The text without HTML comments, one that is never closed included."""
    return _OPEN_COMMENT_BLOCK.sub("", _cut(text, *_COMMENT))


def _once(text: str) -> str:
    text = _OPEN_COMMENT.sub("&lt;!--", without_comments(text))
    for hidden in _HIDDEN:
        text = _cut(text, *hidden)
    for begin, end in _ELEMENTS:
        text = _cut_element(text, begin, end)
    text = _PICTURE_OPEN.sub("(image)", _PICTURE.sub("(image)", text))
    text = _images(text)
    for pattern in (_KNOWN_TAG, _KNOWN_TAG_BROKEN, _OTHER_TAG):
        text = pattern.sub(r"<\1>", text)
    text = _SPACED_ADDRESS.sub(r"\1", _LINK_TITLE.sub(r"\1)", text))
    text = _unused(text)
    return _PHANTOM.sub("", _FENCE_INFO.sub(_language, text))


def _language(match: re.Match[str]) -> str:
    return match[1] + match[2]


def _unused(text: str) -> str:
    """Definitions show nothing of themselves: what refers to one shows its own words, and its address stays."""
    if "]:" not in text:
        return text
    named = {_label(name) for name in re.findall(r"\[((?:\\.|[^\]\[\\]){1,999})\](?!:)", text)}

    def definition(match: re.Match[str]) -> str:
        return f"{match[1]}[{match[2]}]: {match[3]}" if _label(match[2]) in named else match[1].rstrip()

    def footnote(match: re.Match[str]) -> str:
        return match[0] if _label(f"^{match[1]}") in named else ""

    return _FOOTNOTE.sub(footnote, _DEFINITION.sub(definition, text))


def _label(name: str) -> str:
    return " ".join(name.split()).casefold()


def _images(text: str) -> str:
    """Images in Markdown, whose words are only seen when they cannot be loaded."""
    if "![" not in text:
        return text
    squares, rounds = _pairs(text, "[", "]"), _pairs(text, "(", ")")
    parts: list[str] = []
    at = 0
    while (start := text.find("![", at)) >= 0:
        parts += [text[at:start], "(image)"]
        # Without an end it is no image; at least it does not look like one.
        end = squares.get(start + 1, start + 1)
        at = rounds.get(end, squares.get(end, end)) if end > start + 1 else end
    return "".join(parts) + text[at:]


def _pairs(text: str, opening: str, closing: str) -> dict[int, int]:
    """Where each bracket stands → the index after the one that closes it, within a paragraph. One pass."""
    found: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(rf"\\.|\n[ \t]*\n|[{re.escape(opening + closing)}]", text):
        if match[0] == opening:
            stack.append(match.start())
        elif match[0] == closing:
            if stack:
                found[stack.pop()] = match.end()
        elif match[0].startswith("\n"):
            stack.clear()
    return found


def _cut(text: str, begin: re.Pattern[str], end: str, instead: str) -> str:
    """Replaces everything from `begin` to the next `end`. One pass: a regular expression would look for a missing end
    again at every beginning, which built text makes very slow.
    """
    parts: list[str] = []
    at = 0
    while (start := begin.search(text, at)) is not None:
        stop = text.find(end, start.end())
        if stop < 0:
            break
        parts += [text[at : start.start()], instead]
        at = stop + len(end)
    return "".join(parts) + text[at:]


def _cut_element(text: str, begin: re.Pattern[str], end: re.Pattern[str]) -> str:
    parts: list[str] = []
    at = 0
    while (start := begin.search(text, at)) is not None:
        stop = end.search(text, start.end())
        if stop is None:
            break
        parts += [text[at : start.start()], "(not shown)"]
        at = stop.end()
    return "".join(parts) + text[at:]


def _until_stable(text: str, step: Callable[[str], str]) -> str:
    """Applies `step` until nothing changes, because removing one thing can uncover another.

    Only a text built for it needs more than a few rounds; it loses every mark by which something could be hidden.
    """
    for _ in range(ROUNDS):
        after = step(text)
        if after == text:
            return text
        text = after
    return _MARKS.sub(" ", text)

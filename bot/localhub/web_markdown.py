"""Markdown of issues and comments as safe HTML.

Promise: nothing a user wrote becomes markup beyond Markdown itself and a handful of harmless tags
without attributes (`<details>` folds); everything else is shown as text. HTML comments, which
programs use as hidden markers, are not shown. Code is left exactly as it was written.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict

COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
ALLOWED_TAG = re.compile(r"</?(details|summary|br|sub|sup|kbd|ins|del|b|i|em|strong|code) ?/?>|<details open>")
LINKED = re.compile(
    r"(?P<url>https?://[^\s<>()]*[^\s<>().,;:!?'\"])"
    r"|(?<![\w/&#])\#(?P<number>[0-9]{1,9})\b"
    r"|(?<![\w/@])@(?P<login>[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))\b"
)
TASK = re.compile(r"\[(?P<mark>[ xX])\] ")

Env = MutableMapping[str, Any]


class Renderer(RendererHTML):
    """Renders tokens; `env["base"]` is the path of the repository that `#7` refers to."""

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        """A block of HTML in the source."""
        return _filtered(tokens[idx].content)

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        """A tag within a line."""
        return _filtered(tokens[idx].content)

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        """Plain text, with issue numbers, logins and bare addresses as links."""
        content = tokens[idx].content
        start = ""
        if idx == 0 and env.get("in_item") and (task := TASK.match(content)):
            start = "☐ " if task["mark"] == " " else "☑ "
            content = content[task.end() :]
        inside_link = any(x.type == "link_open" for x in tokens[:idx]) and not any(
            x.type == "link_close" for x in tokens[:idx]
        )
        return start + (escape(content) if inside_link else _linked(content, str(env["base"])))

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        """A list item may begin with a task box."""
        env["in_item"] = True
        return "<li>"

    def list_item_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: Env) -> str:
        """Task boxes are known inside items only."""
        env["in_item"] = False
        return "</li>\n"


def _filtered(text: str) -> str:
    out, position = [], 0
    text = COMMENT.sub("", text)
    if not text.strip():
        return ""
    for tag in ALLOWED_TAG.finditer(text):
        out += [escape(text[position : tag.start()]), tag[0]]
        position = tag.end()
    return "".join([*out, escape(text[position:])])


def _linked(text: str, base: str) -> str:
    out, position = [], 0
    for found in LINKED.finditer(text):
        out.append(escape(text[position : found.start()]))
        shown = escape(found[0])
        if found["url"]:
            out.append(f'<a href="{shown}" rel="nofollow">{shown}</a>')
        elif found["number"]:
            out.append(f'<a href="{escape(base)}/issues/{found["number"]}">{shown}</a>')
        else:
            out.append(f"<strong>{shown}</strong>")
        position = found.end()
    return "".join([*out, escape(text[position:])])


class Markdown:
    """One configured parser; rendering keeps no state."""

    def __init__(self) -> None:
        """CommonMark with tables and strike-through, as on the real service."""
        parser = MarkdownIt("commonmark", renderer_cls=Renderer)
        # The parser recognises HTML so that the renderer can judge it; none passes unfiltered.
        self._parser = parser.enable(["table", "strikethrough"])

    def render(self, text: str | None, base: str) -> str:
        """Safe HTML; `base` is `/owner/repo`."""
        return str(self._parser.render(text or "", {"base": base, "in_item": False}))

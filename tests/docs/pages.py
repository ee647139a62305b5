"""The pages of the documentation and what they contain: code blocks, inline code, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"<!--\s*([a-z ]+?)\s*-->\s*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `mark` is the text of the HTML comment right before it, `line` counts from 1."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page} line {self.line}"


def page_names() -> list[str]:
    """Every page, as its path from the repository's root."""
    found = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "tgs").rglob("*.md"),
    ]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


@cache
def _tokens(page: str) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text("utf-8")))


def blocks(*languages: str) -> list[Block]:
    """The fenced blocks of all pages in one of these languages."""
    found = []
    for page in page_names():
        before = ""
        for token in _tokens(page):
            if token.type == "fence" and token.map is not None:
                language = token.info.split()[0] if token.info.split() else ""
                if language in languages:
                    found.append(Block(page, token.map[0] + 1, language, before, token.content))
            mark = _MARK.search(token.content) if token.type == "html_block" else None
            before = mark[1] if mark else ""
    return found


def inline_code(page: str) -> Iterator[str]:
    """The inline code of a page."""
    for token in _tokens(page):
        yield from (child.content for child in token.children or () if child.type == "code_inline")


def links(page: str) -> Iterator[str]:
    """The targets of the links and images of a page."""
    for token in _tokens(page):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield str(target)


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of the page's headings."""
    tokens = _tokens(page)
    titles = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}

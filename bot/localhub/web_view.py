"""Templates of the pages: filters, colours and words. No page knows HTML beyond its template.

Promise: everything is escaped by the template engine except what `web_markdown` has rendered; no
page contains a script, and a content policy forbids one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from bot.localhub.http import Reply
from bot.localhub.model import IssueEvent, Label

PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))
"""Seconds and names, largest first, for "2 hours ago"."""
LOG_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z ")
"""The runner's time stamp before each line."""
EMOJI = {
    "+1": "👍",
    "-1": "👎",
    "laugh": "😄",
    "confused": "😕",
    "heart": "❤️",
    "hooray": "🎉",
    "rocket": "🚀",
    "eyes": "👀",
}
RECENT = timedelta(days=30)
"""Older moments are shown as dates."""


class Timed(Protocol):
    """A job or a step."""

    @property
    def started_at(self) -> datetime | None:
        """When it began."""

    @property
    def completed_at(self) -> datetime | None:
        """When it ended."""


def iso(moment: datetime) -> str:
    """`2026-11-20 12:00:00 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def ago(now: Callable[[], datetime], moment: datetime) -> str:
    """`3 minutes ago`, or the date of something older."""
    past = now() - moment
    if past > RECENT:
        return moment.strftime("on %-d %b %Y")
    for seconds, name in UNITS:
        count = int(past.total_seconds() // seconds)
        if count >= 1:
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def took(now: Callable[[], datetime], item: Timed) -> str:
    """`12 s`, `3 min 4 s`, or nothing before the start."""
    if item.started_at is None:
        return ""
    seconds = int(((item.completed_at or now()) - item.started_at).total_seconds())
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min {seconds % 60} s"


def colors(label: Label) -> str:
    """The label's colour as background, with black or white on it, whichever reads better."""
    red, green, blue = (int(label.color[i : i + 2], 16) for i in (0, 2, 4))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 150
    return f"background:#{label.color};color:{'#000' if bright else '#fff'}"


def log_text(lines: Sequence[str]) -> str:
    """A step's log for reading: without time stamps, with the runner's marks in words."""
    out = []
    for line in lines:
        text = LOG_TIME.sub("", line)
        if text == "##[endgroup]":
            continue
        text = text.replace("##[group]", "▾ ", 1).replace("##[error]", "Error: ", 1)
        out.append(text.replace("##[warning]", "Warning: ", 1))
    return "\n".join(out)


def words(event: IssueEvent) -> str:
    """What an event says after the actor's name; a label is drawn behind it."""
    data = event.data

    def login(key: str) -> str:
        person = data.get(key)
        return str(person["login"]) if isinstance(person, dict) else "somebody"

    match event.event:
        case "labeled":
            return "added"
        case "unlabeled":
            return "removed"
        case "assigned":
            return f"assigned {login('assignee')}"
        case "unassigned":
            return f"unassigned {login('assignee')}"
        case "renamed":
            change = data.get("rename")
            old, new = (change["from"], change["to"]) if isinstance(change, dict) else ("", "")
            return f"changed the title from “{old}” to “{new}”"
        case "closed":
            reason = data.get("state_reason")
            return "closed this as not planned" if reason == "not_planned" else "closed this"
        case "merged":
            return f"merged this as {(event.commit_id or '')[:7]}"
        case "ready_for_review":
            return "marked this as ready for review"
        case "convert_to_draft":
            return "made this a draft"
        case other:
            return f"{other.replace('_', ' ')} this"


class Pages:
    """Renders templates to replies."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """`now` is the hub's clock: ages on the pages follow it."""
        self._templates = Environment(
            loader=PackageLoader("bot.localhub"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "iso": iso,
            "ago": partial(ago, now),
            "took": partial(took, now),
            "colors": colors,
            "log_text": log_text,
            "emoji": EMOJI.__getitem__,
        }

    def render(self, template: str, **values: object) -> Reply:
        """One page, status 200."""
        defaults: dict[str, object] = {"repo": None, "tab": "", "tabs": [], "refresh": None}
        text = self._templates.get_template(template).render(defaults | values)
        return Reply(200, text.encode(), PAGE_HEADERS)

    def style(self) -> Reply:
        """The style sheet."""
        loader = self._templates.loader
        assert loader is not None
        text = loader.get_source(self._templates, "style.css")[0]
        return Reply(200, text.encode(), {"Content-Type": "text/css; charset=utf-8"})

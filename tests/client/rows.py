"""Builders: rows, files and views for tests of decisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from bot.client.backlog_file import File, Ours, Row
from bot.client.backlog_view import View
from bot.domain.front_matter import from_plan
from bot.domain.mirror import ThoughtText
from bot.domain.model import Problem
from bot.domain.thoughts import Thought
from tests.client.clones import NOW

TITLES = {"add-search": "Add search", "fix-login": "Fix login", "new-colours": "New colours"}


def folder(slug: str = "add-search") -> str:
    return f"tgs/thoughts/abc123-{slug}"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(slug: str = "add-search", status: str = "queued", *, tgs: dict[str, Any] | None = None, **fields: Any) -> Row:
    """A row that fits its folder; a claimed one has its claim, a completed one its time."""
    given: dict[str, Any] = {"dir": folder(slug), "title": TITLES.get(slug, slug), "added_at": NOW}
    if status == "in_progress":
        given |= {"claimed_by": "ada", "claimed_at": NOW, "started_at": NOW}
        tgs = {"token_sha256": "0" * 64, "attempt": "a1", "fence": 1} | (tgs or {})
    if status == "completed":
        given |= {"completed_at": NOW}
    return Row(**(given | {"status": status} | fields), tgs=Ours(**(tgs or {})))


def file(*rows: Row, **fields: Any) -> File:
    return File(thoughts=rows, **fields)


def text(slug: str = "add-search", *, built: bool = False, plan: str = "# Plan\n") -> ThoughtText:
    thought = Thought(folder(slug), "abc123", slug, "r" * 40, "p" * 40, built)
    return ThoughtText(thought, from_plan(plan, thought.plan_path))


def view(backlog: File, *texts: ThoughtText, problems: dict[str, Problem] | None = None, **fields: Any) -> View:
    return View("c" * 40, backlog, {one.thought.dir: one for one in texts}, problems or {}, **fields)

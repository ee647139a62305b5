"""The account at the end of a history: everything has come to an end, or waits for somebody who is named.

Judged like the oracle: by the raw tables and by GitHub. A dry judgement says only whether something is still open.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bot.simulate.process import START
from bot.simulate.things import BOT, KEY

if TYPE_CHECKING:
    from bot.simulate.history import History

AT_REST = frozenset({"proposed", "done", "failed", "cancelled"})
"""States in which nothing is expected of the bot: a maintainer's word is."""


def judge(history: History, *, dry: bool = False) -> list[tuple[str, object, str]]:
    """What does not add up, as (invariant, subject, words)."""
    found = [*_items(history), *_commands(history), *_pulls(history), *_nothing_lost(history)]
    if not dry:
        for invariant, subject, what in found:
            history.oracle.broken(invariant, subject, what)
    return found


def _items(history: History) -> list[tuple[str, object, str]]:
    found: list[tuple[str, object, str]] = []
    hub, disk = history.hub, history.disk
    live = {row["number"]: row for row in disk.rows("SELECT * FROM attempts WHERE phase <> 'ended'")}
    for item in disk.rows("SELECT * FROM items"):
        number, state = item["number"], item["state"]
        issue = hub.issues[number]
        if number in live:
            found.append(("ends", number, f"#{number} is still worked on ({live[number]['phase']})"))
        elif state not in AT_REST and not _waits_for_somebody(item):
            found.append(("ends", number, f"#{number} is still {state}: {item['waiting']}"))
        if issue.deleted:
            continue
        shown = {name for name in issue.now.labels if name.startswith("tgs:")}
        states = shown & {f"tgs:{name}" for name in STATES}
        if not issue.now.open and state not in {"done", "failed", "cancelled"}:
            found.append(("I4", number, f"#{number} is closed and its item is {state}"))
        if issue.now.open and states != {f"tgs:{state}"} and not _touched_by_people(history, number):
            found.append(("shown", number, f"#{number} shows {sorted(states)} and is {state}"))
    return found


LISTENS_AFTER = 300.0
"""Seconds within which a bot that begins has got to know its repositories; commands before that are nobody's."""

STATES = ("proposed", "ready", "in-progress", "needs-input", "in-review", "done", "failed", "cancelled")


def _touched_by_people(history: History, number: int) -> bool:
    """People changed a state label here; the bot puts such a label right once and then leaves it alone."""
    names = {f"tgs:{name}" for name in STATES} - {"tgs:ready"}
    issue = history.hub.issues[number]
    by_people = any(event.label in names and event.actor != BOT for event in issue.events)
    # Somebody without the role set or took the ready label while it meant something else.
    by_hand = sum(1 for event in issue.events if event.label == "tgs:ready" and event.actor != BOT)
    # A plan's issue is opened ready by the bot, any other one is made ready once by somebody who may.
    return by_people or by_hand > (0 if issue.now.author == BOT else 1)


WAITS_FOR_SOMEBODY = frozenset({"budget", "depends_on", "plan", "question", "runs_today"})
"""Reasons that end with somebody's word, another item or another day, and name which."""


def _waits_for_somebody(item: dict[str, Any]) -> bool:
    return any(reason["code"] in WAITS_FOR_SOMEBODY for reason in json.loads(item["waiting"]))


def _commands(history: History) -> list[tuple[str, object, str]]:
    """Every command has been answered, and none is open."""
    found: list[tuple[str, object, str]] = []
    hub = history.hub
    for row in history.disk.rows("SELECT id, number, verb FROM intents WHERE settled_at IS NULL"):
        found.append(("answered", row["id"], f"the command {row['verb']} on #{row['number']} is still open"))
    listening = _listens_since(history)
    known = {row["comment_id"] for row in history.disk.rows("SELECT comment_id FROM intents")}
    for comment in history.people.commands:
        issue = hub.issues[comment.number]
        if comment.deleted or issue.deleted or _on_gone(history, comment.number):
            continue
        lost_at = history.oracle.lost_at
        if lost_at is not None and (comment.created_at - START).total_seconds() < lost_at + LISTENS_AFTER:
            continue
        if comment.id not in known:
            if (comment.created_at - START).total_seconds() > listening:
                found.append(("lost", comment.id, f"“{comment.body}” on #{comment.number} was never heard"))
            continue
        reacted = any(by == BOT.id for by, _ in comment.reactions)
        said = f"comment:{comment.id}:"
        replied = any(said in other.body for other in issue.comments if other.author.id == BOT.id)
        if not reacted and not replied:
            found.append(("answered", comment.id, f"“{comment.body}” on #{comment.number} was not answered"))
    return found


def _listens_since(history: History) -> float:
    """When the bot says it began to listen, which must be soon; in seconds. What was said before that is nobody's."""
    said = [row["listening_since"] for row in history.disk.rows("SELECT listening_since FROM repos")]
    return min([LISTENS_AFTER, *(float(at) / 1e6 - START.timestamp() for at in said if at is not None)])


def _on_gone(history: History, number: int) -> bool:
    """Commands on the pull request of an item whose issue was deleted have nobody left to answer for."""
    pull = history.hub.pulls.get(number)
    if pull is None:
        return False
    closes = re.match(r"Closes #(\d+)", pull.now.body)
    return closes is not None and history.hub.issues[int(closes[1])].deleted


def _pulls(history: History) -> list[tuple[str, object, str]]:
    """One pull request at a time for a branch; one for each attempt that was published by a run or worker."""
    found: list[tuple[str, object, str]] = []
    by_marker: dict[str, list[int]] = defaultdict(list)
    for number, pull in history.hub.pulls.items():
        for marker in re.findall(r"<!-- tgs:pull (\S+) -->", pull.now.body):
            by_marker[marker].append(number)
    for marker, numbers in by_marker.items():
        if len(numbers) > 1:
            found.append(("once", marker, f"the pull requests {numbers} were opened for one attempt ({marker})"))
    published = history.disk.rows("SELECT * FROM attempts WHERE outcome = 'published' AND worker_kind <> 'external'")
    for attempt in published:
        if "no_code" in (attempt["report"] or "") and '"no_code":null' not in (attempt["report"] or ""):
            continue
        branch = attempt["branch"]
        if not any(pull.now.head_ref == branch for pull in history.hub.pulls.values()):
            found.append(("once", attempt["id"], f"{attempt['id']} was published and has no pull request"))
    return found


def _nothing_lost(history: History) -> list[tuple[str, object, str]]:
    """Every issue that a maintainer made ready is an item; every plan has one issue."""
    found: list[tuple[str, object, str]] = []
    known = {row["number"] for row in history.disk.rows("SELECT number FROM items WHERE repo = ?", KEY.repo)}
    for number, issue in history.hub.issues.items():
        wanted = not issue.deleted and issue.now.open and "tgs:ready" in issue.now.labels
        if wanted and number not in known and not _is_setup(history, number):
            found.append(
                (
                    "I13" if history.oracle.lost_at is not None else "lost",
                    number,
                    f"#{number} wears tgs:ready and the ledger does not know it",
                )
            )
    plans: dict[str, list[int]] = defaultdict(list)
    for number, issue in history.hub.issues.items():
        if issue.deleted and number not in known:
            continue  # before the ledger knew of it, or the ledger was lost: nobody can tell that it was the plan's
        for marker in re.findall(r"<!-- tgs:mirror (\S+) -->", issue.now.body):
            plans[marker].append(number)
    for marker, numbers in plans.items():
        if len(numbers) > 1:
            found.append(("once", marker, f"the plan {marker} has the issues {numbers}"))
    return found


def _is_setup(history: History, number: int) -> bool:
    return "<!-- tgs:setup -->" in history.hub.issues[number].now.body

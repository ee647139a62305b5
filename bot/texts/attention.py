"""New comments that nobody asked for: written only when a person must act, each saying who and what.

Promise: they mention the person who approved the work, never the issue's author, and name the next step.
"""

from __future__ import annotations

import difflib

from bot.domain.labels import parse_state
from bot.domain.model import Item
from bot.domain.notes import Note
from bot.domain.policy_model import Policy
from bot.domain.sanitise import code_block, code_span, for_inline, visible
from bot.texts import failures
from bot.texts.phrases import address, at, detail, failure_of, issue, listing, name, run_link

MAX_DIFF_LINES = 60
"""Lines of a shown difference; the issue's own history has the rest."""


def _to(login: str, text: str) -> str:
    return address(login, text)


def failed(note: Note, item: Item | None, policy: Policy, html_url: str, full_name: str) -> str:
    """The item failed and stays so until somebody acts."""
    what, remedy = failures.said(note.get("reason"))
    reason = failure_of(note.get("reason"))
    why = ""
    if reason is not None and item is not None:
        why = f" {failures.why_not_again(reason, item.attempts_burnt, policy.attempts)}"
    run = f" See the {run_link(html_url, full_name, note.get('run'))}." if note.get("run").isdigit() else ""
    parts = [_to(note.get("approver"), f"this did not work out. {what}{why}{run}"), remedy]
    if note.get("detail"):
        parts.insert(1, detail(note.get("detail")))
    return "\n\n".join(parts)


def ci_failed(note: Note) -> str:
    """Checks failed and the bot does not try to mend them by itself."""
    checks = listing(note.get("checks").split(", "))
    sha = f" at {code_span(note.get('sha'), 12)}" if note.get("sha") else ""
    return _to(
        note.get("approver"),
        f"checks failed on {_pull(note)}{sha}{f': {checks}' if checks else ''}. Mend the branch by hand, or use "
        "`/tgs retry <notes>` after closing the pull request to have it built again.",
    )


def review_wanted(note: Note) -> str:
    """The pull request is ready for people."""
    checks = "All checks passed." if note.get("checks") == "passed" else "The repository has no checks for it."
    return _to(
        note.get("approver"),
        f"{_pull(note)} is ready for review. {checks} `/tgs merge` merges it; closing it calls it off.",
    )


def pull_closed(note: Note) -> str:
    return (
        f"{_pull(note)} was closed without a merge, so this is called off. "
        "`/tgs retry <notes>` builds it again; saying why it was closed helps the next attempt."
    )


def label_refused(note: Note) -> str:
    """A person's label did not count."""
    label = code_span(note.get("label"), 50)
    match note.get("why"):
        case "role":
            has = note.get("has")
            have = f"you have {for_inline(has)}" if has and has != "none" else "you have no role in this repository"
            needs = for_inline(note.get("needs", "write"))
            return _to(
                note.get("actor"), f"the label {label} needs the role {needs} or higher; {have}. It has no effect."
            )
        case "bot":
            who = f"{name(note.get('actor'))} is a bot (id {for_inline(note.get('id'))})"
            return (
                f"The label {label} has no effect: {who}. "
                "To let it start work, list that number under `bots` in `.tgs/policy.yml`. I take the label off twice; "
                "after that it may stay and still means nothing."
            )
        case "incident":
            return f"The label {label} has no effect: this issue tells of what stops the bot, and is no work for it."
        case "unreadable":
            why = "its history could not be read"
        case _:
            why = "GitHub does not say who set it"
    return f"The label {label} has no effect, because {why}. A maintainer can set it again or use `/tgs start`."


def label_put_back(note: Note) -> str:
    """A state label was changed by hand; it shows what is, it does not decide it."""
    label = code_span(note.get("label"), 50)
    state = parse_state(note.get("label"))
    shown = f" It shows that this is {state.value.replace('-', ' ')}." if state else ""
    return (
        f"I put the label {label} back once.{shown} State labels show where things stand; to change it, use a command "
        "(`/tgs start`, `/tgs stop`, `/tgs retry`) or close the issue. If it is changed again, I leave it as it is."
    )


def approval_void(note: Note) -> str:
    """Somebody without the role changed the text around the approval; shows the difference."""
    editor, when = name(note.get("editor")), at(note.get("at"))
    parts = [
        _to(
            note.get("approver") if note.get("approver") != "policy" else "",
            f"{editor}, who may not start work here, changed the text at {when}, so the approval does not hold. "
            "Read the present text, then add the label `tgs:ready` again or use `/tgs approve`.",
        )
    ]
    difference = _difference(note)
    if difference:
        parts.append(difference)
    return "\n\n".join(parts)


def _difference(note: Note) -> str:
    before = f"{note.get('old_title')}\n\n{note.get('old_body')}".strip()
    after = f"{note.get('new_title')}\n\n{note.get('new_body')}".strip()
    if not before or not after or before == after:
        return ""
    # Hidden characters are what such an edit may be about; they are named instead of shown.
    left, right = (_spelled_out(text).split("\n")[:2_000] for text in (before, after))
    lines = list(difflib.unified_diff(left, right, "approved", "now", lineterm="", n=2))
    if len(lines) > MAX_DIFF_LINES:
        lines = [*lines[:MAX_DIFF_LINES], f"… {len(lines) - MAX_DIFF_LINES} more lines"]
    return code_block("\n".join(line[:300] for line in lines), 20_000, "diff")


def _spelled_out(text: str) -> str:
    return "".join(char if char == "\n" or visible(char) == char else f"<U+{ord(char):04X}>" for char in text)


def plan_changed(note: Note) -> str:
    return (
        f"The plan in {code_span(note.get('dir'), 150)} changed, so its approval does not hold any more. Read it, then "
        "add the label `tgs:ready` again or use `/tgs approve`."
    )


def fuse_blown(note: Note) -> str:
    """The bot wrote too much about one item and has stopped."""
    limit = for_inline(note.get("limit", "many"))
    return (
        f"I stopped here: within an hour I changed this issue more than {limit} times, which no work needs. Something "
        "undoes what I do, or asks for it again and again: another bot, a script, or a mistake of mine. Look at the "
        "issue's history for it. Nothing more is shown, started or merged here until somebody uses `/tgs sync` (go on) "
        "or `/tgs retry`; what runs may end, with its pull request."
    )


def isolation(note: Note) -> str:
    del note
    return (
        "The worker could not run the agent apart from itself, and the policy does not allow that "
        "(`allow_unisolated: false`). Use another worker, or change the policy if you accept the risk."
    )


def _pull(note: Note) -> str:
    return issue(note.get("pull")) if note.get("pull") else "the pull request"

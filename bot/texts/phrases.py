"""Small pieces of sentences that all texts share: people, links, times, lists.

Promise: foreign text (titles, names, reasons, log lines) goes through here or the sanitiser before it stands in a text.
Links are built from the configured address of GitHub and numeric parts, never from foreign text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from bot.domain.model import FailureReason, Problem, ThoughtRef
from bot.domain.sanitise import ZWSP, code_block, code_span, for_comment, for_inline
from bot.domain.thoughts import PLAN, RESEARCH


def mention(login: str | None) -> str:
    """`@login`, which notifies; a name that is no account name is shown without notifying anybody."""
    if not login:
        return ""
    return f"@{login}" if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}", login) else code_span(login, 50)


def address(login: str | None, text: str) -> str:
    """A sentence to one person: `@login: Sentence.`, or the sentence alone when there is nobody to address."""
    sentence = text[:1].upper() + text[1:]
    who = mention(login)
    return f"{who}: {sentence}" if who else sentence


def name(login: str | None) -> str:
    """A person's name without notifying them."""
    return code_span(login, 50) if login else "somebody"


def at(moment: datetime | str) -> str:
    """A time for people, in UTC. A text that is no time is shown literally."""
    if isinstance(moment, str):
        try:
            return at(datetime.fromisoformat(moment))
        except ValueError:
            return code_span(moment, 40)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def issue(number: object) -> str:
    """`#12`; anything that is no number is shown literally."""
    text = str(number)
    return f"#{text}" if text.isdigit() else code_span(text, 20)


def run_link(html_url: str, full_name: str, run: object, words: str = "run") -> str:
    """A link to an Actions run; only the words when the run has no number yet."""
    text = str(run)
    return f"[{words}]({html_url.rstrip('/')}/{full_name}/actions/runs/{text})" if text.isdigit() else words


def file_link(html_url: str, full_name: str, sha: str, path: str, words: str) -> str:
    """A link to a file at a pinned commit; where that is not known, at the newest of the default branch."""
    safe = re.sub(r"[^A-Za-z0-9._/-]", "", path)
    return f"[{words}]({html_url.rstrip('/')}/{full_name}/blob/{re.sub(r'[^0-9a-f]', '', sha) or 'HEAD'}/{safe})"


def plan_links(html_url: str, full_name: str, thought: ThoughtRef) -> tuple[str, str]:
    """Links to plan and research as they were approved."""
    plan, research = (
        file_link(html_url, full_name, thought.commit_sha, f"{thought.dir}/{file}", words)
        for file, words in ((PLAN, "plan"), (RESEARCH, "research"))
    )
    return plan, research


def compare_link(html_url: str, full_name: str, branch: str, words: str) -> str:
    """A link to a branch."""
    safe = re.sub(r"[^A-Za-z0-9._/-]", "", branch)
    return f"[{words}]({html_url.rstrip('/')}/{full_name}/tree/{safe})"


def reason_given(text: str | None) -> str:
    """`: reason` when one was given."""
    return f": {for_inline(text)}" if text and text.strip() else ""


def listing(names: Iterable[str], limit: int = 5) -> str:
    """Foreign names as code, the first few, and how many more there are."""
    every = [entry for entry in names if entry]
    shown = ", ".join(code_span(entry, 80) for entry in every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def detail(text: str) -> str:
    """A few lines that an agent or a machine wrote, folded as a block; nothing when there are none."""
    return code_block(text, 2_000, "text") if text.strip() else ""


def details(summary: str, body: str) -> str:
    """A collapsed part."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def problem(entry: Problem) -> str:
    """A problem as a list entry: what, and what to do."""
    return f"- {trouble(entry.what, entry.remedy)}"


def trouble(what: str, remedy: str) -> str:
    """`What is wrong. What to do.` on one line. Both are our own Markdown, which quotes foreign text as code."""
    sentence = f"{what[:1].upper()}{what[1:].rstrip('.')}. {remedy.rstrip('.')}".strip()
    sentence = sentence if sentence.endswith(".") else f"{sentence}."
    # A value out of somebody's file may stand in it as it is; it shall not become a link either.
    return " ".join(for_comment(sentence, 1_000).split()).replace("](", f"]{ZWSP}(")


def failure_of(value: str) -> FailureReason | None:
    """The failure reason with this value; None when another version wrote it."""
    try:
        return FailureReason(value)
    except ValueError:
        return None


def lower(text: str) -> str:
    """A sentence as it stands after a colon."""
    return text[:1].lower() + text[1:]

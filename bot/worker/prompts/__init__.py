"""The prompts of the agents: files in this folder, filled in with an item's context.

Promise: what people wrote stands between marks that only this attempt knows, and is said to be data. A prompt has a
version, the SHA-256 of its file, which is reported with every attempt, so that results can be compared by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Final

from bot.domain.bundle import ContextBundle
from bot.domain.doubts import MAX_FINDINGS
from bot.worker.look import Look

IMPLEMENT: Final = "implement"
"""Work on an item from its beginning."""
CONTINUE: Final = "continue"
"""Go on with a conversation that was interrupted."""
MOVED: Final = "moved"
"""What an agent is told whose conversation goes on in a fresh checkout."""
SECOND_OPINION: Final = "second_opinion"
"""Judge a change that another agent made."""

Quote = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template. `version` is the SHA-256 (hex) of its file."""

    name: str
    text: str
    version: str


@cache
def prompt(name: str) -> Prompt:
    """The prompt of that name. Raises FileNotFoundError for one that is not there."""
    raw = files(__package__).joinpath(f"{name}.md").read_bytes()
    return Prompt(name, raw.decode("utf-8"), hashlib.sha256(raw).hexdigest())


def filled(template: Prompt, context: ContextBundle) -> str:
    """The prompt for this attempt. Empty parts leave no empty headings."""
    mark = hashlib.sha256(f"{context.attempt}:{template.name}".encode()).hexdigest()[:16]

    def quoted(text: str) -> str:
        return f'<text id="{mark}">\n{text.strip()}\n</text id="{mark}">'

    values = {
        "repository": context.repository.full_name,
        "branch": context.branch,
        "issue": str(context.issue),
        "mark": mark,
        "item": quoted(f"{context.title}\n\n{context.body}"),
        "plan": _plan(context),
        "acceptance": _acceptance(context),
        "answers": _answers(context, quoted),
        "failures": _failures(context, quoted),
        "notes": f"\n## Notes of the maintainers\n\n{quoted(context.notes)}\n" if context.notes else "",
        "protected": ", ".join(f"`{path}`" for path in (".github/", ".tgs/", *context.protected_paths)),
    }
    return Template(template.text).substitute(values).strip() + "\n"


def filled_look(template: Prompt, context: ContextBundle, look: Look) -> str:
    """The prompt for a second opinion. Its mark is drawn for this look: who made the change cannot have known it."""

    def quoted(text: str) -> str:
        return f'<text id="{look.mark}">\n{text.replace(look.mark, "").strip()}\n</text id="{look.mark}">'

    where = "" if not look.cut else f"\n\nIt is longer than this; all of it is in the file `{look.file}`."
    plan = f"\nThe plan as it was approved:\n\n{quoted(look.plan)}\n" if look.plan.strip() else ""
    checks = "\n\n".join(f"{check.command}\nsucceeded; its last lines:\n{check.said}" for check in look.checks)
    values = {
        "repository": context.repository.full_name,
        "issue": str(context.issue),
        "mark": look.mark,
        "item": quoted(f"{context.title}\n\n{context.body}"),
        "plan": plan,
        "answers": _answers(context, quoted),
        "touched": quoted("\n".join(look.touched)) if look.touched else "None in particular: the plan asked for this.",
        "diff": quoted(look.diff) + where,
        "checks": f"\n## What the checks said\n\n{quoted(checks)}\n" if look.checks else "",
        "most": str(MAX_FINDINGS),
    }
    return Template(template.text).substitute(values).strip() + "\n"


def _plan(context: ContextBundle) -> str:
    thought = context.thought
    if thought is None:
        return ""
    return (
        f"\n## The plan\n\nRead `{thought.plan_path}` and `{thought.research_path}` first and follow them. When you "
        f"are done, write `{thought.dir}/implementation.md`: what was built, where, how it was checked, and what "
        "differs from the plan. The work is not accepted without that file. Change neither the plan nor the research.\n"
    )


def _acceptance(context: ContextBundle) -> str:
    commands = dict.fromkeys((*context.acceptance, *context.spec.acceptance))
    if not commands:
        return ""
    return "\n## Checks\n\nThese commands must succeed at the end:\n\n" + "".join(f"- `{c}`\n" for c in commands)


def _answers(context: ContextBundle, quoted: Quote) -> str:
    if not context.answers:
        return ""
    pairs = "\n\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in context.answers)
    return f"\n## Questions of earlier attempts and what the maintainers answered\n\n{quoted(pairs)}\n"


def _failures(context: ContextBundle, quoted: Quote) -> str:
    if not context.previous_failures:
        return ""
    told = "\n".join(
        f"Attempt {failure.number} ended with {failure.reason}. {failure.detail}".strip()
        for failure in context.previous_failures
    )
    return f"\n## Why earlier attempts failed\n\n{quoted(told)}\n"

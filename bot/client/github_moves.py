"""What a session writes on issues: labels, the assignee, new issues, options in their text.

Promise: GitHub's permissions decide; where the token cannot, the error says so and what right is missing. What was
written is compared with what GitHub answers: labels of people who may not label, and assignees who cannot be assigned,
are dropped by GitHub without an error. Everything here may be repeated.

Race: two people who add one thought at the same moment make two issues; `validate` finds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import yaml

from bot.client.backlog import Addition, Ticket
from bot.client.github_reading import Project
from bot.domain import labels
from bot.domain.facts import IssueFacts
from bot.domain.front_matter import from_issue
from bot.domain.labels import IntentLabel, state_label
from bot.domain.mirror import ThoughtText
from bot.domain.model import ItemState, RepoKey
from bot.domain.repository import RepoRecord
from bot.errors import Conflict, Forbidden, GitHubError, Invalid, NotFound, Refused, UserError
from bot.protocols.github import GitHub, Visible, VisibleOutcome
from bot.texts import markers
from bot.texts.mirror import MirrorInput, mirror_body, mirror_title

LABEL_RIGHTS: Final = "It takes the role triage or more, and for a fine-grained token the permission `issues: write`."
CLAIM_RIGHTS: Final = (
    "A claim is a git ref: it takes the role write or more, and for a fine-grained token the permissions "
    "`contents: write` and `issues: write`."
)
_BLOCK: Final = re.compile(r"^```ya?ml tgs[^\n]*\n.*?^```[^\S\n]*$\n*", re.MULTILINE | re.DOTALL | re.IGNORECASE)


@contextmanager
def rights(what: str, needs: str) -> Iterator[None]:
    """Says in words that the token may not. GitHub hides behind 404 what a token may not write."""
    try:
        yield
    except (Forbidden, NotFound) as error:
        raise Refused(f"GitHub does not let your token {what} ({error.message}).", needs) from None


class Moves:
    """Writes on the issues of one repository."""

    def __init__(self, github: GitHub, key: RepoKey, html_url: str) -> None:
        self._github = github
        self._key = key
        self._html_url = html_url

    async def show(
        self, facts: IssueFacts, state: ItemState | None, *, assign: str | None = None, unassign: str | None = None
    ) -> VisibleOutcome:
        """Exactly this state label (None: no one), and the assignee. Raises Refused when GitHub takes no label."""
        wanted = state_label(state) if state is not None else None
        shown = {state_label(known) for known in labels.states_shown(facts.labels)}
        visible = Visible(
            issue_node=facts.node_id,
            number=facts.key.number,
            add_labels=(wanted,) if wanted is not None and wanted not in shown else (),
            remove_labels=tuple(sorted(shown - {wanted})),
            assign=assign,
            unassign=unassign,
        )
        what = f"label #{facts.key.number}"
        with rights(what, LABEL_RIGHTS):
            outcome = await self._github.show(self._key, visible)
        failed = dict(outcome.failed)
        for part in ("add_labels", "remove_labels"):
            if part in failed:
                raise Refused(f"GitHub does not let your token {what} ({failed[part]}).", LABEL_RIGHTS)
        return outcome

    async def close(self, facts: IssueFacts, *, reason: str) -> None:
        if facts.open:
            with rights(f"close #{facts.key.number}", LABEL_RIGHTS):
                await self._github.edit_issue(facts.key, open_=False, reason=reason)

    async def comment(self, facts: IssueFacts, body: str) -> None:
        with rights(f"comment on #{facts.key.number}", "It takes the permission `issues: write`."):
            await self._github.create_comment(facts.key, body)

    async def mirrored(self, project: Project, text: ThoughtText, addition: Addition) -> IssueFacts:
        """A new issue for a thought, ready."""
        record = RepoRecord(self._key, project.view.full_name, 0, project.view.default_branch, project.view.private)
        view = MirrorInput(
            record, text.thought.ref(project.head), addition.title or text.title, ItemState.READY, self._html_url
        )
        plan = text.front_matter.matter if text.front_matter is not None else None
        priority = addition.priority if addition.priority is not None else (plan.priority if plan is not None else None)
        body = with_options(mirror_body(view), _written(addition, priority))
        return await self._create(mirror_title(view), body, priority)

    async def ticket(self, ticket: Ticket, addition: Addition) -> IssueFacts:
        """A new issue with the ticket's text and its fields, ready."""
        given = ticket.fields.get("priority")
        priority = addition.priority if addition.priority is not None else given if isinstance(given, int) else None
        fields = {name: value for name, value in ticket.fields.items() if name not in {"priority", "id"}}
        body = with_options(ticket.body, {**fields, **_written(addition, None)})
        return await self._create(addition.title or ticket.title, body, _only_labelled(priority))

    async def _create(self, title: str, body: str, priority: int | None) -> IssueFacts:
        wished = (state_label(ItemState.READY), *_priority_labels(priority))
        with rights("open an issue", LABEL_RIGHTS):
            made = await self._github.create_issue(self._key, title, body, wished)
        if state_label(ItemState.READY) not in made.labels:
            raise Refused(
                f"#{made.key.number} was opened, but GitHub took no labels from your token, so it is not queued.",
                LABEL_RIGHTS,
            )
        return made

    async def options(self, facts: IssueFacts, addition: Addition, *, thought: bool) -> bool:
        """Takes over the options that were given. Whether anything changed."""
        changed = False
        if addition.title is not None and addition.title != facts.title:
            with rights(f"rename #{facts.key.number}", LABEL_RIGHTS):
                await self._github.edit_issue(facts.key, title=addition.title)
            changed = True
        written = _written(addition, addition.priority if thought else _only_labelled(addition.priority))
        body = with_options(facts.body, written) if written else facts.body
        if body != facts.body:
            with rights(f"change the text of #{facts.key.number}", LABEL_RIGHTS):
                await self._github.edit_issue(facts.key, body=body)
            changed = True
        if addition.priority is not None:
            wanted = set(_priority_labels(addition.priority))
            there = facts.labels & {IntentLabel.PRIORITY_HIGH.value, IntentLabel.PRIORITY_LOW.value}
            with rights(f"label #{facts.key.number}", LABEL_RIGHTS):
                for name in sorted(there - wanted):
                    await self._github.remove_label(facts.key, name)
                await self._github.add_labels(facts.key, sorted(wanted - there))
            changed = changed or there != wanted
        return changed


def _priority_labels(priority: int | None) -> tuple[str, ...]:
    if priority == labels.PRIORITIES["high"]:
        return (IntentLabel.PRIORITY_HIGH.value,)
    return (IntentLabel.PRIORITY_LOW.value,) if priority == labels.PRIORITIES["low"] else ()


def _only_labelled(priority: int | None) -> int | None:
    """Raises UserError for a priority that has no label: the text of an issue has no say in it."""
    if priority is not None and priority not in labels.PRIORITIES.values():
        names = ", ".join(f"{name} ({number})" for name, number in labels.PRIORITIES.items())
        raise UserError(f"GitHub alone knows no priority {priority} of an issue.", f"One of: {names}.")
    return priority


def _written(addition: Addition, priority: int | None) -> dict[str, object]:
    """The options as keys of front matter. A priority that a label says is not written."""
    found: dict[str, object] = {}
    if priority is not None:
        found["priority"] = None if _priority_labels(priority) else priority
    if addition.locks is not None:
        found["locks"] = list(addition.locks)
    if addition.depends_on is not None:
        found["depends_on"] = list(addition.depends_on)
    return found


def with_options(body: str, fields: Mapping[str, object]) -> str:
    """The text with these keys in its `yaml tgs` block; None takes a key out. Raises UserError for a broken block."""
    read = from_issue(body)
    if read.matter is None:
        raise UserError(read.errors[0].what if read.errors else "The block of settings cannot be read.", "Correct it.")
    known = read.matter.model_dump(mode="json", exclude_unset=True)
    merged = {name: value for name, value in {**known, **fields}.items() if value is not None}
    if merged == known:
        return body
    found = _BLOCK.search(body.replace("\r\n", "\n"))
    block = f"```yaml tgs\n{yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)}```\n" if merged else ""
    if found is not None:
        text = body.replace("\r\n", "\n")
        return f"{text[: found.start()]}{block}{text[found.end() :]}"
    own = [markers.write(marker.kind, marker.value) for marker in markers.read(body)]
    lines = body.rstrip().split("\n")
    words = "\n".join(lines[: len(lines) - len(own)]).rstrip()
    return "\n\n".join(part for part in (words, block.rstrip(), "\n".join(own)) if part)


REFUSALS: Final = (Forbidden, NotFound, Invalid, Conflict)
"""What GitHub answers when it will not, as opposed to when it cannot just now."""


def certain(error: GitHubError) -> bool:
    """Whether nothing happened."""
    return isinstance(error, REFUSALS) and not error.uncertain

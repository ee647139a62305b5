"""Answers to commands: what was done, that it was so already, or why not and what is needed.

Promise: every accepted command has an outcome in words, every refusal names what is needed and what the person has.
A code that is not in the tables (from another version) still gives a true, if plain, sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from bot.domain.commands import PREFIX
from bot.domain.notes import Note
from bot.domain.sanitise import code_span, for_comment, for_inline
from bot.texts.phrases import address, at, issue, listing, name, reason_given
from bot.texts.states import place

Say = Callable[[Note], str]


def _pull(note: Note) -> str:
    return issue(note.get("pull")) if note.get("pull") else "the pull request"


def _position(note: Note) -> str:
    told = note.get("position")
    return f" as {place(int(told))}" if told.isdecimal() else ""


def _stopping(note: Note) -> str:
    if note.get("now"):
        return "The agent is being stopped at once."
    return "The agent is being stopped. The status comment says when it has ended."


def _held(note: Note) -> str:
    if note.get("running"):
        return "It is on hold. The attempt that is running goes on; `/tgs stop` ends it. Nothing is merged meanwhile."
    return "It is on hold until `/tgs unhold`."


def _attempt(note: Note) -> str:
    return f" (attempt {for_inline(note.get('attempt'))})" if note.get("attempt") else ""


def _holder(note: Note) -> str:
    return "by the label" if note.get("by") == "label" else f"by {name(note.get('by'))}"


def _paused(note: Note) -> str:
    until = f" until {at(note.get('until'))}" if note.get("until") else " until `/tgs resume`"
    return (
        f"The repository is paused{until}{reason_given(note.get('reason'))}. Nothing is started or merged; "
        "attempts that are running go on."
    )


def _overtaken(note: Note) -> str:
    newer = f"{code_span('/tgs ' + note.get('newer'))} of {name(note.get('by'))}" if note.get("newer") else ""
    said = f"The newer {newer}" if newer else "A newer `/tgs pause` or `/tgs resume`"
    return f"{said} was heard before this one. Say it again if you still want it."


def _cancelled(note: Note) -> str:
    if note.get("pull"):
        return f"It is out of the queue. {_pull(note)} stays open; close it if it is not wanted."
    return "It is out of the queue. `/tgs start` takes it up again."


DONE: Final[MappingProxyType[str, Say]] = MappingProxyType(
    {
        "queued": lambda _: "It is approved and in the queue. The status comment says when it starts.",
        "expedited": lambda _: "It goes first. The status comment says when it starts, or what it waits for.",
        "stopping": _stopping,
        "cancelled": _cancelled,
        "retry_now": lambda _: "It is tried again without further waiting.",
        "held": _held,
        "unheld": lambda _: "It is no longer on hold.",
        "paused": _paused,
        "resumed": lambda _: "The repository is no longer paused.",
        "priority": lambda n: f"Its priority is {for_inline(n.get('value', '0'))} now.",
        "confirmed": lambda _: "It is approved to run. The status comment says when it starts.",
        "publishing": lambda _: "The result is pushed as it was shown, by a run of its own; nothing is built anew.",
        "steering": lambda _: "The agent hears it with its next sign of life, within a minute.",
        "steered": lambda n: f"The agent was told at {at(n.get('at'))}.",
        "steered_next": lambda _: "The attempt ended before it could be told; the next one finds it in its notes.",
        "steered_late": lambda _: (
            "The attempt ended before it could be told. `/tgs retry <notes>` tells the next one, if there shall be one."
        ),
        "budget": lambda n: f"All attempts of this issue together may cost {for_inline(n.get('amount'))} USD.",
        "locked": lambda n: f"From its next start on it has {code_span(n.get('path'))} for itself.",
        "unlocked": lambda n: f"It does not hold {code_span(n.get('path'))} any more when it starts.",
        "depends": lambda n: f"It waits for {issue(n.get('number', '?'))} to be done.",
        "independent": lambda n: f"It does not wait for {issue(n.get('number', '?'))} any more.",
        "sent_back": lambda _: "It was sent back with your notes. It needs a new approval before it can start.",
        "thoughts_released": lambda _: (
            "The plans that were here at the installation are released; they become issues now."
        ),
        "synced": lambda _: "Everything in this repository is looked at again.",
    }
)

ALREADY: Final[MappingProxyType[str, Say]] = MappingProxyType(
    {
        "queued": lambda n: f"It is in the queue already{_position(n)}.",
        "running": lambda n: f"The agent is working on it already{_attempt(n)}.",
        "under_way": lambda _: "It is under way already, and keeps its place.",
        "publishing": lambda _: "Somebody has looked at the result already, and it is being pushed.",
        "stopping": lambda _: "It is being stopped already. `/tgs stop --now` does not wait for a clean end.",
        "held": lambda n: f"It is on hold already ({_holder(n)}).",
        "not_held": lambda _: "It is not on hold.",
        "not_paused": lambda _: "The repository is not paused.",
        "priority": lambda n: f"Its priority is {for_inline(n.get('value', '0'))} already.",
        "locked": lambda n: f"{code_span(n.get('path'))} is among its locks already.",
        "not_locked": lambda n: f"{code_span(n.get('path'))} is not among its locks.",
        "depends": lambda n: f"It waits for {issue(n.get('number', '?'))} already.",
        "independent": lambda n: f"It does not wait for {issue(n.get('number', '?'))}.",
        "approved": lambda _: "It is approved already.",
        "merged": lambda _: "It is merged already.",
        "proposed": lambda _: "It is not in the queue.",
        "done": lambda _: "It is done already.",
        "failed": lambda _: "It is stopped already after a failure. `/tgs retry` starts it again.",
        "cancelled": lambda _: "It is called off already. `/tgs start` takes it up again.",
    }
)

CANNOT: Final[MappingProxyType[str, Say]] = MappingProxyType(
    {
        "closed": lambda _: "The issue is closed. Reopen it first.",
        "edited": lambda _: (
            "Somebody who may not start work has just changed the text. Read it and give the command again."
        ),
        "incident": lambda _: (
            "This issue tells of what stops the bot; it is no work for it. What to do stands in its text."
        ),
        "running": lambda _: "The agent is working on it. `/tgs stop` ends that first.",
        "proposed": lambda _: "It is not approved yet. `/tgs approve` or `/tgs start` does that.",
        "ready": lambda _: "It is in the queue already.",
        "in-progress": lambda _: "The agent is working on it.",
        "needs-input": lambda _: "The agent waits for an answer to its question first.",
        "in-review": lambda n: f"Its result waits for review in {_pull(n)}. Merge or close that first.",
        "done": lambda _: "It is done.",
        "failed": lambda _: "It is stopped after a failure. `/tgs retry` starts it again.",
        "cancelled": lambda _: "It is called off. `/tgs start` takes it up again.",
        "other_sha": lambda n: (
            f"The plan is at {code_span(n.get('sha'), 12)} now, not at the commit you named. Read it again."
        ),
        "over_policy": lambda n: (
            f"The policy allows {for_inline(n.get('limit'))} USD for an issue at most (`budgets.per_item`)."
        ),
        "public": lambda _: "Costs are not shown on public repositories.",
        "itself": lambda _: "An issue cannot wait for itself.",
        "too_many": lambda n: f"There would be more than {for_inline(n.get('limit', '50'))}; take one away first.",
        "nobody_hears": lambda _: "No agent is at work on it. `/tgs retry <notes>` tells the next one something.",
        "too_much_said": lambda n: f"{for_inline(n.get('limit', '20'))} sentences wait for the agent already.",
        "nothing_to_look_at": lambda _: "No result waits here for somebody to look at it.",
        "no_question": lambda n: f"The agent has no question {for_inline(n.get('number', ''))} here that waits.",
        "overtaken": _overtaken,
        "past_date": lambda n: f"{at(n.get('until'))} is in the past.",
    }
)

MERGE_REFUSED: Final[MappingProxyType[str, Say]] = MappingProxyType(
    {
        "no_pull": lambda _: "there is no open pull request of the bot for this issue.",
        "paused": lambda _: "the repository is paused. `/tgs resume` ends that.",
        "held": lambda _: "the issue is on hold. `/tgs unhold` ends that.",
        "ci_pending": lambda n: f"the checks of {_pull(n)} have not finished. Give the command again when they have.",
        "ci_failed": lambda n: f"checks of {_pull(n)} failed: {listing(n.get('checks').split(', ')) or 'see there'}.",
        "conflict": lambda n: (
            f"{_pull(n)} conflicts with its base. `/tgs retry` builds it again, or resolve it by hand."
        ),
        "github": lambda n: (
            f"GitHub refused to merge {_pull(n)}: {for_inline(n.get('message'), 300) or 'no reason given'}"
        ),
    }
)


def _to(note: Note, text: str) -> str:
    return address(note.get("actor"), text)


def done(note: Note) -> str:
    """A command was carried out."""
    words = DONE.get(note.get("what"))
    return _to(note, words(note) if words else "Done.")


def already(note: Note) -> str:
    """Nothing had to be done."""
    words = ALREADY.get(note.get("what"))
    return _to(note, words(note) if words else "It is so already.")


def cannot(note: Note) -> str:
    """The state of things does not allow it."""
    words = CANNOT.get(note.get("why"))
    why = words(note) if words else "The issue is not in a state that allows it."
    # What was overtaken is possible still; its author may say so.
    outcome = "was not done" if note.get("why") == "overtaken" else "is not possible now"
    return _to(note, f"`{PREFIX} {_verb(note)}` {outcome}. {why}")


def denied(note: Note) -> str:
    """The person may not: what is needed, what they have."""
    has = note.get("has")
    have = f"you have {for_inline(has)}" if has and has != "none" else "you have no role in this repository"
    needs = for_inline(note.get("needs", "write"))
    return _to(note, f"`{PREFIX} {_verb(note)}` needs the role {needs} or higher; {have}. Nothing was done.")


def role_unreadable(note: Note) -> str:
    return _to(
        note,
        f"your role in this repository could not be read, so `{PREFIX} {_verb(note)}` was not run. Try again later.",
    )


def not_understood(note: Note) -> str:
    return _to(note, f"{for_comment(note.get('error'), 1_000)} `{PREFIX} help` lists the commands.")


def not_available(note: Note) -> str:
    return _to(note, f"`{PREFIX} {_verb(note)}` is not available yet in this version. `{PREFIX} help` lists what is.")


def not_tracked(note: Note) -> str:
    if note.get("on") == "pull":
        return _to(note, "commands count on issues and on the bot's own pull requests; nothing was done.")
    return _to(note, "the bot does not work on this issue. `/tgs start` or the label `tgs:ready` changes that.")


def edited_command(note: Note) -> str:
    return _to(note, "commands run only from new comments; an edited one runs nothing. Write it as a new comment.")


def too_old(note: Note) -> str:
    return _to(
        note,
        f"`{PREFIX} {_verb(note)}` was written when nobody was listening, and much may have changed since. Nothing was "
        "done. Write it again if you still want it.",
    )


def comment_changed(note: Note) -> str:
    return _to(note, "your comment was changed before its command was run, so nothing was done. Write it again.")


def merge_refused(note: Note) -> str:
    words = MERGE_REFUSED.get(note.get("why"))
    return _to(note, f"I did not merge: {words(note) if words else 'it is not ready to merge.'}")


def merged(note: Note) -> str:
    return _to(note, f"{_pull(note)} is merged.")


def cost(note: Note) -> str:
    """What the issue has cost, against its ceiling, and what the repository has cost today."""
    reserved = (
        f", {for_inline(note.get('reserved'))} of it set aside for the attempt under way"
        if note.get("reserved")
        else ""
    )
    return _to(
        note,
        f"this issue has cost {for_inline(note.get('spent', '0.00'))} of {for_inline(note.get('limit', '?'))} USD"
        f"{reserved}. All issues of this repository today (UTC): {for_inline(note.get('today', '0.00'))} of "
        f"{for_inline(note.get('day_limit', '?'))} USD.",
    )


def next_item(note: Note) -> str:
    if note.get("count", "0") == "0" or not note.get("number"):
        return "The queue is empty. The label `tgs:ready` or `/tgs start` puts an issue into it."
    count = for_inline(note.get("count"))
    return f"Next is {issue(note.get('number'))} ({for_inline(note.get('title'))}); {count} in the queue."


def _verb(note: Note) -> str:
    verb = note.get("verb")
    return verb if verb.isalpha() and len(verb) <= 20 else "command"


def spoken(note: Note) -> str:
    """What a person said over the API, with their name and nothing in it that GitHub or a bot would act on."""
    quoted = "\n".join(f"> {line}".rstrip() for line in for_comment(note.get("text")).split("\n"))
    return f"{name(note.get('by'))} says:\n\n{quoted}"

"""Attacks through the agent: an agent that believed everything it read writes orders, credentials and switches into its
summary, its commits, its progress and its questions. Nothing acts on them when the bot publishes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from bot.domain.attempt import Attempt, AttemptPhase, Progress, Worker, WorkerKind, WorkerReport
from bot.domain.command_parser import parse
from bot.domain.doubts import Doubt, DoubtKind
from bot.domain.looking import line_of
from bot.domain.model import AttemptId, FailureReason, InstallationId, IssueKey, Item, ItemState, RepoId, RepoKey
from bot.domain.notes import NoteCode, note
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.texts.pull_request import PullInput, pull_body
from bot.texts.render import RenderContext, render
from bot.texts.status_comment import StatusInput, status_text
from bot.web.api.run_words import difference_told, doubts_told, told
from bot.worker.log import RunLog
from bot.worker.rewrite import sanitise_message
from tests.redteam.corpus import ACTING, MARK, MENTIONS, SECRETS
from tests.redteam.report import Reached, Record, Technique, judge
from tests.worker.support import context, make_origin

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
URL = "https://github.com"
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "acme/shop", 3, "main", private=True)
ITEM = Item(IssueKey(InstallationId(1), RepoId(2), 7), "I_7", "Add a greeting", ItemState.IN_PROGRESS, NOW, NOW)
ATTEMPT = Attempt(
    AttemptId("a_1"), ITEM.key, 1, 1, AttemptPhase.RUNNING, Worker(WorkerKind.ACTIONS, "run"), "tgs/7-add", NOW
)


def doubted(text: str) -> tuple[Doubt, ...]:
    """In the place of a doubt, and in the words of a second opinion."""
    return doubts_told((Doubt(DoubtKind.CHECKS_SILENCED, text), Doubt(DoubtKind.SECOND_OPINION, text, text)))


def in_pull_request(text: str) -> str:
    report = WorkerReport(True, NOW, summary=told(text), doubts=doubted(text))
    return pull_body(PullInput(REPO, ITEM, replace(ATTEMPT, report=report), Policy(), URL))


def in_status(text: str) -> str:
    attempt = replace(ATTEMPT, progress=Progress(1, 3, told(text)[:200], NOW))
    return status_text(StatusInput(REPO, ITEM, attempt, Policy(), None, (), URL, NOW))


def in_failure(text: str) -> str:
    said = note(NoteCode.FAILED, reason=FailureReason.AGENT_GAVE_UP.value, detail=told(text), attempt=1)
    return render(said, RenderContext(REPO, ITEM, Policy(), URL, NOW))


def in_look(text: str) -> str:
    """As contents, as a file's name, as a line that pretends to be none of the difference, and as a doubt's place."""
    name = text.replace("\n", " ")
    added = "".join(f"+{line}\n" for line in text.split("\n"))
    head = f" {name} | 2 +\n\ndiff --git a/{name} b/{name}\n--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,9 @@\n"
    diff = difference_told(f"{head}{added}{text}\n```\n")
    doubts = "\n".join(map(line_of, doubted(text)))
    said = note(NoteCode.LOOK, files=1, insertions=1, deletions=0, diff=diff, doubts=doubts, digest="ab")
    return render(said, RenderContext(REPO, ITEM, Policy(), URL, NOW))


def in_commit(text: str, tmp_path: Path) -> str:
    return sanitise_message(text, context(make_origin(tmp_path / "hub")))


PLACES: dict[str, Callable[[str], str]] = {
    "pull request": in_pull_request,
    "status": in_status,
    "failure": in_failure,
    "look before pushing": in_look,
}
"""What the bot says with an agent's words in it."""

ACTS = re.compile(
    r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?:#\d|GH-\d|https?://\S+/issues/\d|[\w.-]+/[\w.-]+#\d)"
    r"|\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]|\*\*\*no_ci\*\*\*|^skip-checks:|^co-authored-by:"
    r"|!\[|(?<!\\)<(?:img|form|input)\b|\$\{\{",
    re.MULTILINE,
)


def acts(text: str) -> bool:
    """Whether GitHub or a bot would act on anything in it; our own first line and marker aside."""
    text = re.sub(r"\A(Closes #7)\n", "", text)
    text = re.sub(r"(\n<!-- tgs:[^\n]*-->)+\s*\Z", "", text)
    # GitHub leaves code alone; commands and marks are looked for line by line, in code too.
    ours = re.sub(r"^(```+)\w*\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    ours = re.sub(r"(?<!`)(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", ours)
    tags = [t for t in MarkdownIt("commonmark").parse(ours) if t.type == "html_block" and "details" not in t.content]
    commands = parse(text)
    slash = re.search(r"^[ \t]*(?:(?:[-*+>]|\d+[.)])[ \t]+)*/[a-z]", text, re.MULTILINE)
    mention = any(name in ours for name in MENTIONS)
    return bool(ACTS.search(ours) or tags or commands or slash or mention or "<!--" in text)


@pytest.mark.parametrize("name", ACTING)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_acts_on_an_agentstold(name: str, place: str, record_property: Record) -> None:
    write = PLACES[place]
    text = write(ACTING[name])
    judge(record_property, Technique.AGENTS_TEXT, Reached(write=acts(text), prompt=f"<!-- {MARK}" in text), text)


# An approval is a whole comment; a commit is none.
@pytest.mark.parametrize("name", [name for name in ACTING if name != "an approval"])
def test_nothing_acts_on_a_commit_message(name: str, tmp_path: Path, record_property: Record) -> None:
    text = in_commit(ACTING[name], tmp_path)
    subject, _, rest = text.partition("\n")
    assert subject.strip()
    judge(record_property, Technique.COMMIT_MESSAGE, Reached(write=acts(subject) or acts(rest)), text)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_no_credential_is_published_with_an_agentstold(name: str, place: str, record_property: Record) -> None:
    write = PLACES[place]
    secret = SECRETS[name]
    text = write(f"The tool printed\n{secret}\nand went on.")
    judge(record_property, Technique.TOOL_OUTPUT, Reached(credential=_part_of(secret) in text), text)


@pytest.mark.parametrize("name", SECRETS)
def test_no_credential_is_published_in_a_commit(name: str, tmp_path: Path, record_property: Record) -> None:
    secret = SECRETS[name]
    text = in_commit(f"Work\n\nUsed {secret} for it.", tmp_path)
    judge(record_property, Technique.COMMIT_MESSAGE, Reached(credential=_part_of(secret) in text), text)


@pytest.mark.parametrize("name", SECRETS)
def test_no_credential_stands_in_the_log_of_an_attempt(name: str, tmp_path: Path, record_property: Record) -> None:
    secret = SECRETS[name]
    log = RunLog(tmp_path / "attempt.log", lambda: NOW)
    for line in f"checks failed\nenv: {secret}\n##[error]{secret}".split("\n"):
        log.info("agent", text=line)
    log.info("agent", text=f"all of it: {secret}")
    log.close()
    text = (tmp_path / "attempt.log").read_text("utf-8")
    judge(record_property, Technique.CI_LOG, Reached(credential=_part_of(secret) in text), text)


UNSEEN = {
    "letters of the tag block": "x = 1 # " + "".join(chr(0xE0000 + ord(letter)) for letter in MARK),
    "a text that runs backwards": f"if access: \u202e{MARK}\u2066",
    "joiners between letters": "\u200d".join(MARK),
    "a terminal's title that swallows lines": f"\x1b]0;\n+{MARK}\n+\x07",
    "a device control string over lines": f"\x90\n+{MARK}\n+\x9c",
    "a line that writes over itself": f"{MARK}\rharmless = True",
    "separators that are no line ends for git": f"# harmless\u2028{MARK}",
    "a mark of ours, written by the agent": "\u27e8U+0041\u27e9",
}
"""What a difference may hide from those who read it and not from the program that runs it."""


@pytest.mark.parametrize("name", UNSEEN)
def test_whoever_looks_sees_all_that_would_be_pushed(name: str, record_property: Record) -> None:
    pushed = f"+{UNSEEN[name]}"
    shown = difference_told(pushed)
    again = re.sub("\u27e8U\\+([0-9A-F]+)\u27e9", lambda mark: chr(int(mark[1], 16)), shown)
    hidden = re.sub(r"[^\x20-\x7e\n]", "", in_look(UNSEEN[name])).count("U+") == 0
    judge(record_property, Technique.FILE_CONTENT, Reached(write=hidden or again != pushed), shown)


def test_a_difference_in_any_language_is_shown_as_it_is() -> None:
    diff = "+naïve = 'größer', '日本語', '❤️'.\r\n+\tx\r\n"
    assert difference_told(diff) == diff.replace("\r\n", "\n")


def _part_of(secret: str) -> str:
    """The part that must not be seen: the credential itself, not the words around it."""
    found = re.search(r"(?<=://bot:)[^@]+|(?<=Bearer ).+|MIIEow|.+", secret)
    assert found is not None
    return found[0]

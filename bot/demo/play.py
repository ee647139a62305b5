"""`tgs demo`: plays the whole loop, tells it in plain words, and ends with a table.

The scripted maintainer does what people do: pushes plans, labels an issue, asks why something waits, and merges what
is green. Everything else is done by the product. On a terminal the demo then serves on, and the maintainer goes on
merging, so that whoever watches can push a plan too. Ctrl-C (SIGINT), SIGTERM or a closed terminal end it at any time
and leave neither process nor file.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from rich import box
from rich.console import Console
from rich.table import Table

from bot.cli.exits import Exit
from bot.demo.project import ANOTHER_FOLDER, ANOTHER_PLAN, ISSUE_BODY, ISSUE_TITLE, thoughts
from bot.demo.stage import DemoAgent, Stage, set_stage
from bot.demo.story import Seen, questions, span, told
from bot.domain.attempt import AttemptPhase
from bot.domain.facts import Ci
from bot.domain.model import InstallationId, IssueKey, Item, ItemState, RepoId, RepoKey
from bot.errors import Unavailable, UserError
from bot.localhub.model import Issue
from bot.protocols.ledger import Ledger
from bot.worker.adapters.claude_code import find_program

LOOK_SECONDS = 0.25
"""How often the narrator looks; short enough to see every state."""

GIVE_UP_SECONDS = 300.0
"""The play takes twenty seconds on an idle machine; when it hangs, say where and end."""

SET_UP_SECONDS = 30.0
"""The first look at a repository takes less than a second on an idle machine."""

ANSWER_SECONDS = 15.0
"""An answer to a command takes less than a second on an idle machine; the story goes on without it after this."""

ITEMS = 6
"""Five plans and one labelled issue."""

INDENT = len("  12.3 s  ")
"""Where the text of a sentence begins."""

PIPE_WIDTH = 120
"""Columns of the table when the output goes to a file or another program."""


class Ending(StrEnum):
    """How the story ended."""

    DONE = "done"
    STOPPED = "stopped"
    TOO_LONG = "too long"


class Play:
    """One performance. `stop` is set when somebody wants it to end."""

    def __init__(self, stage: Stage, console: Console, stop: asyncio.Event) -> None:
        self.stage = stage
        self.console = console
        self.stop = stop
        self.began = time.monotonic()
        self.seen: dict[int, Seen] = {}
        self.merging: set[int] = set()
        self.replied: set[str] = set()
        self.asked_why = False

    def say(self, text: str, *, who: str = "bot") -> None:
        """One line of the story."""
        seconds = time.monotonic() - self.began
        style = {"maria": "bold cyan", "stage": "dim"}.get(who, "")
        line = f"{seconds:6.1f} s  {text}"
        if self.console.is_terminal:
            # Whole words, and the times stay a column of their own; in a pipe a sentence stays one line.
            line = textwrap.fill(line, self.console.width, subsequent_indent=" " * INDENT, break_on_hyphens=False)
        self.console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    @property
    def key(self) -> RepoKey:
        return RepoKey(InstallationId(self.stage.installation.id), RepoId(self.stage.repo.id))

    async def run(self) -> Ending:
        """Play until every item has ended or waits for a person, or somebody stops it, or it takes too long."""
        stage = self.stage
        self.say(
            f"A local GitHub runs at {stage.hub.html_url}/{stage.repo.full_name} (look at it in a browser).",
            who="stage",
        )
        self.say(f"The bot runs at {stage.bot_url} (metrics at /metrics, readiness at /readyz).", who="stage")
        await self._until_set_up()
        self.say("Maria pushes five plans to the main branch.", who="maria")
        stage.push(thoughts(), "Add five plans")
        issue = stage.open_issue(ISSUE_TITLE, ISSUE_BODY)
        self.say(f"Maria opens issue #{issue.number} and labels it tgs:ready.", who="maria")
        stage.label(issue, "tgs:ready")
        end = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < end and not self.stop.is_set():
            await self._beat()
            if self.over:
                return Ending.DONE
        return Ending.STOPPED if self.stop.is_set() else Ending.TOO_LONG

    async def serve(self) -> None:
        """Go on until somebody stops it: Maria merges what is green, whoever pushed the plan."""
        while not self.stop.is_set():
            await self._beat()

    async def _beat(self) -> None:
        await self.look()
        await self._maintain()
        await self._pause(LOOK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        """Wait; less when somebody wants it to end."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return

    async def _until_set_up(self) -> None:
        """The App looks at the repository and writes its one set-up issue."""
        end = time.monotonic() + SET_UP_SECONDS
        while time.monotonic() < end and not self.stop.is_set():
            if any(issue.user is self.stage.app.bot for issue in self.stage.repo.issues.values()):
                self.say("The App is installed; it wrote one set-up issue and nothing else.")
                return
            await self._pause(LOOK_SECONDS / 2)
        if not self.stop.is_set():
            raise Unavailable(f"the bot did not write its set-up issue within {SET_UP_SECONDS:.0f} seconds")

    async def look(self) -> None:
        """Read the ledger and tell what changed."""

        def read(tx: Ledger) -> list[Seen]:
            return [Seen(item, tuple(tx.attempts(item.key))) for item in tx.items(self.key)]

        for seen in await self.stage.parts.store.read(read):
            number = seen.item.key.number
            now = Seen(seen.item, seen.attempts, self._ci(seen.item))
            for line in told(self.seen.get(number), now):
                self.say(line)
            self.seen[number] = now

    def _ci(self, item: Item) -> Ci | None:
        """What the repository's own checks say about the item's pull request."""
        if item.pull is None or item.state is not ItemState.IN_REVIEW:
            return None
        runs = self.stage.hub.checks.latest(self.stage.repo, item.pull.head_sha)
        if not runs or any(run.conclusion is None for run in runs):
            return Ci.PENDING
        return Ci.PASSED if all(run.conclusion == "success" for run in runs) else Ci.FAILED

    async def _maintain(self) -> None:
        """What Maria does: ask once why something waits, and merge what is ready."""
        for number, seen in sorted(self.seen.items()):
            issue = self.stage.repo.issues[number]
            locked = any(reason.code == "locks" for reason in seen.item.waiting)
            if locked and seen.item.state is ItemState.READY and not self.asked_why:
                self.asked_why = True
                self.say(f"Maria asks on #{number}: /tgs why", who="maria")
                self.stage.comment(issue, "/tgs why")
                await self._answer(issue)
            await self._reply(issue, seen)
            pull = seen.item.pull
            if pull is None or seen.item.state is not ItemState.IN_REVIEW or number in self.merging:
                continue
            opened = self.stage.repo.issues.get(pull.number)
            if seen.ci is Ci.PASSED and opened is not None and not opened.draft:
                self.merging.add(number)
                self.say(f"Maria reads pull request #{pull.number} and types on #{number}: /tgs merge", who="maria")
                self.stage.comment(issue, "/tgs merge")

    async def _reply(self, issue: Issue, seen: Seen) -> None:
        """Answer the agent's question, once for each attempt that asks."""
        newest = seen.newest
        if seen.item.state is not ItemState.NEEDS_INPUT or newest is None or newest.id in self.replied:
            return
        asked = next((c.body for c in reversed(issue.comments) if questions(c.body)), None)
        if asked is None:
            return
        self.replied.add(newest.id)
        for line in questions(asked):
            self.say(f"    the bot asks: {line}")
        self.say(f"Maria answers on #{issue.number}: 2", who="maria")
        self.stage.comment(issue, "2")

    async def _answer(self, issue: Issue) -> None:
        """Show the bot's answer to the question."""
        before = len(issue.comments)
        end = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < end and not self.stop.is_set():
            fresh = [c for c in issue.comments[before:] if c.user is self.stage.app.bot]
            if fresh:
                words = [line for line in fresh[0].body.splitlines() if line.strip() and not line.startswith("<!--")]
                for line in words:
                    self.say(f"    the bot answers: {line.strip('-* ')}")
                return
            await self._pause(LOOK_SECONDS / 2)

    @property
    def over(self) -> bool:
        """Every item has ended, or waits for a named person (a proposal waits for Maria)."""
        done = [seen for seen in self.seen.values() if seen.item.terminal or seen.item.state is ItemState.PROPOSED]
        closed = all(
            self.stage.repo.issues[seen.item.key.number].state == "closed"
            for seen in done
            if seen.item.state is ItemState.DONE
        )
        return len(self.seen) >= ITEMS and len(done) == len(self.seen) and closed

    def table(self) -> Table:
        """What became of every item, and what it cost in requests to GitHub."""
        table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, title="What became of the work", title_justify="left")
        for name in ("item", "state", "tries", "waited", "ran", "requests", "writes"):
            table.add_column(name, justify="left" if name in {"item", "state"} else "right")
        for number, seen in sorted(self.seen.items()):
            requests, writes = self._requests(number)
            first = seen.attempts[0] if seen.attempts else None
            last = next((a for a in reversed(seen.attempts) if a.phase is AttemptPhase.ENDED), None)
            table.add_row(
                f"#{number} {seen.item.title}",
                seen.item.state.value + (" (waits for Maria)" if seen.item.state is ItemState.PROPOSED else ""),
                str(len(seen.attempts)),
                span(seen.item.ready_since, first.claimed_at if first else None),
                span(first.claimed_at if first else None, last.ended_at if last else None),
                str(requests),
                str(writes),
            )
        return table

    def _requests(self, number: int) -> tuple[int, int]:
        """Requests and writes that GitHub counted for the item, from the local GitHub's own log."""
        key = str(IssueKey(self.key.installation, self.key.repo, number))
        entries = [e for e in self.stage.hub.log.entries if e.correlation == key and not e.conditional_hit]
        return len(entries), sum(1 for entry in entries if entry.is_write)


async def play(*, once: bool, agent: DemoAgent = DemoAgent.SCRIPTED) -> int:
    """Perform; the process's exit code. `once`: end with the story even on a terminal.

    Raises UserError when the agent is not on this machine.
    """
    if agent is DemoAgent.CLAUDE_CODE and find_program() is None:
        raise UserError("Claude Code is not on this machine.", "Install it: pip install 'tgs-bot[claude]'.")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else PIPE_WIDTH)
    with tempfile.TemporaryDirectory(prefix="tgs-demo-") as folder:
        async with set_stage(Path(folder), agent) as stage:
            performance = Play(stage, console, stop)
            ending = await performance.run()
            match ending:
                case Ending.STOPPED:
                    console.print("Stopped before the end. Bye.")
                    return int(Exit.INTERNAL if once else Exit.OK)
                case Ending.DONE | Ending.TOO_LONG:
                    _sum_up(performance)
                case _ as never:
                    assert_never(never)
            if ending is Ending.TOO_LONG:
                console.print("The play did not come to its end in time; the table shows where it hangs.", style="red")
                return int(Exit.INTERNAL)
            if terminal and not once:
                _invite(stage, console)
                await performance.serve()
                console.print("Bye.")
            return int(Exit.OK)


def _sum_up(performance: Play) -> None:
    """The table, and what all of it cost."""
    total = performance.stage.hub.log.summary()
    performance.console.print()
    performance.console.print(performance.table())
    performance.console.print(
        f"GitHub counted {total['requests']} requests in all; {total['not_modified']} more were free "
        "because nothing had changed."
    )


def _tgs() -> str:
    """What to type for `tgs` in any folder."""
    return "tgs" if shutil.which("tgs") else str(Path(sys.argv[0]).absolute())


def _invite(stage: Stage, console: Console) -> None:
    """What whoever watches can do now."""
    lines = [
        "",
        f"Look around at {stage.hub.html_url}/{stage.repo.full_name}, or push a plan yourself, as Maria:",
        f"    git clone {stage.clone_url}",
        "    cd greeter",
        f"    cp -r {ANOTHER_PLAN} {ANOTHER_FOLDER}",
        '    git add tgs && git commit -m "Add a plan" && git push',
        "The bot builds it, and Maria merges it when its tests pass. Or ask the bot on the command line:",
        f"    export TGS_SERVER_URL={stage.bot_url} GH_TOKEN={stage.token}",
        f"    {_tgs()} server backlog list --repo {stage.repo.full_name}",
        "Ctrl-C ends the demo.",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

"""The second opinion: the agent program looks at an accepted result once more, without memory of the work.

Promise: asked for by facts, never by the agent's word: the gate's repository shows which paths changed. The program
gets a workspace of its own with the files as they were accepted, made from the gate's repository and not from what the
first agent left, whose workspace is closed meanwhile. It is the same other user, with the same allow-listed environment
and a door to the model of its own; what it changes is thrown away, and only its answer is kept. It spends what is left
of the attempt's money and time, and at most what policy gives it. Whatever goes wrong with it, the attempt goes on; why
there is no opinion is told to the reviewers instead.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bot.domain.bundle import ContextBundle, OpinionPart
from bot.domain.opinion import Opinion, OpinionOutcome
from bot.worker import workspace as workspaces
from bot.worker.adapters import adapter_named
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.gate import Accepted
from bot.worker.gate_paths import compile_pattern, fold
from bot.worker.git import Git, GitError, git_environment
from bot.worker.log import RunLog
from bot.worker.look import CheckSaid, Look, Looked
from bot.worker.model_proxy import ModelDoor
from bot.worker.workspace import Workspace

MOST_SECONDS: Final = 900.0
"""One look at most: reading and judging takes minutes, and the result waits for it."""
LEAST_SECONDS: Final = 60.0
"""With less a look is not begun: it would be cut off before it has read anything."""
LEAST_SHARE: Final = 2
"""At least 1/2 of the money that policy gives a look must be left; with less it would mostly be cut off."""
MAX_DIFFERENCE: Final = 4_000_000
"""Bytes of the difference in the file; a reviewer has given up long before."""
MAX_SHOWN: Final = 120_000
"""Characters of the difference in the prompt: about a fifth of what a model can hold."""
MAX_PLAN: Final = 60_000
"""Characters of the plan in the prompt."""
READERS: Final = ("Read", "Glob", "Grep")
"""The tools of an agent that only looks: nothing that writes, runs or reaches the web."""
MICRO: Final = 1_000_000

Door = Callable[[ContextBundle], AbstractAsyncContextManager[ModelDoor | None]]


@dataclass(frozen=True, slots=True)
class Asking:
    """What is needed around one look. `session` is that of the work, `told` what its agent has used, `door` opens a way
    to the model within a context's bounds, `parent` is where the workspace is made."""

    session: Session
    gate: Git
    accepted: Accepted
    checks: tuple[CheckSaid, ...]
    told: Sequence[AgentResult]
    door: Door
    parent: Path | None
    log: RunLog


async def second_opinion(asking: Asking) -> Looked | None:
    """The opinion, or why there is none; None when nobody wants one, or the attempt is being stopped."""
    wanted = asking.session.context.opinion
    if wanted is None:
        return None
    try:
        start = await _start(asking)
        paths = await _changed(asking.gate, start, asking.accepted.head_sha)
        touched = critical(paths, wanted.paths)
        if not touched and not wanted.always:
            return None
        looked = await _look(asking, wanted, start, paths, touched)
    except Exception as error:  # noqa: BLE001 - whatever it is, the work is done and must not be lost for it
        looked = Looked(Opinion(OpinionOutcome.CRASHED, detail=f"{type(error).__name__}: {error}"))
    opinion = looked.opinion
    asking.log.info(
        "second opinion",
        outcome=opinion.outcome.value,
        findings=[f"{finding.where} {finding.says}".strip() for finding in opinion.findings],
        detail=opinion.detail,
    )
    return looked


def critical(paths: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that one of the policy's patterns covers."""
    compiled = [compile_pattern(pattern) for pattern in patterns]
    return tuple(path for path in paths if any(regex.match(fold(path)) for regex in compiled))


def money(wanted: OpinionPart, reserved_usd: float | None, told: Sequence[AgentResult]) -> float | None:
    """US dollars that a look may cost; None: too little is left of the attempt's."""
    if reserved_usd is None:
        return wanted.budget_usd
    spent = sum(result.usage.cost_microusd for result in told if result.usage is not None) / MICRO
    amount = min(wanted.budget_usd, reserved_usd - spent)
    return amount if amount >= wanted.budget_usd / LEAST_SHARE else None


async def _look(
    asking: Asking, wanted: OpinionPart, start: str, paths: Sequence[str], touched: tuple[str, ...]
) -> Looked:
    session = asking.session
    if session.seconds_left < LEAST_SECONDS:
        return Looked(Opinion(OpinionOutcome.TIME))
    amount = money(wanted, session.context.spec.budget_usd, asking.told)
    if amount is None:
        return Looked(Opinion(OpinionOutcome.BUDGET))
    context = _context(session.context, wanted, amount)
    name = None if asking.parent is None else f"{context.attempt}-second"
    place = workspaces.create(asking.parent, name)
    # What the first agent left may be meant for whoever looks.
    session.workspace.root.chmod(0o700)
    try:
        await _fill(place, asking, context)
        look = await _shown(place, asking, wanted, start, paths, touched)
        for folder in (place.work, place.home, place.box):
            await session.launcher.give(folder)
        adapter = adapter_named(context.agent.adapter, place.work)
        session.progress(0, 0, "A second look at the result")
        async with asking.door(context) as door:
            environment = workspaces.agent_environment(place, context)
            second = Session(
                context=context,
                workspace=place,
                work=place.work,
                launcher=session.launcher,
                environment={**environment, **({} if door is None else door.environment)},
                stop=session.stop,
                deadline=min(session.deadline, asyncio.get_running_loop().time() + MOST_SECONDS),
                progress=lambda _step, _total, text: session.progress(0, 0, f"A second look: {text}"),
                on_line=lambda line: asking.log.info("second opinion", text=line),
                graces=session.graces,
                model=door,
            )
            return await adapter.look(second, look)
    finally:
        session.workspace.root.chmod(0o711)
        await session.launcher.remove(place.root)


def _context(context: ContextBundle, wanted: OpinionPart, amount: float) -> ContextBundle:
    """The approved text with other bounds, and without what the work was told of earlier tries."""
    agent = context.agent.model_copy(
        update={"model": wanted.model or context.agent.model, "max_turns": wanted.max_turns, "tools": READERS}
    )
    spec = context.spec.model_copy(update={"budget_usd": amount})
    return context.model_copy(update={"agent": agent, "spec": spec, "resume": None, "previous_failures": ()})


async def _start(asking: Asking) -> str:
    """What the whole of the item's work stands on: also what earlier attempts published belongs to the change."""
    context, head = asking.session.context, asking.accepted.head_sha
    try:
        return await asking.gate.text("merge-base", context.base_sha, head)
    except GitError:
        return context.start_sha


async def _changed(git: Git, start: str, head: str) -> tuple[str, ...]:
    """The changed paths, both sides of a rename."""
    out = await git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", start, head)
    return tuple(raw.decode("utf-8", "backslashreplace") for raw in out.stdout.split(b"\0") if raw)


async def _fill(place: Workspace, asking: Asking, context: ContextBundle) -> None:
    """The accepted files, without a repository around them; the gate has judged every name and mode that changed."""
    env = git_environment(
        {
            "GIT_DIR": str(asking.gate.directory),
            "GIT_WORK_TREE": str(place.work),
            "GIT_INDEX_FILE": str(place.private / "index"),
        }
    )
    git = Git(place.work)
    await git.run("read-tree", asking.accepted.head_sha, env=env)
    await git.run("checkout-index", "--all", "--quiet", env=env)
    place.context_file.write_text(context.model_dump_json(indent=2), encoding="utf-8")


async def _shown(
    place: Workspace, asking: Asking, wanted: OpinionPart, start: str, paths: Sequence[str], touched: tuple[str, ...]
) -> Look:
    """The look, with the difference in a file beside it."""
    git, head = asking.gate, asking.accepted.head_sha
    shape = ("-c", "core.quotePath=false", "diff-tree", "-r", "-p", "--no-color", "--no-ext-diff", "--no-textconv")
    raw = b""
    for part in (touched, tuple(path for path in paths if path not in touched)):
        if part and len(raw) < MAX_DIFFERENCE:
            raw += (await git.run(*shape, "--no-renames", start, head, "--", *part)).stdout
    file = place.home / "change.diff"
    file.write_bytes(raw[:MAX_DIFFERENCE])
    text = raw[: 4 * MAX_SHOWN].decode("utf-8", "replace")
    return Look(
        diff=text[:MAX_SHOWN],
        cut=len(raw) > 4 * MAX_SHOWN or len(text) > MAX_SHOWN,
        file=file,
        touched=touched,
        plan=await _plan(git, asking.session.context),
        checks=asking.checks,
        command=wanted.command,
        mark=secrets.token_hex(8),
    )


async def _plan(git: Git, context: ContextBundle) -> str:
    """The plan as it was approved, from the base and not from the result."""
    if context.thought is None:
        return ""
    try:
        found = await git.run("cat-file", "blob", f"{context.base_sha}:{context.thought.plan_path}")
    except GitError:
        return ""
    return found.stdout[: 4 * MAX_PLAN].decode("utf-8", "replace")[:MAX_PLAN]


def without_model(looked: Looked, result: AgentResult) -> AgentResult:
    """What the look used, in the form in which an attempt counts it: the work stays the one that names the model."""
    usage = looked.usage
    if usage is not None and result.usage is not None and result.usage.model:
        usage = replace(usage, model="")
    return replace(result, usage=usage)

"""The backlog file on its branch: read a commit as a `View`, and apply a step to it until the branch takes the result.

Promise: a step is a pure function from what the branch holds to the next file. A step that changes nothing commits
nothing, so the file appears with the first change. When another clone was faster the step is applied again to the newer
commit, `TRIES` times with growing pauses shortened by chance; then `Contended`, and nothing was written. A broken file
names the last version that can be read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bot.client.backlog import Moved
from bot.client.backlog_file import EMPTY, PATH, BrokenFile, File, UnknownVersion, dump, parse
from bot.client.backlog_git import Clone, TreeEntry
from bot.client.backlog_view import View
from bot.domain.front_matter import from_plan
from bot.domain.mirror import ThoughtText
from bot.domain.policy import POLICY_PATH, PolicyResult, parse_policy
from bot.domain.policy_model import Policy
from bot.domain.thoughts import THOUGHTS_DIR, Thought, recognise
from bot.errors import UserError
from bot.protocols.clock import Clock

TRIES: Final = 3
"""How often a write is tried: losing three races in a row means that something pushes without end."""
PAUSE_SECONDS: Final = 0.5
"""The first pause, doubled each time: about as long as somebody else's push takes."""
LOOK_BACK: Final = 50
"""Versions that are looked through for the last readable one."""

_T = TypeVar("_T")
Which = Callable[[File], Callable[[Thought], bool]]
"""Which plans a step needs to have read."""


class Contended(Moved):
    """Every try met a branch that somebody else had just changed. Nothing was written."""


def pause(tried: int, chance: float) -> float:
    """Seconds before the next try, after `tried` (1 or more): doubled each time, shortened by up to half by chance."""
    return float(PAUSE_SECONDS * 2 ** (tried - 1) * (1 - chance / 2))


def no_plans(file: File) -> Callable[[Thought], bool]:
    return lambda thought: False


class BranchFile:
    """The file on the branch of one clone. `sleep` takes seconds, `chance` gives a fraction from 0 to 1."""

    def __init__(
        self, clone: Clone, clock: Clock, chance: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self.clone = clone
        self._clock = clock
        self._chance = chance
        self._sleep = sleep

    async def raw(self, commit: str) -> bytes | None:
        """The file's bytes in this commit."""
        found = [entry for entry in await self.clone.tree(commit, PATH) if entry.path == PATH]
        return (await self.clone.blobs([found[0].sha]))[found[0].sha] if found else None

    async def view(self, which: Which = no_plans) -> View:
        """What the branch holds now; of the plans only those that `which` names."""
        async with self.clone.turn(self._sleep):
            return await self._look(await self.clone.fetch(), which)

    async def _look(self, tip: str, which: Which) -> View:
        """What the commit holds. Raises BrokenFile, which then names the last readable version."""
        listed = {entry.path: entry for entry in await self.clone.tree(tip, THOUGHTS_DIR, PATH, POLICY_PATH)}
        here = [_below(entry) for path, entry in listed.items() if path.startswith(f"{THOUGHTS_DIR}/")]
        thoughts, problems = recognise(here)
        special = {path: listed[path].sha for path in (PATH, POLICY_PATH) if path in listed}
        contents = await self.clone.blobs(special.values())
        if PATH in listed and listed[PATH].mode not in ("100644", "100755"):
            raise BrokenFile("is a symbolic link or submodule.", "Commit it as a plain file.")
        try:
            file = parse(contents[special[PATH]]) if PATH in special else EMPTY
        except UnknownVersion:
            raise
        except BrokenFile as error:
            raise await self._with_way_out(tip, error) from None
        policy = _policy(contents[special[POLICY_PATH]]) if POLICY_PATH in special else PolicyResult(Policy())
        needed = which(file)
        wanted = [thought for thought in thoughts if needed(thought)]
        plans = await self.clone.blobs(thought.plan_sha for thought in wanted)
        read = {
            thought.dir: from_plan(plans[thought.plan_sha].decode("utf-8", "replace"), thought.plan_path)
            for thought in wanted
        }
        return View(
            commit=tip,
            file=file,
            thoughts={thought.dir: ThoughtText(thought, read.get(thought.dir)) for thought in thoughts},
            problems={problem.dir: problem.problem for problem in problems},
            policy=policy.policy or Policy(),
            policy_problem=None if policy.policy else policy.errors[0],
            branch=self.clone.branch,
        )

    async def _with_way_out(self, tip: str, error: BrokenFile) -> BrokenFile:
        for commit in await self.clone.history(tip, PATH, LOOK_BACK):
            raw = await self.raw(commit)
            try:
                if raw is not None:
                    parse(raw)
                    return error.instead(
                        f"The last readable version is in commit {commit[:12]}: "
                        f"`tgs server backlog restore --from {commit[:12]}` puts it back."
                    )
            except BrokenFile:
                continue
        return error

    async def write(self, step: Callable[[View], tuple[File, _T, str]], which: Which = no_plans) -> _T:
        """Applies the step to what is on the branch until the branch takes the result; nothing when nothing changes."""

        async def make(tip: str) -> tuple[bytes | None, _T, str]:
            view = await self._look(tip, which)
            file, result, message = step(view)
            return (None if file is view.file or file == view.file else dump(file)), result, message

        return await self.publish(make)

    async def publish(self, make: Callable[[str], Awaitable[tuple[bytes | None, _T, str]]]) -> _T:
        """`make` gives for a commit the next content (None: no change), the result and the commit's message."""
        async with self.clone.turn(self._sleep):
            for tried in range(TRIES):
                if tried:
                    await self._sleep(pause(tried, self._chance()))
                tip = await self.clone.fetch()
                content, result, message = await make(tip)
                if content is None:
                    return result
                if self.clone.remote is None and await self.clone.uncommitted(PATH):
                    raise UserError(
                        f"{PATH} has changes that are not committed.",
                        f"Commit them, or drop them with `git checkout HEAD -- {PATH}`.",
                    )
                commit = await self.clone.commit(tip, PATH, content, message + "\n", self._clock.now())
                if await self.clone.publish(tip, commit):
                    return result
        raise Contended(
            f"Somebody else changed the branch `{self.clone.branch}` each of the {TRIES} times this was tried.",
            "Nothing was written. Try again in a minute.",
        )


def _below(entry: TreeEntry) -> TreeEntry:
    path = entry.path.removeprefix(f"{THOUGHTS_DIR}/")
    return TreeEntry(path, entry.mode, entry.type, entry.sha, entry.size)


def _policy(raw: bytes) -> PolicyResult:
    return parse_policy(raw.decode("utf-8", "replace"))

"""`tgs init --pull-request`: the files of a set-up as a pull request, made with a person's own token.

Promise: nothing that is there is overwritten. A file that is as it should be is left out, a file that somebody changed
is kept (with `force` the pull request proposes the new text, and merging it is the person's decision), a branch or pull
request of somebody else is not touched. The token goes to the configured API only and is never shown.

Race: the default branch may move between the look and the commit; the pull request then shows it as a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bot.cli.my_repository import my_repository
from bot.github.gateway import Gateway
from bot.protocols.github import RepoView

BRANCH: Final = "tgs/set-up"
TITLE: Final = "Set up the TGS bot"


@dataclass(frozen=True, slots=True)
class Differing:
    """A file that says something else now: both texts."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Files by what has to be done about them."""

    create: Mapping[str, str]
    unchanged: tuple[str, ...]
    differ: Mapping[str, Differing]


@dataclass(frozen=True, slots=True)
class Proposed:
    """What was found and, when there was anything to propose, where the pull request is."""

    compared: Compared
    url: str | None


async def propose(full_name: str, files_of: Callable[[str], Mapping[str, str]], *, force: bool) -> Proposed:
    """Open (or find again) the pull request. `files_of` gives the files by path for a default branch.

    Raises UserError (no token, no such name), Refused (the token may not), BranchTaken, GitHubError.
    """
    async with my_repository(full_name) as mine:
        compared = await _compare(mine.github, mine.view, files_of(mine.view.default_branch))
        replaced = {path: pair.new for path, pair in compared.differ.items()} if force else {}
        proposal = {**compared.create, **replaced}
        if not proposal:
            return Proposed(compared, None)
        return Proposed(compared, await mine.propose(BRANCH, proposal, TITLE, _body(compared, proposal)))


async def _compare(github: Gateway, view: RepoView, files: Mapping[str, str]) -> Compared:
    create: dict[str, str] = {}
    differ: dict[str, Differing] = {}
    unchanged: list[str] = []
    for path, text in files.items():
        found = await github.file(view.key, path, view.default_branch)
        if found is None:
            create[path] = text
        elif found[1] == text.encode():
            unchanged.append(path)
        else:
            differ[path] = Differing(found[1].decode("utf-8", "replace"), text)
    return Compared(create, tuple(unchanged), differ)


def _body(compared: Compared, proposal: Mapping[str, str]) -> str:
    lines = ["This pull request sets the TGS bot up in this repository. Nothing runs before it is merged.", ""]
    lines += [f"- `{path}`: {'new' if path in compared.create else 'replaced'}" for path in proposal]
    lines += [f"- `{path}`: kept as it is, though it differs" for path in compared.differ if path not in proposal]
    lines += [
        "",
        "After the merge:",
        "",
        "1. Create the environments `tgs-agent` (with the model's credential as a secret) and `tgs-publish`.",
        "2. Read `.tgs/policy.yml`: every setting is explained there.",
        "3. The bot's set-up issue says what is still missing. Then label an issue `tgs:ready`.",
    ]
    return "\n".join(lines)

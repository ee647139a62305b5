"""`tgs init --pull-request`: the files of a set-up as a pull request, made with a person's own token.

Promise: nothing that is there is overwritten. A file that is as it should be is left out, a file that somebody changed
is kept (with `force` the pull request proposes the new text, and merging it is the person's decision), a branch or pull
request of somebody else is not touched. The token goes to the configured API only and is never shown.

Race: the default branch may move between the look and the commit; the pull request then shows it as a conflict.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bot.clock import SystemClock
from bot.domain.model import InstallationId, RepoId, RepoKey
from bot.errors import (
    Conflict,
    Forbidden,
    GitHubError,
    NotFound,
    Refused,
    TgsError,
    Unauthorized,
    Unavailable,
    UserError,
)
from bot.github.answers import read
from bot.github.base import split_name
from bot.github.calls import Origin, call
from bot.github.client import open_session
from bot.github.clients import Clients
from bot.github.gateway import Gateway
from bot.github.shapes import RepoShape
from bot.protocols.github import RepoView
from bot.settings import load_client_settings
from bot.workflows import check_url

BRANCH: Final = "tgs/set-up"
TITLE: Final = "Set up the TGS bot"
RIGHTS: Final = (
    "It needs write access to the repository: a fine-grained token with contents, pull requests and workflows set to "
    "write, or a classic one with the scopes `repo` and `workflow`."
)
SPACING: Final = 0.0
"""Seconds between writes: a handful of them by a person at a prompt needs no pacing."""


class BranchTaken(TgsError):
    """Somebody else's branch is in the way."""


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
    settings = load_client_settings()
    if settings.gh_token is None:
        raise UserError("GH_TOKEN is not set.", f"Set it to a GitHub token of yours. {RIGHTS}")
    try:
        owner, name = split_name(full_name)
    except GitHubError:
        raise UserError(f"{full_name!r} is no repository name.", "Give it as owner/name.") from None
    api = check_url(settings.github_api_url, "address in TGS_GITHUB_API_URL")
    async with open_session() as session:
        clients = Clients.of_token(
            session,
            Origin(api, f"{api}/graphql"),
            settings.gh_token,
            clock=SystemClock(),
            sleep=asyncio.sleep,
            jitter=random.random,
            write_spacing=SPACING,
        )
        path = "/repos/{owner}/{repo}"
        wanted = call("GET", path, {"owner": owner, "repo": name})
        try:
            # A person's token has no installation; the number only stands in keys.
            answer = await clients.installation(InstallationId(0)).request(wanted)
        except Unauthorized:
            raise Refused("GitHub does not know the token in GH_TOKEN.", "Is it complete, and not expired?") from None
        except (NotFound, Forbidden):
            raise Refused(f"The token in GH_TOKEN cannot see {full_name}.", f"Check the name. {RIGHTS}") from None
        except Unavailable as error:
            raise Unavailable(
                f"{api} cannot be asked ({error.message}). Check TGS_GITHUB_API_URL and the network."
            ) from None
        repo = read(RepoShape, answer.data, f"GET {path}")

        async def name_of(_: RepoKey) -> str:
            return repo.full_name

        key = RepoKey(InstallationId(0), RepoId(repo.id))
        return await _propose(Gateway(clients, name_of), key, files_of, force=force)


async def _propose(
    github: Gateway, key: RepoKey, files_of: Callable[[str], Mapping[str, str]], *, force: bool
) -> Proposed:
    view = await github.repository(key)
    if view.archived:
        raise Refused(f"{view.full_name} is archived.", "Unarchive it first.")
    if view.empty:
        raise UserError(f"{view.full_name} has no commit yet.", "Push a first commit, then run this again.")
    compared = await _compare(github, view, files_of(view.default_branch))
    replaced = {path: pair.new for path, pair in compared.differ.items()} if force else {}
    proposal = {**compared.create, **replaced}
    if not proposal:
        return Proposed(compared, None)
    try:
        number = await github.put_file_pull(key, BRANCH, proposal, TITLE, _body(compared, proposal))
    except Conflict:
        raise BranchTaken(
            f"The branch {BRANCH} of {view.full_name} exists and holds something else. "
            "Merge or close its pull request, delete the branch, and run this again."
        ) from None
    except (Forbidden, NotFound):
        # GitHub hides what a token may not write behind 404.
        raise Refused(f"The token in GH_TOKEN may not propose changes to {view.full_name}.", RIGHTS) from None
    return Proposed(compared, f"{view.html_url}/pull/{number}")


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

"""GitHub with a person's own token, for commands that propose something as a pull request.

Promise: the token goes to the configured API only and is never shown; what it may not do is said with the rights that
are needed. A branch of somebody else is never touched.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bot.client.backlog import Moved
from bot.clock import SystemClock
from bot.domain.model import InstallationId, RepoId, RepoKey
from bot.errors import (
    Conflict,
    Forbidden,
    GitHubError,
    NotFound,
    Refused,
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

RIGHTS: Final = (
    "It needs write access to the repository: a fine-grained token with contents, pull requests and workflows set to "
    "write, or a classic one with the scopes `repo` and `workflow`."
)
SPACING: Final = 0.0
"""Seconds between writes: a handful of them by a person at a prompt needs no pacing."""


class BranchTaken(Moved):
    """Somebody else's branch is in the way."""


@dataclass(frozen=True, slots=True)
class Mine:
    """A repository as this person sees it."""

    github: Gateway
    view: RepoView

    async def propose(self, branch: str, files: Mapping[str, str], title: str, body: str) -> str:
        """The address of a pull request with these files; the same one when asked again.

        Raises BranchTaken, Refused, GitHubError.
        """
        view = self.view
        try:
            number = await self.github.put_file_pull(view.key, branch, files, title, body)
        except Conflict:
            raise BranchTaken(
                f"The branch {branch} of {view.full_name} exists and holds something else.",
                "Merge or close its pull request, delete the branch, and run this again.",
            ) from None
        except (Forbidden, NotFound):
            # GitHub hides what a token may not write behind 404.
            raise Refused(f"The token in GH_TOKEN may not propose changes to {view.full_name}.", RIGHTS) from None
        return f"{view.html_url}/pull/{number}"


@asynccontextmanager
async def my_repository(full_name: str) -> AsyncIterator[Mine]:
    """The repository with the person's token.

    Raises UserError (no token, no such name, empty repository), Refused, GitHubError.
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

        github = Gateway(clients, name_of)
        view = await github.repository(RepoKey(InstallationId(0), RepoId(repo.id)))
        if view.archived:
            raise Refused(f"{view.full_name} is archived.", "Unarchive it first.")
        if view.empty:
            raise UserError(f"{view.full_name} has no commit yet.", "Push a first commit, then run this again.")
        yield Mine(github, view)

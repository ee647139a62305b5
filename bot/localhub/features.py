"""The parts a hub is made of: services attached to it, and the routes they answer.

Promise: the only list of feature modules. A feature is one line in `attach` (if it keeps state)
and one line in `routes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import (
    actions_api,
    apps_api,
    artifacts,
    checks_api,
    contents,
    git_api,
    git_http,
    graphql_api,
    hooks_api,
    issues_api,
    log_api,
    manifest_api,
    oauth,
    oidc,
    pulls_api,
    relations_api,
    repos_api,
    rules,
    talk_api,
    web_pages,
)
from bot.localhub.actions import Actions
from bot.localhub.artifacts import Downloads
from bot.localhub.checks import Checks
from bot.localhub.comments import Comments
from bot.localhub.git_host import GitHost
from bot.localhub.http import Route
from bot.localhub.issues import Issues
from bot.localhub.labels import Labels
from bot.localhub.oidc import Oidc
from bot.localhub.pulls import Pulls
from bot.localhub.rules import BranchRules
from bot.localhub.runner import ProcessRunner

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def attach(hub: Hub) -> None:
    """Give the hub its services."""
    hub.git = GitHost(hub)
    hub.rules = BranchRules(hub)
    hub.checks = Checks(hub)
    hub.pulls = Pulls(hub)
    hub.downloads = Downloads(hub)
    hub.oidc = Oidc(hub)
    hub.actions = Actions(hub, ProcessRunner(hub))
    hub.issues = Issues(hub)
    hub.labels = Labels(hub)
    hub.comments = Comments(hub)


def routes(hub: Hub) -> list[Route]:
    """All routes; of two that match the same path the earlier one wins."""
    return [
        *apps_api.routes(hub),
        *hooks_api.routes(hub),
        *repos_api.routes(hub),
        *checks_api.routes(hub),
        *pulls_api.routes(hub),
        *contents.routes(hub),  # after checks and pulls: its commit route takes slashes
        *git_api.routes(hub),
        *git_http.routes(hub),
        *rules.routes(hub),
        *actions_api.routes(hub),
        *artifacts.routes(hub),
        *oidc.routes(hub),
        *talk_api.routes(hub),
        *issues_api.routes(hub),
        *relations_api.routes(hub),
        *graphql_api.routes(hub),
        *log_api.routes(hub),
        *oauth.routes(hub),
        *manifest_api.routes(hub),
        *web_pages.routes(hub),
    ]

"""The parts a hub is made of: services attached to it, and the routes they answer.

Promise: the only list of feature modules. A feature is one line in `attach` (if it keeps state)
and one line in `routes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import (
    apps_api,
    checks_api,
    contents,
    git_api,
    git_http,
    graphql_api,
    hooks_api,
    issues_api,
    log_api,
    pulls_api,
    repos_api,
    rules,
    talk_api,
    web_pages,
)
from bot.localhub.checks import Checks
from bot.localhub.comments import Comments
from bot.localhub.git_host import GitHost
from bot.localhub.http import Route
from bot.localhub.issues import Issues
from bot.localhub.labels import Labels
from bot.localhub.pulls import Pulls
from bot.localhub.rules import BranchRules

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def attach(hub: Hub) -> None:
    """Give the hub its services."""
    hub.git = GitHost(hub)
    hub.rules = BranchRules(hub)
    hub.checks = Checks(hub)
    hub.pulls = Pulls(hub)
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
        *contents.routes(hub),
        *git_api.routes(hub),
        *git_http.routes(hub),
        *pulls_api.routes(hub),
        *rules.routes(hub),
        *talk_api.routes(hub),
        *issues_api.routes(hub),
        *graphql_api.routes(hub),
        *log_api.routes(hub),
        *web_pages.routes(hub),
    ]

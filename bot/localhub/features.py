"""The parts a hub is made of: services attached to it, and the routes they answer.

Promise: the only list of feature modules. A feature is one line in `attach` (if it keeps state)
and one line in `routes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import apps_api, repos_api
from bot.localhub.comments import Comments
from bot.localhub.http import Route
from bot.localhub.issues import Issues
from bot.localhub.labels import Labels

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def attach(hub: Hub) -> None:
    """Give the hub its services."""
    hub.issues = Issues(hub)
    hub.labels = Labels(hub)
    hub.comments = Comments(hub)


def routes(hub: Hub) -> list[Route]:
    """All routes; of two that match the same path the earlier one wins."""
    return [
        *apps_api.routes(hub),
        *repos_api.routes(hub),
    ]

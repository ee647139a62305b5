"""Labels of repositories and of issues.

Promise: names compare without case; adding is idempotent and additive; removing an absent label
is 404 `Label does not exist` (the loser of a race sees that). Unknown names are created with the
colour `ededed`, as the real service does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import Actor
from bot.localhub.http import ApiError, invalid
from bot.localhub.model import Issue, Json, Label, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

DEFAULT_COLOR = "ededed"
"""Colour of a label that came into being by being used."""
MAX_NAME = 50
"""Characters of a label name."""
MAX_LABELS = 100
"""Labels an issue can carry."""


@dataclass
class Labels:
    """The label operations of a hub."""

    hub: Hub

    def create(
        self,
        repo: Repository,
        name: str,
        actor: Actor | None,
        *,
        color: str = DEFAULT_COLOR,
        description: str | None = None,
    ) -> Label:
        """A new label. Raises ApiError 422 (taken, blank, too long, bad colour)."""
        name = name.strip()
        if not name:
            raise invalid("Label", "name", "missing_field")
        if len(name) > MAX_NAME:
            message = f"name is too long (maximum is {MAX_NAME} characters)"
            raise invalid("Label", "name", "custom", message=message)
        if name.lower() in repo.labels:
            raise invalid("Label", "name", "already_exists")
        color = color.removeprefix("#")
        if not re.fullmatch(r"[0-9a-fA-F]{6}", color):
            raise invalid("Label", "color")
        number = self.hub.new_id()
        label = Label(number, self.hub.node_id("LA", number), name, color.lower(), description)
        repo.labels[name.lower()] = self.hub.nodes[label.node_id] = label
        self._emit(repo, "created", label, actor)
        return label

    def edit(
        self,
        repo: Repository,
        label: Label,
        actor: Actor,
        *,
        name: str | None = None,
        color: str | None = None,
        description: str | None = None,
    ) -> None:
        """Rename or recolour; issues that carry the label follow."""
        changes: Json = {}
        if name is not None and name != label.name:
            if name.lower() != label.name.lower() and name.lower() in repo.labels:
                raise invalid("Label", "name", "already_exists")
            changes["name"] = {"from": label.name}
            del repo.labels[label.name.lower()]
            label.name = name
            repo.labels[name.lower()] = label
        if color is not None and color.lower() != label.color:
            changes["color"] = {"from": label.color}
            label.color = color.lower().removeprefix("#")
        if description is not None and description != label.description:
            changes["description"] = {"from": label.description}
            label.description = description
        if changes:
            self._emit(repo, "edited", label, actor, {"changes": changes})

    def delete(self, repo: Repository, label: Label, actor: Actor) -> None:
        """Delete from the repository and, silently for the issues' events, from every issue."""
        del repo.labels[label.name.lower()]
        self.hub.nodes.pop(label.node_id, None)
        for item in repo.issues.values():
            if label in item.labels:
                item.labels.remove(label)
                self.emit_change(item, "unlabeled", label, actor)
        self._emit(repo, "deleted", label, actor)

    def _emit(
        self,
        repo: Repository,
        action: str,
        label: Label,
        actor: Actor | None,
        extra: Json | None = None,
    ) -> None:
        payload: Json = {"label": present.label(self.hub, repo, label)}
        sender = repo.owner if actor is None else actor.user
        self.hub.emit("label", action, repo, sender, payload | (extra or {}))

    def attach(self, item: Issue, names: Iterable[str], actor: Actor) -> list[Label]:
        """Put labels on an issue and record the events; returns those that are new on it."""
        added = []
        for name in names:
            if not name.strip():
                raise invalid("Label", "name", "missing_field")
            label = item.repo.labels.get(name.strip().lower())
            if label is None:
                label = self.create(item.repo, name, actor)
            if label in item.labels:
                continue
            if len(item.labels) >= MAX_LABELS:
                raise invalid("Issue", "labels", "custom", message="too many labels")
            item.labels.append(label)
            self._record(item, "labeled", label, actor)
            added.append(label)
        return added

    def _record(self, item: Issue, event: str, label: Label, actor: Actor) -> None:
        data: Json = {"label": {"name": label.name, "color": label.color}}
        self.hub.issues.record(item, event, actor, data)

    def emit_change(self, item: Issue, action: str, label: Label, actor: Actor) -> None:
        """Send `labeled` or `unlabeled`."""
        extra: Json = {"label": present.label(self.hub, item.repo, label)}
        self.hub.issues.emit(item, action, actor, extra)

    def add(self, item: Issue, names: Iterable[str], actor: Actor) -> None:
        """Add labels; those already there are left alone."""
        for label in self.attach(item, names, actor):
            self.emit_change(item, "labeled", label, actor)

    def remove(self, item: Issue, name: str, actor: Actor) -> None:
        """Remove one label. Raises ApiError 404 `Label does not exist`."""
        label = item.label(name)
        if label is None:
            raise ApiError(404, "Label does not exist")
        item.labels.remove(label)
        self._record(item, "unlabeled", label, actor)
        self.emit_change(item, "unlabeled", label, actor)

    def replace(self, item: Issue, names: Iterable[str], actor: Actor) -> None:
        """Replace the whole set: the last writer wins."""
        wanted = list(names)
        lower = {x.strip().lower() for x in wanted}
        for label in [x for x in item.labels if x.name.lower() not in lower]:
            self.remove(item, label.name, actor)
        self.add(item, wanted, actor)

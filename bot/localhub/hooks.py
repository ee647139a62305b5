"""Webhooks: who gets which event, how it is signed, sent and recorded.

Promise: like the real service a delivery is sent at most once, unordered (several at a time), with
a time-out, and never repeated by itself; `GET /app/hook/deliveries` tells what became of it.
Known races: the receiver may see a delivery before the API call that caused it has answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

import aiohttp

from bot.localhub import present
from bot.localhub.model import Account, AccountType, App, Delivery, Hook, Installation, Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

DELIVERY_TIMEOUT = 10.0
"""Seconds a receiver has, as on github.com."""
PARALLEL = 8
"""Deliveries under way at once: enough that one slow receiver does not stop the rest."""
MAX_PAYLOAD = 25 * 1024 * 1024
"""Bytes; GitHub does not send a larger payload at all."""
MAX_RESPONSE = 4096
"""Characters of the receiver's answer that are kept."""

ALWAYS_DELIVERED = frozenset(
    {
        "installation",
        "installation_repositories",
        "installation_target",
        "github_app_authorization",
        "ping",
    }
)
"""Events every App gets and none can subscribe to."""
EVENT_PERMISSIONS: dict[str, tuple[str, ...]] = {
    "issues": ("issues",),
    "issue_comment": ("issues", "pull_requests"),
    "sub_issues": ("issues",),
    "issue_dependencies": ("issues",),
    "push": ("contents",),
    "create": ("contents",),
    "delete": ("contents",),
    "repository_dispatch": ("contents",),
    "workflow_dispatch": ("contents",),
    "pull_request": ("pull_requests",),
    "pull_request_review": ("pull_requests",),
    "pull_request_review_comment": ("pull_requests",),
    "pull_request_review_thread": ("pull_requests",),
    "check_run": ("checks",),
    "check_suite": ("checks",),
    "status": ("statuses",),
    "workflow_run": ("actions",),
    "workflow_job": ("actions",),
    "merge_group": ("merge_queues",),
    "member": ("members",),
}
"""The permission (one of them) without which an App cannot subscribe; others need metadata only."""


class HookFaultKind(Enum):
    """What can go wrong with a delivery."""

    DROP = "drop"
    """Never sent; recorded as failed."""
    VANISH = "vanish"
    """Never sent, and recorded as delivered: something in between answered for the receiver."""
    DUPLICATE = "duplicate"
    """Sent twice, the second time with another GUID."""
    DELAY = "delay"
    """Sent only after some later deliveries, or when nothing else is left to send."""


@dataclass
class HookFault:
    """A fault for the deliveries that match; `count` None means for ever, `chance` in 0..1."""

    kind: HookFaultKind
    event: str | None = None
    action: str | None = None
    count: int | None = 1
    chance: float = 1.0
    behind: int = 3
    """DELAY: how many later deliveries overtake this one."""

    def takes(self, delivery: Delivery, rng: random.Random) -> bool:
        """Whether this fault strikes now; counts down when it does."""
        if self.count == 0 or (self.event is not None and self.event != delivery.event):
            return False
        if self.action is not None and self.action != delivery.action:
            return False
        if self.chance < 1.0 and rng.random() >= self.chance:
            return False
        if self.count is not None:
            self.count -= 1
        return True


@dataclass
class _Delayed:
    delivery: Delivery
    behind: int


@dataclass
class Hooks:
    """The delivery side of the hub."""

    hub: Hub
    repository_hooks: dict[int, list[Hook]] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    faults: list[HookFault] = field(default_factory=list)
    _held: list[Delivery] = field(default_factory=list)
    _delayed: list[_Delayed] = field(default_factory=list)
    _holding: bool = False
    _session: aiohttp.ClientSession | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))

    def hold(self) -> None:
        """Keep deliveries back until `release`."""
        self._holding = True

    @property
    def held(self) -> Sequence[Delivery]:
        """What is kept back, oldest first."""
        return tuple(self._held)

    def release(self, order: Callable[[list[Delivery]], list[Delivery]] | None = None) -> list[Delivery]:
        """Send what was held, in the given order (a function of the list; may leave some out)."""
        self._holding = False
        batch, self._held = self._held, []
        if order is not None:
            batch = order(batch)
        for delivery in batch:
            self._start(delivery)
        return batch

    def queue(
        self,
        event: str,
        action: str | None,
        repo: Repository | None,
        sender: Account,
        payload: Json,
        *,
        app: App | None = None,
        account: Account | None = None,
    ) -> list[Delivery]:
        """Create the deliveries of one event. With `app` only that App gets it."""
        out = []
        for candidate in [app] if app is not None else self.hub.apps.values():
            hook = candidate.hook
            if hook is None or not hook.active:
                continue
            owner = account or (repo.owner if repo is not None else None)
            found = self.hub.find_installation(candidate, repo, owner)
            if event not in ALWAYS_DELIVERED and (
                found is None
                or found.suspended_at is not None
                or not (event in found.events or (app is not None and _automatic(event, found)))
            ):
                continue
            extra: Json = {}
            if found is not None and event not in ALWAYS_DELIVERED:
                extra["installation"] = {"id": found.id, "node_id": found.node_id}
            identifier = found.id if found is not None else None
            out += self._create(hook, event, action, repo, sender, payload | extra, identifier)
        if repo is not None and app is None:
            for hook in self.repository_hooks.get(repo.id, []):
                if hook.active and (event in hook.events or "*" in hook.events):
                    out += self._create(hook, event, action, repo, sender, payload, None)
        return out

    def _create(
        self,
        hook: Hook,
        event: str,
        action: str | None,
        repo: Repository | None,
        sender: Account,
        payload: Json,
        installation_id: int | None,
    ) -> list[Delivery]:
        full: Json = {} if action is None else {"action": action}
        full |= payload
        if repo is not None:
            full["repository"] = present.repository(self.hub, repo)
            if repo.owner.type is AccountType.ORGANIZATION:
                full["organization"] = organization(self.hub, repo.owner)
        full["sender"] = present.simple_user(self.hub, sender)
        raw = json.dumps(full, separators=(",", ":"), ensure_ascii=False).encode()
        if len(raw) > MAX_PAYLOAD:
            return []
        repo_id = None if repo is None else repo.id
        delivery = self._record(hook, event, action, raw, installation_id, repo_id)
        self._dispatch(delivery)
        return [delivery]

    def _record(
        self,
        hook: Hook,
        event: str,
        action: str | None,
        raw: bytes,
        installation_id: int | None,
        repository_id: int | None,
        guid: str | None = None,
    ) -> Delivery:
        guid = guid or self.hub.new_guid()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/10ca1b0",
            "Accept": "*/*",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": guid,
            "X-GitHub-Hook-ID": str(hook.id),
            "X-GitHub-Hook-Installation-Target-ID": str(hook.target_id),
            "X-GitHub-Hook-Installation-Target-Type": hook.target_type,
        }
        if hook.secret:
            key = hook.secret.encode()
            headers["X-Hub-Signature"] = "sha1=" + hmac.new(key, raw, hashlib.sha1).hexdigest()
            headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(key, raw, "sha256").hexdigest()
        delivery = Delivery(
            id=self.hub.new_id(),
            guid=guid,
            hook=hook,
            event=event,
            action=action,
            headers=headers,
            body=raw,
            installation_id=installation_id,
            repository_id=repository_id,
            queued_at=self.hub.now(),
        )
        self.deliveries.append(delivery)
        return delivery

    def _dispatch(self, delivery: Delivery) -> None:
        fault = next((x for x in self.faults if x.takes(delivery, self.hub.hook_rng)), None)
        kind = None if fault is None else fault.kind
        if kind is HookFaultKind.DROP:
            delivery.delivered_at = self.hub.now()
            delivery.status, delivery.status_code = "failed to connect to host", 502
        elif kind is HookFaultKind.VANISH:
            delivery.delivered_at = self.hub.now()
            delivery.status, delivery.status_code = "OK", 200
        elif kind is HookFaultKind.DELAY and fault is not None:
            self._delayed.append(_Delayed(delivery, fault.behind))
        else:
            self._send_or_hold(delivery)
            if kind is HookFaultKind.DUPLICATE:
                d = delivery
                self._send_or_hold(self._record(d.hook, d.event, d.action, d.body, d.installation_id, d.repository_id))
            self._overtake()

    def _overtake(self) -> None:
        for item in self._delayed:
            item.behind -= 1
        ready = [x for x in self._delayed if x.behind <= 0]
        self._delayed = [x for x in self._delayed if x.behind > 0]
        for item in ready:
            self._send_or_hold(item.delivery)

    def flush_delayed(self) -> bool:
        """Send what waited to be overtaken and never was; whether there was anything."""
        batch, self._delayed = self._delayed, []
        for item in batch:
            self._send_or_hold(item.delivery)
        return bool(batch)

    def _send_or_hold(self, delivery: Delivery) -> None:
        if self._holding:
            self._held.append(delivery)
        else:
            self._start(delivery)

    def _start(self, delivery: Delivery) -> None:
        self.hub.spawn(self._send(delivery), f"deliver {delivery.event} {delivery.guid}")

    def redeliver(self, delivery: Delivery) -> Delivery:
        """Send once more, with the same GUID, as a delivery record of its own."""
        d = delivery
        again = self._record(d.hook, d.event, d.action, d.body, d.installation_id, d.repository_id, d.guid)
        again.redelivery = True
        self._start(again)
        return again

    async def _send(self, delivery: Delivery) -> None:
        async with self._slots:
            if self._session is None:
                self._session = aiohttp.ClientSession()
            loop = asyncio.get_running_loop()
            started = loop.time()
            try:
                async with self._session.post(
                    delivery.hook.url,
                    data=delivery.body,
                    headers=delivery.headers,
                    timeout=aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT),
                    allow_redirects=False,
                ) as answer:
                    delivery.status_code = answer.status
                    delivery.status = "OK" if answer.ok else (answer.reason or "error")
                    delivery.response_headers = dict(answer.headers)
                    delivery.response_body = (await answer.text(errors="replace"))[:MAX_RESPONSE]
            except TimeoutError:
                delivery.status, delivery.status_code = "timed out", 0
            except aiohttp.ClientError:
                delivery.status, delivery.status_code = "failed to connect to host", 502
            delivery.duration = round(loop.time() - started, 3)
            delivery.delivered_at = self.hub.now()

    async def close(self) -> None:
        """Release the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _automatic(event: str, item: Installation) -> bool:
    """Requests to an App's own checks come without a subscription if it may write checks."""
    return event in ("check_run", "check_suite") and item.permissions.get("checks") == "write"


def organization(hub: Hub, account: Account) -> Json:
    """An `organization-simple`, which webhooks of its repositories carry."""
    url = f"{hub.api_url}/orgs/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": account.node_id,
        "url": url,
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events",
        "hooks_url": f"{url}/hooks",
        "issues_url": f"{url}/issues",
        "members_url": f"{url}/members{{/member}}",
        "public_members_url": f"{url}/public_members{{/member}}",
        "avatar_url": f"{hub.html_url}/_hub/avatar/{account.id}.svg",
        "description": None,
    }

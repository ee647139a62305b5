"""The power switch of the bot under test: it goes off at one numbered moment and nothing happens after that.

Every request of the bot to GitHub and every commit of its store are two moments each, before and after, counted in
their order. When the chosen one is reached, `Crash` is raised there, and from then on every further request and
commit of that process raises as well, so that no clean-up code of the dying process can do anything.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from bot.domain import effects
from bot.web.api.problems import Code, problem
from tests.world import World

VARYING = re.compile(r"[0-9a-f]{40}|\b\d{4,}\b")
"""Hashes and ids in paths, which differ from run to run."""

MUTATION = re.compile(r"\b([a-z][A-Za-z]+)\s*\(\s*input")


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in the bot may handle it."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment at which the process may end: the `nth` time something was about to happen or had just happened.

    `kinds` are the effects that the request carries out. Names instead of numbers: webhooks arrive while the bot
    works, so how many commits lie between two requests differs a little from run to run.
    """

    when: str
    what: str
    nth: int
    kinds: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def is_commit(self) -> bool:
        return self.what.startswith("commit")

    def __str__(self) -> str:
        return f"{self.when} {self.what} ({self.nth})"


@dataclass
class Power:
    """Notes moments; goes off at `off_at` (None: never)."""

    off_at: Moment | None = None
    moments: list[Moment] = field(default_factory=list)
    went_off: bool = False
    dead: bool = False
    commits: int = 0
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def on(self) -> None:
        """A new process starts; the one moment is over."""
        self.dead = False
        self.off_at = None

    def _reach(self, when: str, what: str, kinds: frozenset[str] = frozenset()) -> None:
        if self.dead:
            raise Crash
        self._seen[when, what] += 1
        moment = Moment(when, what, self._seen[when, what], kinds)
        self.moments.append(moment)
        if moment == self.off_at:
            self.dead = self.went_off = True
            raise Crash

    def before_commit(self) -> None:
        self.commits += 1
        self._reach("before", f"commit {self.commits}")

    def after_commit(self) -> None:
        self._reach("after", f"commit {self.commits}")

    async def request(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        what, kinds = described(request)
        self._reach("before", what, kinds)
        answer = await handler(request)
        try:
            self._reach("after", what, kinds)
        except Crash:
            answer.close()
            raise
        return answer

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A process that ends answers nobody: the connection breaks."""
        answer: web.StreamResponse | None = None
        try:
            answer = await handler(request)
        except Crash:
            assert self.dead
        if self.dead or answer is None:
            if request.transport is not None:
                request.transport.abort()
            return problem(Code.UNAVAILABLE, "The process has ended.")
        return answer

    def plug_in(self, world: World) -> None:
        """From the next start on, the bot of the world hangs on this switch."""
        world.before_commit = self.before_commit
        world.after_commit = self.after_commit
        world.around_requests = (self.request,)

        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.answer(request, handler)

        world.around_answers = (answer,)


# --- which effects a request carries out -------------------------------------------------------------

SET_UP = "set-up issue"
MIRROR = "mirrored issue"
CLEAN_UP = "deleted branch"
READY = "pull request made ready"

KINDS = frozenset({SET_UP, MIRROR, CLEAN_UP, READY, *(kind.__name__ for kind in get_args(effects.Effect))})
"""Every kind of effect that a decision may hold, what travels inside `Show`, and the issues of a repository's pass."""

BY_PLACE: tuple[tuple[str, str, str], ...] = (
    ("DELETE", r"/issues/\d+/labels/tgs(:|%3A)ready$", effects.TakeReadyLabel.__name__),
    ("POST", r"/dispatches$", effects.Dispatch.__name__),
    ("POST", r"/actions/runs/\d+/(force-)?cancel$", effects.CancelRun.__name__),
    ("DELETE", r"/installation/token$", effects.RevokeToken.__name__),
    ("POST", r"/pulls$", effects.OpenPull.__name__),
    ("PUT", r"/pulls/\d+/merge$", effects.MergePull.__name__),
    ("POST", r"/issues/comments/\d+/reactions$", effects.React.__name__),
)


def described(request: aiohttp.ClientRequest) -> tuple[str, frozenset[str]]:
    """The request in words, and the kinds of effect that it carries out."""
    path = request.url.raw_path
    body = _body(request)
    if path.endswith("/graphql"):
        if (moved := _claim_ref(body)) is not None:
            what = effects.ReleaseClaim if moved["afterOid"] == "0" * 40 else effects.PublishClaim
            return f"GraphQL claim ref {what.__name__}", frozenset({what.__name__})
        fields = set(MUTATION.findall(str(body.get("query", ""))))
        kinds = {effects.Status.__name__} if "updateIssueComment" in fields else set[str]()
        if fields - {"updateIssueComment"}:
            kinds.add(effects.Show.__name__)
        kinds |= {CLEAN_UP} if "updateRefs" in fields else set()
        kinds |= {READY} if "markPullRequestReadyForReview" in fields else set()
        return f"GraphQL {' '.join(sorted(fields)) or 'query'}", frozenset(kinds)
    kinds = {kind for method, place, kind in BY_PLACE if method == request.method and re.search(place, path)}
    if request.method == "POST" and re.search(r"/issues/\d+/labels$", path):
        kinds.add(effects.Show.__name__)
    text = str(body.get("body", ""))
    if request.method == "POST" and re.search(r"/issues/\d+/comments$", path):
        kinds.add(effects.Status.__name__ if "<!-- tgs:status -->" in text else effects.Say.__name__)
    if request.method == "POST" and path.endswith("/issues"):
        kinds.add(SET_UP if "<!-- tgs:setup -->" in text else MIRROR)
    if request.method == "PATCH" and re.search(r"/issues/\d+$", path) and body.get("state") == "closed":
        kinds.add(effects.CloseIssue.__name__)
    return f"{request.method} {VARYING.sub('*', path)}", frozenset(kinds)


def _claim_ref(body: dict[str, Any]) -> dict[str, str] | None:
    """The change of a claim ref, if that is what the request is about."""
    updates = body.get("variables", {}).get("input", {}).get("refUpdates") or [{}]
    return dict(updates[0]) if "claims/" in updates[0].get("name", "") else None


def _body(request: aiohttp.ClientRequest) -> dict[str, Any]:
    raw = request.body if isinstance(request.body, bytes) else request.body.decode()
    try:
        found = json.loads(raw) if raw else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}

"""`…/worker-tokens`: the rights of pull workers, given and taken by those who administer the repository.

Who may call: a person with the role `admin` in the repository, and in every other one that the token shall open. The
secret is shown once, in the answer that made it; only its sum is kept.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from aiohttp import web

from bot.domain.model import Role
from bot.domain.sanitise import for_inline
from bot.domain.workers import DEFAULT_CLAIMS, DEFAULT_TOKEN_LIFE, MAX_TOKEN_LIFE, WorkerToken
from bot.pull_service import PullService
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import Callers
from bot.web.api.described import REPO, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code

TOKENS = f"{REPO}/worker-tokens"


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """`repos`: further repositories of the same account (owner/name). `max_claims`: claims it may hold at once."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    days: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOKEN_LIFE.days)] = DEFAULT_TOKEN_LIFE.days
    max_claims: Annotated[int, msgspec.Meta(ge=1, le=100)] = DEFAULT_CLAIMS
    repos: Annotated[tuple[str, ...], msgspec.Meta(max_length=50)] = ()


class TokenView(msgspec.Struct):
    """A token without its secret. `good`: it opens something now."""

    id: str
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    max_claims: int
    repositories: int
    good: bool


class TokenMade(msgspec.Struct):
    """`secret` is shown here and never again."""

    secret: str
    token: TokenView


class TokenList(msgspec.Struct):
    tokens: list[TokenView]


class WorkerTokensApi:
    """The routes of worker tokens."""

    def __init__(self, callers: Callers, pull: PullService) -> None:
        self._callers = callers
        self._pull = pull

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TOKENS, self.create),
            web.get(TOKENS, self.list_),
            web.delete(f"{TOKENS}/{{id}}", self.revoke),
        ]

    async def create(self, request: web.Request) -> web.Response:
        person, repo = await self._callers.person_in(request, Role.ADMIN)
        body = await body_of(request, TokenBody)
        others = [await self._callers.repo_for(person, name, Role.ADMIN) for name in body.repos]
        repos = {found.key: found for found in (repo, *others)}
        token, secret = await self._pull.create_token(
            list(repos.values()), person, for_inline(body.name), timedelta(days=body.days), body.max_claims
        )
        return answer(TokenMade(secret, self._view(token)), 201)

    async def list_(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request, Role.ADMIN)
        return answer(TokenList([self._view(token) for token in await self._pull.tokens(repo)]))

    async def revoke(self, request: web.Request) -> web.Response:
        _, repo = await self._callers.person_in(request, Role.ADMIN)
        if not await self._pull.revoke(repo, request.match_info["id"]):
            raise ApiProblem(Code.NOT_FOUND, "There is no such worker token here.")
        return web.Response(status=204)

    def _view(self, token: WorkerToken) -> TokenView:
        return TokenView(
            id=token.id,
            name=token.name,
            created_by=token.created_by.login,
            created_at=token.created_at,
            expires_at=token.expires_at,
            revoked_at=token.revoked_at,
            last_used_at=token.last_used_at,
            max_claims=token.max_claims,
            repositories=len(token.repos),
            good=self._pull.good(token),
        )


DESCRIBED = (
    Row(
        "POST",
        TOKENS,
        (Caller.PERSON,),
        "Make a worker token; its secret is in this answer and nowhere else.",
        answers={201: TokenMade},
        body=TokenBody,
        role="admin",
        example=Example(body={"name": "build box", "days": 30}, status=201),
    ),
    Row(
        "GET",
        TOKENS,
        (Caller.PERSON,),
        "The worker tokens that open this repository, without their secrets.",
        answers={200: TokenList},
        role="admin",
        example=Example(),
    ),
    Row(
        "DELETE",
        f"{TOKENS}/{{id}}",
        (Caller.PERSON,),
        "Revoke a worker token. What is worked on under it is refused from its next call on.",
        answers={204: None},
        role="admin",
        problems=(Code.NOT_FOUND,),
    ),
)

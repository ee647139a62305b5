"""Who calls the API: a person with a GitHub token, or a worker with a token of ours. The default is nobody.

What a person may do is decided by the role they have in the repository now; a worker token opens the repositories it
names and nothing a person decides. Other credentials (a run's identity token, an attempt's token) are read where
those calls are.
"""

from __future__ import annotations

import re

from aiohttp import web

from bot.domain.attempt import Attempt
from bot.domain.model import AttemptId, Person, Role
from bot.domain.permissions import Capability, needed
from bot.domain.repository import RepoRecord
from bot.domain.workers import WORKER_PREFIX, WorkerToken
from bot.errors import Refused
from bot.people import People
from bot.policies import policy_of
from bot.protocols.ledger import Store
from bot.pull_service import PullService
from bot.web.api.problems import ApiProblem, Code

_FOREIGN = re.compile(r"(?!tg)[!-~]{1,2000}")
"""What may be a token of GitHub's; anything else is not shown to GitHub."""


class Callers:
    """Reads the credential of a request. Raises ApiProblem when there is none that counts."""

    def __init__(self, people: People, pull: PullService, store: Store) -> None:
        self._people = people
        self._pull = pull
        self._store = store

    async def person(self, request: web.Request) -> Person:
        """The person whose GitHub token this is."""
        token = bearer(request)
        if token.startswith(WORKER_PREFIX):
            raise ApiProblem(
                Code.UNAUTHENTICATED,
                "A worker token does not open this; send `Authorization: Bearer <GitHub token>` of a person.",
            )
        # A token of ours must never reach GitHub.
        found = await self._people.person(token) if _FOREIGN.fullmatch(token) else None
        if found is None:
            raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer <GitHub token>`.")
        return found

    async def person_in(self, request: web.Request, least: Role = Role.READ) -> tuple[Person, RepoRecord]:
        """The person and the repository of the path, in which they have at least this role. Raises Refused."""
        person = await self.person(request)
        return person, await self._people.repo_for(person, name_in(request), least)

    async def repos_of(self, request: web.Request) -> tuple[Person, list[RepoRecord]]:
        """The person and every served repository that they can read."""
        person = await self.person(request)
        return person, await self._people.repos_of(person)

    async def person_in_id(self, request: web.Request, repo_id: int) -> tuple[Person, RepoRecord]:
        """The person and the repository of this id, which they can read. Raises Refused, with the same words for an
        id that nobody knows."""
        person = await self.person(request)
        served = await self._store.read(lambda tx: tx.repos())
        found = [repo for repo in served if repo.active and repo.key.repo == repo_id]
        if not found:
            raise Refused(f"There is no repository {repo_id} that is served here and that @{person.login} can read.")
        try:
            return person, await self._people.repo_for(person, found[-1].full_name, Role.READ)
        except Refused:
            raise Refused(
                f"There is no repository {repo_id} that is served here and that @{person.login} can read."
            ) from None

    async def person_in_attempt(self, request: web.Request, id_: str) -> tuple[Person, RepoRecord, Attempt]:
        """The person and an attempt in a repository that they can read. Raises Refused, as for an unknown one."""
        person = await self.person(request)
        attempt = await self._store.read(lambda tx: tx.attempt(AttemptId(id_)))
        if attempt is not None:
            try:
                _, repo = await self.person_in_id(request, attempt.key.repo)
            except Refused:
                repo = None
            if repo is not None and repo.key == attempt.key.repo_key:
                return person, repo, attempt
        raise Refused(f"There is no attempt {id_[:64]!r} that @{person.login} can read.")

    async def person_who_may(self, request: web.Request, capability: Capability) -> tuple[Person, RepoRecord]:
        """The person and the repository of the path, where policy gives their role this capability."""
        person, repo = await self.person_in(request)
        least = needed(capability, policy_of(repo).roles)
        return person, await self._people.repo_for(person, repo.full_name, least)

    async def repo_for(self, person: Person, full_name: str, least: Role) -> RepoRecord:
        """The repository, if this person has at least this role in it now. Raises Refused."""
        return await self._people.repo_for(person, full_name, least)

    async def worker(self, request: web.Request) -> WorkerToken:
        """The worker token of the request."""
        token = bearer(request)
        found = await self._pull.token(token) if token.startswith(WORKER_PREFIX) else None
        if found is None:
            raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer tgw_…`, a worker token that is good.")
        return found

    async def person_or_worker(self, request: web.Request) -> Person | WorkerToken:
        """Either of the two."""
        if bearer(request).startswith(WORKER_PREFIX):
            return await self.worker(request)
        return await self.person(request)

    async def repo_open_to(self, caller: Person | WorkerToken, full_name: str, capability: Capability) -> RepoRecord:
        """The repository if the caller may do this there now. Raises Refused, with the same words for unknown ones."""
        if isinstance(caller, Person):
            repo = await self._people.repo_for(caller, full_name, Role.READ)
            return await self._people.repo_for(caller, full_name, needed(capability, policy_of(repo).roles))
        found = await self._store.read(lambda tx: tx.repo_by_name(full_name))
        if found is None or not found.active or not caller.opens(found.key):
            raise Refused(f"`{full_name}` is not served here, or this worker token does not open it.")
        return found


def name_in(request: web.Request) -> str:
    """owner/name of the path."""
    return f"{request.match_info['owner']}/{request.match_info['repo']}"


def bearer(request: web.Request) -> str:
    """The bearer token of the request, empty when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""

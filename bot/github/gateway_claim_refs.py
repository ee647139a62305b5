"""Claim refs: the one thing on GitHub that exactly one of several claimers can make.

Promises: a claim becomes visible in one step, with its complete record (tree and commit are made first, then one
`updateRefs` whose `beforeOid` says that the ref must not exist). It is released and taken over only by `updateRefs`
with the object that the caller knows, so nobody can take away what somebody else has put there since. After any refusal
or lost answer the refs are read, and the record in them decides, not GitHub's words.

Both namespaces are always read. A repository that is proved to refuse `refs/tgs/claims/` gets its claims under
`refs/heads/tgs-claims/`, remembered while this process lives. Race: two claimers may disagree about the namespace, each
making its own ref. So whoever published looks at the other namespace once more and takes its claim back when there is
one: then none of the two may win, but never both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from bot.domain.claim_record import (
    FALLBACK,
    FILE,
    NAMESPACE,
    NAMESPACES,
    ClaimRecord,
    ClaimRef,
    ClaimUnreadable,
    Standing,
    issue_of,
    read,
    ref_names,
    standing,
    write,
)
from bot.domain.model import IssueKey, RepoKey
from bot.errors import Conflict, Forbidden, GitHubError, Invalid, NotFound, Unavailable
from bot.github.answers import classify_graphql, error_of
from bot.github.batch import ZERO_OID
from bot.github.clients import Clients
from bot.github.gateway_show import ShowVerbs
from bot.github.limits import Lane
from bot.github.shapes import CommitShape, ObjectShape, RefShape

UPDATE_REFS = "mutation($input: UpdateRefsInput!) { moved: updateRefs(input: $input) { clientMutationId } }"

TRIES = 2
"""A refusal that leaves no ref behind may be somebody's claim that ended meanwhile: tried again once."""

SELF_TEST = "refs/tgs/selftest/"
"""Where it is tried whether the repository takes refs of ours; deleted at once."""

REFUSALS = (Conflict, Invalid, Forbidden, NotFound, Unavailable)
"""After these the refs are read, because GitHub's words about a lost race are not documented."""


class ClaimRefVerbs(ShowVerbs):
    """Verbs about claim refs."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        super().__init__(clients, names)
        self._refusing: set[RepoKey] = set()

    # --- reading

    async def claim_ref(self, key: IssueKey) -> tuple[ClaimRef, ...]:
        """The claim refs of an item: normally none or one. A record that cannot be read is there without a record."""
        found = [await self._ref(key.repo_key, name) for name in ref_names(key.number)]
        return tuple([await self._record(key.repo_key, shape) for shape in found if shape is not None])

    async def claim_refs(self, key: RepoKey) -> list[ClaimRef]:
        """All claim refs of the repository, by the item's number. Refs with odd names are there without a record."""
        found: list[ClaimRef] = []
        for namespace in NAMESPACES:
            prefix = namespace.removeprefix("refs/").rstrip("/")
            refs = [shape for shape in await self._matching(key, prefix) if shape.ref.startswith(namespace)]
            found += [await self._record(key, shape) for shape in refs]
        return sorted(found, key=lambda ref: (issue_of(ref.ref) or 0, ref.ref))

    async def _matching(self, key: RepoKey, prefix: str) -> list[RefShape]:
        """The refs whose names begin so; GitHub gives this list in one piece."""
        path = "/git/matching-refs{/ref*}"
        answer = await self._send(key, "GET", path, {"ref": prefix.split("/")})
        return self._read(list[RefShape], answer, f"GET {path}")

    async def _ref(self, key: RepoKey, name: str) -> RefShape | None:
        path = "/git/ref{/ref*}"
        answer = await self._find(key, path, {"ref": name.split("/")[1:]})
        if answer is None:
            return None
        shape = self._read(RefShape, answer, f"GET {path}")
        # A prefix of other refs must not pass for the ref itself.
        return shape if shape.ref == name else None

    async def _record(self, key: RepoKey, shape: RefShape) -> ClaimRef:
        """The record of a ref. A commit never changes, so the file comes from the ETag cache the next time."""
        issue = issue_of(shape.ref)
        if issue is None:
            return ClaimRef(shape.ref, shape.object.sha, None, "its name is not that of an item's claim")
        try:
            file = await self.file(key, FILE, shape.object.sha)
        except (Invalid, NotFound) as error:
            return ClaimRef(shape.ref, shape.object.sha, None, error.message)
        if file is None:
            return ClaimRef(shape.ref, shape.object.sha, None, f"there is no {FILE} in it")
        try:
            return ClaimRef(shape.ref, shape.object.sha, read(file[1], issue))
        except ClaimUnreadable as error:
            return ClaimRef(shape.ref, shape.object.sha, None, str(error))

    # --- writing

    async def publish_claim(self, key: IssueKey, record: ClaimRecord) -> ClaimRef:
        """Make the claim, or say who has the item: the ref that comes back holds `record.claim_id` only if we have it.

        Raises GitHubError kinds when it is not known who has it; asking again then is safe.
        """
        repo = key.repo_key
        oid = await self._commit(repo, record)
        if repo not in self._refusing:
            found = await self._publish(key, NAMESPACE, record, oid)
            if isinstance(found, ClaimRef):
                return found
            if not await self._namespace_refused(repo, record, oid):
                raise found
        found = await self._publish(key, FALLBACK, record, oid)
        if not isinstance(found, ClaimRef):
            raise found
        self._refusing.add(repo)
        return found

    async def _publish(self, key: IssueKey, namespace: str, record: ClaimRecord, oid: str) -> ClaimRef | GitHubError:
        """The ref that says who has the item, or the refusal that left none behind."""
        name = f"{namespace}{key.number}"
        refusal: GitHubError | None = None
        for _ in range(TRIES):
            try:
                await self._move(key.repo_key, name, ZERO_OID, oid)
            except REFUSALS as error:
                who, ref = standing(await self.claim_ref(key), record.claim_id)
                if ref is not None:
                    return await self._unrivalled(key, ref) if who is Standing.OURS else ref
                if error.uncertain:
                    raise
                refusal = error
            else:
                return await self._unrivalled(key, ClaimRef(name, oid, record))
        assert refusal is not None
        return refusal

    async def _namespace_refused(self, key: RepoKey, record: ClaimRecord, oid: str) -> bool:
        """Whether the repository takes no refs below `refs/tgs`: tried with a ref that nobody else can want. A refusal
        alone proves nothing, because a read that lags behind a rival's claim looks the same."""
        name = f"{SELF_TEST}{record.nonce}"
        try:
            await self._move(key, name, ZERO_OID, oid)
        except (Conflict, Invalid, Forbidden, NotFound):
            return True
        await self.release_claim(key, ClaimRef(name, oid, None))
        return False

    async def _unrivalled(self, key: IssueKey, ours: ClaimRef) -> ClaimRef:
        """Our claim, unless somebody claimed in the other namespace; then ours is taken back and theirs comes back."""
        other = next(name for name in ref_names(key.number) if name != ours.ref)
        shape = await self._ref(key.repo_key, other)
        if shape is None:
            return ours
        rival = await self._record(key.repo_key, shape)
        if rival.record is not None and ours.record is not None and rival.record.claim_id == ours.record.claim_id:
            return ours
        await self.release_claim(key.repo_key, ours)
        return rival

    async def take_over_claim(self, key: IssueKey, record: ClaimRecord, known: ClaimRef) -> ClaimRef | None:
        """Put our claim in the place of the known one. None: it is not there any more, or another is; look again.

        Raises GitHubError kinds when that is not known.
        """
        oid = await self._commit(key.repo_key, record, known.oid)
        try:
            await self._move(key.repo_key, known.ref, known.oid, oid)
        except REFUSALS as error:
            there = {ref.ref: ref for ref in await self.claim_ref(key)}.get(known.ref)
            if there is not None and there.record == record:
                return there
            if there is not None and there.oid == known.oid:
                raise
            if isinstance(error, Unavailable):
                raise
            return None
        return ClaimRef(known.ref, oid, record)

    async def release_claim(self, key: RepoKey, known: ClaimRef) -> bool:
        """Delete the claim if it is still the known one. True: it is gone now. False: somebody else's is in its place.

        Raises GitHubError kinds when it is still there.
        """
        try:
            await self._move(key, known.ref, known.oid, ZERO_OID)
        except REFUSALS:
            shape = await self._ref(key, known.ref)
            if shape is None:
                return True
            if shape.object.sha != known.oid:
                return False
            raise
        return True

    # --- branches

    async def branches(self, key: RepoKey, prefix: str) -> dict[str, str]:
        """The branches whose names begin like this, with their heads."""
        shapes = await self._matching(key, f"heads/{prefix}".rstrip("/"))
        start = f"refs/heads/{prefix}"
        return {x.ref.removeprefix("refs/heads/"): x.object.sha for x in shapes if x.ref.startswith(start)}

    async def delete_branch(self, key: RepoKey, branch: str, expected: str) -> bool:
        """Delete a branch that is still there. False: it has moved."""
        return await self.release_claim(key, ClaimRef(f"refs/heads/{branch}", expected, None))

    # --- parts

    async def _commit(self, key: RepoKey, record: ClaimRecord, *parents: str) -> str:
        """A commit that holds the record and nothing else: under `refs/heads` the repository's files would bring their
        workflows along. Only adds objects, so it is safe to repeat."""
        entry = {"path": FILE, "mode": "100644", "type": "blob", "content": write(record)}
        answer = await self._send(key, "POST", "/git/trees", body={"tree": [entry]}, lane=Lane.CLAIM)
        tree = self._read(ObjectShape, answer, "POST /git/trees")
        message = f"Claim #{record.issue} for {record.who}"
        body: Mapping[str, object] = {"message": message, "tree": tree.sha, "parents": list(parents)}
        answer = await self._send(key, "POST", "/git/commits", body=body, lane=Lane.CLAIM)
        return self._read(CommitShape, answer, "POST /git/commits").sha

    async def _move(self, key: RepoKey, name: str, before: str, after: str) -> None:
        """One compare-and-set of a ref. Raises GitHubError kinds."""
        wanted = {"repositoryId": await self._repo_node(key), "refUpdates": [ref_update(name, before, after)]}
        answer = await self._client(key.installation).graphql_call(
            UPDATE_REFS, {"input": wanted}, label="claim ref", lane=Lane.CLAIM
        )
        if answer.errors:
            error = answer.errors[0]
            refusal = classify_graphql(error)
            raise error_of(refusal, error.message, status=HTTPStatus.OK, request="POST graphql:claim ref", write=True)

    async def _repo_node(self, key: RepoKey) -> str:
        if key not in self._repo_nodes:
            await self._look_up(key, [])
        node = self._repo_nodes.get(key)
        if node is None:
            raise NotFound("GitHub names no id for the repository", status=404, request="POST graphql:nodes")
        return node


def ref_update(name: str, before: str, after: str) -> Mapping[str, str]:
    """One entry of `updateRefs`: the ref moves only if it is where the caller knows it."""
    return {"name": name, "beforeOid": before, "afterOid": after}

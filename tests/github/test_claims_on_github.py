"""Claim refs on a local GitHub: one winner, nobody takes away another's claim, a lost answer is recognised."""

from __future__ import annotations

import pytest

from bot.domain.claim_record import FALLBACK, FILE, NAMESPACE, ClaimRecord
from bot.domain.model import IssueKey
from bot.errors import Forbidden, GitHubError, Unavailable
from bot.localhub.core import Fault, FaultKind
from bot.localhub.rules import BranchRule
from tests.github.hub import World
from tests.github.support import START

MOVE = "/graphql"
WORKFLOW = ".github/workflows/ci.yml"


def claim(name: str, fence: int = 1) -> ClaimRecord:
    return ClaimRecord(7, f"a-{name}", name, "", fence, f"{name}-{fence}".encode().hex(), START, locks=("src/**",))


def of(w: World) -> IssueKey:
    return IssueKey(w.key.installation, w.key.repo, 7)


async def refs(w: World) -> dict[str, str]:
    return {name: oid for name, oid in (await w.hub.git.refs(w.repo)).items() if "claims" in name or "selftest" in name}


def refuse(w: World, *prefixes: str) -> None:
    w.hub.git.closed_namespaces = prefixes


async def test_a_claim_is_published_read_and_released(w: World) -> None:
    wanted = claim("mia")
    made = await w.gateway.publish_claim(of(w), wanted)
    assert (made.ref, made.record) == (f"{NAMESPACE}7", wanted)
    assert await w.person_gateway("wim").claim_ref(of(w)) == (made,)
    assert await w.gateway.claim_refs(w.key) == [made]
    assert await w.gateway.release_claim(w.key, made)
    assert await w.gateway.claim_ref(of(w)) == ()
    assert await w.gateway.release_claim(w.key, made), "once more is no mistake"


async def test_the_second_claimer_learns_who_has_it(w: World) -> None:
    first = await w.gateway.publish_claim(of(w), claim("mia"))
    assert await w.person_gateway("wim").publish_claim(of(w), claim("wim")) == first


async def test_a_stale_holder_cannot_delete_or_replace_the_new_owners_claim(w: World) -> None:
    stale = await w.gateway.publish_claim(of(w), claim("mia"))
    taken = await w.person_gateway("wim").take_over_claim(of(w), claim("wim", 2), stale)
    assert taken is not None
    assert not await w.gateway.release_claim(w.key, stale)
    assert await w.gateway.take_over_claim(of(w), claim("mia", 3), stale) is None
    assert await w.gateway.claim_ref(of(w)) == (taken,)


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_AFTER, FaultKind.ERROR_AFTER], ids=lambda kind: kind.name)
async def test_a_lost_answer_is_recognised_by_the_claims_id(w: World, kind: FaultKind) -> None:
    await w.gateway.claim_ref(of(w))
    await w.gateway._repo_node(w.key)
    w.hub.faults.add(Fault(kind, path=MOVE))
    made = await w.gateway.publish_claim(of(w), claim("mia"))
    assert made.record == claim("mia")
    w.hub.faults.add(Fault(kind, path=MOVE))
    taken = await w.gateway.take_over_claim(of(w), claim("mia", 2), made)
    assert taken is not None
    assert taken.record == claim("mia", 2)
    w.hub.faults.add(Fault(kind, path=MOVE))
    assert await w.gateway.release_claim(w.key, taken)
    assert await refs(w) == {}


async def test_a_request_that_never_arrived_is_an_error_and_may_be_repeated(w: World) -> None:
    await w.gateway._repo_node(w.key)
    w.hub.faults.add(Fault(FaultKind.DISCONNECT_BEFORE, path=MOVE))
    with pytest.raises(Unavailable):
        await w.gateway.publish_claim(of(w), claim("mia"))
    assert (await w.gateway.publish_claim(of(w), claim("mia"))).record == claim("mia")


@pytest.mark.parametrize(
    "files",
    [{"README.md": "x"}, {FILE: "{}"}, {FILE: "x" * 20_000}],
    ids=["without a record", "with another record", "with a record that is too long"],
)
async def test_what_cannot_be_read_blocks_and_is_not_taken_for_free(w: World, files: dict[str, str]) -> None:
    bare = w.hub.git.bare(w.repo)
    oid = bare.commit_files(None, files, "?", w.hub.git.ident(w.owner))
    bare.run("update-ref", f"{NAMESPACE}7", oid)
    made = await w.gateway.publish_claim(of(w), claim("mia"))
    assert (made.oid, made.record) == (oid, None)
    assert made.problem


async def test_refs_with_odd_names_are_listed_as_unreadable(w: World) -> None:
    head = w.hub.git.bare(w.repo).ref("refs/heads/main")
    w.hub.git.bare(w.repo).run("update-ref", f"{NAMESPACE}7a", str(head))
    [found] = await w.gateway.claim_refs(w.key)
    assert (found.ref, found.record) == (f"{NAMESPACE}7a", None)


# --- the other namespace -----------------------------------------------------------------------------


async def test_a_repository_that_refuses_the_namespace_gets_branches_and_is_remembered(w: World) -> None:
    w.hub.git.commit(w.repo, {WORKFLOW: "on: push\njobs: {}\n"}, by=w.owner)
    before = len(w.hub.actions.runs_of(w.repo))
    refuse(w, "refs/tgs/")
    made = await w.gateway.publish_claim(of(w), claim("mia"))
    assert (made.ref, made.record) == (f"{FALLBACK}7", claim("mia"))
    assert await w.gateway.claim_refs(w.key) == [made]
    assert len(w.hub.actions.runs_of(w.repo)) == before, "the claim's commit brings no workflow along"
    await w.gateway.release_claim(w.key, made)
    w.hub.log.clear()
    await w.gateway.publish_claim(of(w), claim("mia", 2))
    assert sum(",".join(entry.operations) == "updateRefs" for entry in w.hub.log.entries) == 1


async def test_a_refusal_that_is_not_about_the_namespace_does_not_lead_to_the_other_one(w: World) -> None:
    """As when a read lags behind a rival's claim: the write is refused and nothing is seen."""
    refuse(w, NAMESPACE)
    with pytest.raises(GitHubError, match="rule violations"):
        await w.gateway.publish_claim(of(w), claim("mia"))
    assert await refs(w) == {}


@pytest.mark.parametrize("first", [NAMESPACE, FALLBACK])
async def test_claimers_that_disagree_about_the_namespace_do_not_both_win(w: World, first: str) -> None:
    """One of them sees the other's claim: both look at the other namespace after they published."""
    refuse(w, "refs/tgs/" if first == FALLBACK else "refs/none/")
    there = await w.gateway.publish_claim(of(w), claim("mia"))
    assert there.ref == f"{first}7"
    refuse(w, "refs/none/" if first == FALLBACK else "refs/tgs/")
    assert await w.person_gateway("wim").publish_claim(of(w), claim("wim")) == there
    assert set(await refs(w)) == {there.ref}


async def test_without_the_right_to_write_the_claim_is_refused(w: World) -> None:
    with pytest.raises(Forbidden):
        await w.person_gateway("tess").publish_claim(of(w), claim("tess"))
    assert await refs(w) == {}


async def test_a_protected_branch_cannot_be_released_and_says_so(w: World) -> None:
    refuse(w, "refs/tgs/")
    made = await w.gateway.publish_claim(of(w), claim("mia"))
    w.hub.rules.protect(w.repo, BranchRule("tgs-claims/7"))
    with pytest.raises(GitHubError):
        await w.gateway.release_claim(w.key, made)
    assert await w.gateway.claim_ref(of(w)) == (made,)


async def test_without_the_comparison_a_stale_holder_would_delete_the_new_owners_claim(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard switched off: this is what it holds off."""
    stale = await w.gateway.publish_claim(of(w), claim("mia"))
    taken = await w.gateway.take_over_claim(of(w), claim("wim", 2), stale)
    assert taken is not None
    monkeypatch.setattr(
        "bot.github.gateway_claim_refs.ref_update", lambda name, _, after: {"name": name, "afterOid": after}
    )
    assert await w.gateway.release_claim(w.key, stale)
    assert await w.gateway.claim_ref(of(w)) == ()

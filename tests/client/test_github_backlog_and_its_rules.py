"""GitHub alone as the backlog: who may do what, what a claim leaves behind, and what a crash does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.client.backlog import Addition, Claim, Ending, Held, ItemRef, NothingThere, Taken, Ticket, Wanted
from bot.client.github_backlog import GithubBacklog, open_github_backlog
from bot.domain.claim_record import FALLBACK, NAMESPACE
from bot.domain.model import ItemState
from bot.errors import GitHubError, LostClaim, Refused, UserError
from bot.localhub.core import Fault, FaultKind
from tests.client.github_stage import GithubStage, github_stage

HOUR = timedelta(hours=1)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[GithubStage]:
    async with github_stage(tmp_path) as made:
        yield made


def item(number: int) -> ItemRef:
    return ItemRef(number=number)


def held(claim: Claim) -> Held:
    return Held(item(claim.entry.number or 0), claim.attempt, claim.fence, claim.token)


async def claimed(stage: GithubStage, name: str = "ada", number: int | None = None) -> Claim:
    number = number if number is not None else stage.issue("Add a greeting", "tgs:ready")
    [claim] = await (await stage.session(name)).claim(Wanted(name=name, ref=item(number)))
    return claim


# --- claims -------------------------------------------------------------------------------------------


async def test_a_claim_leaves_its_ref_its_label_and_its_assignee(stage: GithubStage) -> None:
    number = stage.issue("Add a greeting", "tgs:ready")
    claim = await claimed(stage, number=number)
    assert await stage.refs() == [f"{NAMESPACE}{number}"]
    assert stage.labels(number) == {"tgs:in-progress"}
    assert [person.login for person in stage.repo.issues[number].assignees] == ["ada"]
    assert (claim.branch, claim.base_sha) == (
        f"tgs/{number}-add-a-greeting",
        stage.hub.git.bare(stage.repo).ref("refs/heads/main"),
    )
    ben = await stage.session("ben")
    [record] = await ben._github.claim_refs(ben._key)
    assert claim.token not in str(record)


async def test_who_cannot_be_assigned_has_the_claim_all_the_same(tmp_path: Path) -> None:
    async with github_stage(tmp_path, "claim_refs: true\nassignee: none\n") as stage:
        claim = await claimed(stage)
        assert stage.repo.issues[claim.entry.number or 0].assignees == []


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        pytest.param("max_parallel: 5\n", "claim_refs: true", id="claim refs are off"),
        pytest.param("claim_refs: [\n", "cannot be used", id="the policy is broken"),
        pytest.param(
            "claim_refs: true\nroles:\n  start: maintain\n", "maintain", id="the policy asks for a higher role"
        ),
    ],
)
async def test_the_policy_on_the_default_branch_decides_whether_claims_are_made(
    tmp_path: Path, policy: str, why: str
) -> None:
    async with github_stage(tmp_path, policy) as stage:
        number = stage.issue("Add a greeting", "tgs:ready")
        with pytest.raises(Refused, match=why):
            await (await stage.session("ada")).claim(Wanted(name="ada"))
        assert (await stage.refs(), stage.labels(number)) == ([], {"tgs:ready"})


async def do_claim(backlog: GithubBacklog, number: int) -> object:
    return await backlog.claim(Wanted(name="x", ref=item(number)))


async def do_add(backlog: GithubBacklog, number: int) -> object:
    return await backlog.add(Addition(ref=item(number)))


async def do_remove(backlog: GithubBacklog, number: int) -> object:
    return await backlog.remove(item(number))


async def do_ticket(backlog: GithubBacklog, number: int) -> object:
    return await backlog.add(Addition(ticket=Ticket("New", "Text")))


@pytest.mark.parametrize(
    ("who", "act", "needs"),
    [
        pytest.param("tess", do_claim, "contents: write|takes write", id="triage cannot claim"),
        pytest.param("rob", do_claim, "contents: write|takes write", id="read cannot claim"),
        pytest.param("rob", do_add, "triage", id="read cannot add"),
        pytest.param("rob", do_remove, "triage", id="read cannot remove"),
        pytest.param("rob", do_ticket, "triage", id="read opens an issue that is not queued"),
    ],
)
async def test_githubs_permissions_decide_and_are_named(
    stage: GithubStage, who: str, act: Callable[[GithubBacklog, int], Any], needs: str
) -> None:
    ready = act is not do_add
    number = stage.issue("Add a greeting", *(["tgs:ready"] if ready else []))
    with pytest.raises(Refused, match=needs):
        await act(await stage.session(who), number)
    assert await stage.refs() == []
    assert stage.labels(number) == ({"tgs:ready"} if ready else set())


async def test_a_person_with_triage_keeps_the_queue(stage: GithubStage) -> None:
    number = stage.issue()
    for label in ("tgs:ready", "tgs:priority/high"):
        stage.hub.labels.create(stage.repo, label, stage.as_("ada"))
    tess = await stage.session("tess")
    assert (await tess.add(Addition(ref=item(number), priority=100))).new
    assert stage.labels(number) == {"tgs:ready", "tgs:priority/high"}
    await tess.remove(item(number))
    assert "tgs:ready" not in stage.labels(number)


@pytest.mark.parametrize(
    ("label", "why"),
    [("tgs:hold", "hold"), ("tgs:no-agent", "themselves")],
)
async def test_what_people_hold_is_not_given_out(stage: GithubStage, label: str, why: str) -> None:
    number = stage.issue("Add a greeting", "tgs:ready", label)
    ada = await stage.session("ada")
    for wanted in (Wanted(name="ada"), Wanted(name="ada", ref=item(number))):
        with pytest.raises(NothingThere, match=why):
            await ada.claim(wanted)
    assert why in " ".join(await ada.explain(item(number)))


async def test_the_limits_of_the_scheduler_hold_for_sessions_too(tmp_path: Path) -> None:
    async with github_stage(tmp_path, "claim_refs: true\nmax_parallel: 2\n") as stage:
        locked = "Please.\n\n```yaml tgs\nlocks: ['src/**']\n```\n"
        first, second = (stage.issue(title, "tgs:ready", body=locked) for title in ("First", "Second"))
        third = stage.issue("Third", "tgs:ready", body=f"```yaml tgs\ndepends_on: [{first}]\n```\n")
        ada = await stage.session("ada")
        [claim] = await ada.claim(Wanted(name="ada", count=5))
        assert claim.entry.number == first
        assert [(lock.path, lock.item, lock.owner) for lock in await ada.locks()] == [("src/**", f"#{first}", "ada")]
        why = {entry.number: " ".join(entry.waiting) for entry in await ada.entries()}
        assert f"#{first}" in why[second]
        assert f"#{first}" in why[third]
        [other] = await ada.claim(Wanted(name="ada", ref=item(stage.issue("Fourth", "tgs:ready"))))
        with pytest.raises(NothingThere, match="2 of 2"):
            await ada.claim(Wanted(name="ada", ref=item(stage.issue("Fifth", "tgs:ready"))))
        await ada.release_lock("src/**")
        assert await ada.locks() == []
        settled = await ada.complete(held(claim), evidence="done by hand")
        assert settled.entry.state is ItemState.DONE
        assert other.entry.state is ItemState.IN_PROGRESS


async def test_a_withdrawn_item_is_not_claimed(stage: GithubStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person takes the label off between the ref and our own step."""
    number = stage.issue("Add a greeting", "tgs:ready")
    ada = await stage.session("ada")
    original = ada._github.publish_claim

    async def withdrawn(*args: Any) -> Any:
        made = await original(*args)
        stage.unlabel(number, "tgs:ready", by="tess")
        return made

    monkeypatch.setattr(ada._github, "publish_claim", withdrawn)
    with pytest.raises((NothingThere, UserError)):
        await ada.claim(Wanted(name="ada", ref=item(number)))
    assert (await stage.refs(), stage.labels(number)) == ([], set())


@pytest.mark.parametrize("namespace", [NAMESPACE, FALLBACK])
async def test_an_unreadable_claim_blocks_and_is_explained(stage: GithubStage, namespace: str) -> None:
    number = stage.issue("Add a greeting", "tgs:ready")
    bare = stage.hub.git.bare(stage.repo)
    odd = bare.commit_files(None, {"claim.json": "{}"}, "?", stage.hub.git.ident(stage.owner))
    bare.run("update-ref", f"{namespace}{number}", odd)
    ada = await stage.session("ada")
    with pytest.raises(Taken, match="cannot be read"):
        await ada.claim(Wanted(name="ada", ref=item(number)))
    with pytest.raises(NothingThere):
        await ada.claim(Wanted(name="ada"))
    assert "cannot be read" in " ".join(await ada.explain(item(number)))
    assert [finding.code for finding in await ada.validate(fix=True)] == ["claim_unreadable"]


# --- crashes ------------------------------------------------------------------------------------------

STEPS = {
    "the ref": ("POST", "/graphql", 0),
    "taking the label": ("DELETE", "/labels/", 0),
    "showing the label": ("POST", "/graphql", 1),
}


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_BEFORE, FaultKind.DISCONNECT_AFTER], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_that_ends_in_the_middle_of_a_claim_loses_nothing(
    stage: GithubStage, step: str, kind: FaultKind
) -> None:
    """The claim that stands is its owner's; nobody else gets the item, and the owner can go on or give it back."""
    number = stage.issue("Add a greeting", "tgs:ready")
    ada, ben = await stage.session("ada"), await stage.session("ben")
    await ada.entries()
    await ada._github._repo_node(ada._key)
    method, path, skip = STEPS[step]
    stage.hub.labels.create(stage.repo, "tgs:in-progress", stage.as_("ada"))
    fault = stage.hub.faults.add(Fault(kind, method=method, path=path, skip=skip))
    first: list[Claim] = []
    with contextlib.suppress(GitHubError):
        first = await ada.claim(Wanted(name="ada", ref=item(number)))
    assert fault.hits == 1
    stage.hub.faults.clear()
    if not first and await stage.refs():
        with pytest.raises(Taken) as taken:
            await ben.claim(Wanted(name="ben", ref=item(number)))
        assert taken.value.owner == "ada"
        stage.later(9 * HOUR)
        with pytest.raises(Taken):
            await ben.claim(Wanted(name="ben", ref=item(number)))
        first = await ada.claim(Wanted(name="ada", ref=item(number)))
    elif not first:
        first = await ben.claim(Wanted(name="ben", ref=item(number)))
    assert stage.labels(number) == {"tgs:in-progress"}
    assert len(await stage.refs()) == 1
    who = ada if first[0].entry.claimed_by == "ada" else ben
    await who.complete(held(first[0]), evidence="done")
    assert (await stage.refs(), stage.labels(number)) == ([], {"tgs:done"})


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECT_BEFORE, FaultKind.DISCONNECT_AFTER], ids=["before", "after"])
async def test_a_process_that_ends_before_its_claim_is_released_settles_it_again(
    stage: GithubStage, kind: FaultKind
) -> None:
    claim = await claimed(stage)
    number = claim.entry.number or 0
    ada, ben = await stage.session("ada"), await stage.session("ben")
    stage.hub.labels.create(stage.repo, "tgs:failed", stage.as_("ada"))
    # The look-up of node ids and the label go first.
    fault = stage.hub.faults.add(Fault(kind, method="POST", path="/graphql", skip=2))
    with contextlib.suppress(GitHubError):
        await ada.fail(held(claim), Ending("agent.gave_up", retryable=False))
    assert (fault.hits, stage.labels(number)) == (1, {"tgs:failed"})
    if await stage.refs():
        with pytest.raises((Taken, NothingThere)):
            await ben.claim(Wanted(name="ben", ref=item(number)))
        await ada.fail(held(claim), Ending("agent.gave_up", retryable=False))
    assert await stage.refs() == []


async def test_a_stale_holder_settles_and_deletes_nothing_of_the_new_owner(stage: GithubStage) -> None:
    claim = await claimed(stage)
    number = claim.entry.number or 0
    ada, ben = await stage.session("ada"), await stage.session("ben")
    await ben.remove(item(number), force=True)
    await ben.add(Addition(ref=item(number)))
    await claimed(stage, "ben", number)
    before = await stage.refs(), stage.labels(number)
    for act in (ada.complete(held(claim), evidence="x"), ada.fail(held(claim), Ending("agent.crash"))):
        with pytest.raises(LostClaim, match="ben"):
            await act
    assert (await stage.refs(), stage.labels(number)) == before


# --- settling -----------------------------------------------------------------------------------------


async def test_a_pull_request_is_the_evidence_and_its_merge_is_the_end(stage: GithubStage) -> None:
    claim = await claimed(stage)
    ada = await stage.session("ada")
    with pytest.raises(Refused, match="no open pull request"):
        await ada.complete(held(claim))
    pull = await stage.publish(claim, {"hello.txt": "Hello\n"})
    settled = await ada.complete(held(claim))
    assert (settled.entry.state, f"#{pull.number}" in settled.text) == (ItemState.IN_REVIEW, True)
    assert await stage.refs() == []
    other = await claimed(stage)
    merged = await stage.publish(other, {"bye.txt": "Bye\n"})
    stage.merge(merged)
    settled = await ada.complete(held(other), evidence=f"#{merged.number}")
    assert settled.entry.state is ItemState.DONE


async def test_a_failure_is_kept_without_credentials(stage: GithubStage) -> None:
    claim = await claimed(stage)
    number = claim.entry.number or 0
    secret = "ghp_" + "a" * 36
    settled = await (await stage.session("ada")).fail(
        held(claim), Ending("agent.gave_up", "It @everyone stopped.", retryable=False, log=f"token {secret}\nlast line")
    )
    assert (settled.due_at, stage.labels(number), await stage.refs()) == (None, {"tgs:failed"}, [])
    [comment] = stage.comments(number)
    assert "last line" in comment
    assert secret not in comment
    assert stage.repo.issues[number].assignees == []


async def test_a_ticket_becomes_an_issue_once(stage: GithubStage) -> None:
    ticket = Ticket("Add search", "Find things.", {"type": "bugfix", "locks": ["src/**"], "priority": 100})
    ada = await stage.session("ada")
    added = await ada.add(Addition(ticket=ticket))
    assert (added.new, added.entry.priority, added.entry.title) == (True, 100, "Add search")
    again = await ada.add(Addition(ticket=ticket))
    assert (again.new, again.entry.number) == (False, added.entry.number)
    [claim] = await ada.claim(Wanted(name="ada"))
    assert [lock.path for lock in await ada.locks()] == ["src/**"]
    assert claim.entry.number == added.entry.number


# --- validate -----------------------------------------------------------------------------------------


async def two_states(stage: GithubStage) -> None:
    stage.issue("Two", "tgs:ready", "tgs:proposed")


async def ready_and_in_progress(stage: GithubStage) -> None:
    stage.issue("Two", "tgs:ready", "tgs:in-progress")
    stage.later(2 * HOUR)


async def closed_but_ready(stage: GithubStage) -> None:
    number = stage.issue("Closed", "tgs:ready")
    stage.hub.issues.set_state(stage.repo.issues[number], "closed", stage.as_("ada"), reason="completed")


async def claim_of_a_closed_issue(stage: GithubStage) -> None:
    claim = await claimed(stage)
    issue = stage.repo.issues[claim.entry.number or 0]
    stage.hub.issues.set_state(issue, "closed", stage.as_("ada"), reason="completed")
    stage.unlabel(issue.number, "tgs:in-progress")
    stage.label(issue.number, "tgs:done")


async def claim_beside_a_settled_label(stage: GithubStage) -> None:
    claim = await claimed(stage)
    stage.unlabel(claim.entry.number or 0, "tgs:in-progress")
    stage.label(claim.entry.number or 0, "tgs:failed")
    stage.later(HOUR)


async def half_made_claim(stage: GithubStage) -> None:
    claim = await claimed(stage)
    stage.unlabel(claim.entry.number or 0, "tgs:in-progress")
    stage.label(claim.entry.number or 0, "tgs:ready")
    stage.later(HOUR)


async def claim_between_two_labels(stage: GithubStage) -> None:
    claim = await claimed(stage)
    stage.unlabel(claim.entry.number or 0, "tgs:in-progress")
    stage.later(HOUR)


async def in_progress_without_a_claim(stage: GithubStage) -> None:
    stage.issue("Left", "tgs:in-progress")
    stage.later(2 * HOUR)


async def built_already(stage: GithubStage) -> None:
    folder = await stage.thought("Built")
    await (await stage.session("ada")).add(Addition(ref=ItemRef(dir=folder)))
    stage.push({f"{folder}/implementation.md": "# Done\n"})


async def another_title(stage: GithubStage) -> None:
    folder = await stage.thought("Before")
    await (await stage.session("ada")).add(Addition(ref=ItemRef(dir=folder)))
    stage.push({f"{folder}/plan.md": "---\ntitle: After\n---\n# After\n"})


async def merged_branch(stage: GithubStage) -> None:
    claim = await claimed(stage)
    pull = await stage.publish(claim, {"a.txt": "a\n"})
    await (await stage.session("ada")).complete(held(claim))
    stage.merge(pull)
    number = claim.entry.number or 0
    stage.unlabel(number, "tgs:in-review")
    stage.label(number, "tgs:done")


async def folder_is_gone(stage: GithubStage) -> None:
    folder = await stage.thought("Gone")
    await (await stage.session("ada")).add(Addition(ref=ItemRef(dir=folder)))
    stage.push({f"{folder}/plan.md": None, f"{folder}/research.md": None})


async def two_issues_of_one_thought(stage: GithubStage) -> None:
    folder = await stage.thought("Twice")
    await (await stage.session("ada")).add(Addition(ref=ItemRef(dir=folder)))
    [first] = stage.repo.issues.values()
    stage.issue("Twice", "tgs:proposed", body=str(first.body))


async def a_circle(stage: GithubStage) -> None:
    stage.issue("One", "tgs:ready", body="```yaml tgs\ndepends_on: [2]\n```\n")
    stage.issue("Two", "tgs:ready", body="```yaml tgs\ndepends_on: [1]\n```\n")


async def an_old_claim(stage: GithubStage) -> None:
    await claimed(stage)
    stage.later(9 * HOUR)


async def an_unknown_setting(stage: GithubStage) -> None:
    stage.push({".tgs/policy.yml": "claim_refs: true\nmax_paralel: 2\n"})


@pytest.mark.parametrize(
    ("spoil", "code", "mended"),
    [
        pytest.param(two_states, "labels_double", True, id="two states"),
        pytest.param(ready_and_in_progress, "labels_double", True, id="ready and in progress without a claim"),
        pytest.param(closed_but_ready, "label_of_closed", True, id="closed but ready"),
        pytest.param(claim_of_a_closed_issue, "claim_orphan", True, id="claim of a closed issue"),
        pytest.param(claim_beside_a_settled_label, "claim_orphan", True, id="claim beside a settled label"),
        pytest.param(half_made_claim, "claim_half_made", True, id="half-made claim of one's own"),
        pytest.param(claim_between_two_labels, "claim_half_made", True, id="claim between two labels"),
        pytest.param(in_progress_without_a_claim, "unclaimed", True, id="in progress without a claim"),
        pytest.param(built_already, "implementation_present", True, id="built already"),
        pytest.param(another_title, "title_drift", True, id="another title"),
        pytest.param(merged_branch, "branch_orphan", True, id="branch of merged work"),
        pytest.param(folder_is_gone, "thought_gone", False, id="folder is gone"),
        pytest.param(two_issues_of_one_thought, "duplicate", False, id="two issues of one thought"),
        pytest.param(a_circle, "cycle", False, id="a circle of dependencies"),
        pytest.param(an_old_claim, "claim_old", False, id="an old claim"),
        pytest.param(an_unknown_setting, "policy_unknown_key", False, id="an unknown setting"),
    ],
)
async def test_what_does_not_fit_is_found_and_what_only_shows_is_mended(
    stage: GithubStage, spoil: Callable[[GithubStage], Any], code: str, mended: bool
) -> None:
    await spoil(stage)
    ada = await stage.session("ada")
    found = await ada.validate()
    assert {finding.code for finding in found} == {code}
    assert all(finding.remedy and not finding.fixed for finding in found)
    fixed = await ada.validate(fix=True)
    assert {finding.fixed for finding in fixed} == {mended}
    left = await ada.validate()
    assert {finding.code for finding in left} == (set() if mended else {code})


async def test_the_token_is_asked_for_and_an_unknown_one_is_refused(stage: GithubStage) -> None:
    for token, error, why in ((None, UserError, "GH_TOKEN"), (SecretStr("ghp_wrong"), Refused, "does not know")):
        with pytest.raises(error, match=why):
            async with open_github_backlog(stage.repo.full_name, token, stage.hub.api_url):
                pass
    with pytest.raises(Refused, match="cannot see"):
        async with open_github_backlog("olive/none", SecretStr(stage.hub.user_token("ada")), stage.hub.api_url):
            pass

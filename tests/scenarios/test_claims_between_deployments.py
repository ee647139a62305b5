"""With `claim_refs` the bot and sessions without it share one repository: one has the item, the other one says who."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.client.backlog import Held, ItemRef, NothingThere, Taken, Wanted
from bot.client.github_backlog import GithubBacklog, open_github_backlog
from bot.domain.attempt import AttemptPhase, ClaimMark, Outcome, WorkerKind
from bot.domain.claim_record import FALLBACK, NAMESPACE, ClaimRecord, ClaimRef
from bot.domain.model import IssueKey, RepoKey
from bot.github.calls import Origin
from bot.github.gateway import Gateway, token_gateway
from tests.scenarios.steps import (
    MINUTE,
    dispatched,
    item_of,
    last_attempt,
    merge_by_hand,
    queued,
    ready,
    scene,
    settled_for,
    why,
)
from tests.web import asking
from tests.web.asking import PULL_POLICY
from tests.world import World

POLICY = "claim_refs: true\n"


@dataclass
class Session:
    """Somebody who claims with their own token, without the bot."""

    world: World
    github: Gateway
    number: int
    claim: ClaimRef | None = None

    @property
    def key(self) -> IssueKey:
        key = self.world.repo_key
        return IssueKey(key.installation, key.repo, self.number)

    async def claims(self, *, name: str = "laptop", fence: int = 1, locks: tuple[str, ...] = ()) -> bool:
        record = ClaimRecord(
            self.number, f"c-{name}", "maria", name, fence, f"{name}{fence}", self.world.clock.now(), locks=locks
        )
        ref = await self.github.publish_claim(self.key, record)
        self.claim = ref if ref.record == record else None
        return self.claim is not None

    async def takes_the_label(self) -> None:
        self.world.unlabel(self.number, "tgs:ready")
        self.world.label(self.number, "tgs:in-progress")

    async def releases(self, label: str | None = None) -> None:
        """Shows how it ended, then takes the claim away."""
        if label is not None:
            self.world.unlabel(self.number, "tgs:in-progress")
            self.world.label(self.number, label)
        assert self.claim is not None
        assert await self.github.release_claim(self.key.repo_key, self.claim)
        await self.world.settle()


def session(world: World, number: int) -> Session:
    async def name_of(_: RepoKey) -> str:
        return world.repo.full_name

    assert world.http is not None
    github = token_gateway(
        world.http,
        Origin(world.hub.api_url, world.hub.graphql_url),
        SecretStr(world.hub.user_token("maria")),
        names=name_of,
        clock=world.clock,
        sleep=world.sleep,
        jitter=lambda: 0.5,
        write_spacing=0,
    )
    return Session(world, github, number)


async def refs(world: World) -> list[str]:
    return [name for name in await world.hub.git.refs(world.repo) if "claims" in name]


async def resume(world: World) -> None:
    number = world.issue("Back to work")
    world.comment(number, "/tgs resume")
    await world.settle()
    world.bot_said(number)


async def taken_by_maria(world: World) -> Session:
    """Maria had claimed the item before the bot came to it, and shows it."""
    number = await queued(world)
    maria = session(world, number)
    assert await maria.claims()
    await maria.takes_the_label()
    await world.settle()
    await resume(world)
    attempt = await last_attempt(world, number)
    assert attempt.external
    return maria


async def test_the_bot_makes_its_ref_before_it_takes_the_label_and_deletes_it_at_the_end(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        number = await dispatched(world)
        assert await refs(world) == [f"{NAMESPACE}{number}"]
        attempt = await last_attempt(world, number)
        assert (attempt.claim_mark, attempt.claim_ref) == (ClaimMark.HELD, f"{NAMESPACE}{number}")
        writes = [(e.method, e.template, tuple(e.operations)) for e in world.hub.log.writes()]
        made = writes.index(("POST", "/graphql", ("updateRefs",)))
        [taken] = [n for n, (method, path, _) in enumerate(writes) if method == "DELETE" and "/labels/" in path]
        assert made < taken
        assert not await session(world, number).claims(), "nobody else can claim it now"
        await world.run().work({"hello.txt": "Hello\n"})
        assert world.state(number) == "in-review"
        assert await refs(world) == []
        assert (await last_attempt(world, number)).claim_mark is ClaimMark.RELEASED


async def test_without_the_policy_there_are_no_claim_refs(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        assert await refs(world) == []
        assert (await last_attempt(world, number)).claim_mark is None


async def test_a_session_that_was_first_keeps_the_item_and_the_bot_says_who_has_it(tmp_path: Path) -> None:
    """It has made its claim and not yet touched a label when the bot starts."""
    async with scene(tmp_path, policy=POLICY) as world:
        number = await queued(world)
        maria = session(world, number)
        assert await maria.claims()
        await resume(world)
        assert not world.runs()
        ours, theirs = await world.attempts(number)
        assert (ours.outcome, ours.phase) == (Outcome.NOT_STARTED, AttemptPhase.ENDED)
        assert (theirs.worker.kind, theirs.worker.name) == (WorkerKind.EXTERNAL, "maria (laptop)")
        assert "maria (laptop)" in world.status(number)
        assert "claim ref" in await why(world, number)
        await maria.takes_the_label()
        await settled_for(world, 10 * MINUTE, number)
        assert await refs(world) == [f"{NAMESPACE}{number}"]


async def test_a_session_that_took_the_label_too_is_not_taken_for_a_withdrawal(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        assert (await item_of(world, maria.number)).state.value == "in-progress"
        assert world.labels(maria.number) == {"tgs:in-progress"}


async def test_silence_does_not_end_somebody_elses_claim(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        await world.after(120 * MINUTE)
        assert (await last_attempt(world, maria.number)).live
        assert not world.runs()


@pytest.mark.parametrize(
    ("label", "state", "starts"),
    [
        pytest.param("tgs:ready", "in-progress", True, id="given back: the bot takes it"),
        pytest.param("tgs:failed", "failed", False, id="failed: it stays so"),
        pytest.param(None, "in-progress", True, id="only the ref is gone: the bot takes it"),
    ],
)
async def test_how_somebody_elses_claim_ended_decides_what_follows(
    tmp_path: Path, label: str | None, state: str, starts: bool
) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        await maria.releases(label)
        await world.after(3 * MINUTE)
        attempts = await world.attempts(maria.number)
        assert [a.outcome for a in attempts if a.external] == [Outcome.FAILED]
        assert world.state(maria.number) == state
        assert bool(world.runs()) is starts
        assert bool(await refs(world)) is starts
        world.bot_said(maria.number)


async def test_a_pull_request_of_the_session_is_followed_to_its_merge(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        branch = (await last_attempt(world, maria.number)).branch
        world.push({"hello.txt": "Hello\n"}, branch=branch)
        world.hub.pulls.open(
            world.repo,
            title="Greet",
            body=f"Closes #{maria.number}",
            head=branch,
            base="main",
            actor=world.as_(world.maria),
        )
        await maria.releases("tgs:in-review")
        await world.after(2 * MINUTE)
        item = await item_of(world, maria.number)
        assert (item.state.value, item.pull is not None) == ("in-review", True)
        merge_by_hand(world, maria.number)
        await world.settle()
        assert world.state(maria.number) == "done"


async def test_a_claim_that_went_to_somebody_else_is_followed(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        assert maria.claim is not None
        assert maria.claim.record is not None
        record = replace(maria.claim.record, claim_id="c-tom", owner="tom", name="", fence=2, nonce="tom")
        assert await maria.github.take_over_claim(maria.key, record, maria.claim)
        await world.after(2 * MINUTE)
        external = [a for a in await world.attempts(maria.number) if a.external]
        assert [(a.worker.name, a.live) for a in external] == [("maria (laptop)", False), ("tom", True)]


@pytest.mark.parametrize("namespace", [NAMESPACE, FALLBACK])
async def test_a_claim_that_cannot_be_read_stops_the_start_and_is_said(tmp_path: Path, namespace: str) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        number = await queued(world)
        ref = f"{namespace}{number}"
        bare = world.hub.git.bare(world.repo)
        bare.run(
            "update-ref", ref, bare.commit_files(None, {"claim.json": "{}"}, "?", world.hub.git.ident(world.maria))
        )
        await resume(world)
        assert not world.runs()
        assert "cannot be read" in world.status(number)
        assert ref in world.status(number)
        bare.run("update-ref", "-d", ref)
        await world.after(3 * MINUTE)
        assert len(world.runs()) == 1


async def test_who_asks_the_bot_for_an_item_that_a_session_has_is_told_who(tmp_path: Path) -> None:
    """The session has made its claim and not yet touched a label when somebody else asks over the API."""
    async with scene(tmp_path, policy=POLICY + PULL_POLICY) as world:
        number = await ready(world)
        assert await session(world, number).claims()
        answer = await asking.person(world, world.owner, "desk").claim(number=number)
        assert (answer.status, answer.code, answer.body["owner"]) == (409, "taken", "maria (laptop)")
        assert (await last_attempt(world, number)).external


# --- the command line without a server, and the bot --------------------------------------------------


@asynccontextmanager
async def command_line(world: World) -> AsyncIterator[GithubBacklog]:
    """Maria's `tgs server backlog --backend github`."""
    token = SecretStr(world.hub.user_token("maria"))
    async with open_github_backlog(
        world.repo.full_name, token, world.hub.api_url, clock=world.clock, chance=lambda: 0.5, sleep=world.sleep
    ) as backlog:
        yield backlog


def wants(number: int) -> Wanted:
    return Wanted(name="laptop", ref=ItemRef(number=number))


async def test_a_session_that_asks_for_the_bots_item_is_told_that_the_bot_has_it(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, command_line(world) as maria:
        number = await dispatched(world)
        with pytest.raises(Taken) as taken:
            await maria.claim(wants(number))
        assert taken.value.owner == "tgs[bot]"
        assert [entry.claimed_by for entry in await maria.entries()] == ["tgs[bot]"]


async def test_a_session_claims_works_and_completes_while_the_bot_watches(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, command_line(world) as maria:
        number = await queued(world)
        [claim] = await maria.claim(wants(number))
        await world.settle()
        await resume(world)
        assert not world.runs()
        assert (await last_attempt(world, number)).worker.name == "maria (laptop)"
        assert "maria (laptop)" in world.status(number)
        assert world.labels(number) == {"tgs:in-progress"}
        world.push({"hello.txt": "Hello\n"}, branch=claim.branch)
        said = f"Closes #{number}"
        world.hub.pulls.open(
            world.repo, title="Greet", body=said, head=claim.branch, base="main", actor=world.as_(world.maria)
        )
        await maria.complete(Held(ItemRef(number=number), claim.attempt, claim.fence, claim.token))
        await world.after(2 * MINUTE)
        assert (await item_of(world, number)).state.value == "in-review"
        assert (await refs(world), world.runs()) == ([], [])
        merge_by_hand(world, number)
        await world.settle()
        assert world.state(number) == "done"


async def test_a_persons_word_that_it_is_done_is_the_bots_word_too(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, command_line(world) as maria:
        number = await queued(world)
        [claim] = await maria.claim(wants(number))
        await world.settle()
        await maria.complete(Held(ItemRef(number=number), claim.attempt, claim.fence, claim.token), evidence="By hand.")
        await world.after(2 * MINUTE)
        assert (await item_of(world, number)).state.value == "done"
        assert world.labels(number) == {"tgs:done"}


@pytest.mark.parametrize("first", ["the bot", "the session"])
async def test_bot_and_session_that_want_an_item_at_once_do_not_both_get_it(tmp_path: Path, first: str) -> None:
    async with scene(tmp_path, policy=POLICY) as world, command_line(world) as maria:
        number = await queued(world)
        resuming = world.issue("Back to work")
        world.comment(resuming, "/tgs resume")
        asked = [asyncio.create_task(world.settle())] if first == "the bot" else []
        session = asyncio.create_task(maria.claim(wants(number)))
        await asyncio.gather(session, *asked, return_exceptions=True)
        # Who looked in the middle of the other's claim looks again by itself.
        await world.after(2 * MINUTE)
        world.bot_said(resuming)
        live = [attempt for attempt in await world.attempts(number) if attempt.live]
        won = session.exception() is None
        assert len(live) == 1
        assert live[0].external is won
        assert bool(world.runs()) is not won
        assert world.labels(number) == {"tgs:in-progress"}
        assert len(await refs(world)) == 1
        if not won:
            error = session.exception()
            assert isinstance(error, Taken | NothingThere)


@pytest.mark.parametrize(
    ("theirs", "starts"),
    [(("src/**",), False), (("docs/**",), True), (("read:docs/**",), True), (("../..",), True)],
    ids=["the same path", "another path", "reads another path", "a path that is none"],
)
async def test_the_bot_gives_way_when_somebody_has_just_claimed_another_item_with_the_same_path(
    tmp_path: Path, theirs: tuple[str, ...], starts: bool
) -> None:
    async with scene(tmp_path, policy=f"{POLICY}locks: [src/]\n") as world:
        # A claim of an issue that the bot knows nothing of yet: only its ref shows it.
        other = world.issue("Claimed elsewhere")
        maria = session(world, other)
        assert await maria.claims(locks=theirs)
        number = await ready(world)
        attempt = await last_attempt(world, number)
        assert attempt.live is starts
        assert len(world.runs()) == int(starts)
        assert f"{NAMESPACE}{other}" in await refs(world)
        assert (f"{NAMESPACE}{number}" in await refs(world)) is starts
        if not starts:
            assert attempt.outcome is Outcome.NOT_STARTED
            await world.after(30 * MINUTE)
            assert world.runs() == []
            await maria.releases()
            await world.after(15 * MINUTE)
            assert len(world.runs()) == 1

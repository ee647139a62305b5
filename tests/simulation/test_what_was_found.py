"""Defects that the simulation found, each as the shortest story that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest

from bot.domain.effects import Save, Say
from bot.domain.notes import NoteCode, note
from bot.domain.repository import RepoRecord
from bot.errors import Unavailable
from bot.queue.memory import MemoryQueue
from bot.resync import Resync
from bot.saving import write_save
from bot.simulate.replica import Replica
from bot.simulate.setup import Setup
from bot.simulate.things import BOT, KEY, MAIN, MARIA, RITA, ModelIssue
from bot.store.keyrows import KeyRow
from tests.simulation.stage import Stage, staged


def test_a_database_that_is_away_for_a_moment_does_not_end_the_sweep() -> None:
    with staged() as stage:
        stage.passes(minutes=5)
        stage.bot.process.refuses_until = stage.seconds + 600
        stage.passes(minutes=20)
        # Nobody hears of the label but the sweep.
        stage.office.lose_everything = True
        issue = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready"]))
        stage.passes(minutes=15)
        assert stage.history.disk.rows("SELECT 1 FROM attempts WHERE number = ?", issue.number)


def test_a_database_that_hangs_does_not_keep_the_queue_spinning() -> None:
    class Hanging:
        """Rows whose database does not answer."""

        async def load(self, until: datetime | None) -> Sequence[KeyRow]:
            await asyncio.Event().wait()
            return []

    async def whole() -> int:
        now = datetime(2026, 11, 2, tzinfo=UTC)
        naps = 0

        async def sleep(seconds: float) -> None:
            nonlocal naps, now
            naps += 1
            now += timedelta(seconds=seconds)
            if now > datetime(2026, 11, 2, 1, tzinfo=UTC):
                await asyncio.Event().wait()

        queue = MemoryQueue(
            Hanging(),  # type: ignore[arg-type]
            now=lambda: now,
            chance=lambda: 0.5,
            on_error=lambda _key, _error: None,
            sleep=sleep,
        )

        async def nothing(_key: str) -> None:
            raise AssertionError

        task = asyncio.create_task(queue.run(nothing))  # type: ignore[arg-type]
        for _ in range(3_000):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return naps

    assert asyncio.run(whole()) < 200


def test_a_repository_that_changes_while_it_is_first_looked_at_is_listened_to() -> None:
    with staged() as stage:

        async def story(bot: Replica) -> RepoRecord:
            store = bot.store
            known = await store.read(lambda tx: tx.repo(KEY))
            assert known is not None
            await store.write(lambda tx: tx.save_repo(known, replace(known, heard_until=None)))
            read = await store.read(lambda tx: tx.repo(KEY))
            assert read is not None
            await store.write(lambda tx: tx.save_repo(read, replace(read, mirror_decided=True)))
            return await Resync(bot.github, store, store.clock).listen(read)

        listened = stage.asks(story)
        assert listened.heard_until is not None
        assert listened.mirror_decided


def test_words_for_another_key_are_said_there_though_nobody_looks_at_it_for_their_sake() -> None:
    with staged() as stage:
        item, pull = (stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA)).number for _ in range(2))
        words = Save(words=(Say(stage.hub.key(pull), "late", note(NoteCode.FUSE, limit=40)),))

        async def planned(bot: Replica) -> None:
            # And then the process ends: none of the words is said with the decision.
            await bot.store.write(lambda tx: write_save(tx, stage.hub.key(item), words, bot.process.clock.now()))

        stage.asks(planned)
        stage.passes(minutes=2)
        assert [comment.author for comment in stage.hub.issues[pull].comments] == [BOT]


def test_a_command_that_came_before_it_was_known_what_there_is_is_carried_out_then() -> None:
    with staged() as stage:
        number = stage.does(lambda: stage.hub.open_issue("Office", "", MARIA)).number

        async def not_known(bot: Replica) -> None:
            known = await bot.store.read(lambda tx: tx.repo(KEY))
            assert known is not None
            await bot.store.write(lambda tx: tx.save_repo(known, replace(known, rebuilt_at=None)))

        stage.asks(not_known)
        stage.does(lambda: stage.hub.comment(number, "/tgs why", MARIA))
        stage.passes(minutes=1)
        assert stage.hub.issues[number].comments[1:] == []
        stage.does(lambda: stage.hub.commit(MAIN, {"README.md": "# Hello\n"}, MARIA))
        stage.passes(minutes=2)
        assert [comment.author for comment in stage.hub.issues[number].comments[1:]] == [BOT]


def comes_to(stage: Stage, number: int, state: str) -> None:
    for _ in range(120):
        stage.passes(minutes=0.5)
        if stage.state(number) == state:
            return
    raise AssertionError(f"never {state}")


def loses_its_database(stage: Stage) -> None:
    stage.loop.run_until_complete(stage.history._lose_ledger())
    stage.passes(minutes=3)


def test_what_is_done_by_a_persons_word_is_done_when_the_database_was_lost() -> None:
    with staged("workers: pull\n") as stage:
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready"])).number
        stage.passes(minutes=1)
        stage.history.site.rng = Random(1)  # with it the session says that no code is needed
        stage.does(lambda: stage.history._session(MARIA, number))
        comes_to(stage, number, "done")
        loses_its_database(stage)
        assert stage.state(number) == "done"


def test_an_issue_that_was_opened_just_before_a_crash_is_an_item_though_its_plan_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with staged("mirror:\n  enabled: true\n  auto_ready: true\n") as stage:
        opens, plan = stage.hub.open_issue, "tgs/thoughts/000001-plan"

        def opens_it_and_dies(*what: Any) -> ModelIssue:
            stage.bot.process.kill()
            return opens(*what)

        monkeypatch.setattr(stage.hub, "open_issue", opens_it_and_dies)
        there: dict[str, str | None] = {f"{plan}/plan.md": "# Plan\n", f"{plan}/research.md": "# Research\n"}
        stage.does(lambda: stage.hub.commit(MAIN, there, MARIA))
        stage.passes(minutes=1)
        number = max(stage.hub.issues)
        assert "tgs:ready" in stage.hub.issues[number].now.labels
        stage.does(lambda: stage.hub.commit(MAIN, dict.fromkeys(there), MARIA))
        stage.does(stage.history.start_bot)
        stage.passes(minutes=5)
        assert stage.state(number) == "cancelled"
        assert stage.hub.issues[number].now.labels == {"tgs:cancelled"}


def test_a_reaction_that_is_the_whole_answer_is_repeated_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with staged() as stage:
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA)).number
        stage.does(lambda: stage.hub.comment(number, "/tgs pause lunch", RITA))
        stage.passes(minutes=1)  # a reader is told in words once an hour
        react, failed = stage.bot.github.react, []

        async def fails_once(*what: Any) -> None:
            if not failed:
                failed.append(what)
                raise Unavailable("HTTP 502", status=502, request="react")
            await react(*what)

        monkeypatch.setattr(stage.bot.github, "react", fails_once)
        asked = stage.does(lambda: stage.hub.comment(number, "/tgs pause lunch", RITA))
        stage.passes(minutes=5)
        assert failed
        assert [by for by, _ in asked.reactions] == [BOT.id]


def test_what_is_begun_anew_beside_its_pull_request_frees_its_paths_when_it_is_stopped() -> None:
    with staged("locks: [src/]\n") as stage:
        stage.history.site.result = lambda: None  # type: ignore[method-assign]
        stage.history.site.questions = lambda: ()  # type: ignore[method-assign]
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready"])).number
        comes_to(stage, number, "in-review")
        for words, state in (("/tgs stop", "cancelled"), ("/tgs retry", "in-progress"), ("/tgs stop", "cancelled")):
            stage.does(lambda words=words: stage.hub.comment(number, words, MARIA))  # type: ignore[misc]
            comes_to(stage, number, state)
        assert not stage.history.disk.rows("SELECT * FROM locks")


def test_a_run_that_is_about_to_be_dispatched_counts_as_one_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = "claim_refs: true\nmax_parallel: 2\nbudgets:\n  dispatches_per_day: 1\n"
    with staged(setup=Setup(0, scale=0.0, policy=policy)) as stage:
        claims = stage.bot.github.publish_claim

        async def claims_slowly(*what: Any) -> Any:
            await asyncio.sleep(30)
            return await claims(*what)

        monkeypatch.setattr(stage.bot.github, "publish_claim", claims_slowly)
        for title in ("Thing", "Other thing"):
            stage.does(partial(stage.hub.open_issue, title, "", MARIA, ["tgs:ready"]))
        stage.passes(minutes=5)
        assert len(stage.hub.runs) == 1


def test_a_claim_of_a_lost_database_of_which_nothing_came_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    with staged("claim_refs: true\n") as stage:
        claims = stage.bot.github.publish_claim

        async def claims_and_dies(*what: Any) -> None:
            await claims(*what)
            stage.bot.process.kill()

        monkeypatch.setattr(stage.bot.github, "publish_claim", claims_and_dies)
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready"])).number
        stage.passes(minutes=1)
        assert stage.history.refs[number].record is not None
        loses_its_database(stage)
        assert len(stage.hub.runs) == 1


def test_a_command_on_an_issue_that_is_no_item_is_answered_once_though_the_database_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with staged() as stage:
        sent, sends = [], stage.office.send
        monkeypatch.setattr(stage.hub, "tell", lambda delivery: [sent.append(delivery), sends(delivery)])
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA)).number
        stage.does(lambda: stage.hub.comment(number, "/tgs status", MARIA))
        told = sent[-1]
        stage.passes(minutes=2)
        said = [comment.author for comment in stage.hub.issues[number].comments]
        assert said == [MARIA, BOT]
        loses_its_database(stage)
        stage.passes(minutes=15)
        stage.does(lambda: sends(told))
        stage.passes(minutes=15)
        assert [comment.author for comment in stage.hub.issues[number].comments] == said

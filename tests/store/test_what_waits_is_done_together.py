"""What waits for the store when its turn comes is one unit of one commit."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from bot.domain.intake import Intake
from bot.store.engine import SqlStore
from bot.store.errors import StoreUnavailable
from bot.store.gathered import TOGETHER, Gathered, Lot
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from tests.store.support import REPO


class Turns:
    """A store whose turn comes when the test says so; it answers with what it was asked."""

    def __init__(self, refuses: object = None) -> None:
        self.done: list[list[str]] = []
        self._refuses = refuses
        self._next: list[asyncio.Future[None]] = []

    async def do(self, lot: Lot[str, str]) -> Sequence[str]:
        turn = asyncio.get_running_loop().create_future()
        self._next.append(turn)
        await turn
        asked = lot.asked()
        if self._refuses in asked:
            raise ValueError(self._refuses)
        self.done.append(list(asked))
        return [one.upper() for one in asked]

    async def comes(self) -> None:
        await settle()
        self._next.pop(0).set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_before_the_turn_joins_and_who_comes_later_is_next() -> None:
    turns = Turns()
    gathered = Gathered(turns.do)
    early = [asyncio.create_task(gathered.ask(one)) for one in "ab"]
    await settle()
    early.append(asyncio.create_task(gathered.ask("c")))
    await turns.comes()
    late = asyncio.create_task(gathered.ask("d"))
    await turns.comes()

    assert await asyncio.gather(*early, late) == ["A", "B", "C", "D"]
    assert turns.done == [["a", "b", "c"], ["d"]]


async def test_nobody_waits_for_the_answer_of_another() -> None:
    answered = asyncio.Event()

    async def slow_to_answer(lot: Lot[str, str]) -> Sequence[str]:
        asked = lot.asked()
        if "first" in asked:
            await answered.wait()
        return asked

    gathered = Gathered(slow_to_answer)
    first = asyncio.create_task(gathered.ask("first"))
    await settle()

    assert await asyncio.wait_for(gathered.ask("second"), 10) == "second"
    answered.set()
    assert await first == "first"


async def test_a_lot_takes_so_many() -> None:
    turns = Turns()
    gathered = Gathered(turns.do)
    all_ = [asyncio.create_task(gathered.ask(str(one))) for one in range(TOGETHER + 1)]
    await turns.comes()
    await turns.comes()
    await asyncio.gather(*all_)

    assert [len(some) for some in turns.done] == [TOGETHER, 1]


async def test_only_the_one_that_is_refused_hears_of_it() -> None:
    turns = Turns(refuses="b")
    gathered = Gathered(turns.do)
    all_ = [asyncio.create_task(gathered.ask(one)) for one in "abc"]
    for _ in range(4):
        await turns.comes()

    told = await asyncio.gather(*all_, return_exceptions=True)
    assert [told[0], type(told[1]), told[2]] == ["A", ValueError, "C"]
    assert turns.done == [["a"], ["c"]]


async def test_nobody_is_left_waiting_when_the_server_ends() -> None:
    gathered = Gathered(Turns().do)
    waiting = asyncio.create_task(gathered.ask("a"))
    await settle()
    for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
        task.cancel()

    with pytest.raises(StoreUnavailable):
        await waiting


async def test_deliveries_and_ends_of_passes_that_wait_share_a_commit(store: SqlStore) -> None:
    inbox, rows = SqlInbox(store), StoreKeyRows(store)
    await rows.mark(str(REPO))
    before = store.commits
    begun, waiting = threading.Event(), threading.Event()
    held = asyncio.create_task(store.write(lambda _: begun.set() or waiting.wait(10)))
    await asyncio.to_thread(begun.wait, 10)
    came = [asyncio.create_task(inbox.accept("one", "push", None, Intake(), None))]
    await settle()
    ended = asyncio.create_task(rows.finish(str(REPO), 1, None))
    await settle()
    came.append(asyncio.create_task(inbox.accept("two", "push", None, Intake(), None)))
    await settle()
    waiting.set()

    assert await asyncio.gather(*came) == [True, True]
    row = await ended
    assert row is not None
    assert (row.wanted, row.seen) == (1, 1)
    await held
    assert store.commits == before + 2
    assert store.units >= 3

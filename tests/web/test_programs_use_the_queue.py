"""The queue's client for programs speaks with a running bot: in, out, question, answer, count."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from bot.client.http import BotHttp
from bot.client.queue import QueueClient
from bot.clock import RandomIds
from tests.web.asking import PULL_POLICY, REPO, busy, worker
from tests.world import World, new_world


def client(world: World, token: str) -> QueueClient:
    assert world.http is not None
    return QueueClient(BotHttp(world.http, world.url, SecretStr(token)), REPO, RandomIds())


async def test_work_goes_in_and_comes_out_and_words_go_both_ways(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY) as world:
        people = client(world, world.hub.user_token("maria"))
        box = client(world, (await worker(world)).bearer)
        number = world.issue()
        [item] = await busy(world, people.enqueue_task(number=number, priority=100))
        assert (item["state"], item["priority"]) == ("ready", 100)
        assert (await people.get_queue_stats())["high_priority"] == 1
        secret = box.new_secret()
        [claim] = await busy(world, box.claim_work("box", secret))
        assert claim["item"]["number"] == number
        [again] = await busy(world, box.claim_work("box", secret))
        assert again["attempt"] == claim["attempt"]
        assert await box.claim_work("box", box.new_secret()) is None
        [asked, said] = await busy(
            world,
            box.enqueue_worker_request(claim["attempt"], secret, "Which greeting?"),
            people.enqueue_controller_response(number, "Hello."),
        )
        assert (asked["sender_type"], said["sender"]) == ("worker", "maria")
        [comment] = world.bot_said(number)
        assert "Hello." in comment
        assert (await box.get_queue_stats())["high_priority"] == 0

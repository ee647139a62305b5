"""A process that claims items without a server, round after round: `claim_racer.py API OWNER/NAME LOGIN`.

Reads `{"go": number}` lines, claims that item with the token in `GH_TOKEN`, and answers with one line of JSON: who won.
`{"end": number}` completes it. After `{"blind": 1}` refs are moved without comparing them: the race without the guard.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

import structlog
from pydantic import SecretStr

import bot.github.gateway_claim_refs as claim_refs
from bot.client.backlog import Held, ItemRef, NothingThere, Taken, Wanted
from bot.client.github_backlog import open_github_backlog
from bot.errors import LostClaim, TgsError


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def race(api: str, full_name: str, name: str) -> None:
    loop = asyncio.get_running_loop()
    held: dict[int, Held] = {}
    async with open_github_backlog(full_name, SecretStr(os.environ["GH_TOKEN"]), api) as backlog:
        say({"ready": name})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            answer: dict[str, Any]
            try:
                if "go" in order:
                    ref = ItemRef(number=order["go"])
                    [claim] = await backlog.claim(Wanted(name=name, ref=ref))
                    held[order["go"]] = Held(ref, claim.attempt, claim.fence, claim.token)
                    answer = {"won": name, "fence": claim.fence}
                elif "blind" in order:
                    claim_refs.ref_update = blindly  # type: ignore[assignment]
                    answer = {"blind": name}
                else:
                    settled = await backlog.complete(held[order["end"]], evidence="done")
                    answer = {"ended": settled.entry.state.value}
            except Taken as error:
                answer = {"owner": error.owner}
            except NothingThere as error:
                answer = {"nothing": str(error)}
            except LostClaim as error:
                answer = {"lost": str(error)}
            except TgsError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            say(answer)


def blindly(name: str, before: str, after: str) -> dict[str, object]:
    """The guard switched off: the ref is moved wherever it is."""
    del before
    return {"name": name, "afterOid": after, "force": True}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(race(*sys.argv[1:4]))

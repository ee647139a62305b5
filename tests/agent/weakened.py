"""`tgs worker run` with some of its defences taken away, for the tests that show what each of them is for.

Called as `python -m tests.agent.weakened [DEFENCE ...]`; everything else comes by the environment, as in a job, and the
canary for the workspace too: arguments are readable for everybody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bot.cli import worker
from bot.worker import isolation, life, model_proxy, workspace


def another_user() -> None:
    async def choose(*_: object) -> tuple[isolation.Launcher, isolation.Isolation]:
        return isolation.SameUser(), isolation.Isolation.USER

    life.choose = choose


def a_bare_environment() -> None:
    bare = workspace.agent_environment

    def everything(*arguments: Any) -> dict[str, str]:
        return {**os.environ, **bare(*arguments)}

    workspace.agent_environment = everything


def secrets_taken_out() -> None:
    before = dict(os.environ)
    access = model_proxy.access_from

    def kept(_: object) -> model_proxy.ModelAccess | None:
        found = access(dict(before))
        os.environ.update(before)
        return found

    model_proxy.access_from = kept
    worker._is_secret = lambda _: False


def a_token_instead_of_the_key() -> None:
    def environment(door: model_proxy.ModelDoor) -> dict[str, str]:
        return {"ANTHROPIC_BASE_URL": door.url, "ANTHROPIC_API_KEY": door._access.key.get_secret_value()}

    model_proxy.ModelDoor.environment = property(environment)


def two_addresses_only() -> None:
    model_proxy.PATHS = (*model_proxy.PATHS, "/v1/organizations/api_keys")


def errors_without_the_key() -> None:
    model_proxy.without = lambda raw, _: raw


def closed_folders() -> None:
    create = workspace.create

    def opened(*arguments: Any) -> workspace.Workspace:
        place = create(*arguments)
        place.private.chmod(0o755)
        (place.private / "canary").chmod(0o644)
        return place

    workspace.create = opened


def no_new_rights() -> None:
    start = isolation.OtherUid.start

    async def plain(launcher: isolation.OtherUid, argv: Sequence[str], **options: Any) -> Any:
        who = str(launcher.uid)
        real = isolation.asyncio.create_subprocess_exec

        async def without(*command: str, **more: Any) -> Any:
            kept = [part for part in command if part not in {"--no-new-privs", "--bounding-set=-all"}]
            return await real(*kept, **more)

        assert who
        isolation.asyncio.create_subprocess_exec = without
        try:
            return await start(launcher, argv, **options)
        finally:
            isolation.asyncio.create_subprocess_exec = real

    isolation.OtherUid.start = plain


DEFENCES: dict[str, Callable[[], None]] = {
    function.__name__.replace("_", " "): function
    for function in (
        another_user, a_bare_environment, secrets_taken_out, a_token_instead_of_the_key, two_addresses_only,
        errors_without_the_key, closed_folders, no_new_rights,
    )
}  # fmt: skip


def main(*off: str) -> None:
    canary = os.environ.pop("WORKSPACE_CANARY")
    create = workspace.create

    def with_a_canary(*arguments: Any) -> workspace.Workspace:
        place = create(*arguments)
        secret: Path = place.private / "canary"
        secret.write_text(canary)
        secret.chmod(0o600)
        return place

    workspace.create = with_a_canary
    for name in off:
        DEFENCES[name]()
    sys.argv = ["tgs", "run"]
    worker.app()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A run of Actions whose worker is the test: each step of a worker's life is one call, real over HTTP and OIDC."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.clock import RandomIds
from bot.domain.identity import RunSecret
from bot.localhub.actions_model import Conclusion, Job, Run

if TYPE_CHECKING:
    from tests.world import World


@dataclass
class RunByHand:
    """A worker played by the test: every call is the real HTTP call, with real OIDC tokens of the local GitHub."""

    world: World
    run: Run
    attempt: str = ""
    fence: int = 0
    handoff: str = field(default_factory=lambda: RandomIds().new(RunSecret.HANDOFF))
    token: str = field(default_factory=lambda: RandomIds().new(RunSecret.ATTEMPT))
    asker: str = field(default_factory=lambda: RandomIds().new(RunSecret.PUBLISHER))
    context: dict[str, Any] = field(default_factory=dict)

    def job(self, name: str) -> Job:
        return self.run.jobs[name]

    async def call(self, method: str, path: str, bearer: str, body: object | None = None) -> tuple[int, Any]:
        session = self.world.http
        assert session is not None
        async with session.request(
            method, f"{self.world.url}/api/v1{path}", json=body, headers={"Authorization": f"Bearer {bearer}"}
        ) as answer:
            text = await answer.text()
            return answer.status, (await answer.json(content_type=None) if text else None)

    def oidc(self, job: str, purpose: str, **overrides: object) -> str:
        audience = str(overrides.pop("aud", f"{self.world.url}/{purpose}"))
        return self.world.hub.oidc.mint(self.run, self.job(job), audience, overrides)

    async def activate(self, **overrides: object) -> int:
        self.world.hub.actions.job_started(self.job("start"))
        claim_id = str(self.run.inputs.get("claim_id", ""))
        status, body = await self.call(
            "POST", "/runs/activate", self.oidc("start", "start", **overrides),
            {"claim_id": claim_id or None, "issue": int(self.run.inputs["issue"]), "handoff": self.handoff},
        )  # fmt: skip
        if status == 200:
            self.attempt, self.fence = body["attempt"], body["fence"]
        return status

    async def hand_over(self) -> int:
        status, body = await self.call(
            "POST", f"/attempts/{self.attempt}/handoff", "none",
            {"fence": self.fence, "code": self.handoff, "token": self.token},
        )  # fmt: skip
        if status == 200:
            self.context = body["context"]
        return status

    async def start(self) -> None:
        """The start job and the beginning of the agent's."""
        assert await self.activate() == 200
        self.world.hub.actions.job_finished(
            self.job("start"), Conclusion.SUCCESS,
            {"attempt": self.attempt, "fence": str(self.fence), "handoff": self.handoff},
        )  # fmt: skip
        self.world.hub.actions.job_started(self.job("agent"))
        assert await self.hand_over() == 200
        await self.world.settle()

    async def beat(self, step: int = 0, total: int = 0, text: str = "") -> tuple[int, Any]:
        progress = {"step": step, "total": total, "text": text} if total else None
        return await self.call(
            "POST", f"/attempts/{self.attempt}/heartbeat", self.token, {"fence": self.fence, "progress": progress}
        )

    async def report(
        self, *, succeeded: bool = True, reason: str | None = None, detail: str = "", **more: object
    ) -> int:
        status, _ = await self.call(
            "POST", f"/attempts/{self.attempt}/report", self.token,
            {"fence": self.fence, "succeeded": succeeded, "reason": reason, "detail": detail,
             "summary": "Did it.", "bundle_digest": "0" * 64 if succeeded else None, "isolation": "none", **more},
        )  # fmt: skip
        return status

    async def fail(self, reason: str, detail: str = "", **more: object) -> None:
        """The agent's job reports a failure and the run ends."""
        assert await self.report(succeeded=False, reason=reason, detail=detail, **more) == 200
        self.end(Conclusion.FAILURE)
        await self.world.settle()

    async def ask(
        self, *questions: Mapping[str, object], session: str | None = "s-1", transcript: bytes = b"hello\n"
    ) -> None:
        """The agent's job hands in its conversation, ends with questions, and the run ends."""
        if session is not None:
            status, _ = await self.send("transcript", transcript)
            assert status == 200
        status, body = await self.call(
            "POST", f"/attempts/{self.attempt}/report", self.token,
            {"fence": self.fence, "succeeded": False, "asked": questions, "session_id": session},
        )  # fmt: skip
        assert status == 200, body
        self.end(Conclusion.SUCCESS)
        await self.world.settle()

    async def send(self, kind: str, data: bytes | io.BytesIO) -> tuple[int, Any]:
        """What this attempt leaves for the next."""
        return await self._file("PUT", kind, data)

    async def fetch(self, kind: str) -> tuple[int, Any]:
        """What the attempt before has left."""
        return await self._file("GET", kind, None)

    async def _file(self, method: str, kind: str, data: bytes | io.BytesIO | None) -> tuple[int, Any]:
        assert self.world.http is not None
        url = f"{self.world.url}/api/v1/attempts/{self.attempt}/{kind}"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.world.http.request(method, url, data=data, headers=headers) as answer:
            plain = answer.content_type == "application/octet-stream"
            return answer.status, await (answer.read() if plain else answer.json(content_type=None))

    def end(self, conclusion: Conclusion) -> None:
        self.world.hub.actions.finish(self.run, conclusion)

    async def grant(self, **overrides: object) -> tuple[int, Any]:
        return await self.call(
            "POST", f"/attempts/{self.attempt}/publish-token", self.oidc("publish", "publish", **overrides),
            {"fence": self.fence, "asker": self.asker, "bundle_digest": "0" * 64,
             "head_sha": "0" * 40, "base_sha": "0" * 40},
        )  # fmt: skip

    def to_publish(self) -> None:
        self.world.hub.actions.job_finished(self.job("agent"), Conclusion.SUCCESS)
        self.world.hub.actions.job_started(self.job("publish"))

    async def publish(self, files: Mapping[str, str] | None = None) -> str:
        """From the agent's success to the published branch; the head SHA."""
        assert await self.report() == 200
        self.to_publish()
        status, grant = await self.grant()
        assert status == 200, grant
        changes = dict(files or {"hello.txt": f"hello from #{self.context['issue']}\n"})
        thought = self.context.get("thought")
        if thought:
            changes[f"{thought['dir']}/implementation.md"] = "# Done\n"
        sha = self.world.hub.git.commit(
            self.world.repo, changes, by=self.world.app.bot, branch=grant["branch"],
            parent=self.context["existing_branch_sha"] or self.context["base_sha"],
        )  # fmt: skip
        status, body = await self.call(
            "POST", f"/attempts/{self.attempt}/published", self.oidc("publish", "publish"),
            {"fence": self.fence, "head_sha": sha},
        )  # fmt: skip
        assert status == 200, body
        self.world.hub.actions.job_finished(self.job("publish"), Conclusion.SUCCESS)
        await self.world.settle()
        return sha

    async def work(self, files: Mapping[str, str] | None = None) -> str:
        """Everything a good run does."""
        await self.start()
        return await self.publish(files)

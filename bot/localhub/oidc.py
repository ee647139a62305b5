"""The OIDC issuer of Actions: a job proves which run it is, without any secret.

Promise: RS256 tokens with GitHub's claims (all ids are strings, `sub` in the immutable form), for
jobs with `id-token: write` and only while they run. The key is made per hub. `mint` makes any
token, also wrong ones, for tests of what a verifier must refuse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.localhub.actions_context import ref_name, workflow_ref
from bot.localhub.actions_model import Job, Run
from bot.localhub.http import ApiError, Reply, Request, Route, Surface
from bot.localhub.registry import fresh_key
from bot.localhub.workflow_model import TriggerEvent

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

LIFE: Final = timedelta(seconds=300)  # exp - iat of GitHub's tokens
BACKDATE: Final = timedelta(seconds=600)  # iat - nbf of GitHub's tokens
PREFIX: Final = "/_oidc"


class Oidc:
    """The issuer of one hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._made: rsa.RSAPrivateKey | None = None
        self._kid = hub.new_guid()
        self._requests: dict[str, Job] = {}

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        # Made when first used: it takes a tenth of a second, and most hubs in tests mint nothing.
        if self._made is None:
            self._made = fresh_key()
        return self._made

    def open_for(self, job: Job) -> tuple[str, str]:
        """(request URL, request token) for a running job with `id-token: write`."""
        # Registered with the hub's tokens, so that the server knows the bearer; it opens nothing
        # else, for it carries no permission but this.
        token = self.hub.tokens.for_job(job.run.repo, job.run.id, {"id_token": "write"})
        self._requests[token] = job
        return f"{self.hub.oidc_issuer}/token/{job.id}?api-version=2.0", token

    def close(self, token: str) -> None:
        """The job has ended: no more tokens."""
        self._requests.pop(token, None)
        self.hub.tokens.revoke(token)

    def requester(self, token: str) -> Job | None:
        """The job that holds a request token."""
        return self._requests.get(token)

    def claims(self, run: Run, job: Job, audience: str) -> dict[str, object]:
        """GitHub's claims about one job of one run."""
        repo, now = run.repo, self.hub.now()
        owner = repo.owner
        subject = f"repo:{owner.login}@{owner.id}/{repo.name}@{repo.id}"
        if job.environment is not None:
            subject += f":environment:{job.environment}"
        elif run.event is TriggerEvent.PULL_REQUEST:
            subject += ":pull_request"
        else:
            subject += f":ref:{run.ref}"
        claims: dict[str, object] = {
            "jti": self.hub.new_guid(),
            "sub": subject,
            "aud": audience,
            "iss": self.hub.oidc_issuer,
            "nbf": int((now - BACKDATE).timestamp()),
            "iat": int(now.timestamp()),
            "exp": int((now + LIFE).timestamp()),
            "ref": run.ref,
            "ref_type": "tag" if run.ref.startswith("refs/tags/") else "branch",
            "ref_protected": str(self.hub.rules.of(repo, ref_name(run)) is not None).lower(),
            "sha": run.sha,
            "repository": repo.full_name,
            "repository_id": str(repo.id),
            "repository_owner": owner.login,
            "repository_owner_id": str(owner.id),
            "repository_visibility": "private" if repo.private else "public",
            "run_id": str(run.id),
            "run_number": str(run.number),
            "run_attempt": str(run.attempt),
            "actor": run.actor.login,
            "actor_id": str(run.actor.id),
            "event_name": run.event.value,
            "head_ref": run.head_ref,
            "base_ref": run.base_ref,
            "workflow": run.file.name if run.file else run.workflow.path,
            "workflow_ref": workflow_ref(run),
            "workflow_sha": run.sha,
            "job_workflow_ref": workflow_ref(run),
            "job_workflow_sha": run.sha,
            "check_run_id": str(job.check.id),
            "runner_environment": "self-hosted" if job.self_hosted else "github-hosted",
        }
        if job.environment is not None:
            claims["environment"] = job.environment
        return claims

    def mint(
        self,
        run: Run,
        job: Job,
        audience: str,
        overrides: Mapping[str, object | None] | None = None,
        *,
        key: rsa.RSAPrivateKey | None = None,
    ) -> str:
        """A signed token; `overrides` change claims (None removes one), `key` signs wrongly."""
        claims = self.claims(run, job, audience) | dict(overrides or {})
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key or self._key, algorithm="RS256", headers={"kid": self._kid})

    def jwks(self) -> dict[str, object]:
        """The public key, as `jwks_uri` serves it."""
        numbers = self._key.public_key().public_numbers()

        def octets(number: int) -> str:
            raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
            return base64.urlsafe_b64encode(raw).decode().rstrip("=")

        key = {
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": self._kid,
            "n": octets(numbers.n),
            "e": octets(numbers.e),
        }
        return {"keys": [key]}


def routes(hub: Hub) -> list[Route]:
    """Discovery, keys and the token endpoint."""

    async def discovery(_: Request) -> Reply:
        issuer = hub.oidc_issuer
        claims = ["sub", "aud", "exp", "iat", "iss", "jti", "nbf", "repository_id", "run_id"]
        return Reply(
            200,
            {
                "issuer": issuer,
                "jwks_uri": f"{issuer}/.well-known/jwks",
                "subject_types_supported": ["public", "pairwise"],
                "response_types_supported": ["id_token"],
                "claims_supported": claims,
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid"],
            },
        )

    async def keys(_: Request) -> Reply:
        return Reply(200, hub.oidc.jwks())

    async def token(request: Request) -> Reply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        job = hub.oidc.requester(headers.get("authorization", "").partition(" ")[2].strip())
        if job is None or str(job.id) != request.params["job"] or job.done:
            raise ApiError(401, "The request token is not valid for this job")
        default = f"{hub.html_url}/{job.run.repo.owner.login}"
        value = hub.oidc.mint(job.run, job, request.query.get("audience") or default)
        return Reply(200, json.dumps({"count": len(value), "value": value}).encode(), _JSON)

    rows = [
        ("/.well-known/openid-configuration", discovery),
        ("/.well-known/jwks", keys),
        ("/token/{job}", token),
    ]
    return [Route("GET", PREFIX + tail, handler, surface=Surface.WEB, anyone=True) for tail, handler in rows]


_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}

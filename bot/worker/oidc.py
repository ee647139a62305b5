"""Proof of identity for an Actions job: OIDC tokens from the runner.

Promise: one fresh token a call, since the bot accepts each only once; only https or loopback addresses are asked; the
request token and the answers never appear in errors.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

import aiohttp
from pydantic import SecretStr
from yarl import URL

from bot.errors import UserError
from bot.worker.api import ApiDown

URL_VARIABLE: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
TOKEN_VARIABLE: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the variable's name
OIDC_SECONDS: Final = 20.0  # GitHub's issuer answers in well under a second


class ActionsIdentity:
    """Asks the runner for tokens of one audience."""

    def __init__(self, session: aiohttp.ClientSession, environment: MutableMapping[str, str], audience: str) -> None:
        """Takes address and credential out of `environment`, so that no child process inherits them.

        Raises UserError when this is no job with `id-token: write`.
        """
        url, token = environment.pop(URL_VARIABLE, ""), environment.pop(TOKEN_VARIABLE, "")
        if not url or not token:
            raise UserError(
                "This is not an Actions job that may ask for an identity.",
                "Give the job `permissions: id-token: write`, as the workflow written by `tgs init` does.",
            )
        self._url = URL(url)
        if self._url.scheme != "https" and self._url.host not in {"127.0.0.1", "localhost", "::1"}:
            raise UserError("The runner's identity address is not encrypted.", "Use an unmodified runner.")
        self._session = session
        self._token = SecretStr(token)
        self._audience = audience

    async def token(self) -> SecretStr:
        """A fresh token. Raises ApiDown when the runner gives none."""
        try:
            async with self._session.get(
                self._url.update_query(audience=self._audience),
                headers={"Authorization": f"Bearer {self._token.get_secret_value()}", "Accept": "application/json"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=OIDC_SECONDS),
            ) as response:
                if response.status != 200:
                    raise ApiDown(f"the runner's identity service answered {response.status}")
                data = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiDown(f"the runner's identity service: {type(error).__name__}") from None
        value = data.get("value") if isinstance(data, dict) else None
        if not isinstance(value, str) or not value:
            raise ApiDown("the runner's identity service answered without a token")
        return SecretStr(value)

"""Sends a POST to an address that the policy names, for a team's own workflows."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from knowledge.environment import environment, value_of
from remediation.web_reading import Peer
from remediation.web_writing import write_json
from remediation.writes import noted

DEADLINE_S = 10.0


@dataclass(frozen=True)
class WebhookSender:
    """Implements `ports.Webhooks`. A token is read when it is used, so that one that was rotated holds at once."""

    http: httpx.AsyncClient

    async def token(self, variable: str) -> str | None:
        return await asyncio.to_thread(lambda: value_of(variable, environment())) or None

    async def post(self, url: str, body: Mapping[str, Any], *, token: str = "", key: str = "") -> None:
        headers = {
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **({"Idempotency-Key": key} if key else {}),
        }
        peer = Peer("The webhook", "its url in policy.yaml", "the variable that its token_env names")
        # The path of such an address is often its secret.
        with noted("webhook", f"POST {urlsplit(url).hostname}"):
            await write_json(self.http, "POST", url, peer, body=body, headers=headers, deadline_s=DEADLINE_S)

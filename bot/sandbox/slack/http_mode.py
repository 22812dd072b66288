"""HTTP mode: what Slack sends to an app's request URL instead of over a link, signed, and what counts as an answer."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

Json = dict[str, Any]


@dataclass(frozen=True)
class RequestUrl:
    """Where the app listens, and the secret that its requests are signed with."""

    url: str
    signing_secret: str

    async def deliver(self, kind: str, payload: Json, more: Json) -> Json | None:
        """POST one delivery; the answer's body ({} when it has none), None for any status but 200.

        Raises:
            aiohttp.ClientError: the app cannot be reached.
        """
        body, content_type = encoded(kind, payload)
        headers = {"Content-Type": content_type, **self._signed(body)}
        if more.get("retry_attempt"):
            headers |= {"X-Slack-Retry-Num": str(more["retry_attempt"]), "X-Slack-Retry-Reason": "http_timeout"}
        async with aiohttp.ClientSession() as http, http.post(self.url, data=body, headers=headers) as answer:
            said = await answer.text()
            if answer.status != 200:
                return None
        if not said.startswith("{"):
            return {"text": said} if said.strip() else {}
        parsed: Json = orjson.loads(said)
        return parsed

    def _signed(self, body: bytes) -> dict[str, str]:
        sent_at = str(int(time.time()))
        key, signed = self.signing_secret.encode(), b"v0:" + sent_at.encode() + b":" + body
        signature = hmac.new(key, signed, hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": sent_at, "X-Slack-Signature": f"v0={signature}"}


def encoded(kind: str, payload: Json) -> tuple[bytes, str]:
    """Events are JSON; interactions are JSON in a form's field; commands are a form."""
    if kind == "events_api":
        return orjson.dumps(payload), "application/json"
    form = payload if kind == "slash_commands" else {"payload": orjson.dumps(payload).decode()}
    return urlencode(form).encode(), "application/x-www-form-urlencoded"

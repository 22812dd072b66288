"""Who acts in the sandbox's tests: people through the control API, a bot through Slack's own libraries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp

Json = dict[str, Any]


@dataclass
class Person:
    """Acts through the control API as one person."""

    http: aiohttp.ClientSession
    url: str
    user: str

    async def act(self, call: str, expect: int = 200, /, **body: Any) -> Json:
        async with self.http.post(f"{self.url}sandbox/api/{call}", json={"user": self.user, **body}) as response:
            answer: Json = await response.json()
            assert response.status == expect, answer
            return answer

    async def read(self, name: str, **query: str) -> Json:
        async with self.http.get(f"{self.url}sandbox/api/{name}", params={"user": self.user, **query}) as response:
            answer: Json = await response.json()
            assert response.status == 200, answer
            return answer

    async def messages(self, channel: str = "C0DEPLOY", **query: str) -> list[Json]:
        answer = await self.read("messages", channel=channel, **query)
        found: list[Json] = answer["messages"]
        return found


@dataclass
class Bot:
    """A bolt app in Socket Mode and what it heard."""

    app: AsyncApp
    handler: AsyncSocketModeHandler
    heard: list[Json] = field(default_factory=list)

    def events(self, kind: str) -> list[Json]:
        return [body for body in self.heard if body.get("event", {}).get("type") == kind]

"""A sandbox and a bot, each its own process as for a user, and what people do with them through Slack."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.forked import Forked

ONCALL, LEAD, DEVELOPER, GUEST = "U0ONCALL", "U0LEAD", "U0DEV", "U0GUEST"
BOT = "U0CODEHEALER"
DEPLOYMENTS, ALERTS = "C0DEPLOY", "C0ALERTS"
PATIENCE_S = 60.0
Json = dict[str, Any]


class NeverHappened(AssertionError):
    """A condition that did not come true in time, with what was seen last."""


@dataclass
class Stage:
    """One sandbox and one bot on one database. Start them with `open`, end them with `close`."""

    database_url: str
    logs: Path
    time_scale: float = 0.2
    settings: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    sandbox_options: tuple[str, ...] = ()
    url: str = ""
    _sandbox: Forked | None = None
    _bot: Forked | None = None
    _http: httpx.AsyncClient | None = None

    # --- processes

    async def open(self) -> None:
        await self.open_sandbox()
        await self.start_bot()

    async def open_sandbox(self) -> None:
        self._http = httpx.AsyncClient(timeout=20)
        self._sandbox, greeting = await asyncio.to_thread(
            Forked.sandbox, "--time-scale", str(self.time_scale), *self.sandbox_options, log=self.logs / "sandbox.log"
        )
        self.url, self.env = greeting["url"], greeting["env"]
        self.env["CODEHEALER_POLICY"] = str(self._hurried(Path(self.env["CODEHEALER_POLICY"])))

    def _hurried(self, shipped: Path) -> Path:
        """The sandbox's policy with a short wait before the first look at a fix."""
        policy = yaml.safe_load(shipped.read_text())
        policy["limits"]["settle_seconds"] = {"*": 1}
        path = self.logs / "policy.yaml"
        path.write_text(yaml.safe_dump(policy))
        return path

    @property
    def environment(self) -> dict[str, str]:
        """What a bot on this stage is started with."""
        return {
            **os.environ, **self.env, "DATABASE_URL": self.database_url, "CODEHEALER_LOG_FORMAT": "json",
            "CODEHEALER_VERIFY_EVERY_SECONDS": "0.5", **self.settings,
        }  # fmt: skip

    async def start_bot(self) -> None:
        self._bot = await Forked.start("run", env=self.environment, folder=self.logs, log=self.logs / "bot.log")
        await self.until(self._connected, "the bot is connected to Slack")

    async def _connected(self) -> bool:
        assert self._bot is not None
        if self._bot.returncode is not None:
            raise NeverHappened(f"the bot ended with {self._bot.returncode}:\n{self.bot_log()[-3000:]}")
        if "SLACK_APP_TOKEN" not in self.env:
            return await self.answers("/healthz")
        return bool((await self.get("state", user=ONCALL))["bot_connected"])

    async def answers(self, path: str) -> bool:
        """Whether the bot's own web server says yes."""
        try:
            answer = await self.http.get(f"http://127.0.0.1:{self.env['CODEHEALER_HTTP_PORT']}{path}")
        except httpx.TransportError:
            return False
        return answer.is_success

    async def kill_bot(self) -> None:
        """As by the kernel: no goodbye."""
        assert self._bot is not None
        self._bot.send_signal(signal.SIGKILL)
        await self._bot.wait()

    async def stop_bot(self) -> int:
        assert self._bot is not None
        self._bot.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self._bot.wait()

    async def close(self) -> None:
        for process in (self._bot, self._sandbox):
            if process is not None and process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(15):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()
        if self._http is not None:
            await self._http.aclose()

    @property
    def bot_pid(self) -> int:
        assert self._bot is not None
        return self._bot.pid

    @property
    def bot_runs(self) -> bool:
        return self._bot is not None and self._bot.returncode is None

    def bot_log(self) -> str:
        return (self.logs / "bot.log").read_text(errors="replace")

    @property
    def webhooks(self) -> str:
        return f"http://127.0.0.1:{self.env['CODEHEALER_HTTP_PORT']}/webhooks"

    @property
    def http(self) -> httpx.AsyncClient:
        assert self._http is not None
        return self._http

    # --- the sandbox's control

    async def get(self, what: str, **query: Any) -> Json:
        answer = await self.http.get(f"{self.url}sandbox/api/{what}", params=query)
        assert answer.status_code < 400, answer.text
        found: Json = answer.json()
        return found

    async def do(self, what: str, **body: Any) -> Json:
        answer = await self.http.post(f"{self.url}sandbox/api/{what}", json=body)
        assert answer.status_code < 400, f"{what}: {answer.text}"
        found: Json = answer.json()
        return found

    async def break_(self, scenario: str) -> None:
        await self.do("break", scenario=scenario)

    async def requests(self, system: str) -> list[Json]:
        found: list[Json] = (await self.get("requests", system=system))["requests"]
        return found

    async def until(
        self,
        condition: Callable[[], Any],
        what: str,
        *,
        deadline_s: float = PATIENCE_S,
        seen: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait until `condition` answers with something true, and return it."""
        deadline = time.monotonic() + deadline_s
        while True:
            found = await condition()
            if found:
                return found
            if time.monotonic() > deadline:
                last = await seen() if seen else ""
                raise NeverHappened(f"{what}: not within {deadline_s:.0f} s\n{last}\n{self.bot_log()[-3000:]}")
            await asyncio.sleep(0.1)

    # --- what people see and do

    async def messages(self, channel: str = DEPLOYMENTS, user: str = ONCALL, thread_ts: str = "") -> list[Json]:
        query = {"thread_ts": thread_ts} if thread_ts else {}
        found: list[Json] = (await self.get("messages", user=user, channel=channel, **query))["messages"]
        return found

    async def cards(self, channel: str = DEPLOYMENTS) -> list[Json]:
        """The bot's own posts in a channel that are no thread replies, oldest first."""
        return [
            message
            for message in await self.messages(channel)
            if message.get("user") == BOT and message.get("thread_ts", message["ts"]) == message["ts"]
        ]

    async def card(self, words: str, *, about: str = "", deadline_s: float = PATIENCE_S) -> Json:
        """Wait for a card whose text has `words` (and `about`, such as a service's name)."""

        async def shown() -> Json | None:
            for card in await self.cards():
                text = text_of(card)
                if words in text and about in text:
                    return card
            return None

        async def last() -> str:
            return "\n---\n".join(text_of(card) for card in await self.cards())

        found: Json = await self.until(
            shown, f"a card with {words!r} about {about!r}", deadline_s=deadline_s, seen=last
        )
        return found

    async def thread(self, card: Json, words: str, *, channel: str = DEPLOYMENTS) -> Json:
        """Wait for a reply in a card's thread that has `words`."""

        async def said() -> Json | None:
            replies = await self.messages(channel, thread_ts=card["ts"])
            return next((one for one in replies if words in text_of(one)), None)

        found: Json = await self.until(said, f"a reply with {words!r}")
        return found

    async def click(
        self, card: Json, action: str, *, user: str = ONCALL, channel: str = DEPLOYMENTS, **more: Any
    ) -> Json:
        element = element_of(card, action)
        return await self.do(
            "click", user=user, channel=channel, ts=card["ts"], block_id=element["block_id"], action_id=action,
            value=more.pop("value", element.get("value")), **more,
        )  # fmt: skip

    async def thumb(self, card: Json, up: bool, *, user: str = ONCALL) -> Json:
        element = element_of(card, "feedback")
        side = element["positive_button" if up else "negative_button"]
        return await self.click(card, "feedback", user=user, value=side["value"])

    async def private(self, user: str, words: str, channel: str = DEPLOYMENTS) -> Json:
        """Wait for a message that only `user` sees."""

        async def told() -> Json | None:
            seen = await self.messages(channel, user)
            return next((one for one in seen if one.get("is_ephemeral") and words in text_of(one)), None)

        found: Json = await self.until(told, f"{user} is told {words!r}")
        return found

    async def reject(self, card: Json, reason: str, *, user: str = ONCALL, comment: str = "") -> Json:
        await self.click(card, "reject", user=user)

        async def opened() -> Json | None:
            view: Json | None = (await self.get("view", user=user))["view"]
            return view

        view = await self.until(opened, "the reject modal")
        values: Json = {}
        for block in view["blocks"]:
            element = block.get("element", {})
            if element.get("type") == "radio_buttons":
                option = next(one for one in element["options"] if one["value"] == reason)
                values[block["block_id"]] = {element["action_id"]: {"type": "radio_buttons", "selected_option": option}}
            elif element.get("type") == "plain_text_input":
                values[block["block_id"]] = {
                    element["action_id"]: {"type": "plain_text_input", "value": comment or None}
                }
        return await self.do("submit", user=user, view_id=view["id"], values=values)


def text_of(message: Json) -> str:
    """All the words of a message: its text, blocks and attachments."""
    parts = [json.dumps(message.get(name, []), ensure_ascii=False) for name in ("blocks", "attachments")]
    return "\n".join([message.get("text", ""), *parts])


def element_of(message: Json, action: str) -> Json:
    """A message's interactive element by action id, with its block's id."""
    for block in message.get("blocks", []):
        for element in block.get("elements", []):
            if isinstance(element, dict) and element.get("action_id") == action:
                return {**element, "block_id": block["block_id"]}
    raise AssertionError(f"no element {action!r} in {json.dumps(message.get('blocks'))[:2000]}")

"""/slack/events: who may deliver there, and what a delivery leaves behind."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text

from bot.slack_app import make_app
from bot.slack_events import add_slack_events
from handlers import listeners, replies, responding
from handlers.blocks.actions import TAKE, encode
from tests.handlers.office import BOT, made_services, rows
from tests.rows import opened

SECRETS = ("first-secret", "second-secret")
NOWHERE = "postgresql://nobody@127.0.0.1:9/none"


@dataclass
class Door:
    http: httpx.AsyncClient
    url: str
    secrets: list[str]

    async def post(self, body: bytes, *, secret: str = SECRETS[0], at: str = "", **more: str) -> httpx.Response:
        sent_at = at or str(int(time.time()))
        digest = hmac.new(secret.encode(), f"v0:{sent_at}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json", "X-Slack-Request-Timestamp": sent_at,
            "X-Slack-Signature": f"v0={digest}", **more,
        }  # fmt: skip
        return await self.http.post("/slack/events", content=body, headers=headers)

    async def stored(self) -> int:
        async with opened(self.url) as engine:
            return len(await rows(engine, "SELECT 1 FROM deliveries"))


async def _door(url: str) -> AsyncIterator[Door]:
    async with opened(url) as engine:
        slack = AsyncWebClient(token="none", base_url="http://127.0.0.1:9/api/", timeout=2)
        web_app = web.Application()
        services = made_services(engine, slack, url)
        secrets = list(SECRETS)
        add_slack_events(web_app, make_app(services, lambda _result: None), lambda: secrets)
        runner = web.AppRunner(web_app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=30) as http:
                yield Door(http, url, secrets)
        finally:
            await runner.cleanup()


@pytest_asyncio.fixture
async def door(database_url: str) -> AsyncIterator[Door]:
    async for one in _door(database_url):
        yield one


@pytest_asyncio.fixture
async def door_without_database() -> AsyncIterator[Door]:
    async for one in _door(NOWHERE):
        yield one


def mention(event_id: str = "Ev1") -> bytes:
    event = {"type": "app_mention", "user": "U1", "channel": "C1", "ts": "1700000000.000100", "text": f"<@{BOT}> why?"}
    return json.dumps({"type": "event_callback", "team_id": "T1", "event_id": event_id, "event": event}).encode()


async def test_a_repeat_is_acknowledged_and_stored_once_whichever_secret_signs_it(door: Door) -> None:
    challenge = json.dumps({"type": "url_verification", "challenge": "abc", "token": "t"}).encode()
    answer = await door.post(challenge)
    assert (answer.status_code, answer.json()) == (200, {"challenge": "abc"})
    for secret in SECRETS:
        repeat = {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"} if secret != SECRETS[0] else {}
        assert (await door.post(mention(), secret=secret, **repeat)).status_code == 200
    stranger = {"type": "event_callback", "team_id": "T1", "event_id": "Ev9", "event": {"type": "star_added"}}
    assert (await door.post(json.dumps(stranger).encode())).status_code == 200
    assert await door.stored() == 1


async def test_without_a_secret_nothing_is_served_and_one_that_comes_later_opens_it(door: Door) -> None:
    door.secrets.clear()
    assert (await door.post(mention())).status_code == 404
    door.secrets.append("another")
    assert (await door.post(mention(), secret="another")).status_code == 200
    assert (await door.post(mention())).status_code == 401
    assert await door.stored() == 1


@pytest.mark.parametrize("at", ["0", "1e9", "-5", "abc", "9" * 40, "٥"])
async def test_a_strange_time_is_refused(door: Door, at: str) -> None:
    headers = {"X-Slack-Request-Timestamp": at.encode(), "X-Slack-Signature": b"v0=" + b"0" * 64}
    assert (await door.http.post("/slack/events", content=mention(), headers=headers)).status_code == 401


async def test_what_is_old_early_unsigned_or_changed_is_refused_and_leaves_no_trace(door: Door) -> None:
    now = int(time.time())
    assert (await door.post(mention(), at=str(now - 400))).status_code == 401
    assert (await door.post(mention(), at=str(now + 400))).status_code == 401
    assert (await door.post(mention(), secret="another")).status_code == 401
    assert (await door.post(mention(), **{"X-Slack-Signature": ""})).status_code == 401
    assert (await door.http.post("/slack/events", content=mention())).status_code == 401
    signed_but_hostile = (b"\xff\xfe", b"[" * 5000, b"{}", b"5", b'{"type": "event_callback"}', b'{"event": 7}')
    answers = [(await door.post(body)).status_code for body in signed_but_hostile]
    assert all(status < 500 for status in answers), answers
    assert await door.stored() == 0


async def test_without_the_database_it_is_asked_to_be_sent_again(door_without_database: Door) -> None:
    assert (await door_without_database.post(mention())).status_code == 503


def click(response_url: str) -> bytes:
    action = {"type": "button", "action_id": TAKE, "value": encode(i=7)}
    body = {
        "type": "block_actions", "trigger_id": "1.2", "user": {"id": "U1"}, "channel": {"id": "C1"},
        "team": {"id": "T1"}, "actions": [action], "response_url": response_url,
    }  # fmt: skip
    return urlencode({"payload": json.dumps(body)}).encode()


async def test_a_click_that_slack_does_not_wait_for_any_more_is_told_and_never_counts(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "PERSON_WAITS_S", 0.2)
    monkeypatch.setattr(responding, "TELLING_S", 10.0)
    told: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        told.append((await request.json())["text"])
        return web.Response(text="ok")

    ear = web.Application()
    ear.router.add_post("/", hear)
    runner = web.AppRunner(ear)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with opened(door.url) as engine, engine.connect() as holding, engine.connect() as looking:
        # The database takes the statement, and comes to it only when nobody waits for it any more.
        await holding.execute(text("LOCK deliveries IN ACCESS EXCLUSIVE MODE"))
        assert (await door.post(click(url), **form)).status_code == 503
        await holding.rollback()
        busy = text("SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%INSERT INTO deliveries%'"
                    " AND pid <> pg_backend_pid() AND datname = current_database()")  # fmt: skip
        async with asyncio.timeout(30):
            while (await looking.execute(busy)).first():
                await looking.rollback()
    await runner.cleanup()
    assert told == [replies.NOT_STORED]
    assert await door.stored() == 0
    assert (await door.post(click(url), **form)).status_code == 200
    assert await door.stored() == 1

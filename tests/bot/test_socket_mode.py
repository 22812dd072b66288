"""The link to Slack under each known fault: it comes back by itself, and every event is stored exactly once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Options, Sandbox, running
from bot.sandbox.slack import posting
from bot.slack_app import make_app
from bot.socket_mode import LinkTiming, SocketMode
from handlers import missed
from handlers.services import Services
from tests.handlers.office import BOT, jobs, made_services, rows
from tests.rows import opened
from tests.sandbox.people import Person
from tests.waiting import until

# A tenth of what the product waits; on a slow machine they only mean more tries.
HURRIED = LinkTiming(
    connect=1.0, heartbeat=1.0, shortest_back_off=0.05, longest_back_off=0.5, asleep=0.5, renew=600, overlap=1.0
)
# Where a slow machine must not be taken for a dead link.
CALM = replace(HURRIED, connect=60.0, heartbeat=120.0)
PATIENCE_S = 60.0


@dataclass
class Connected:
    """A bot on a sandbox and a database."""

    sandbox: Sandbox
    services: Services
    link: SocketMode
    happened: Counter[str]
    riley: Person
    posted: int = 0

    async def mention(self) -> None:
        self.posted += 1
        await self.riley.act("post", channel="C0DEPLOY", text=f"<@{BOT}> why? {self.posted}")

    async def stored(self) -> int:
        return len(await rows(self.services.engine, "SELECT 1 FROM deliveries"))

    async def all_stored(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.stored() < self.posted:  # noqa: ASYNC110  a row in a database has no event
                await asyncio.sleep(0.02)

    async def is_back(self) -> None:
        await until(lambda: self.link.problem is None)


@pytest_asyncio.fixture
async def bot(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Connected]:
    timing = getattr(request, "param", HURRIED)
    # Slack's repeats go on for longer than any of these faults lasts.
    async with (
        running(Options(time_scale=0.05, ack_seconds=0.5, seed=1)) as sandbox,
        aiohttp.ClientSession() as http,
        opened(database_url) as engine,
    ):
        slack = AsyncWebClient(
            token=sandbox.env["SLACK_BOT_TOKEN"], base_url=sandbox.env["SLACK_BASE_URL"], session=http, timeout=5
        )
        services = made_services(engine, slack, database_url)
        happened: Counter[str] = Counter()

        def count(what: str) -> None:
            happened[what] += 1

        link = SocketMode(
            make_app(services, count), sandbox.env["SLACK_APP_TOKEN"], timing, count,
            returned=lambda away_s: missed.ask(services, away_s),
        )  # fmt: skip
        async with link.connected():
            connected = Connected(sandbox, services, link, happened, Person(http, sandbox.url, "U0ONCALL"))
            await connected.is_back()
            yield connected


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dropped without a CLOSE": ({"drop_socket": True}, {}),
    "asked to leave": ({"disconnect_reason": "refresh_requested"}, {}),
    "warned": ({"disconnect_reason": "warning"}, {}),
    "one too many": ({"disconnect_reason": "too_many_websockets"}, {}),
    "stale tickets": ({"drop_socket": True, "stale_tickets_next": 3}, {}),
    "links that hang": ({"drop_socket": True, "hang_links": True}, {"hang_links": False}),
    "a black hole": ({"black_hole": True}, {"black_hole": False}),
    "refused": ({"refuse_connections": True}, {"refuse_connections": False}),
    "switched off and on": ({"disconnect_reason": "link_disabled"}, {"link_disabled": False}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_comes_back_by_itself_and_every_event_is_stored_once(bot: Connected, fault: str) -> None:
    begins, ends = FAULTS[fault]
    before = bot.happened["opened"]
    await bot.mention()
    await bot.riley.act("faults", slack=begins)
    await bot.mention()
    if ends:
        # The trouble is seen before it is over.
        await until(lambda: bot.link.problem)
        if "black_hole" not in ends:
            await until(lambda: bot.happened["refused"])
        await bot.riley.act("faults", slack=ends)
    await until(lambda: bot.happened["opened"] > before)
    await bot.is_back()
    await bot.mention()
    await bot.all_stored()
    assert await bot.stored() == bot.posted


async def test_mentions_that_slack_gave_up_on_are_found_where_they_stand_once(bot: Connected) -> None:
    sockets = bot.sandbox.slack.sockets
    sockets.timing = replace(sockets.timing, retries=())  # as where each of the four tries met a fault
    await bot.mention()
    await bot.all_stored()
    before = bot.happened["opened"]
    await bot.riley.act("faults", slack={"black_hole": True})
    workspace = bot.sandbox.slack.workspace
    channel, riley = workspace.channels["C0DEPLOY"], workspace.users[bot.riley.user]
    asked = posting.post_as_person(bot.sandbox.slack, channel, riley, f"<@{BOT}> and 2?")
    posting.post_as_person(bot.sandbox.slack, channel, riley, f"<@{BOT}> and 3?", thread_ts=str(asked["ts"]))
    posting.post_as_person(bot.sandbox.slack, channel, riley, "I don't know, ask the bot")
    direct = workspace.direct_message(riley.id)
    posting.post_as_person(bot.sandbox.slack, direct, riley, "and 4?")
    tried = [sockets.acknowledged, sockets.given_up]
    await until(lambda: sum(one["type"] == "app_mention" for ended in tried for one in ended) == 3)
    await until(lambda: bot.link.problem)
    assert await bot.stored() == 1, "nobody told us"
    await bot.riley.act("faults", slack={"black_hole": False})
    await until(lambda: bot.happened["opened"] > before)
    async with asyncio.timeout(PATIENCE_S):
        while not await jobs(bot.services.engine):  # noqa: ASYNC110  a row in a database has no event
            await asyncio.sleep(0.02)

    for scopes in (["im:read"], [], []):
        # An app of before it had that scope finds what is said in channels all the same.
        bot.sandbox.slack.faults.without_scopes = scopes
        (first, *_) = [given for stage, given in await jobs(bot.services.engine) if stage == "find_missed"]
        await missed.find(bot.services, **first)
        for stage, given in await jobs(bot.services.engine):
            if stage == "find_missed_in":
                await missed.find_in(bot.services, **given)
    questions = "SELECT body->'question'->>'text' AS said FROM deliveries WHERE event = 'question' ORDER BY id"
    said = [row.said.removeprefix(f"<@{BOT}> ") for row in await rows(bot.services.engine, questions)]
    assert said == ["why? 1", "and 2?", "and 3?", "and 4?"]


@pytest.mark.parametrize("bot", [CALM], indirect=True, ids=["calm"])
async def test_a_link_is_replaced_before_it_is_left(bot: Connected) -> None:
    sockets = bot.sandbox.slack.sockets
    sockets.timing = replace(sockets.timing, warning=120.0)
    problems: list[str | None] = []
    opened_before = bot.happened["opened"]
    await bot.riley.act("faults", slack={"disconnect_reason": "refresh_requested"})
    async with asyncio.timeout(PATIENCE_S):
        while bot.happened["opened"] == opened_before or len(sockets.links) != 1:
            problems.append(bot.link.problem)
            await asyncio.sleep(0.005)
    assert set(problems) <= {None}
    assert bot.happened["lost"] == 0


async def test_a_link_that_never_pongs_is_left(bot: Connected) -> None:
    opened_before = bot.happened["opened"]
    await bot.riley.act("faults", slack={"no_pong": True})
    await until(lambda: bot.happened["opened"] > opened_before)
    await bot.riley.act("faults", slack={"no_pong": False})
    await bot.is_back()


async def test_what_is_switched_off_says_so_until_it_is_on_again(bot: Connected) -> None:
    await bot.riley.act("faults", slack={"disconnect_reason": "link_disabled"})
    await until(lambda: "switched off" in (bot.link.problem or ""))
    await bot.riley.act("faults", slack={"link_disabled": False})
    await bot.is_back()


@pytest.mark.parametrize("bot", [CALM], indirect=True, ids=["calm"])
async def test_what_nobody_listens_to_is_acknowledged_and_counted(bot: Connected) -> None:
    sockets = bot.sandbox.slack.sockets
    sockets.timing = replace(sockets.timing, ack=60.0)
    body = {"type": "event_callback", "event_id": "Ev0STRANGE", "team_id": "T0SANDBOX", "event": {"type": "star_added"}}
    assert await sockets.send("events_api", body, accepts_response_payload=False) == {}
    assert bot.happened["unhandled"] == 1

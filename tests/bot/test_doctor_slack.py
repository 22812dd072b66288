"""What doctor asks Slack, against the sandbox; the bot that hears the button listens as the real one does."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot import doctor_slack
from bot.doctor import Finding
from bot.sandbox.server import Options, Sandbox, running
from bot.settings import Settings, load_settings
from bot.socket_mode import SocketMode
from handlers import round_trip
from handlers.listeners import listen
from tests.handlers.office import made_services
from tests.rows import opened
from tests.sandbox.people import Json, Person

NOWHERE = "postgresql://nobody@127.0.0.1:9/none"
CHANNEL = "C0DEPLOY"


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(Options(seed=1)) as started:
        yield started


@pytest.fixture
def settings(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_BASE_URL", "CODEHEALER_CHANNEL"):
        monkeypatch.setenv(name, sandbox.env[name])
    return load_settings()


@pytest_asyncio.fixture
async def riley(sandbox: Sandbox) -> AsyncIterator[Person]:
    async with aiohttp.ClientSession() as http:
        yield Person(http, sandbox.url, "U0ONCALL")


@pytest_asyncio.fixture
async def bot(sandbox: Sandbox) -> AsyncIterator[None]:
    """It needs no database to hear this button."""
    async with aiohttp.ClientSession() as session, opened(NOWHERE) as engine:
        slack = AsyncWebClient(
            token=sandbox.env["SLACK_BOT_TOKEN"], base_url=sandbox.env["SLACK_BASE_URL"], session=session
        )
        app = AsyncApp(client=slack, raise_error_for_unhandled_request=True)
        listen(app, made_services(engine, slack, NOWHERE), lambda _result: None)
        async with SocketMode(app, sandbox.env["SLACK_APP_TOKEN"]).connected():
            yield


async def message(riley: Person, channel: str = CHANNEL) -> Json:
    """The newest of what the person sees, once it is there."""
    async with asyncio.timeout(20):
        while not (found := await riley.messages(channel)):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    return found[-1]


@pytest.mark.parametrize("where", ["", "U0ONCALL"])
async def test_a_press_comes_back(bot: None, settings: Settings, riley: Person, where: str) -> None:
    told: list[str] = []
    asking = asyncio.create_task(doctor_slack.button(settings, where, 60, told.append))
    channel = "D" if where else CHANNEL
    asked = await message(riley, channel)
    pressed = await riley.act("click", channel=channel, ts=asked["ts"], block_id="test", action_id=round_trip.BUTTON)
    finding = await asking

    assert pressed == {"acknowledged": True}
    assert finding.ok, finding
    assert "Press the button" in told[0]
    after = await message(riley, channel)
    assert after["text"] == f"{round_trip.HEARD}. <@U0ONCALL> pressed it."
    assert [block["type"] for block in after["blocks"]] == ["section"]


async def test_without_a_press_no_button_stays(settings: Settings, riley: Person) -> None:
    finding = await doctor_slack.button(settings, "", 1, lambda _said: None)

    assert not finding.ok
    assert "Does the bot run" in finding.remedy
    after = await message(riley)
    assert after["text"] == round_trip.NOT_PRESSED
    assert [block["type"] for block in after["blocks"]] == ["section"]


@pytest.mark.parametrize(
    ("where", "remedy"), [("C0GENERAL", "/invite @codehealer"), ("C0NOWHERE", "Check the id"), ("", "--in C0123ABCD")]
)
async def test_where_it_cannot_be_posted_one_hears_what_to_do(settings: Settings, where: str, remedy: str) -> None:
    nowhere = settings.model_copy(update={"channel": ""})
    finding = await doctor_slack.button(nowhere, where, 1, lambda _said: None)
    assert not finding.ok
    assert remedy in finding.remedy


async def test_the_channel_of_the_cards_is_looked_at(settings: Settings, riley: Person) -> None:
    check = doctor_slack.CHECKS["channel"]
    assert await check(settings) == Finding("channel", True, "C0DEPLOY (#deployments)")
    outside = await check(settings.model_copy(update={"channel": "C0GENERAL"}))
    assert (outside.ok, outside.detail) == (False, "the bot is not in C0GENERAL (#general)")
    unknown = await check(settings.model_copy(update={"channel": "C0NOWHERE"}))
    assert not unknown.ok
    assert "Check the id" in unknown.remedy
    await riley.act("channel", channel=CHANNEL, what="archive")
    assert "archived" in (await check(settings)).detail


async def test_the_scopes_are_compared_with_the_manifests(settings: Settings, riley: Person) -> None:
    check = doctor_slack.CHECKS["scopes"]
    assert (await check(settings)).ok
    await riley.act("faults", slack={"without_scopes": ["reactions:write", "users:read"]})
    lacking = await check(settings)
    assert not lacking.ok
    assert lacking.detail == "the token lacks reactions:write, users:read"

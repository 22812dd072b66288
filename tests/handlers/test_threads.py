"""Threads through Slack's own libraries: what events change, what a paced reading of the past finds, what is shown."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.sandbox.server import Sandbox
from bot.sandbox.slack import posting
from bot.sandbox.slack.state import BOT_USER, Channel
from handlers import flow, inbox, missed, slack_search, thread_backfill, threads
from handlers.blocks.evidence import precedent_line
from handlers.listeners import listen, read_event
from handlers.mentions import Question
from handlers.services import Services
from handlers.thread_backfill import COMMAND_PAGE, Pace, Page
from handlers.view import render
from knowledge import retrieval
from knowledge.diagnosis import BuiltinAnswerer
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.model import FailureKind, KnowledgeItem, Precedent
from knowledge.slack_threads import ThreadRules, as_ts
from knowledge.store import forgetting, switches
from knowledge.store import threads as index
from knowledge.store.threads import Asked
from tests.handlers.office import jobs, made_services, rows

LOG = """why is cart down?
Warning BackOff pod/cart-1 Back-off restarting failed container, CrashLoopBackOff
panic: checkout pods: SMTP_HOST is not set"""
FAILING = "checkout pods are in CrashLoopBackOff since the deploy"
FIXED = "turned out SMTP_HOST was missing. I rolled back to 1.4 and it works now"
STAGES = {
    "read_thread": threads.read_thread,
    "look_at_channel": thread_backfill.look_at_channel,
    "index_channel": thread_backfill.index_channel,
}


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder(threads=1)


@pytest.fixture
def services(engine: AsyncEngine, slack: AsyncWebClient, database_url: str, embedder: LocalEmbedder) -> Services:
    return made_services(engine, slack, database_url, embedder=embedder, threads=ThreadRules(pace_s=0.0))


@pytest_asyncio.fixture
async def connected(services: Services, slack: AsyncWebClient, sandbox: Sandbox) -> AsyncIterator[Services]:
    """The bot's listeners on a real socket."""
    app = AsyncApp(client=slack, raise_error_for_unhandled_request=True)
    listen(app, services, lambda _result: None)
    handler = AsyncSocketModeHandler(app, sandbox.env["SLACK_APP_TOKEN"], ping_interval=5)
    await handler.connect_async()  # type: ignore[no-untyped-call]  # bolt's adapter has no types
    async with asyncio.timeout(10):
        while not sandbox.slack.sockets.links:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
    yield services
    await handler.close_async()  # type: ignore[no-untyped-call]  # bolt's adapter has no types


def say(sandbox: Sandbox, text: str, *, to: str = "", channel: str = "C0DEPLOY", user: str = "U0DEV") -> str:
    workspace = sandbox.slack.workspace
    place, who = workspace.channels[channel], workspace.users[user]
    return str(posting.post_as_person(sandbox.slack, place, who, text, thread_ts=to)["ts"])


def as_user(sandbox: Sandbox, slack: AsyncWebClient) -> AsyncWebClient:
    """Slack with a person's token."""
    token = sandbox.slack.tokens.slack_user
    return AsyncWebClient(token=token, base_url=str(slack.base_url), session=slack.session, retry_handlers=[])


def room(sandbox: Sandbox, name: str, *, private: bool = False, members: frozenset[str] = frozenset()) -> str:
    """A channel that the bot is in."""
    made = Channel(name, name.lower(), {"U0DEV", BOT_USER, *members}, is_private=private)
    sandbox.slack.workspace.channels[name] = made
    return name


def message(sandbox: Sandbox, ts: str, channel: str = "C0DEPLOY") -> dict[str, Any]:
    found: dict[str, Any] = sandbox.slack.workspace.channels[channel].messages[ts]
    return found


async def settled(services: Services, sandbox: Sandbox) -> None:
    """Every event has been delivered, every delivery handled and every job that came of it run."""
    async with asyncio.timeout(20):
        while sandbox.slack.sockets._tasks:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
    while await inbox.drain(services):
        pass
    while asked := await jobs(services.engine):
        async with services.engine.begin() as db:
            await db.exec_driver_sql("DELETE FROM procrastinate.procrastinate_jobs")
        for stage, arguments in asked:
            await STAGES[stage](services, **arguments)


async def kept(services: Services) -> Mapping[str, str]:
    """What is remembered, by channel."""
    found = await rows(services.engine, "SELECT channel, fix FROM knowledge_items ORDER BY id")
    return {row.channel: row.fix for row in found}


async def search(services: Services, channel: str) -> list[Precedent]:
    about = {"embedder": services.embedder, "now": datetime.now(UTC), "kind": FailureKind.CRASHLOOP}
    async with services.engine.connect() as db:
        return list(await retrieval.search(db, FAILING, asked=Asked(channel), **about))  # type: ignore[arg-type]


async def test_a_thread_is_followed_from_its_first_reply_to_its_deletion(connected: Services, sandbox: Sandbox) -> None:
    say(sandbox, "lunch at 12?")
    thread = say(sandbox, FAILING)
    await settled(connected, sandbox)
    assert await kept(connected) == {}, "nobody has answered yet"
    say(sandbox, "looking at the pods", to=thread)
    reply = say(sandbox, FIXED, to=thread)
    await settled(connected, sandbox)
    assert await kept(connected) == {"C0DEPLOY": "I rolled back to 1.4 and it works now"}
    (precedent,) = await search(connected, "C0DEPLOY")
    assert precedent.item.link.endswith(f"/archives/C0DEPLOY/p{thread.replace('.', '')}")
    assert await rows(connected.engine, "SELECT id FROM deliveries WHERE body::text ~ 'SMTP|lunch|looking'") == []

    place = sandbox.slack.workspace.channels["C0DEPLOY"]
    edit = posting.new_content(posting.Content("I restarted the pods, that helped"), "U0DEV", reply)
    posting.change(sandbox.slack, place, message(sandbox, reply), edit)
    await settled(connected, sandbox)
    assert await kept(connected) == {"C0DEPLOY": "I restarted the pods, that helped"}

    posting.delete(sandbox.slack, place, message(sandbox, reply))
    await settled(connected, sandbox)
    assert await kept(connected) == {"C0DEPLOY": ""}, "the deleted reply is gone from it"
    posting.delete(sandbox.slack, place, message(sandbox, thread))
    await settled(connected, sandbox)
    assert await kept(connected) == {}


async def test_what_the_bot_is_put_out_of_is_forgotten_and_what_it_is_invited_to_is_read(
    connected: Services, sandbox: Sandbox
) -> None:
    async with aiohttp.ClientSession() as http:
        thread = say(sandbox, FAILING, channel="C0GENERAL")
        say(sandbox, FIXED, to=thread, channel="C0GENERAL")
        for remove in (False, True):
            change = {"user": BOT_USER, "channel": "C0GENERAL", "remove": remove}
            async with http.post(f"{sandbox.url}sandbox/api/member", json=change) as answer:
                assert answer.status == 200
            await settled(connected, sandbox)
            assert list(await kept(connected)) == ([] if remove else ["C0GENERAL"])


async def read_all(services: Services, pace: Pace | None = None, **since: Any) -> dict[str, int]:
    pages: list[Page] = []
    pace = pace or Pace(0.0, patient=True)
    found = await thread_backfill.index_all(
        services, since=since.get("since"), pace=pace, told=lambda _, page: pages.append(page)
    )
    assert all(0 <= page.share <= 1 for page in pages)
    return {name: count for name, count in found.items() if count}


async def test_the_past_is_read_once_with_each_channels_own_readers(services: Services, sandbox: Sandbox) -> None:
    quiet = room(sandbox, "G0QUIET", private=True)
    partner = room(sandbox, "C0PARTNER", members=frozenset({"U0GUEST"}))
    sandbox.slack.workspace.channels["C0DEPLOY"].members.discard("U0GUEST")
    sandbox.slack.workspace.users["U0GUEST"].team_id = "T0OTHER"
    for channel in ("C0DEPLOY", "C0GENERAL", quiet, partner):
        say(sandbox, FIXED, to=say(sandbox, f"{FAILING} ({channel})", channel=channel), channel=channel)
        say(sandbox, "anybody for lunch?", channel=channel)
    assert await read_all(services) == {"channels": 3, "new": 2}
    assert set(await kept(services)) == {"C0DEPLOY", quiet}, "not where it is no member, or where others read along"
    assert {one.item.channel for one in await search(services, "C0ALERTS")} == {"C0DEPLOY"}
    assert {one.item.channel for one in await search(services, quiet)} == {"C0DEPLOY", quiet}
    assert await search(services, partner) == []

    assert await read_all(services) == {"channels": 3, "same": 2}
    place = sandbox.slack.workspace.channels["C0DEPLOY"]
    sandbox.slack.workspace.remove(place, place.top[0])  # its event got lost
    assert await read_all(services) == {"channels": 3, "same": 1, "dropped": 1}
    sandbox.slack.workspace.channels[quiet].members.discard(BOT_USER)
    assert await read_all(services) == {"channels": 2}
    assert await kept(services) == {}


async def test_a_slow_and_short_slack_is_obeyed_and_a_killed_run_goes_on(services: Services, sandbox: Sandbox) -> None:
    for number in range(6):
        say(sandbox, FIXED, to=say(sandbox, f"{FAILING} (number {number})"))
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    faults = sandbox.slack.faults
    faults.short_pages, faults.rate_limit_next, faults.methods = 2, 2, ["conversations.history"]
    pace = Pace(1.5, sleep=sleep, patient=True)
    for channel in await thread_backfill.look_at_channels(services, pace):
        if channel.id == "C0DEPLOY":
            first = await thread_backfill.read_page(
                services, channel.id, since="1", now="9999999999.0", pace=pace, size=COMMAND_PAGE
            )
            assert first is not None
            assert first.threads["new"] == 2
    assert pace.waited == [2.0, 2.0], "as long as Slack asked"
    assert slept.count(1.5) >= 5, "each call is paced"
    (state,) = await rows(services.engine, "SELECT backfill FROM slack_channels WHERE channel = 'C0DEPLOY'")
    assert state.backfill["cursor"]

    async with services.engine.begin() as db:  # as when Slack forgets its cursors in the meantime
        lost = '{"cursor": "bm8gY3Vyc29y"}'
        await db.exec_driver_sql(f"UPDATE slack_channels SET backfill = backfill || '{lost}'::jsonb")  # noqa: S608
    again = await read_all(services)
    assert again["new"] == 4
    assert len(await rows(services.engine, "SELECT id FROM knowledge_items")) == 6


async def test_the_clock_asks_for_what_was_never_read_and_retention_of_none_forgets_all(
    services: Services, sandbox: Sandbox
) -> None:
    thread = say(sandbox, FAILING)
    say(sandbox, FIXED, to=thread)
    await thread_backfill.tend(services)
    await thread_backfill.tend(services)
    asked = await jobs(services.engine)
    assert sorted(arguments["channel"] for _, arguments in asked) == ["C0ALERTS", "C0DEPLOY"]
    for stage, arguments in asked:
        await STAGES[stage](services, **arguments)
    assert set(await kept(services)) == {"C0DEPLOY"}
    later = datetime.now(UTC) + timedelta(hours=2)
    off = made_services(services.engine, services.slack, "postgresql://x/x", threads=ThreadRules(0), now=lambda: later)
    await thread_backfill.tend(off)
    assert await kept(services) == {}
    assert (
        read_event({"type": "message", "channel": "C1", "channel_type": "channel", "ts": "1.1", "text": FAILING}, off)
        is None
    )


async def forget(services: Services, channel: str) -> None:
    """As the command does; and the clock is to look at the channels at once."""
    async with services.engine.begin() as db:
        await forgetting.channel(db, channel)
        await switches.drop(db, thread_backfill.LOOKED)


async def test_a_channel_that_was_forgotten_is_remembered_from_then_on_and_not_from_before(
    connected: Services, sandbox: Sandbox
) -> None:
    old = say(sandbox, FAILING, channel="C0GENERAL")
    say(sandbox, FIXED, to=old, channel="C0GENERAL")
    async with aiohttp.ClientSession() as http:

        async def invited(*, remove: bool = False) -> None:
            change = {"user": BOT_USER, "channel": "C0GENERAL", "remove": remove}
            async with http.post(f"{sandbox.url}sandbox/api/member", json=change) as answer:
                assert answer.status == 200
            await settled(connected, sandbox)

        await invited()
        assert set(await kept(connected)) == {"C0GENERAL"}
        under_way = {"channel": "C0GENERAL", "since": old, "now": as_ts(datetime.now(UTC))}
        await forget(connected, "C0GENERAL")
        await thread_backfill.tend(connected)
        await thread_backfill.index_channel(connected, **under_way)
        await settled(connected, sandbox)
        assert await kept(connected) == {}, "neither by the clock nor by a job that was under way"
        say(sandbox, "I restarted the pods again, that helped", to=old, channel="C0GENERAL")
        await settled(connected, sandbox)
        assert await kept(connected) == {}, "nor by an answer in the old thread"
        await invited(remove=True)
        await invited()
        assert await kept(connected) == {}, "nor by leaving and coming again"

    new = say(sandbox, FAILING, channel="C0GENERAL")
    say(sandbox, "I restarted the pods, that helped", to=new, channel="C0GENERAL")
    await settled(connected, sandbox)
    assert await kept(connected) == {"C0GENERAL": "I restarted the pods, that helped"}
    async with connected.engine.begin() as db:
        await db.exec_driver_sql("DELETE FROM knowledge_items")
    assert (await read_all(connected, since=datetime(2020, 1, 1, tzinfo=UTC)))["new"] == 1
    assert await kept(connected) == {"C0GENERAL": "I restarted the pods, that helped"}, "and from the past"


async def test_what_was_asked_before_a_channel_was_forgotten_is_no_missed_question(
    services: Services, sandbox: Sandbox
) -> None:
    since = say(sandbox, f"<@{BOT_USER}> why is cart down?")
    await forget(services, "C0DEPLOY")
    say(sandbox, f"<@{BOT_USER}> why is pay down?")
    await missed.find_in(services, "C0DEPLOY", since, outside=False)
    (found,) = await rows(services.engine, "SELECT body::text AS body FROM deliveries")
    assert "why is pay down?" in found.body


async def test_a_question_is_answered_with_the_threads_and_links_that_its_channel_may_read(
    services: Services, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    sandbox.slack.search = True
    builtin = BuiltinAnswerer(services.embedder)
    services = replace(services, answerers=(builtin,), searcher=as_user(sandbox, slack))
    thread = say(sandbox, FAILING)
    say(sandbox, FIXED, to=thread)
    await read_all(services)
    asked = say(sandbox, f"<@{BOT_USER}> {LOG}", channel="C0ALERTS")
    question = Question("U0DEV", "C0ALERTS", asked, "", f"<@{BOT_USER}> {LOG}")
    async with services.engine.begin() as db:
        await flow.on_question(db, services, question)
    (incident,) = await rows(services.engine, "SELECT id FROM incidents")
    await flow.gather_evidence(services, incident.id)
    await flow.diagnose(services, incident.id)
    for _ in range(2):
        await slack_search.answer(services, incident.id)

    assert "in <#C0DEPLOY>" in await shown(services, incident.id)
    assert "SMTP_HOST was missing" in await shown(services, incident.id)
    stored = await rows(services.engine, "SELECT precedents::text AS text FROM diagnoses")
    assert "SMTP_HOST" not in stored[0].text
    (post,) = await rows(services.engine, "SELECT payload FROM outbox WHERE key LIKE 'search:%'")
    assert post.payload["thread_ts"] == asked
    assert f"C0DEPLOY/p{thread.replace('.', '')}" in str(post.payload)
    assert "CrashLoop" not in str(post.payload)
    async with services.engine.begin() as db:
        await index.forget_channel(db, "C0DEPLOY")
    assert "C0DEPLOY" not in await shown(services, incident.id)


async def shown(services: Services, incident_id: int) -> str:
    async with services.engine.connect() as db:
        return str(await render(db, services, incident_id))


# --- Slack's own search ------------------------------------------------------------------------------------------


async def test_slacks_search_gives_addresses_and_nothing_else(sandbox: Sandbox, slack: AsyncWebClient) -> None:
    thread = say(sandbox, FAILING)
    user = as_user(sandbox, slack)
    off = await slack_search.search(user, "checkout CrashLoopBackOff")
    assert (off.links, "feature_not_enabled" in off.could_not) == ((), True)
    sandbox.slack.search = True
    found = await slack_search.search(user, "checkout CrashLoopBackOff")
    assert [(link.channel, link.ts) for link in found.links] == [("C0DEPLOY", thread)]
    assert await slack_search.search(user, "checkout", only_in=frozenset({"C0ALERTS"})) == slack_search.Results()
    assert "invalid_action_token" in (await slack_search.search(slack, "checkout")).could_not
    lines = slack_search.lines_of(found, not_in=("C0ALERTS", "1.1"))
    assert "CrashLoopBackOff" not in "".join(lines)
    assert f"/p{thread.replace('.', '')}|" in lines[1]
    assert slack_search.lines_of(found, not_in=("C0DEPLOY", thread)) == []


@pytest.mark.parametrize(
    ("said", "query"),
    [
        ("<@U0CODEHEALER> have we seen ErrImagePull on billing before?", "seen ErrImagePull billing"),
        ("any idea?", ""),
        ("token [redacted:github] for <https://x.example|x> https://internal.example/path", "token"),
    ],
)
def test_a_question_is_searched_by_its_telling_words(said: str, query: str) -> None:
    assert slack_search.query_of(said) == query


# --- pure readers ------------------------------------------------------------------------------------------------


def test_events_name_a_thread_and_keep_no_word_of_it(services: Services) -> None:
    base = {"type": "message", "channel": "C1", "channel_type": "channel", "user": "U1", "ts": "2.1"}
    edited = {**base, "subtype": "message_changed", "message": {**base, "text": FAILING}}
    cases: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
        ({**base, "text": FAILING}, {"ts": "2.1", "gone": False, "telling": True}),
        ({**base, "text": "me too", "thread_ts": "1.1"}, {"ts": "1.1", "gone": False, "telling": False}),
        ({**base, "text": "hello"}, None),
        ({**base, "text": FAILING, "channel_type": "im", "subtype": "me_message"}, None),
        ({**base, "text": FAILING, "user": BOT_USER}, None),
        ({**base, "text": FAILING, "subtype": "channel_topic"}, None),
        ({**edited, "previous_message": {**base, "text": "hello"}}, {"ts": "2.1", "gone": False, "telling": True}),
        ({**edited, "previous_message": {**base, "text": FAILING}}, None),
        ({**base, "subtype": "message_deleted", "deleted_ts": "2.1"}, {"ts": "2.1", "gone": True, "telling": False}),
        (
            {**edited, "message": {"ts": "1.1", "subtype": "tombstone"}, "previous_message": base},
            {"ts": "1.1", "gone": True, "telling": False},
        ),
    ]  # fmt: skip
    for event, expected in cases:
        stored = threads.read_message(event, services)
        assert stored == (("thread", {"thread": {"channel": "C1", **expected}}) if expected else None), event
    shared = {**base, "text": "hello", "is_ext_shared_channel": True}
    assert threads.read_message(shared, services) == ("slack_channel", {"slack_channel": {"id": "C1", "now": "shared"}})
    out = ("slack_channel", {"slack_channel": {"id": "", "now": "left"}})
    assert threads.read_channel({"type": "app_uninstalled"}, services) == out
    assert threads.read_channel({"type": "tokens_revoked", "tokens": {"oauth": ["U1"]}}, services) is None
    assert threads.read_channel({"type": "member_joined_channel", "user": "U1", "channel": "C1"}, services) is None


def test_a_threads_line_on_the_card_says_where_and_when(services: Services) -> None:
    lesson = KnowledgeItem(
        "slack-C1-1.1", "slack", None, "", "", "the key <!here> had expired", "I rotated it", "resolved", "", "https://x.slack.com/archives/C0OPS/p1",
        datetime(2026, 5, 12, tzinfo=UTC), channel="C0OPS",
    )  # fmt: skip
    line = precedent_line(Precedent(lesson, 0.9, 0.8), datetime(2026, 11, 1, tzinfo=UTC))
    assert line.startswith("• in <#C0OPS>, <https://x.slack.com/archives/C0OPS/p1|12 May 2026>: “the key")
    assert "<!here>" not in line
    assert line.endswith("they say: “I rotated it”")

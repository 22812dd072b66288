"""What nobody triggers happens once, however many replicas ask, however late, and whatever their clocks do."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text

from handlers import regrouping, upkeep
from handlers.blocks import upkeep as wording
from handlers.blocks.card_buttons import buttons
from handlers.blocks.card_view import CardView
from handlers.blocks.limits import validate_blocks
from handlers.blocks.modals import reject_modal
from handlers.services import Services, Timing
from knowledge.periods import Period, last_due, parse_period
from knowledge.store import audit, incidents, personal, schedule
from tests.handlers import card_states as states
from tests.handlers.office import made_services, rows
from tests.rows import S, alert, an_approval, opened

PERIOD = Period(time(0, 0))
UNANSWERED = replace(states.STATES[S.ESCALATED], diagnosis=None, plan=None, decision=None)


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Services]]:
    """Two of them, each with connections of its own."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(opened(database_url)) for _ in range(2)]
        timing = Timing(digest=PERIOD, follow_up_hours=8)
        yield [made_services(engine, AsyncWebClient(token="none"), database_url, timing=timing) for engine in engines]


async def told(services: Services) -> list[str]:
    found = await rows(services.engine, "SELECT channel, payload FROM outbox WHERE kind = 'post' ORDER BY channel, id")
    return [f"{row.channel}: {row.payload['text']}" for row in found]


async def do(services: Services, statement: str, **values: object) -> None:
    async with services.engine.begin() as db:
        await db.execute(text(statement), values)


async def everywhere(replicas: list[Services], tick: object) -> None:
    await asyncio.gather(*(tick(one) for one in replicas * 5))  # type: ignore[operator]


async def failing(services: Services, name: str, channel: str) -> int:
    async with services.engine.begin() as db:
        incident = await incidents.open_incident(db, alert(name), channel=channel)
        moved = await incidents.move(db, incident, S.DIAGNOSING)
        assert moved
        assert await incidents.move(db, moved, S.ESCALATED)
    return incident.id


async def test_each_channel_gets_one_digest_of_its_own_incidents_however_many_were_missed(
    replicas: list[Services],
) -> None:
    one = replicas[0]
    await failing(one, "checkout is down", "C0SHOP")
    await failing(one, "pay is down", "C0PAY")
    await everywhere(replicas, upkeep.send_digests)
    assert await told(one) == [], "the first day only begins the count"
    await do(one, "UPDATE schedule_runs SET due_at = due_at - interval '5 days'")
    await everywhere(replicas, upkeep.send_digests)
    pay, shop = await told(one)
    assert pay.startswith("C0PAY: ")
    assert "1 incident open now" in shop
    blocks = str(await rows(one.engine, "SELECT payload FROM outbox WHERE channel = 'C0SHOP'"))
    assert "checkout is down" in blocks
    assert "pay is down" not in blocks


async def test_a_weekly_digest_has_a_chart_goes_to_whoever_wants_it_and_not_where_the_policy_says_so(
    services: Services,
) -> None:
    slack_policy = services.policy.slack.model_copy(update={"no_digest": ("C0ALERTS",)})
    services.policy = services.policy.model_copy(update={"slack": slack_policy})
    week = last_due(Period(time(0, 0), weekday=0), datetime.now(UTC)) - timedelta(days=7)
    services.timing = Timing(digest=Period(time(0, 0), weekday=0))
    shop = await failing(services, "checkout is down", "C0DEPLOY")
    await failing(services, "quiet", "C0ALERTS")
    async with services.engine.begin() as db:
        await personal.change(db, "U0ONCALL", digest=True)
        await personal.change(db, "U0GUEST", digest=True)
    moved = "UPDATE incidents SET opened_at = :day, last_alert_at = :day"
    await do(services, moved, day=week + timedelta(days=2, hours=3))
    async with services.engine.begin() as db:
        incident = await incidents.get(db, shop)
        assert incident is not None
        await an_approval(db, incident)
    await upkeep.send_digests(services)
    await do(services, "UPDATE schedule_runs SET due_at = due_at - interval '7 days'")
    await upkeep.send_digests(services)
    (post,) = await rows(services.engine, "SELECT channel, payload FROM outbox WHERE kind = 'post'")
    assert post.channel == "C0DEPLOY"
    assert "1 of them without an alert for more than a day" in post.payload["text"]
    assert "1 approval waiting" in post.payload["text"]
    chart = post.payload["blocks"][-1]["chart"]
    assert [label[:3] for label in chart["axis_config"]["categories"]] == [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
    ]  # fmt: skip
    assert [point["value"] for point in chart["series"][0]["data"]] == [0, 0, 1, 0, 0, 0, 0]
    assert validate_blocks("message", post.payload["blocks"]) == []
    of_people = "SELECT channel, payload FROM outbox WHERE kind = 'direct' ORDER BY channel"
    guest, oncall = await rows(services.engine, of_people)
    assert "<#C0DEPLOY>: 1 opened" in oncall.payload["text"]
    assert "<#C0ALERTS>" in oncall.payload["text"], "a person's own digest has what they may read"
    assert "<#C0ALERTS>" not in guest.payload["text"]


async def test_an_incident_that_became_part_of_another_is_none_of_the_digests(services: Services) -> None:
    taken, into = [await failing(services, name, "C0SHOP") for name in ("checkout is down", "pay is down")]
    async with services.engine.begin() as db:
        one, other = await incidents.get(db, taken), await incidents.get(db, into)
        assert one is not None
        assert other is not None
        assert await regrouping.merge(db, services, one, other, by="U0LEAD")
        now = await schedule.now(db)
        period = {"since": now - timedelta(days=7), "until": now + timedelta(hours=1), "channel": "C0SHOP"}
        (found,) = await schedule.digests(db, **period)
    assert (found.opened, found.ended, found.healed, found.open) == (1, 0, 0, 1)
    assert [sum(values) for values in zip(*((day.opened, day.ended) for day in found.days), strict=True)] == [1, 0]


CHILD = """
import asyncio, sys
from datetime import time
from slack_sdk.web.async_client import AsyncWebClient
from handlers import upkeep
from handlers.services import Timing
from knowledge.periods import Period
from knowledge.store.database import open_engine
from tests.handlers.office import made_services

async def main():
    engine = open_engine(sys.argv[1])
    timing = Timing(digest=Period(time(0, 0)))
    services = made_services(engine, AsyncWebClient(token="none"), sys.argv[1], timing=timing)
    async with engine.connect():
        print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(20):
        await upkeep.send_digests(services)

asyncio.run(main())
"""


async def test_two_processes_send_one_digest(replicas: list[Services], database_url: str) -> None:
    one = replicas[0]
    await failing(one, "checkout is down", "C0SHOP")
    await upkeep.send_digests(one)
    await do(one, "UPDATE schedule_runs SET due_at = due_at - interval '1 day'")
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, database_url, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert await other.stdout.readline() == b"ready\n"
    other.stdin.write(b"go\n")
    for _ in range(20):
        await upkeep.send_digests(one)
    await other.communicate()
    assert other.returncode == 0
    assert len(await told(one)) == 1


async def test_a_clock_that_was_wrong_once_does_not_silence_digests_for_ever(replicas: list[Services]) -> None:
    one = replicas[0]
    await failing(one, "checkout is down", "C0SHOP")
    await upkeep.send_digests(one)
    await do(one, "UPDATE schedule_runs SET due_at = due_at + interval '1 year'")
    await everywhere(replicas, upkeep.send_digests)
    assert await told(one) == []
    await do(one, "UPDATE schedule_runs SET due_at = due_at - interval '1 day'")  # a day later
    await everywhere(replicas, upkeep.send_digests)
    assert len(await told(one)) == 1


async def test_an_incident_that_went_quiet_is_followed_up_once_in_its_thread(replicas: list[Services]) -> None:
    one = replicas[0]
    quiet, busy, young, ours = [await failing(one, name, "C0SHOP") for name in ("quiet", "busy", "young", "ours")]
    earlier = "UPDATE incidents SET opened_at = now() - interval '1 day', last_alert_at = now() - interval '1 day' "
    await do(one, earlier + "WHERE id <> :young", young=young)
    await do(one, "UPDATE incidents SET state = 'verifying' WHERE id = :ours", ours=ours)
    async with one.engine.begin() as db:
        await audit.record(db, "approval.asked", incident_id=busy)
    for _ in range(2):
        await everywhere(replicas, upkeep.follow_up)
    found = await rows(one.engine, "SELECT incident_id, payload FROM outbox WHERE kind = 'post'")
    assert [row.incident_id for row in found] == [quiet]
    assert "without news for 8 h" in found[0].payload["text"]
    assert found[0].payload["in_thread"]
    for services in replicas:
        services.timing = replace(services.timing, follow_up_hours=0)
    await do(one, "DELETE FROM outbox")
    await everywhere(replicas, upkeep.follow_up)
    assert await told(one) == []


QUIET = {
    name: view
    for name, view in {**states.VARIANTS, "snoozed": states.SNOOZED, "no answer": UNANSWERED}.items()
    if view.incident.open and view.incident.state not in {S.DETECTED, S.DIAGNOSING, S.RUNNING, S.VERIFYING}
}


@pytest.mark.parametrize("view", QUIET.values(), ids=QUIET)
def test_what_a_follow_up_names_is_on_the_card(view: CardView) -> None:
    said = wording.follow_up(view, 8)
    there = [element.get("text", {}).get("text") for element in buttons(view)]
    there += [option["text"]["text"] for element in buttons(view) for option in element.get("options", ())]
    if "Reject…" in there:
        assert view.approval is not None
        there += re.findall("Already fixed", str(reject_modal(view.approval, view.incident)))
    named = re.findall(r"\*([^*]+)\*", str(said.blocks))
    assert set(named) <= set(there)
    assert bool(named) == bool(there), "and it names something wherever there is anything"
    assert "dismiss" not in said.text
    assert "*" not in said.text
    assert validate_blocks("message", said.blocks) == []


def test_a_follow_up_is_found_in_every_state_that_waits_for_people() -> None:
    assert {view.incident.state for view in QUIET.values()} == {
        S.PROPOSED, S.WAITING, S.BLOCKED, S.NOT_VERIFIED, S.UNDONE, S.ESCALATED,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "now", "due"),
    [
        ("daily 09:00 Europe/Paris", "2026-11-23T08:00", "2026-11-23T08:00"),
        ("daily 09:00 Europe/Paris", "2026-11-23T07:59", "2026-11-22T08:00"),
        ("daily 09:00 Europe/Paris", "2026-07-01T07:30", "2026-07-01T07:00"),
        ("weekly mon 09:00", "2026-11-28T00:00", "2026-11-23T09:00"),
        ("weekly monday 09:00", "2026-11-23T08:59", "2026-11-16T09:00"),
        # Left out on the day on which summer time begins, and twice there on the day on which it ends.
        ("daily 02:30 Europe/Paris", "2026-03-29T12:00", "2026-03-29T01:30"),
        ("daily 02:30 Europe/Paris", "2026-10-25T12:00", "2026-10-25T00:30"),
        ("weekly sun 23:30 Asia/Tokyo", "2026-11-29T14:30", "2026-11-29T14:30"),
    ],
)
def test_a_period_is_due_at_its_local_hour(value: str, now: str, due: str) -> None:
    period = parse_period(value)
    assert period is not None
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert last_due(period, moment) == datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert moment - last_due(period, moment) < period.length + timedelta(hours=1)


@pytest.mark.parametrize("value", ["daily", "9:00", "daily 25:00", "weekly 09:00", "daily 09:00 Mars/Olympus"])
def test_what_is_no_period_says_what_one_looks_like(value: str) -> None:
    with pytest.raises(ValueError, match="daily 09:00 Europe/Paris"):
        parse_period(value)

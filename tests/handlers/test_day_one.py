"""What failed before the bot came is told of in one message, without cards; what fails from then on is news."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot.watch import failing_since
from handlers import baseline, flow, inbox, summaries
from handlers.blocks.limits import validate_message
from handlers.clicks import read_action
from handlers.services import Services
from knowledge.choices import Choice, Verdict
from knowledge.model import Alert
from knowledge.store import grouping
from tests.handlers.office import jobs, rows, sandbox_policy
from tests.handlers.test_regrouping import came
from tests.rows import alert, ended

SOURCES = ("alertmanager", "grafana", "argocd")


def failing(name: str, at: datetime, **changes: Any) -> Alert:
    return alert(name, namespace=name, workload=name, owner=name, service=name, started_at=at, **changes)


async def opened(services: Services) -> list[str]:
    return [row.title for row in await rows(services.engine, "SELECT title FROM incidents ORDER BY id")]


async def summary_posts(services: Services) -> list[Any]:
    return await rows(services.engine, "SELECT key, channel FROM outbox WHERE kind = 'post' ORDER BY id")


async def test_what_was_failing_is_one_message_and_a_person_may_have_a_card_for_it(services: Services) -> None:
    await baseline.arrive(services)
    before = services.now() - timedelta(hours=3)
    old = [failing(name, before, source=source) for name, source in zip("abc", SOURCES, strict=True)]
    watched = replace(failing("d", before), source="kubernetes", baseline=True)
    new = failing("e", services.now())
    await came(services, *old, watched, new)
    await came(services, *old)
    assert await opened(services) == ["e"], "what began after is news"
    assert [stage for stage, _ in await jobs(services.engine)] == ["gather_evidence"]
    ((key, channel),) = await summary_posts(services)
    async with services.engine.connect() as db:
        card = await summaries.render(db, services, key)
    assert card is not None
    assert validate_message(card.text, card.blocks) == []
    assert "4 things were already failing" in card.text
    # One of them is opened, twice by the same click.
    option = card.blocks[-1]["elements"][0]["options"][1]
    action = {"action_id": "open_baseline", "selected_option": option}
    clicked = {"actions": [action], "user": {"id": "U0ONCALL"}, "channel": {"id": channel}, "trigger_id": "t"}
    stored = read_action(clicked)
    assert stored is not None
    event, body = stored
    await flow.accept(services, source="slack", delivery_id="click", event=event, body=body)
    await inbox.drain(services)
    assert (event, {"click": body["click"]}) in await jobs(services.engine)
    for _ in range(2):
        await flow.open_baseline(services, body["click"])
    assert await opened(services) == ["e", "b"]
    async with services.engine.connect() as db:
        card = await summaries.render(db, services, key)
    assert card is not None
    assert "3 things were" in card.text
    # What ends and begins again, or fails in another way, is news.
    await came(services, ended(old[0]), failing("a", services.now()))
    await came(services, replace(failing("c", before), title="Worse", identity="worse", fingerprint="worse"))
    assert (await opened(services))[2:] == ["a"], "it began before as well"
    await came(
        services,
        replace(failing("c", services.now()), title="Worse", identity="other", fingerprint="other"),
    )
    assert (await opened(services))[2:] == ["a", "Worse"]


async def test_a_short_absence_changes_nothing_and_a_long_one_begins_anew(services: Services) -> None:
    for away, first in (("5 minutes", "f"), ("20 minutes", "g")):
        await baseline.arrive(services)
        async with services.engine.begin() as db:
            await db.execute(text("UPDATE switches SET set_at = now() - interval '1 day'"))
            await db.execute(
                text("UPDATE switches SET set_at = now() - CAST(:away AS interval) WHERE name = 'alive'"),
                {"away": away},
            )
        await baseline.arrive(services)
        await came(services, failing(first, services.now() - timedelta(hours=1)))
    assert await opened(services) == ["f"]
    assert len(await summary_posts(services)) == 1


async def test_who_invites_the_bot_is_told_what_is_open_for_the_channels_services(services: Services) -> None:
    await came(services, failing("checkout", services.now()), failing("other", services.now()))
    async with services.engine.begin() as db:
        await db.execute(text("INSERT INTO slack_channels (channel, audience) VALUES ('C0DEPLOY', 'all')"))
    policy = sandbox_policy()
    rows_ = [row.model_copy(update={"channel": "C0NEW"}) if row.name == "checkout" else row for row in policy.services]
    services = replace(services, policy=policy.model_copy(update={"services": rows_}))
    for _ in range(2):
        async with services.engine.begin() as db:
            await baseline.greet(db, services, "C0NEW")
    ((_, channel),) = await summary_posts(services)
    assert channel == "C0NEW"


@pytest.mark.parametrize(("kind", "hours"), [("Pod", 2), ("Event", 3)])
def test_the_watch_knows_since_when_a_thing_fails(kind: str, hours: int) -> None:
    now = datetime.now().astimezone()
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": (now - timedelta(hours=2)).isoformat()}
    one = failing("a", now - timedelta(hours=3))
    since = failing_since(one, {"kind": kind, "status": {"conditions": [unready]}})
    assert now - since == timedelta(hours=hours)
    fresh = failing_since(one, {"kind": "Pod", "status": None})
    assert fresh >= now


async def test_what_gets_worse_and_a_later_pod_are_news_and_the_next_run_of_a_job_is_none(services: Services) -> None:
    await baseline.arrive(services)
    before, now = services.now() - timedelta(hours=3), services.now() + timedelta(minutes=1)
    full = failing("full", before, severity="warning")
    pods = [
        failing(name, before, source="kubernetes", fingerprint="", baseline=True, labels={"kind": "Pod"})
        for name in ("web", "nightly")
    ]
    await came(services, full, *pods)
    assert await opened(services) == []
    again = [replace(pod, baseline=False, started_at=now) for pod in pods]
    web, nightly = (
        replace(again[0], workload="web-7d9f6c5b84-x2kqp"),
        replace(again[1], workload="nightly-29001230-x2b4c"),
    )
    await came(services, replace(full, fingerprint="other", started_at=now), web, nightly)
    assert await opened(services) == ["web"]
    await came(services, replace(full, severity="critical", fingerprint="bad", started_at=now))
    assert await opened(services) == ["web", "full"]


async def test_one_of_two_that_ends_leaves_the_other_in_the_summary(services: Services) -> None:
    await baseline.arrive(services)
    one = failing("a", services.now() - timedelta(hours=3))
    other = replace(one, fingerprint="other")
    await came(services, one, other, ended(one))
    ((key, _),) = await summary_posts(services)
    async with services.engine.connect() as db:
        card = await summaries.render(db, services, key)
    assert card is not None
    assert "1 thing was" in card.text, "the other fails still"
    await came(services, replace(one, started_at=services.now()))
    assert await opened(services) == ["a"], "and what has ended is news when it begins again"
    await came(services, ended(other))
    assert await rows(services.engine, "SELECT key FROM key_choices") == []


async def test_what_people_decided_about_is_no_part_of_a_summary(services: Services) -> None:
    await baseline.arrive(services)
    old = failing("a", services.now() - timedelta(hours=3))
    async with services.engine.begin() as db:
        await grouping.choose(db, [f"identity:{old.identity}"], Choice(Verdict.APART), by="U0ONCALL")
    await came(services, old, ended(old))
    assert await opened(services) == ["a"]
    assert [row.verdict for row in await rows(services.engine, "SELECT verdict FROM key_choices")] == ["apart"]


async def test_no_alert_waits_for_slack_to_say_who_wants_a_card(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = services.people.look_up
    heard: list[str] = []

    async def slowly(user: str) -> Any:
        async with asyncio.timeout(60):
            await came(services, failing("meanwhile", services.now()))
        heard.append(user)
        return await look_up(user)

    monkeypatch.setattr(services.people, "look_up", slowly)
    await flow.open_baseline(services, {"user": "U0ONCALL", "channel": "C0DEPLOY", "key": "k", "alert_id": 1})
    assert heard == ["U0ONCALL"]

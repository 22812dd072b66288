"""Whom messages notify: by routes, in approvals' channels, in quiet hours; and that an edit notifies nobody."""

import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.doctor import CHECKS
from bot.sandbox.server import Sandbox
from bot.settings import load_settings
from handlers import cards, decisions, later
from handlers.blocks import mrkdwn as m
from handlers.blocks import thread
from handlers.blocks.card_view import Card
from handlers.mentions import Question
from handlers.outbox import Sender
from handlers.services import Services, Timing
from handlers.view import card_view, render, render_settled
from knowledge.model import Incident, IncidentState
from knowledge.store import answers, incidents, mutes, outbox, threads
from remediation.policy import parse_policy
from tests.handlers.office import jobs, made_services, posts, rows, sandbox_policy, told
from tests.handlers.test_outbox_sender import send_all
from tests.handlers.test_regrouping import came
from tests.rows import NOOP, S, alert, an_approval, an_incident, decision, diagnosis, plan

HOME, ALERTS = "C0DEPLOY", "C0ALERTS"
NIGHT, MORNING = datetime(2026, 3, 3, 2, 0, tzinfo=UTC), datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
SHOP = "routes: [{name: shop, match: {namespaces: [shop]}, "
QUIET = SHOP + "quiet_hours: {from: '22:00', to: '07:00'}}]"


def routed(engine: AsyncEngine, slack: AsyncWebClient, url: str, text: str, **changes: Any) -> Services:
    policy = sandbox_policy(routes=parse_policy(text).routes)
    return made_services(engine, slack, url, policy=policy, **changes)


async def asked(services: Services, *, severity: str = "warning", **more: Any) -> Incident:
    """An incident whose fix waits for an approval, with its card and the call for people."""
    async with services.engine.begin() as db:
        await threads.put_channel(db, HOME, name="deployments", audience="all", now=services.now())
        incident = await an_incident(db, state=S.WAITING, severity=severity, channel=HOME, **more)
        await an_approval(db, incident)
        await cards.show(db, services, incident, first=True)
        await cards.call_people(db, services, incident)
    return incident


async def said(services: Services) -> None:
    sender = Sender(
        services.engine,
        services.slack,
        lambda db, number: render(db, services, number),
        lambda db, number: render_settled(db, services, number),
        home=HOME,
    )
    await send_all(services.engine, sender)


def notified(sandbox: Sandbox, *, since: int = 0) -> set[tuple[str, str, str]]:
    """(person, why, channel) of the notifications from number `since` on."""
    return {(one["user"], one["why"], one["channel"]) for one in list(sandbox.slack.workspace.notifications)[since:]}


async def test_a_call_mentions_who_is_on_call_and_who_may_approve_and_its_edits_notify_nobody(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, database_url: str
) -> None:
    services = routed(engine, slack, database_url, SHOP + "on_call: {users: [U0DEV]}}]")
    incident = await asked(services)
    await said(services)
    assert notified(sandbox) == {
        ("U0DEV", "mention", HOME), ("U0ONCALL", "mention", HOME), ("U0LEAD", "mention", HOME),
        ("U0GUEST", "broadcast", HOME),
    }  # fmt: skip
    preview = sandbox.slack.workspace.notifications[-1]["text"]
    for words in ("[WARNING] checkout: ", "Crash loop", "approve or reject"):
        assert words in preview
    # To be called gives no right.
    click = {"user": "U0DEV", "channel": HOME, "approval_id": 1, "digest": NOOP.digest[:16], "key": "k"}
    await decisions.approve(services, click)
    ((_, words),) = await told(engine)
    assert "You may not decide this one." in words
    before = len(sandbox.slack.workspace.notifications)
    async with engine.begin() as db:
        moved = await incidents.move(db, incident, S.RUNNING)
        assert moved is not None
        await cards.show(db, services, moved)
    await said(services)
    assert "please approve" not in str([one.get("blocks") for one in posts(sandbox)])
    assert notified(sandbox, since=before) == set()


async def test_where_approvals_have_a_channel_people_are_called_and_decide_there(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, database_url: str
) -> None:
    services = routed(engine, slack, database_url, SHOP + f"approvals: {ALERTS}" + "}]")
    incident = await asked(services)
    await said(services)
    assert {why for _, why, channel in notified(sandbox) if channel == HOME} == set(), "not twice"
    assert ("U0ONCALL", "mention", ALERTS) in notified(sandbox)
    (request,) = posts(sandbox, ALERTS)
    assert f"<#{HOME}>" in request["text"]
    buttons = {e["action_id"]: e for b in request["blocks"] for e in b.get("elements", []) if "action_id" in e}
    assert set(buttons) == {"approve", "reject", "details"}
    assert f"Asked in <#{ALERTS}>" in posts(sandbox)[-1]["text"]
    async with engine.begin() as db:
        await cards.show(db, services, incident)
    await said(services)
    assert posts(sandbox, ALERTS)[0]["blocks"] == request["blocks"], "while it is asked it stands"
    async with engine.begin() as db:
        moved = await incidents.move(db, incident, S.RUNNING)
        assert moved is not None
        await cards.show(db, services, moved)
    await said(services)
    assert "approve" not in str(posts(sandbox, ALERTS)[0]["blocks"])


async def test_in_quiet_hours_nobody_is_called_and_afterwards_once(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, database_url: str
) -> None:
    night = routed(engine, slack, database_url, QUIET, now=lambda: NIGHT)
    await asked(night)
    await asked(night, severity="critical", title="Worse")
    await cards.call_after_quiet(night)
    await said(night)
    loud = {one["text"][:10] for one in sandbox.slack.workspace.notifications}
    assert loud == {"[CRITICAL]"}
    assert "Quiet hours until 07:00 UTC: nobody is mentioned until then." in str([p["text"] for p in posts(sandbox)])
    before = len(sandbox.slack.workspace.notifications)
    morning = routed(engine, slack, database_url, QUIET, now=lambda: MORNING)
    for _ in range(2):  # the clock ticks on
        await cards.call_after_quiet(morning)
    await said(morning)
    heard = list(sandbox.slack.workspace.notifications)[before:]
    assert {(one["user"], one["why"]) for one in heard} >= {("U0ONCALL", "mention"), ("U0LEAD", "mention")}
    assert len({one["ts"] for one in heard}) == 1


async def test_a_night_that_ends_is_noticed_behind_any_number_of_those_that_do_not(
    engine: AsyncEngine, slack: AsyncWebClient, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "QUIET_AT_ONCE", 2)
    table = (
        "routes: [{name: night, match: {severities: [warning]}, quiet_hours: {from: '22:00', to: '07:00'}}, "
        "{name: never, match: {namespaces: [shop]}, quiet_hours: {}}]"
    )
    night = routed(engine, slack, database_url, table, now=lambda: NIGHT)
    for number in range(4):
        await asked(night, severity="info", title=f"Slow {number}")
    last = await asked(night, title="Last")
    again = "SELECT incident_id FROM outbox WHERE key LIKE '%after-quiet'"
    await cards.call_after_quiet(night)
    assert await rows(engine, again) == []
    morning = routed(engine, slack, database_url, table, now=lambda: MORNING)
    for _ in range(2):  # the clock ticks on
        await cards.call_after_quiet(morning)
    assert [one.incident_id for one in await rows(engine, again)] == [last.id]


async def test_after_quiet_hours_people_are_called_where_they_approve_and_not_about_what_is_muted(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, database_url: str
) -> None:
    table = QUIET.replace("quiet_hours", f"approvals: {ALERTS}, quiet_hours")
    night = routed(engine, slack, database_url, table, now=lambda: NIGHT)
    incident = await asked(night)
    await said(night)
    morning = routed(engine, slack, database_url, table, now=lambda: MORNING)
    async with engine.begin() as db:
        await mutes.put(db, f"service:{incident.service}", until=MORNING + timedelta(hours=1), by="U0DEV")
    await cards.call_after_quiet(morning)
    await said(morning)
    assert notified(sandbox) == set()
    async with engine.begin() as db:
        await mutes.end(db, f"service:{incident.service}")
    for _ in range(2):
        await cards.call_after_quiet(morning)
    await said(morning)
    assert {(why, channel) for _, why, channel in notified(sandbox)} == {("mention", ALERTS)}
    _, request = posts(sandbox, ALERTS)
    assert "approve" in str(request["blocks"])


async def test_who_has_not_answered_is_reminded_when_the_quiet_hours_are_over(
    engine: AsyncEngine, slack: AsyncWebClient, database_url: str
) -> None:
    def soon() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=20)

    all_day = routed(engine, slack, database_url, SHOP + "quiet_hours: {}}]", now=soon)
    await asked(all_day)
    await later.remind(all_day)
    reminders = "SELECT channel FROM outbox WHERE kind = 'direct'"
    assert await rows(engine, reminders) == []
    await later.remind(routed(engine, slack, database_url, SHOP + "}]", now=soon))
    assert len(await rows(engine, reminders)) == 2


# --- worse than it began ---------------------------------------------------------------------------------------------

CALLED = "SELECT key, payload ->> 'broadcast' AS loud FROM outbox WHERE key LIKE 'call:%' ORDER BY key"


async def left_to_people(services: Services, state: IncidentState, *, mode: str = "approve", **changes: Any) -> int:
    """A warning that was told of as its like are, and that people have been left with."""
    await came(services, alert(severity="warning"))
    async with services.engine.begin() as db:
        (incident,) = await incidents.listed(db)
        found = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        await answers.add_plan(db, incident.id, found, plan(None), replace(decision(), mode=mode))
        between = (S.RUNNING, S.VERIFYING) if state in {S.NOT_VERIFIED, S.UNDONE} else ()
        for step in dict.fromkeys((S.DIAGNOSING, *between, state)):
            moved = await incidents.move(db, incident, step, **(changes if step is state else {}))
            assert moved is not None
            incident = moved
        await cards.show(db, services, incident)
        await cards.call_people(db, services, incident)
    return incident.id


async def pages(services: Services) -> int:
    return [stage for stage, _ in await jobs(services.engine)].count("page")


@pytest.mark.parametrize("state", [S.ESCALATED, S.BLOCKED, S.NOT_VERIFIED, S.UNDONE])
async def test_what_becomes_critical_after_people_were_left_with_it_calls_and_pages_once(
    services: Services, state: IncidentState
) -> None:
    number = await left_to_people(services, state)
    before = [row.key for row in await rows(services.engine, CALLED)]
    await came(services, alert(severity="error", fingerprint="1"))
    assert (await pages(services), len(before)) == (0, 1)
    for fingerprint in ("2", "2", "3"):
        await came(services, alert(severity="critical", fingerprint=fingerprint))
        assert await pages(services) == 1
    (again,) = [row for row in await rows(services.engine, CALLED) if row.key not in before]
    assert (again.key.split(":")[2:], again.loud) == ([str(number), "worse"], "true")
    assert [one.id for one in await rows(services.engine, "SELECT id FROM incidents")] == [number]


async def test_words_that_are_not_trusted_make_nothing_critical(services: Services) -> None:
    await left_to_people(services, S.ESCALATED)
    await came(services, alert(severity="critical", fingerprint="2", trusted=False))
    assert (await pages(services), len(await rows(services.engine, CALLED))) == (0, 1)


@pytest.mark.parametrize(
    ("mode", "changes", "calls", "paged"),
    [("observe", {}, 0, 0), ("approve", {"by_hand": "a person is on it", "assigned_to": "U0DEV"}, 2, 0)],
    ids=["observing", "taken over"],
)
async def test_what_becomes_critical_while_observing_is_silent_and_where_somebody_is_on_it_they_are_called(
    services: Services, mode: str, changes: dict[str, Any], calls: int, paged: int
) -> None:
    await left_to_people(services, S.ESCALATED, mode=mode, **changes)
    await came(services, alert(severity="critical", fingerprint="2"))
    assert (len(await rows(services.engine, CALLED)), await pages(services)) == (calls, paged)


async def test_what_becomes_critical_in_a_storm_is_said_in_the_channel(services: Services, sandbox: Sandbox) -> None:
    services = replace(services, timing=Timing(storm_after=2))
    for name in "ab":
        await came(services, alert(name, namespace=name, workload=name, owner=name, service=name))
    await came(services, one := alert("c", namespace="c", workload="c", owner="c", service="c", severity="warning"))
    async with services.engine.begin() as db:
        third = (await incidents.listed(db))[0]
        assert third.storm_id
        for step in (S.DIAGNOSING, S.ESCALATED):
            third = await incidents.move(db, third, step) or third
        await cards.call_people(db, services, third)
    assert await rows(services.engine, CALLED) == []
    await came(services, replace(one, severity="critical", fingerprint="2"))
    (call,) = await rows(services.engine, CALLED)
    assert (call.loud, await pages(services)) == ("true", 1)


async def test_what_becomes_critical_in_quiet_hours_is_called_for_at_once_and_no_more_when_they_end(
    engine: AsyncEngine, slack: AsyncWebClient, database_url: str
) -> None:
    night = routed(engine, slack, database_url, QUIET, now=lambda: NIGHT)
    await left_to_people(night, S.ESCALATED)
    await came(night, alert(severity="critical", fingerprint="2"))
    await cards.call_after_quiet(night)
    await cards.call_after_quiet(routed(engine, slack, database_url, QUIET, now=lambda: MORNING))
    assert [row.loud for row in await rows(engine, CALLED)] == ["false", "true"]


async def test_what_becomes_critical_while_it_waits_for_an_approval_is_paged_by_the_clock(
    engine: AsyncEngine, slack: AsyncWebClient, database_url: str
) -> None:
    services = made_services(engine, slack, database_url, now=lambda: datetime.now(UTC) + timedelta(minutes=11))
    number = await left_to_people(services, S.DIAGNOSING)
    async with engine.begin() as db:
        incident = await incidents.get(db, number, lock=True)
        assert incident is not None
        await an_approval(db, incident)
        await incidents.move(db, incident, S.WAITING)
    await later.remind(services)
    assert await pages(services) == 0
    await came(services, alert(severity="critical", fingerprint="2"))
    for _ in range(2):
        await later.remind(services)
    assert await pages(services) == 1


async def test_a_blocked_fix_calls_people(services: Services, sandbox: Sandbox) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.BLOCKED, severity="critical", channel=HOME)
        await an_approval(db, incident)
        await cards.show(db, services, incident, first=True)
        await cards.call_people(db, services, incident)
    await said(services)
    assert ("U0ONCALL", "mention", HOME) in notified(sandbox)
    assert "override or fix by hand" in sandbox.slack.workspace.notifications[-1]["text"]


@pytest.mark.parametrize("team", ["", "T0SANDBOX"], ids=["posted", "streamed"])
async def test_an_answer_that_names_people_calls_none_of_them(
    services: Services, sandbox: Sandbox, slack: AsyncWebClient, team: str
) -> None:
    asked_at = str((await slack.chat_postMessage(channel=HOME, text="who has to approve it?"))["ts"])
    question = Question("U0DEV", HOME, asked_at, "", "who has to approve it?")
    words = "It waits for <@U0ONCALL> and <@U0LEAD>."
    async with services.engine.begin() as db:
        await cards.answer_question(db, question, Card(words, [m.section("who", [words])]), team=team)
    await said(services)
    (answer,) = [one for one in posts(sandbox) if one["ts"] != asked_at]
    assert "<@U0LEAD>" in str(answer["blocks"])
    assert notified(sandbox) == set()


PINGS = "<!channel> <!here> <@U0DEV> <!subteam^S0ONCALL> <https://evil.example|Approve> @channel"
HARSH = (
    "x" * 255,
    "🔥" * 300 + "מערכת התשלומים נפלה \u202eevil",
    f"```{PINGS}```",
    PINGS + "y" * 40_000,
)


async def test_no_words_from_outside_ping_or_break_a_card(services: Services, sandbox: Sandbox) -> None:
    async with services.engine.begin() as db:
        for words in HARSH:
            named = {"service": words[:253], "severity": words[:40], "environment": words}
            incident = await an_incident(db, state=S.ESCALATED, title=words, channel=HOME, **named)
            await cards.show(db, services, incident, first=True)
            view = replace(await card_view(db, services, incident), responsible=(), source_link=words)
            called = thread.needs_person_reply(view)
            where = {"text": called.text, "blocks": called.blocks, "in_thread": True, "broadcast": False}
            await outbox.put(
                db, kind="post", key=f"call:1:{incident.id}", channel=HOME, payload=where, incident_id=incident.id
            )
    await said(services)
    messages = posts(sandbox)
    assert len(messages) == 2 * len(HARSH)
    assert all(message.get("blocks") for message in messages), "the blocks went out, not the text alone"
    assert notified(sandbox) == set()
    assert "<https://evil.example" not in str([message["blocks"] for message in messages])


async def test_doctor_names_the_channels_that_the_bot_is_not_in(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "routes:\n"
        f"  - {{name: shop, channel: {ALERTS}, approvals: C0NOWHERE, match: {{namespaces: [shop]}}}}\n"
        "  - {name: rest, channel: C0GENERAL}\n"
    )
    settings = functools.partial(load_settings, **{**sandbox.env, "CODEHEALER_POLICY": str(policy)})
    found = await CHECKS["routes"](settings())
    assert not found.ok
    assert "C0NOWHERE (approvals of route shop): Slack says channel_not_found" in found.detail
    assert "C0GENERAL (route rest): the bot is not a member" in found.detail
    assert ALERTS not in found.detail

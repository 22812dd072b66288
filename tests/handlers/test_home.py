"""A person's Home: what it shows to whom, what choosing there does, and how it gets along with Slack's hash."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from bot.cli.stats import _figures as exported_figures
from bot.sandbox.server import Sandbox
from handlers import decisions, forms, home, later
from handlers.blocks import home as wording
from handlers.blocks.actions import encode
from handlers.blocks.card_view import CardView
from handlers.blocks.home import HomeView, Open, Waiting, Week, render_home
from handlers.blocks.limits import validate_view
from handlers.clicks import read_submission
from handlers.looking import LOOKS, Query
from handlers.reading import Reader
from handlers.services import Services
from knowledge.periods import whole_days
from knowledge.store import approvals, homes, incidents, outbox, personal, threads
from knowledge.store.analytics import Figures
from knowledge.store.personal import Personal
from tests.handlers import card_states as states
from tests.handlers.office import rows
from tests.rows import S, an_approval, an_incident
from tests.transcript import unrecorded

ONCALL, LEAD, DEV, GUEST = "U0ONCALL", "U0LEAD", "U0DEV", "U0GUEST"
Json = dict[str, Any]


async def waiting(services: Services, title: str = "CheckoutDown", *, channel: str = "C0DEPLOY", **more: Any) -> int:
    """An incident whose fix waits for the approvers; its id."""
    async with services.engine.begin() as db:
        await threads.put_channel(db, "C0DEPLOY", name="deployments", audience="all", now=services.now())
        incident = await an_incident(db, state=S.WAITING, title=title, channel=channel, **more)
        await outbox.new_card(db, incident.id, channel)
        await an_approval(db, incident)
    return incident.id


def shown(sandbox: Sandbox, user: str = ONCALL) -> str:
    return str(sandbox.slack.workspace.homes[user]["blocks"])


def actions(sandbox: Sandbox, user: str = ONCALL) -> dict[str, Json]:
    blocks = sandbox.slack.workspace.homes[user]["blocks"]
    return {
        one["action_id"]: one for block in blocks if block["type"] == "actions" for one in block["elements"]
    }  # fmt: skip


async def look(services: Services, user: str = ONCALL) -> None:
    await home.opened(services, {"type": "app_home_opened", "tab": "home", "user": user})


async def acknowledge(**_: Any) -> None:
    """Slack's side of a click that needs no answer."""


def pressed(user: str, **action: Any) -> Json:
    return {"user": {"id": user, "team_id": "T0SANDBOX"}, "actions": [action]}


async def test_everybody_sees_what_they_may_read_and_decide_and_nothing_else(
    services: Services, sandbox: Sandbox
) -> None:
    await waiting(services)
    sandbox.slack.workspace.channels["C0SECRET"] = replace(
        sandbox.slack.workspace.channels["C0ALERTS"], id="C0SECRET", name="secret", is_private=True,
        members={"U0CODEHEALER", LEAD}, messages={}, top=[], threads={},
    )  # fmt: skip
    await waiting(services, "LedgerDown", channel="C0SECRET", service="ledger", workload="ledger")
    await home.opened(services, {"tab": "messages", "user": ONCALL})
    assert ONCALL not in sandbox.slack.workspace.homes
    for user in (ONCALL, LEAD, DEV, GUEST):
        await look(services, user)
    assert "LedgerDown" in shown(sandbox, LEAD), "a member of the private channel"
    assert "2 open incidents" in shown(sandbox, LEAD)
    assert "CheckoutDown" in shown(sandbox)
    assert "edger" not in shown(sandbox)
    assert wording.ELSEWHERE in shown(sandbox), "it waits for this person all the same"
    assert wording.NOTHING_WAITS in shown(sandbox, DEV)
    assert "CheckoutDown" in shown(sandbox, DEV)
    assert wording.DECIDE not in actions(sandbox, DEV)
    sandbox.slack.workspace.channels["C0DEPLOY"].members.discard(GUEST)
    services.kept.values.clear()
    await look(services, GUEST)
    assert wording.NOTHING_OPEN in shown(sandbox, GUEST)
    assert "Success rate" not in shown(sandbox, GUEST)
    assert "data_visualization" in shown(sandbox)


async def test_a_request_is_decided_from_home_by_the_same_rules_and_a_refusal_is_a_modal(
    services: Services, sandbox: Sandbox
) -> None:
    incident_id = await waiting(services)
    await look(services)
    button = actions(sandbox)[wording.DECIDE]
    workspace = sandbox.slack.workspace

    async def opens(user: str) -> Json:
        body = pressed(user, **button) | {"trigger_id": sandbox.slack.new_trigger(user)}
        await forms.for_members(forms.open_decision)(services, acknowledge, body)
        return workspace.views[workspace.modals[user][-1]]

    assert "You may not decide" in str(await opens(DEV))
    view = await opens(ONCALL)
    stored = read_submission({"view": view, "user": {"id": ONCALL}}, services.now())
    assert stored is not None
    assert stored[0] == "approve"
    await decisions.approve(services, stored[1]["click"])
    late = {**stored[1]["click"], "user": LEAD, "key": "another"}
    await decisions.approve(services, late)
    (direct,) = await rows(services.engine, "SELECT channel, payload FROM outbox WHERE kind = 'direct'")
    assert direct.channel == LEAD, "a refusal from Home is no ephemeral message in a channel that nobody looks at"
    assert "already approved" in direct.payload["text"]
    async with services.engine.connect() as db:
        moved = await incidents.get(db, incident_id)
    assert moved is not None
    assert moved.state is S.RUNNING
    await home.keep_current(services)
    assert wording.NOTHING_WAITS in shown(sandbox)
    assert "has changed since this card was drawn" in str(await opens(ONCALL))


async def test_choices_are_kept_for_each_person_and_draw_the_home_anew(services: Services, sandbox: Sandbox) -> None:
    await waiting(services)
    await waiting(services, "PayDown", service="pay", environment="staging")
    await look(services)
    await look(services, LEAD)
    element = actions(sandbox)[wording.SERVICE]
    option = next(one for one in element["options"] if one["text"]["text"] == "pay")
    await home.choose(services, acknowledge, pressed(ONCALL, action_id=wording.SERVICE, selected_option=option))
    await home.choose(services, acknowledge, pressed(ONCALL, action_id=wording.PERIOD, selected_option={"value": "30"}))
    assert "1 open incident'" in shown(sandbox)
    assert "last 30 days" in shown(sandbox)
    assert actions(sandbox)[wording.SERVICE]["initial_option"] == option
    assert "2 open incidents" in shown(sandbox, LEAD)
    boxes = [{"value": "digest"}]
    await home.choose(services, acknowledge, pressed(ONCALL, action_id=wording.SENT, selected_options=boxes))
    for foreign in ({"value": "365"}, {"value": None}, None):
        body = pressed(ONCALL, action_id=wording.PERIOD, selected_option=foreign)
        await home.choose(services, acknowledge, body)
    answered: list[Json] = []

    async def ack(**answer: Any) -> None:
        answered.append(answer)

    for begin, end in (("22:00", None), ("22:00", "22:00"), ("22:00", "07:00")):
        values = {
            name: {name: {"selected_time": hour}}
            for name, hour in ((wording.QUIET_BEGIN, begin), (wording.QUIET_END, end))
        }
        view = {"state": {"values": values}, "private_metadata": encode(z="Europe/Paris")}
        await home.take_quiet_hours(services, ack, {"user": {"id": ONCALL}, "view": view})
    assert [list(one.get("errors", {})) for one in answered] == [[wording.QUIET_END], [wording.QUIET_END], []]
    async with services.engine.connect() as db:
        chosen = await personal.of(db, ONCALL)
        assert await personal.who_want_digests(db) == {ONCALL: chosen}
        assert await personal.of(db, LEAD) == Personal()
    assert chosen == Personal("pay", "", 30, False, True, "22:00", "07:00", "Europe/Paris")
    assert "quiet from 22:00 to 07:00" in shown(sandbox)


async def test_home_the_command_and_the_export_have_the_same_figures(services: Services, sandbox: Sandbox) -> None:
    first = whole_days(services.now(), 7)
    async with services.engine.begin() as db:
        for title, opened in (("In", first), ("JustOut", first - timedelta(seconds=1)), ("New", services.now())):
            incident = await an_incident(db, title=title)
            await db.execute(
                text("UPDATE incidents SET opened_at = :at WHERE id = :id"), {"at": opened, "id": incident.id}
            )
    await look(services)
    assert "2 incidents, 2 open" in shown(sandbox)
    async with services.engine.begin() as db:
        told = await LOOKS["stats"](db, services, Query(Reader("C0DEPLOY"), ("7",)))
        exported = await exported_figures(db, first, services.now(), "", {})
    assert "2 incidents in the last 7 days" in told.text
    assert (exported["total"]["incidents"], exported["total"]["open"]) == (2, 2)


async def test_a_reminder_goes_to_nobody_who_does_not_want_it_or_sleeps(services: Services) -> None:
    await waiting(services)
    async with services.engine.begin() as db:
        await personal.change(db, ONCALL, reminders=False)
        await personal.change(db, LEAD, quiet_from="00:00", quiet_until="23:59")
    assert await later.awake(services, [ONCALL, LEAD, DEV], severity="warning") == [DEV]
    assert await later.awake(services, [ONCALL, LEAD, DEV], severity="critical") == [LEAD, DEV]
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE approvals SET created_at = now() - interval '2 hours'"))
        await db.execute(text("UPDATE approvals SET until = now() + interval '2 hours'"))
    await later.remind(services)
    assert not await rows(services.engine, "SELECT 1 FROM outbox WHERE kind = 'direct'")
    (noted,) = await rows(services.engine, "SELECT payload FROM audit WHERE what = 'approval.reminded'")
    assert noted.payload["people"] == []


async def test_a_home_follows_what_happens_and_is_left_alone_while_nothing_does(
    services: Services, sandbox: Sandbox
) -> None:
    incident_id = await waiting(services)
    await look(services)
    first = sandbox.slack.workspace.homes[ONCALL]["hash"]
    await home.keep_current(services)
    assert sandbox.slack.workspace.homes[ONCALL]["hash"] == first
    async with services.engine.begin() as db:
        found = await incidents.get(db, incident_id)
        assert found is not None
        await approvals.withdraw_open(db, incident_id, "it ended")
        assert await incidents.move(db, found, S.RESOLVED)
    await home.keep_current(services)
    assert wording.NOTHING_OPEN in shown(sandbox)
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE homes SET opened_at = now() - interval '1 hour', shown = ''"))
    last = sandbox.slack.workspace.homes[ONCALL]["hash"]
    await home.keep_current(services)
    assert sandbox.slack.workspace.homes[ONCALL]["hash"] == last, "nobody looks any more"


async def test_a_home_that_somebody_else_published_or_whose_note_was_lost_is_published_all_the_same(
    services: Services, sandbox: Sandbox
) -> None:
    await look(services)
    async with services.engine.begin() as db:
        await homes.published(db, homes.Home(ONCALL, view_hash="of a process that died before it could note"))
    await waiting(services)
    await home.publish(services, ONCALL)
    assert "CheckoutDown" in shown(sandbox)
    async with services.engine.connect() as db:
        noted = await homes.get(db, ONCALL)
    assert noted is not None
    assert noted.view_hash == sandbox.slack.workspace.homes[ONCALL]["hash"]


async def test_what_slack_does_not_take_is_tried_again_the_next_turn(services: Services, sandbox: Sandbox) -> None:
    await look(services)
    await waiting(services)
    sandbox.slack.faults.update({"error_before_write_next": 1, "methods": ["views.publish"]})
    await home.keep_current(services)
    assert "CheckoutDown" not in shown(sandbox)
    await home.keep_current(services)
    assert "CheckoutDown" in shown(sandbox)


async def test_where_slack_refuses_charts_the_figures_are_text_until_it_is_opened_again(
    services: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrecorded(monkeypatch)
    await waiting(services)
    sandbox.slack.faults.home_charts_refused = True
    await look(services)
    assert "data_visualization" not in shown(sandbox)
    assert "▇" in shown(sandbox)
    sandbox.slack.faults.home_charts_refused = False
    await waiting(services, "PayDown")
    await home.keep_current(services)
    assert "2 open incidents" in shown(sandbox)
    assert "▇" in shown(sandbox)
    await look(services)
    assert "data_visualization" in shown(sandbox)


# --- drawing ------------------------------------------------------------------------------------------------------

SINCE = datetime(2026, 11, 17, tzinfo=UTC)
INCIDENT = replace(states.INCIDENT, state=S.ESCALATED)


def test_days_are_counted_one_by_one_and_long_periods_by_the_week() -> None:
    by_day = [Figures("2026-11-17", assisted=2), Figures("2026-11-23", human=1, open=1)]
    week = wording.spans(SINCE, 7, by_day)
    assert [label for label, _ in week] == ["Tue 17", "Wed 18", "Thu 19", "Fri 20", "Sat 21", "Sun 22", "Mon 23"]
    assert (week[0][1]["assisted"], week[6][1]["human"], week[6][1]["open"]) == (2, 1, 1)
    month = wording.spans(SINCE - timedelta(days=23), 30, by_day)
    assert len(month) == 5
    assert sum(sums["assisted"] + sums["human"] for _, sums in month) == 3
    assert len(wording.spans(SINCE, 90, ())) <= 20


@pytest.mark.parametrize("count", [0, 2])
def test_figures_say_what_is_deleted_where_their_period_reaches_back_further(count: int) -> None:
    total = Figures(incidents=count, assisted=count)

    def home(days: int) -> dict[str, Any]:
        return render_home(HomeView(SINCE, Personal(days=days), week=Week(SINCE, total, kept_days=30)))

    assert "ended more than 30 days ago are deleted" in str(home(90))
    assert ("No incident that is kept opened" in str(home(90))) == (not count)
    assert "deleted" not in str(home(30))
    assert validate_view(home(90)) == []


WORDS = st.text(max_size=300)


@given(WORDS, WORDS, st.sampled_from([7, 30, 90]), st.integers(0, 200), st.booleans())
def test_whatever_is_in_it_slack_takes_the_view(title: str, name: str, days: int, count: int, charts: bool) -> None:
    incident = replace(INCIDENT, title=title, service=name, environment=name)
    kinds = [Figures(kind, incidents=count) for kind in (name, "crashloop", "oomkilled", "network", "unknown", "quota")]
    total = Figures(incidents=count, fixes=count, verified=count, assisted=count, heal_p50_s=61.0)
    view = HomeView(
        now=SINCE,
        personal=Personal(service=name, environment=name, days=days, quiet_from="22:00", quiet_until="07:00"),
        waiting=[Waiting(CardView(incident, SINCE)), Waiting(None, "https://sandbox.slack.com/archives/C/p1")] * 4,
        incidents=[Open(incident, "https://sandbox.slack.com/archives/C/p1")] * 12,
        open_count=count + 12,
        week=Week(SINCE, total, [Figures("2026-11-17", assisted=count)], kinds),
        services=[name, "checkout", *map(str, range(count))],
        environments=[name],
        stopped=title,
    )
    assert validate_view(render_home(view, charts=charts)) == []


@pytest.mark.parametrize(
    ("clock", "minutes"), [("21:59", 0), ("22:00", 540), ("02:00", 300), ("06:59", 1), ("07:00", 0)]
)
def test_quiet_hours_may_go_over_midnight_and_are_the_persons_own(clock: str, minutes: int) -> None:
    expected = timedelta(minutes=minutes)
    hour, minute = map(int, clock.split(":"))
    now = datetime(2026, 11, 23, hour, minute, tzinfo=UTC) - timedelta(hours=1)
    assert Personal(quiet_from="22:00", quiet_until="07:00", timezone="Europe/Paris").quiet_for(now) == expected
    assert not Personal().quiet_for(now)


@pytest.mark.parametrize(
    ("until", "at", "minutes"),
    [
        ("07:00", "2026-10-24T20:00", 600), ("07:00", "2026-10-25T00:10", 350), ("07:00", "2026-10-25T01:10", 290),
        ("02:30", "2026-10-25T00:10", 20), ("02:30", "2026-10-25T00:40", 0), ("02:30", "2026-10-25T01:10", 20),
        ("07:00", "2027-03-27T21:00", 480), ("07:00", "2027-03-28T00:59", 241), ("07:00", "2027-03-28T01:00", 240),
        ("07:00", "2027-03-28T05:00", 0),
    ],
    ids=[
        "before an hour that comes twice", "in it", "in it again", "until within it", "between", "within it again",
        "before an hour that is left out", "a minute before", "after it", "over",
    ],
)  # fmt: skip
def test_quiet_hours_last_as_long_as_they_do_in_a_night_of_a_clock_change(until: str, at: str, minutes: int) -> None:
    sleeper = Personal(quiet_from="22:00", quiet_until=until, timezone="Europe/Paris")
    assert sleeper.quiet_for(datetime.fromisoformat(f"{at}Z")) == timedelta(minutes=minutes)

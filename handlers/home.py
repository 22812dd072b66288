"""App Home: drawn from the database for one person, published when they open it and while they may be looking.

Slack's hash of a view keeps an older publication from overtaking a newer one. What was published is noted after Slack
has taken it; a crash between the two only means that the next publication does without that guard.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, reading, slack_calls
from handlers.blocks import home as wording
from handlers.blocks.actions import decode_fields
from handlers.blocks.card_view import CardView
from handlers.blocks.home import HomeView, Open, Waiting, Week
from handlers.blocks.limits import validate_view
from handlers.decisions import planned_of
from handlers.opening import open_view
from handlers.reading import Reader
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.view import card_view
from knowledge.errors import Unavailable
from knowledge.model import Incident
from knowledge.periods import whole_days
from knowledge.store import analytics, approvals, homes, incidents, outbox, personal, switches
from knowledge.store.homes import Home
from knowledge.store.outbox import CardPlace
from knowledge.store.personal import Personal
from remediation.approvals import Person, may_decide

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]

TAB = "home"
# How long after it was opened a Home is kept up to date, and how many are looked after a turn: views.publish takes
# about a hundred a minute.
KEPT = timedelta(minutes=15)
A_TURN = 5
FORGOTTEN = timedelta(days=1)
LINK_S = 1.0
FIGURES_KEPT_S, LINKS_KEPT_S = 60.0, 3600.0
MOST_REQUESTS = 50
MOST_READ = 500
REFUSED_VIEW = frozenset({"invalid_arguments", "invalid_blocks"})


# --- what happens -------------------------------------------------------------------------------------------------


async def opened(services: Services, event: Body) -> None:
    """Somebody opens the app: its Home tab is drawn at once."""
    if event.get("tab") != TAB:
        return
    user = str(event["user"])
    async with services.engine.begin() as db:
        await homes.opened(db, user)
    await publish(services, user, fresh=True)


async def choose(services: Services, ack: Any, body: Body) -> None:
    """A filter or a box was changed: it is kept for this person, and their Home drawn anew."""
    await ack()
    user, action = str(body["user"]["id"]), body["actions"][0]
    chosen = _chosen(action)
    if chosen:
        async with services.engine.begin() as db:
            await personal.change(db, user, **chosen)
        await publish(services, user)


def _chosen(action: Mapping[str, Any]) -> dict[str, Any]:
    value = (action.get("selected_option") or {}).get("value")
    match action.get("action_id"):
        case wording.SERVICE:
            return {"service": wording.chosen_name(value)}
        case wording.ENVIRONMENT:
            return {"environment": wording.chosen_name(value)}
        case wording.PERIOD if value in {str(days) for days in personal.PERIODS_DAYS}:
            return {"days": int(value)}
        case wording.SENT:
            return dict(wording.read_sent(action.get("selected_options") or ()))
    return {}


async def open_quiet_hours(services: Services, ack: Any, body: Body) -> None:
    await ack()
    user = str(body["user"]["id"])
    async with services.engine.connect() as db:
        found = await personal.of(db, user)
    try:
        async with asyncio.timeout(LINK_S):
            zone = (await services.people.look_up(user)).timezone
    except (TimeoutError, Unavailable):
        zone = found.timezone
    await open_view(services, body, wording.quiet_modal(found, zone))


async def take_quiet_hours(services: Services, ack: Any, body: Body) -> None:
    """Submitted hours: what is wrong is said under its field."""
    values = body["view"]["state"]["values"]
    hours = {
        name: str(values[name][name].get("selected_time") or "") for name in (wording.QUIET_BEGIN, wording.QUIET_END)
    }
    errors = wording.quiet_errors(*hours.values())
    if errors:
        await ack(response_action="errors", errors=errors)
        return
    await ack()
    user = str(body["user"]["id"])
    zone = str(decode_fields(body["view"].get("private_metadata")).get("z") or "UTC")
    async with services.engine.begin() as db:
        await personal.change(db, user, timezone=zone, **hours)
    await publish(services, user)


async def keep_current(services: Services) -> None:
    """Draw again, some each turn, the Homes that were opened lately; what shows the same is not published."""
    async with services.engine.begin() as db:
        await homes.forget_older(db, than=FORGOTTEN)
        users = await homes.looked_at(db, within=KEPT, most=A_TURN)
    for user in users:
        if not await publish(services, user):
            return  # Slack is away or busy: the next turn tries again


# --- publishing ---------------------------------------------------------------------------------------------------


async def publish(services: Services, user: str, *, fresh: bool = False) -> bool:
    """Show a person's Home as the database has it now; where it shows that already, nothing unless `fresh`.

    False where Slack did not take it, which is logged; what it refuses is left until the others had their turn.
    """
    try:
        for guarded in (True, False):
            if await _published(services, user, fresh=fresh, guarded=guarded):
                break
    except Unavailable as error:
        log.warning("home_not_published", error=str(error))
        return False
    except Refusal as refusal:
        log.warning("home_not_published", error=str(refusal))
        async with services.engine.begin() as db:
            await homes.tended(db, user)
    return True


async def _published(services: Services, user: str, *, fresh: bool, guarded: bool) -> bool:
    """False where somebody else has published meanwhile: then everything is looked at again."""
    async with services.engine.connect() as db:
        home = await homes.get(db, user) or Home(user)
    view = await home_view(services, user)
    shown = digest_of(view)
    if shown == home.shown and not fresh:
        async with services.engine.begin() as db:
            await homes.tended(db, user)
        return True
    guard = home.view_hash if guarded else ""
    try:
        taken, charts = await _sent(services, user, view, guard, charts=home.charts)
    except Refusal as refusal:
        if refusal.code == "hash_conflict" and guarded:
            return False
        raise
    async with services.engine.begin() as db:
        await homes.published(db, replace(home, view_hash=str(taken["hash"]), shown=shown, charts=charts))
    return True


async def _sent(services: Services, user: str, view: HomeView, guard: str, *, charts: bool) -> tuple[Body, bool]:
    """What Slack shows now, and whether with charts: where it refuses these, the figures go as text.

    Slack's pages contradict one another about charts on a Home, so that is found out by trying.
    """
    for with_charts in (True, False) if charts else (False,):
        drawn = wording.render_home(view, charts=with_charts)
        if faults := validate_view(drawn):
            log.error("home_refused_before_sending", faults=faults[:5])
            continue
        arguments = {"user_id": user, "view": drawn, **({"hash": guard} if guard else {})}
        try:
            answer = await slack_calls.read(services.slack.views_publish, **arguments)
        except Refusal as refusal:
            if refusal.code not in REFUSED_VIEW or not with_charts:
                raise
            log.warning("home_charts_refused", error=str(refusal))
            continue
        return answer["view"], with_charts
    raise Refusal("invalid_arguments")


def digest_of(view: HomeView) -> str:
    return hashlib.sha256(json.dumps(wording.render_home(view), sort_keys=True).encode()).hexdigest()


# --- looking ------------------------------------------------------------------------------------------------------


async def home_view(services: Services, user: str) -> HomeView:
    """Everything that a person's Home shows: only what they may read, as elsewhere."""
    person = await services.people.look_up(user)
    member = not (person.restricted or person.foreign or person.deleted or person.is_bot)
    mine = await reading.channels_of(services, user)
    async with services.engine.connect() as db:
        chosen = await personal.of(db, user)
        every = await incidents.listed(db, only_open=True, limit=MOST_READ)
        may_read = await _readable(db, services, every, mine, member=member)
        shown = [one for one in may_read if _passes(one, chosen)]
        waiting = await _waiting(db, services, person, mine, member=member)
        places = await outbox.card_places(
            db, [*(one.id for one in shown[: wording.MOST_INCIDENTS]), *(incident for incident, _ in waiting)]
        )
        paused = await switches.read(db, switches.PAUSED)
        week = await _week(db, services, chosen) if member else None
    links = await _links(services, places)
    return HomeView(
        now=services.now(),
        personal=chosen,
        waiting=[Waiting(view, links.get(incident, "")) for incident, view in waiting],
        incidents=[Open(one, links.get(one.id, "")) for one in shown[: wording.MOST_INCIDENTS]],
        open_count=len(shown),
        week=week,
        services=_service_names(services, may_read) if member else sorted({one.service for one in may_read}),
        environments=sorted({*services.policy.environments, *(one.environment for one in may_read)}),
        stopped=_stopped(services, paused),
    )


def _stopped(services: Services, paused: switches.Switch | None) -> str:
    """Why nothing runs, with what ends it; "" where something may."""
    if file := services.halted():
        return f"paused by {file}"
    return "paused; `/codehealer resume` ends that" if paused and paused.value else ""


async def _readable(
    db: AsyncConnection, services: Services, every: Sequence[Incident], mine: frozenset[str], *, member: bool
) -> list[Incident]:
    """Those in the person's own channels, and what a private answer would tell them of the others."""
    elsewhere = {one.id for one in await reading.readable(db, services, every, Reader("", member=member))}
    return [one for one in every if one.id in elsewhere or (one.channel or services.channel) in mine]


def _passes(incident: Incident, chosen: Personal) -> bool:
    return chosen.service in {"", incident.service} and chosen.environment in {"", incident.environment}


async def _waiting(
    db: AsyncConnection, services: Services, person: Person, mine: frozenset[str], *, member: bool
) -> list[tuple[int, CardView | None]]:
    """(incident, what is asked) of the open requests that this person may decide and has not, the soonest to expire
    first; of what they may not read, that it waits."""
    found: list[Incident] = []
    for approval in await approvals.open_ones(db, most=MOST_REQUESTS):
        if person.id in approval.approved_by or (approval.snoozed_until and approval.snoozed_until > services.now()):
            continue
        planned = await planned_of(db, approval)
        incident = await incidents.get(db, approval.incident_id)
        if planned and incident and not may_decide(approval, person, services.policy, planned.plan.action):
            found.append(incident)
    may_read = {one.id for one in await _readable(db, services, found, mine, member=member)}
    return [
        (one.id, await card_view(db, services, one) if one.id in may_read and place < wording.MOST_WAITING else None)
        for place, one in enumerate(found)
    ]


async def _week(db: AsyncConnection, services: Services, chosen: Personal) -> Week:
    """The figures of whole days (UTC) up to now; counted anew once a minute."""
    since = whole_days(services.now(), chosen.days)
    only = {"service": chosen.service, "environment": chosen.environment}
    kept_days = services.keep.incidents_days

    async def count() -> Week:
        period: dict[str, Any] = {"since": since, "until": services.now(), **only}
        (total,) = await analytics.figures(db, **period)
        if not total.incidents:
            return Week(since, total, kept_days=kept_days)
        by_day = await analytics.figures(db, by="day", **period)
        return Week(since, total, by_day, await analytics.figures(db, by="kind", **period), kept_days)

    week: Week = await services.kept.get(("week", since, *only.values()), FIGURES_KEPT_S, count)
    return week


def _service_names(services: Services, may_read: Sequence[Incident]) -> list[str]:
    """The services of the policy that are not closed, and of the incidents that the person may read."""
    closed = reading.closed_by(services.policy).services
    named = {row.name for row in services.policy.services} - closed
    return sorted({*named, *(one.service for one in may_read)} - {""})


async def _links(services: Services, places: Mapping[int, CardPlace]) -> dict[int, str]:
    """Slack's links to the cards, as far as they can be had within a second; a link never changes."""
    posted = {number: place for number, place in places.items() if place.ts}

    async def link(place: CardPlace) -> str:
        key = ("link", place.channel, place.ts)
        found: str = await services.kept.get(key, LINKS_KEPT_S, lambda: cards.permalink(services, place))
        return found

    asked = {number: asyncio.create_task(link(place)) for number, place in posted.items()}
    if asked:
        _, late = await asyncio.wait(asked.values(), timeout=LINK_S)
        for task in late:
            task.cancel()
    return {number: task.result() for number, task in asked.items() if task.done() and not task.cancelled()}

"""Day one: what is failing already when the bot comes is told of in one message a channel, without cards.

The bot comes when it starts for the first time, and when it was away for more than a quarter of an hour. What it then
finds failing since before is no news: nothing is diagnosed, nobody is called, no model is asked. Who wants a card for
one of these opens it from the message; what gets worse, or ends and begins again, opens one by itself.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, reading, replies
from handlers.blocks.baseline import baseline_card, greeting_card
from handlers.blocks.card_view import Card
from handlers.services import Services
from knowledge.choices import Choice, Verdict
from knowledge.model import Alert
from knowledge.store import audit, baseline, grouping, incidents, outbox
from remediation.approvals import Person, check_taking

AWAY = timedelta(minutes=15)
# So long after coming, what began before counts as found; Alertmanager tells of it again within minutes of a restart.
FINDS = timedelta(minutes=10)
# What began in the last moments before may well be news.
BEFORE = timedelta(minutes=1)
EDIT_EVERY_S = 5.0
# Sources whose start is the failure's own; a pod's is not, so the watch says itself what it found failing.
_TELL_THE_START = frozenset({"alertmanager", "grafana", "argocd"})
PREFIX = "baseline:"


async def arrive(services: Services) -> None:
    """At the start of the leading process: whether it comes to what it has not watched."""
    async with services.engine.begin() as db:
        last = await baseline.last_alive(db)
        if last is None or services.now() - last > AWAY:
            await baseline.note_coming(db, "first start" if last is None else "was away")
        await baseline.note_alive(db)


async def keep_alive(services: Services) -> None:
    """By the clock: the leading process is here."""
    async with services.engine.begin() as db:
        await baseline.note_alive(db)


async def looks_around(db: AsyncConnection, services: Services) -> datetime | None:
    """When the bot came, while what it finds may have been failing before; else None."""
    came = await baseline.came(db)
    return came if came and services.now() - came <= FINDS else None


async def was_failing(
    db: AsyncConnection, services: Services, alert: Alert, chosen: Mapping[str, Choice]
) -> datetime | None:
    """When the bot came, where the alert that would open an incident tells of what failed before; else None.

    What people have decided about (`chosen`) they know: a summary's note would take the place of their word.
    """
    known = chosen.get(f"identity:{alert.identity}")
    if known and known.verdict is not Verdict.BASELINE:
        return None
    told = alert.source in _TELL_THE_START and alert.started_at is not None
    if not alert.baseline and not told:
        return None
    came = await looks_around(db, services)
    if came is None or alert.baseline:
        return came
    return came if alert.started_at and alert.started_at < came - BEFORE else None


async def note(db: AsyncConnection, services: Services, alert: Alert, *, channel: str, came: datetime) -> None:
    """Keep the alert for the channel's summary, in the caller's transaction; no incident, no card, no job."""
    channel = channel or services.channel
    key = f"{PREFIX}{channel}:{came:%Y%m%dT%H%M%S}"
    await incidents.add_alert(db, alert, None)
    named = [f"identity:{alert.identity}"]
    await grouping.choose(db, named, Choice(Verdict.BASELINE, key), by="codehealer")
    await audit.record(db, "baseline.found", source=alert.source, identity=alert.identity)
    await outbox.put_summary(db, key, channel)
    await outbox.show_summary(db, key, channel, in_s=EDIT_EVERY_S)


async def render(db: AsyncConnection, key: str) -> Card:
    return baseline_card(await baseline.items(db, key))


async def chosen(db: AsyncConnection, click: Mapping[str, Any], person: Person) -> Alert | None:
    """The alert that a person wants a card for, which is news from now on; None where it has one, or may not."""
    alert = await baseline.alert(db, click["alert_id"])
    known = await grouping.choices(db, [f"identity:{alert.identity}"]) if alert else {}
    refusal = check_taking(person)
    if alert is None or not known or refusal:
        await cards.tell(
            db, key=click["key"], channel=click["channel"], user=click["user"], text=refusal or replies.HAS_A_CARD
        )
        return None
    (choice,) = known.values()
    await grouping.forget(db, list(known), Verdict.BASELINE)
    await audit.record(db, "baseline.opened", actor=person.id, identity=alert.identity)
    await outbox.show_summary(db, choice.value, click["channel"], in_s=0)
    return alert


async def greet(db: AsyncConnection, services: Services, channel: str) -> None:
    """The bot was invited: tell the channel what is open already for the services whose cards come there."""
    named = {row.name for row in services.policy.services if row.channel == channel}
    every = await incidents.listed(db, only_open=True, limit=200) if named else []
    elsewhere = [one for one in every if one.service in named and (one.channel or services.channel) != channel]
    # As for anybody who reads every open channel: what is closed elsewhere stays there.
    told = await reading.readable(db, services, elsewhere, reading.Reader(channel))
    if told:
        card = greeting_card(told, services.now())
        key = f"greeting:{channel}:{services.now():%Y%m%dT%H}"
        payload = {"text": card.text, "blocks": card.blocks}
        await outbox.put(db, kind="post", key=key, channel=channel, payload=payload, priority=outbox.NEW)

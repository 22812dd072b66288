"""How an alert finds its incident: the rules of correlation, after what people decided and what was known before."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import regrouping, routing
from handlers.services import Services
from knowledge import correlation
from knowledge.choices import Choice, Verdict, guided, naming
from knowledge.correlation import AlertKeys, OpenIncident
from knowledge.model import Alert
from knowledge.severity import CRITICAL
from knowledge.store import baseline, grouping, incidents

# Senders that name a service and nothing of the cluster: a name that is one row of the policy's is that row's.
_BY_SERVICE = frozenset({"pagerduty", "cloudwatch", "generic", "grafana"})
# A CronJob's pods bear the minute of their run.
_RUN_DIGITS = 5


def placed(services: Services, alert: Alert) -> Alert:
    """An alert that says no more than its service's name, with that service's place: a key to join by, no target."""
    if alert.source not in _BY_SERVICE or not alert.trusted or alert.namespace or alert.workload:
        return alert
    named = alert.service.strip().lower()
    rows = [row.name for row in services.policy.services if row.name.lower() == named]
    return routing.about_service(services.policy, alert, rows[0]) if len(rows) == 1 else alert


async def keys_for(db: AsyncConnection, services: Services, alert: Alert) -> tuple[AlertKeys, Mapping[str, Choice]]:
    """The alert's keys, and what is remembered of them."""
    keys = correlation.keys_of(alert, services.now())
    # What it seeks and not what it holds: an incident holds a workload for all clusters, a word is about one.
    chosen = await grouping.choices(db, naming(keys.seek))
    return guided(keys, chosen), chosen


def failed_before(chosen: Mapping[str, Choice]) -> bool:
    """Whether the alert was failing already when the bot came, and is told of in a summary."""
    return any(choice.verdict is Verdict.BASELINE for choice in chosen.values())


async def no_news(db: AsyncConnection, alert: Alert, chosen: Mapping[str, Choice]) -> bool:
    """Whether an alert says no more than a summary does: it is no worse, has not ended since, and is no later pod's."""
    came = await baseline.came(db) if failed_before(chosen) else None
    if came is None or _later_pod(alert, came):
        return False
    as_bad, ended = await baseline.since(db, alert, came)
    return not ended and (as_bad or alert.severity not in CRITICAL)


def _later_pod(alert: Alert, came: datetime) -> bool:
    """Of pods nobody says that they are well again: one that began to fail since is news, but for a job's next run."""
    if alert.source != "kubernetes" or alert.baseline or "reason" in alert.labels or alert.started_at is None:
        return False
    run = alert.workload.removeprefix(f"{alert.owner}-").partition("-")[0]
    return alert.started_at > came and not (run.isdecimal() and len(run) >= _RUN_DIGITS)


async def well_again(db: AsyncConnection, alert: Alert) -> None:
    """What failed before the bot came has ended: when it fails again, that is news."""
    if not await baseline.others_fire(db, alert):
        await grouping.forget(db, [f"identity:{alert.identity}"], Verdict.BASELINE)


async def absorb(
    db: AsyncConnection, services: Services, keys: AlertKeys, candidates: Sequence[OpenIncident], into: int
) -> None:
    """A common cause came after what it explains: their incidents become its own, but for those being fixed."""
    for number in correlation.explained(keys, candidates):
        if number == into:
            continue
        taken = await incidents.get(db, number, lock=True)
        cause = await incidents.get(db, into, lock=True)
        if taken and cause:
            await regrouping.merge(db, services, taken, cause, by="codehealer")


async def seen_elsewhere(db: AsyncConnection, services: Services, alert: Alert, incident_id: int) -> None:
    """Link the card with the other app's message, or with the pager's page, about the same failure."""
    if alert.source == "slack" and alert.channel and alert.message_ts:
        if await grouping.link(db, incident_id, grouping.POST, f"{alert.channel}/{alert.message_ts}"):
            await regrouping.ask_for_links(db, services, incident_id)
    elif alert.source == "pagerduty":
        for found in alert.links[:1]:
            await grouping.link(db, incident_id, grouping.PAGE, found.url, url=found.url)

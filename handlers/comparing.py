"""What got lost on its way here: what others have now is compared with what we know, and GitHub is asked to repeat.

What fires there and is unknown here becomes a delivery like any other; what is open here and over there is resolved by
the same road as its webhook.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from handlers import flow
from handlers.services import Services
from handlers.sources import alertmanager, argocd, fields
from knowledge.errors import BadInput
from knowledge.fingerprint import parse_time
from knowledge.model import Alert, AlertStatus
from knowledge.store import signals

log = structlog.get_logger(__name__)

# What is younger than this is on its way here by itself: group_wait is 30 s, and 5 minutes at most in practice.
GRACE = timedelta(minutes=5)
# An Alertmanager that has just started does not have everything yet: Prometheus sends its alerts again each minute.
WARM = timedelta(minutes=10)
MOST_NEW = 500
# Of what is over so many are read whole at a time: five thousand took 11 MB.
AT_A_TIME = 100
REMEMBERED = timedelta(days=7)


async def with_alertmanager(services: Services) -> None:
    """Alerts of our receiver that did not come, and resolved ones that did not."""
    client, now = services.clients.silences, services.now()
    if client is None or "alertmanager" not in services.compare:
        return
    rows, up_since = await client.alerts(), await client.up_since()
    there = {alert.fingerprint: alert for alert in _alertmanagers(rows, services.alertmanager_receiver, now)}
    every = {fields.name(row.get("fingerprint")) for row in rows}
    await _tell_unknown(services, "alertmanager", list(there.values()))
    async with services.engine.begin() as db:
        await signals.seen_there(db, await signals.open_with(db, "alertmanager", every))
    if up_since is None or now - up_since < WARM:
        return
    async with services.looks.connect() as db:
        gone = await signals.gone(db, "alertmanager", every, come_by=now - GRACE)
    await _tell_over(services, "alertmanager", gone, now)


def _alertmanagers(rows: Sequence[Mapping[str, Any]], receiver: str, now: datetime) -> list[Alert]:
    """The alerts that our receiver should have been told of by now: active, ours, and not brand-new."""
    found: list[Alert] = []
    for row in rows:
        receivers = {fields.name(one.get("name")) for one in fields.children(row.get("receivers"))}
        started = parse_time(row.get("startsAt"))
        if fields.child(row, "status").get("state") != "active" or receiver not in receivers:
            continue
        if started and now - started < GRACE:
            continue
        try:
            found += alertmanager.parse({"alerts": [{**row, "status": "firing"}]}, {})
        except BadInput as error:
            log.info("alert_unreadable", error=str(error))
    return found


async def with_argocd(services: Services) -> None:
    """Applications that failed or recovered without our hearing of it."""
    client, now = services.clients.argocd, services.now()
    if client is None or "argocd" not in services.compare:
        return
    found = {}
    listed = await client.applications()
    for server, why in listed.away.items():
        # What is said there is unknown, so nothing of it is missed, nor over.
        log.warning("server_not_compared", source="argocd", server=server, error=why)
    for app in listed.rows:
        try:
            (alert,) = argocd.parse({"app": app}, {})
        except BadInput as error:
            log.info("application_unreadable", error=str(error))
            continue
        found[alert.workload] = alert
    async with services.looks.connect() as db:
        # A failure of the application that came another way, as a post in Slack, is known too.
        about = await signals.told_of(db, since=now - REMEMBERED)
    failing = [
        alert
        for alert in found.values()
        if alert.status is AlertStatus.FIRING
        and _broken(alert)
        and not _known(alert, about)
        and not (alert.started_at and now - alert.started_at < GRACE)
    ]
    await _tell_unknown(services, "argocd", failing)
    well = {name for name, alert in found.items() if alert.status is AlertStatus.RESOLVED}
    async with services.looks.connect() as db:
        over = await signals.open_about(db, "argocd", well, come_by=now - GRACE)
    await _tell_over(services, "argocd", over, now)


def _known(alert: Alert, about: Mapping[str, datetime | None]) -> bool:
    """Whether an incident about the application is open, or was told of since this failure began (and is dismissed)."""
    if alert.workload not in about:
        return False
    told_at = about[alert.workload]
    return told_at is None or alert.started_at is None or told_at >= alert.started_at


def _broken(alert: Alert) -> bool:
    """Out of sync alone is how applications wait for a person's sync; whoever wants to hear of it has it sent."""
    labels = alert.labels
    return labels.get("operation_phase") in {"Failed", "Error"} or labels.get("health_status") == "Degraded"


async def _tell_unknown(services: Services, source: str, firing: Sequence[Alert]) -> None:
    async with services.looks.connect() as db:
        known = await signals.known_starts(db, source, [alert.identity for alert in firing], over_for=GRACE)
    # What is over here and fires there fires again, with the start that it had.
    new = [alert for alert in firing if _key(alert) not in known or known[_key(alert)]][:MOST_NEW]
    for alert in new:
        again = str(known.get(_key(alert)) or "")
        await flow.accept_alerts(services, [alert], source=source, delivery_id=_delivery_id(alert, again))
    if new:
        log.warning("alerts_were_missed", source=source, count=len(new))


async def _tell_over(services: Services, source: str, gone: Sequence[int], now: datetime) -> None:
    for start in range(0, len(gone), AT_A_TIME):
        async with services.looks.connect() as db:
            some = await signals.alerts_of(db, gone[start : start + AT_A_TIME])
        for alert in some:
            over = replace(alert, status=AlertStatus.RESOLVED, ended_at=now)
            await flow.accept_alerts(services, [over], source=source, delivery_id=_delivery_id(over))
    if gone:
        log.warning("ends_were_missed", source=source, count=len(gone))


def _key(alert: Alert) -> tuple[str, str, str]:
    return alert.identity, alert.fingerprint, alert.started_at.isoformat() if alert.started_at else ""


def _delivery_id(alert: Alert, again: str = "") -> str:
    """The same for each comparison that finds the same: it is delivered once. `again`: after which end it fires."""
    return flow.delivery_key("compared", alert.status, *_key(alert), str(alert.ended_at or ""), again)

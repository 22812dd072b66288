"""Alerts that are not to be told of now: silenced in Alertmanager, of something under maintenance, or muted here.

They are stored and shown by `status`, open no card, and open one when the quiet is over and they fire still.
"""

import time
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import muting, routing
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.errors import BadInput, CodeHealerError, NotFound
from knowledge.model import Alert, Target
from knowledge.redaction import redact
from knowledge.store import deliveries, held, mutes, signals
from knowledge.store.codec import to_json
from knowledge.store.held import Held
from remediation import recovery
from remediation.maintenance import ends_at, maintained
from remediation.policy_file import Maintenance

log = structlog.get_logger(__name__)

ALERTMANAGER = "alertmanager"
# A quick answer holds for a second, a slow one for ten times what it took, and after none nobody is asked for a
# while: alerts wait for it.
FRESH_S, FRESH_FACTOR, PAUSE_S = 1.0, 10.0, 30.0
# For so long what fires without a sender that tells its end is looked at; what is left then waits for the next tick.
LOOKING_S = 10.0


async def look(services: Services) -> bool:
    """Ask Alertmanager what is silenced, unless its last answer is fresh; False where it does not say.

    Without an answer nothing counts as silenced: a card too many is better than none.
    """
    client, known = services.clients.silences, services.hush
    began = time.monotonic()
    if client is None or began < known.ask_again_at:
        return client is not None
    try:
        known.muted = await client.muted()
    except (CodeHealerError, TimeoutError) as error:
        log.warning("silences_unknown", error=str(error) or type(error).__name__)
        known.muted, known.ask_again_at = {}, time.monotonic() + PAUSE_S
        return False
    took = time.monotonic() - began
    known.ask_again_at = began + took + max(FRESH_S, FRESH_FACTOR * took)
    return True


def quiet(services: Services, alert: Alert) -> tuple[str, datetime | None] | None:
    """(why, until) an alert opens no card now; None for every other one, and for what a person asked."""
    if alert.source == QUESTION_SOURCE:
        return None
    entry = _maintenance(services, alert)
    if entry:
        return _words("under maintenance", ends_at(entry), "", entry.reason), ends_at(entry)
    silence = services.hush.muted.get(alert.fingerprint) if alert.source == ALERTMANAGER else None
    if silence is None or (silence.ends_at and silence.ends_at <= services.now()):
        return None
    return _words("silenced", silence.ends_at, silence.created_by, silence.comment), silence.ends_at


def _maintenance(services: Services, alert: Alert) -> Maintenance | None:
    if not services.policy.maintenance:
        return None
    row = routing.service_row(services.policy, alert)
    return maintained(
        services.policy,
        services={row.name} if row else {alert.service, alert.owner} - {""},
        namespace=alert.namespace,
        environment=row.environment if row else "",
        now=services.now(),
    )


async def hold(db: AsyncConnection, services: Services, alert: Alert, why: tuple[str, datetime | None]) -> None:
    there = alert.source == ALERTMANAGER and alert.fingerprint in services.hush.muted
    await held.hold(db, alert, why=why[0], until=why[1], there_at=services.now() if there else None)


async def tell_what_lasted(services: Services) -> None:
    """By the clock: what fires still when its quiet is over becomes a delivery like any other."""
    async with services.looks.connect() as db:
        kept = await held.listed(db)
        muted = await mutes.in_force(db, now=services.now()) if kept else ()
    if not kept:
        return
    services.hush.ask_again_at = 0.0
    answered = await look(services)
    there = await _there(services) if any(one.alert.source == ALERTMANAGER for one in kept) else None
    if seen := [one.id for one in kept if not one.there and _is_there(one, there)]:
        async with services.engine.begin() as db:
            await signals.seen_there(db, seen)
    lasting = _Lasting(services)
    for one in kept:
        if quiet(services, one.alert) or muting.held_by(muted, services, one.alert):
            continue
        if not answered and _may_be_muted(services, one):
            continue
        # As in a comparison: absence tells of an end only where the alert was seen. What an Alertmanager that has
        # just started does not have yet is forgotten here, so that it is news when it comes again.
        gone = one.there and there is not None and not _is_there(one, there)
        still = False if gone else await lasting.ask(one.alert)
        if still is None:
            continue
        async with services.engine.begin() as db:
            if await held.release(db, one.id) and still:
                await deliveries.add(
                    db,
                    source=one.alert.source,
                    delivery_id=f"held:{one.id}",
                    event=deliveries.ALERTS,
                    body={"alerts": [to_json(one.alert)]},
                )


class _Lasting:
    """Whether what fired in its quiet fires still, where no sender says when it is over: the live system is asked."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._away: set[str] = set()
        self._until = time.monotonic() + LOOKING_S

    async def ask(self, alert: Alert) -> bool | None:
        """None: it cannot be told yet. What cannot be looked at is told of, and no name is taken from other words."""
        run = alert.source == "github" and alert.run_id.isdecimal()
        pod = alert.source == "kubernetes" and alert.target.get("kind") == "Pod" and alert.cluster not in self._away
        if not alert.trusted or not (run or pod):
            return True
        if time.monotonic() > self._until:
            return None
        return await (self._run(alert) if run else self._pod(alert))

    async def _run(self, alert: Alert) -> bool:
        run = Target("WorkflowRun", alert.run_id, repository=alert.repository)
        return not await recovery.is_well(run, self._services.clients, now=self._services.now())

    async def _pod(self, alert: Alert) -> bool | None:
        cluster = self._services.clients.cluster
        if cluster is None:
            return True
        try:
            pod = await cluster.get(alert.cluster, "Pod", alert.namespace, alert.workload)
            (found,) = kubernetes.parse({"clusterName": alert.cluster, **pod}, {})
        except NotFound:
            return False
        except BadInput:
            return True
        except CodeHealerError as error:
            log.warning("pod_not_looked_at", cluster=alert.cluster, error=str(error))
            self._away.add(alert.cluster)
            return True
        if recovery.is_pod_over(pod, self._services.now()):
            return False
        # Between two crashes a pod looks well, and an event may be about what its pod does not show.
        return True if found.actionable or "reason" in alert.labels else None


def _is_there(one: Held, there: set[str] | None) -> bool:
    return there is not None and one.alert.source == ALERTMANAGER and one.alert.fingerprint in there


def _may_be_muted(services: Services, one: Held) -> bool:
    """Alertmanager does not answer: its word of until when is what is left of it."""
    asked = services.clients.silences is not None and one.alert.source == ALERTMANAGER
    return asked and (one.until is None or one.until > services.now())


async def _there(services: Services) -> set[str] | None:
    """Fingerprints of what Alertmanager has; None where it does not say."""
    client = services.clients.silences
    if client is None:
        return None
    try:
        return {str(row.get("fingerprint", "")) for row in await client.alerts()}
    except CodeHealerError as error:
        log.warning("alerts_unknown", error=str(error))
        return None


def _words(what: str, until: datetime | None, who: str, why: str) -> str:
    parts = [what, f"until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if until else "", f"by {who}" if who else ""]
    said = " ".join(" ".join(redact(why).split())[:200].split())
    return " ".join(part for part in parts if part)[:300] + (f": {said}" if said else "")

"""Counts what became of incidents from the audit log: each row once, by the leader, after it is sealed."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from handlers.services import Services
from knowledge import telemetry
from knowledge.model.acting import Verdict
from knowledge.model.knowing import OUTCOMES
from knowledge.store import audit, measures
from knowledge.store.audit import Entry

BATCH = 1000
# What people decide; a vote is no decision yet.
DECIDED = frozenset({"approved", "rejected", "expired"})
COUNTED_OF_APPROVALS = DECIDED | {"refused", "scheduled", "not_run", "snoozed", "edited", "reminded", "paged"}
ENDED = frozenset({"acted", "failed", "refused", "undone"})
VERDICTS = tuple(verdict.__name__.lower() for verdict in get_args(Verdict))
VERIFIED = ("verified", "not_verified", "worse")


class Outcomes:
    """How far the log has been counted. What was sealed before the first tick was another leader's to count."""

    def __init__(self) -> None:
        self._counted: int | None = None

    async def tick(self, services: Services) -> None:
        async with services.looks.connect() as db:
            if self._counted is None:
                self._counted = await audit.last_number(db)
                return
            entries = await audit.sealed_after(db, self._counted, limit=BATCH)
            if not entries:
                return
            lags = await measures.lags(db, [one.number for one in entries if one.what == "decision"])
            waits = await measures.approval_waits(db, _decided(entries))
            healed = await measures.times_to_heal(db, [one.number for one in entries if _is_healed(one)])
        # Only now, so that a tick that fails on its way counts nothing twice.
        self._counted = entries[-1].number
        for entry in entries:
            count(entry)
        for lag in lags:
            for stage, seconds in (("evidence", lag.evidence_s), ("decision", lag.decision_s)):
                if seconds is not None:
                    telemetry.STAGE_LAG.labels(stage).observe(seconds)
        for seconds in waits:
            telemetry.APPROVAL_SECONDS.observe(seconds)
        for seconds in healed:
            telemetry.HEAL_SECONDS.observe(seconds)


def expect(actions: Iterable[str]) -> None:
    """Have each counter there at 0: where one begins at 1, Prometheus sees no increase, and misses the first."""
    outcomes = telemetry.OUTCOMES
    for action in actions:
        outcomes["wrong"].labels(action)
        for result in ENDED:
            outcomes["execution"].labels(action, result)
    for verdict in VERDICTS:
        outcomes["decision"].labels(verdict)
    for result in COUNTED_OF_APPROVALS:
        outcomes["approval"].labels(result)
    for verdict in VERIFIED:
        for undone in ("yes", "no"):
            outcomes["verification"].labels(verdict, undone)
    for outcome in OUTCOMES:
        outcomes["outcome"].labels(outcome)


def count(entry: Entry) -> None:
    """Add one row of the log to the counters; most rows are counted nowhere."""
    said: dict[str, Any] = dict(entry.payload or {})
    group, _, what = entry.what.partition(".")
    outcomes = telemetry.OUTCOMES
    if entry.what == "decision":
        outcomes["decision"].labels(said.get("verdict", "")).inc()
    elif group == "approval" and what in COUNTED_OF_APPROVALS:
        outcomes["approval"].labels(what).inc()
    elif group == "execution" and what in ENDED:
        outcomes["execution"].labels(said.get("action", ""), what).inc()
    elif entry.what == "verification":
        undone = bool(said.get("undone"))
        outcomes["verification"].labels(said.get("verdict", ""), "yes" if undone else "no").inc()
        if undone or said.get("verdict") == "worse":
            outcomes["wrong"].labels(said.get("action", "")).inc()
    elif entry.what == "lesson":
        outcomes["outcome"].labels(said.get("outcome", "")).inc()


def _decided(entries: Sequence[Entry]) -> list[int]:
    decided = {f"approval.{what}" for what in DECIDED}
    return [int(one.payload["approval"]) for one in entries if one.what in decided and one.payload]


def _is_healed(entry: Entry) -> bool:
    return entry.what == "verification" and bool(entry.payload) and (entry.payload or {}).get("verdict") == "verified"

"""What an incident's card shows beside the incident itself, read by one statement: a card is drawn at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Interval, Select, bindparam, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Approval, Execution
from knowledge.store import answers, approvals, executions
from knowledge.store.answers import StoredAnswer, StoredPlan
from knowledge.store.grouping import Link
from knowledge.store.tables import alerts, feedback, incident_links, incidents

MOST_LINKS = 20
MOST_ALERTS = 50  # among which one with a link is looked for


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest of each kind, None where there is none.

    `source_link` is where the failing thing is shown, "" where no alert says.
    `opinions` counts those who gave one, `ups` those who found the answer right; `times_before` the incidents of the
    same failure that opened in the time before this one.
    """

    answer: StoredAnswer | None
    planned: StoredPlan | None
    approval: Approval | None
    execution: Execution | None
    source_link: str
    links: Sequence[Link]
    opinions: int
    ups: int
    times_before: int


# The newest may have no link, as what the watch sees, and a card that had one keeps it.
_NEWEST_ALERTS = (
    select(alerts.c.id, alerts.c.payload)
    .where(alerts.c.incident_id == bindparam("of_incident"))
    .order_by(alerts.c.id.desc())
    .limit(MOST_ALERTS)
    .subquery("newest_alerts")
)
_LINK = _NEWEST_ALERTS.c.payload["links", 0, "url"].as_string()
_NEWEST: Mapping[str, Select[Any]] = {
    "answer": answers.LATEST,
    "planned": answers.LATEST_PLAN,
    "approval": approvals.LATEST,
    "execution": executions.LATEST,
    "source": select(_NEWEST_ALERTS.c.id, _LINK.label("link"))
    .where(_LINK != "")
    .order_by(_NEWEST_ALERTS.c.id.desc())
    .limit(1),
}
_OPINIONS = select(func.count().label("given"), func.count().filter(feedback.c.value > 0).label("ups")).where(
    feedback.c.incident_id == bindparam("of_incident"), feedback.c.stands
)
_LINKS = (
    select(incident_links.c.kind, incident_links.c.other, incident_links.c.link)
    .where(incident_links.c.incident_id == bindparam("of_incident"))
    .order_by(incident_links.c.at, incident_links.c.other)
    .limit(MOST_LINKS)
    .subquery("links")
)
_EARLIER = incidents.alias("earlier")
_TIMES_BEFORE = (
    select(func.count())
    .select_from(_EARLIER)
    .where(
        _EARLIER.c.identity == incidents.c.identity,
        _EARLIER.c.id < incidents.c.id,
        _EARLIER.c.merged_into.is_(None),
        _EARLIER.c.opened_at > incidents.c.opened_at - bindparam("within", type_=Interval),
    )
    .scalar_subquery()
    .correlate(incidents)
)


def _whole() -> Select[Any]:
    parts = {name: query.subquery(name) for name, query in _NEWEST.items()}
    opinions = _OPINIONS.subquery("opinions")
    links = select(func.jsonb_agg(func.jsonb_build_array(*_LINKS.c))).scalar_subquery()
    joined: Any = incidents.join(opinions, true())
    for part in parts.values():
        joined = joined.outerjoin(part, true())
    columns = [column.label(f"{name}_{column.name}") for name, part in parts.items() for column in part.c]
    return (
        select(*columns, opinions.c.given, opinions.c.ups, links.label("links"), _TIMES_BEFORE.label("before"))
        .select_from(joined)
        .where(incidents.c.id == bindparam("of_incident"))
    )


_WHOLE = _whole()


async def of(db: AsyncConnection, incident_id: int, *, within: timedelta) -> Shown:
    """`within` is how far back the same failure is counted. The incident is there."""
    row = (await db.execute(_WHOLE, {"of_incident": incident_id, "within": within})).mappings().one()

    def part(name: str) -> dict[str, Any] | None:
        """The columns of one kind's newest row by their own names."""
        if row[f"{name}_id"] is None:
            return None
        return {key.removeprefix(f"{name}_"): value for key, value in row.items() if key.startswith(f"{name}_")}

    answer, planned, approval, execution = part("answer"), part("planned"), part("approval"), part("execution")
    return Shown(
        answer=answers.answer_of(answer) if answer else None,
        planned=answers.plan_of(planned) if planned else None,
        approval=approvals.approval_of(approval) if approval else None,
        execution=executions.execution_of(execution) if execution else None,
        source_link=row["source_link"] or "",
        links=[Link(*one) for one in row["links"] or ()],
        opinions=row["given"],
        ups=row["ups"],
        times_before=row["before"],
    )

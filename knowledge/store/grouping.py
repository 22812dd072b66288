"""What incidents have to do with one another: alerts that move between them, links, and what people decided."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Integer, and_, any_, bindparam, delete, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.choices import Choice, Verdict
from knowledge.model import Alert, AlertStatus
from knowledge.store.codec import from_json
from knowledge.store.incidents import severity_rank
from knowledge.store.tables import alerts, incident_keys, incident_links, incidents, key_choices

MOST_ALERTS = 5_000
# A person's word about a key holds for so long; what failed before we came is news again after a day.
REMEMBERED = {
    Verdict.APART: timedelta(days=90),
    Verdict.TOGETHER: timedelta(days=90),
    Verdict.BASELINE: timedelta(days=1),
}
MERGED, TOOK, SPLIT, FROM, LIKE, POST, PAGE = "merged", "took", "split", "from", "like", "post", "page"


# --- what people decided ----------------------------------------------------------------------------------------------

# One look by the primary key for each new alert; built once.
_CHOICES = select(key_choices.c.key, key_choices.c.verdict, key_choices.c.value).where(
    key_choices.c.key == any_(bindparam("keys", type_=ARRAY(TEXT))),
    or_(
        *(
            and_(key_choices.c.verdict == verdict, key_choices.c.set_at > func.now() - lasts)
            for verdict, lasts in REMEMBERED.items()
        )
    ),
)


async def choices(db: AsyncConnection, keys: Sequence[str]) -> Mapping[str, Choice]:
    """What is remembered of these keys."""
    rows = await db.execute(_CHOICES, {"keys": list(keys)})
    return {row.key: Choice(Verdict(row.verdict), row.value) for row in rows}


async def choose(db: AsyncConnection, keys: Iterable[str], choice: Choice, *, by: str) -> None:
    """Remember a choice for these keys; the newest one holds."""
    values = [{"key": key, "verdict": choice.verdict, "value": choice.value, "set_by": by} for key in sorted(set(keys))]
    if not values:
        return
    statement = insert(key_choices).values(values)
    new = statement.excluded
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={"verdict": new.verdict, "value": new.value, "set_by": new.set_by, "set_at": func.now()},
        )
    )


async def choose_again(db: AsyncConnection, values: Sequence[str], value: str) -> None:
    """Make what was together under one of `values` so under `value`."""
    if values:
        together = and_(key_choices.c.verdict == Verdict.TOGETHER, key_choices.c.value.in_(list(values)))
        await db.execute(update(key_choices).where(together).values(value=value, set_at=func.now()))


async def forget(db: AsyncConnection, keys: Iterable[str], verdict: Verdict) -> None:
    await db.execute(delete(key_choices).where(key_choices.c.key.in_(list(keys)), key_choices.c.verdict == verdict))


# --- alerts that move -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredAlert:
    id: int
    alert: Alert


async def stored_alerts(db: AsyncConnection, incident_id: int) -> Sequence[StoredAlert]:
    """The incident's alerts, firing and resolved, oldest first."""
    rows = await db.execute(
        select(alerts.c.id, alerts.c.payload)
        .where(alerts.c.incident_id == incident_id)
        .order_by(alerts.c.id)
        .limit(MOST_ALERTS)
    )
    return [StoredAlert(row.id, from_json(Alert, row.payload)) for row in rows]


async def move_alerts(db: AsyncConnection, ids: Sequence[int], to: int) -> None:
    await db.execute(update(alerts).where(alerts.c.id.in_(ids)).values(incident_id=to))


async def drop_keys(db: AsyncConnection, incident_id: int, keys: Iterable[str]) -> None:
    gone = list(keys)
    await db.execute(
        delete(incident_keys).where(incident_keys.c.incident_id == incident_id, incident_keys.c.key.in_(gone))
    )


async def take_over(db: AsyncConnection, taken: int, into: int) -> None:
    """Everything that `taken` held in alerts and keys is `into`'s from now on."""
    await db.execute(update(alerts).where(alerts.c.incident_id == taken).values(incident_id=into))
    theirs = select(incident_keys.c.key, literal(into)).where(incident_keys.c.incident_id == taken)
    await db.execute(
        insert(incident_keys)
        .from_select(["key", "incident_id"], theirs)
        .on_conflict_do_nothing(index_elements=["key", "incident_id"])
    )
    await db.execute(delete(incident_keys).where(incident_keys.c.incident_id == taken))
    await db.execute(_AS_SEVERE, {"taken": taken, "into": into})
    await db.execute(_COUNTED_TOGETHER, {"taken": taken, "into": into})


_OTHER = incidents.alias("other")
_MORE_SEVERE = and_(
    _OTHER.c.trusted >= incidents.c.trusted, severity_rank(_OTHER.c.severity) > severity_rank(incidents.c.severity)
)
_AS_SEVERE = (
    update(incidents)
    .where(incidents.c.id == bindparam("into"), _OTHER.c.id == bindparam("taken"))
    .where(or_(_OTHER.c.trusted > incidents.c.trusted, _MORE_SEVERE))
    .values(severity=_OTHER.c.severity)
)

# Where the failure is, its target is looked up: of two that only one trusted sender told of, its place counts.
_PLACE = ("service", "environment", "namespace", "workload", "cluster", "repository", "run_id", "commit")
_COUNTED_TOGETHER = text(f"""
    UPDATE incidents AS one
    SET alert_count = one.alert_count + other.alert_count,
        last_alert_at = greatest(one.last_alert_at, other.last_alert_at),
        {
    "".join(
        f"{name} = CASE WHEN other.trusted > one.trusted THEN other.{name} ELSE one.{name} END, " for name in _PLACE
    )
}
        trusted = one.trusted OR other.trusted, flagged = one.flagged OR other.flagged, revision = one.revision + 1
    FROM incidents AS other WHERE one.id = :into AND other.id = :taken
""")  # noqa: S608  names of columns, fixed above


async def began_with_its_alerts(db: AsyncConnection, incident_id: int) -> None:
    """Date an incident that was split off back to its first alert: it is no news of this moment."""
    first = select(func.min(alerts.c.received_at)).where(
        alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING
    )
    earliest = func.least(incidents.c.opened_at, first.scalar_subquery())
    await db.execute(update(incidents).where(incidents.c.id == incident_id).values(opened_at=earliest))


async def recount(db: AsyncConnection, incident_id: int) -> None:
    """Count an incident's firing alerts anew, after some have left."""
    firing = select(func.greatest(func.count(), 1)).where(
        alerts.c.incident_id == incident_id, alerts.c.status == AlertStatus.FIRING
    )
    await db.execute(
        update(incidents)
        .where(incidents.c.id == incident_id)
        .values(alert_count=firing.scalar_subquery(), revision=incidents.c.revision + 1)
    )


# --- links ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """`other` is an incident's id, `channel/ts` of another app's message, or a page's address.

    `url` is "" until Slack has told it.
    """

    kind: str
    other: str
    url: str


async def link(
    db: AsyncConnection, incident_id: int, kind: str, other: str, *, url: str = "", by: str = "", click: str = ""
) -> bool:
    """Note a link; False where it is noted already."""
    done = await db.execute(
        insert(incident_links)
        .values(incident_id=incident_id, kind=kind, other=other, link=url, set_by=by, click=click)
        .on_conflict_do_nothing()
        .returning(incident_links.c.incident_id)
    )
    return done.scalar_one_or_none() is not None


_LINKS_OF = (
    select(incident_links.c.kind, incident_links.c.other, incident_links.c.link)
    .where(incident_links.c.incident_id == bindparam("of_incident"))
    .order_by(incident_links.c.at, incident_links.c.other)
    .limit(bindparam("most", type_=Integer))
)


async def links_of(db: AsyncConnection, incident_id: int, *, limit: int = 20) -> Sequence[Link]:
    rows = await db.execute(_LINKS_OF, {"of_incident": incident_id, "most": limit})
    return [Link(row.kind, row.other, row.link) for row in rows]


async def found_url(db: AsyncConnection, incident_id: int, link_: Link, url: str) -> None:
    await db.execute(
        update(incident_links)
        .where(
            incident_links.c.incident_id == incident_id,
            incident_links.c.kind == link_.kind,
            incident_links.c.other == link_.other,
        )
        .values(link=url)
    )


async def was_done(db: AsyncConnection, click: str) -> bool:
    """Whether this very click has taken effect already."""
    found = await db.execute(select(incident_links.c.incident_id).where(incident_links.c.click == click).limit(1))
    return found.first() is not None


# --- how often ------------------------------------------------------------------------------------------------------

_BEFORE = text("""
    SELECT count(*) FROM incidents AS earlier
    WHERE earlier.identity = :identity AND earlier.id < :its_id AND earlier.merged_into IS NULL
        AND earlier.opened_at > (SELECT opened_at FROM incidents WHERE id = :its_id) - make_interval(secs => :within_s)
""")


async def times_before(db: AsyncConnection, incident_id: int, identity: str, *, within: timedelta) -> int:
    """How many incidents of the same failure opened in the time before this one."""
    found = await db.execute(_BEFORE, {"identity": identity, "its_id": incident_id, "within_s": within.total_seconds()})
    return int(found.scalar_one())


_EARLIER_CARD = text("""
    SELECT count(*) AS times, (array_agg(COALESCE(NULLIF(i.thread_ts, ''), c.ts) ORDER BY i.id DESC))[1] AS root
    FROM incidents AS i JOIN cards AS c ON c.incident_id = i.id
    WHERE i.identity = :identity AND c.channel = :channel AND c.ts <> '' AND i.merged_into IS NULL
        AND i.storm_id IS NULL AND i.source <> 'question' AND i.opened_at > now() - make_interval(secs => :within_s)
""")


async def earlier_card(db: AsyncConnection, identity: str, channel: str, *, times: int, within: timedelta) -> str:
    """Where the card of the same failure stands that came `times` times or more within that time, else ""."""
    values = {"identity": identity, "channel": channel, "within_s": within.total_seconds()}
    row = (await db.execute(_EARLIER_CARD, values)).one()
    return str(row.root or "") if row.times >= times else ""


_ALIKE = text("""
    SELECT i.id, i.title, d.payload->>'cause' AS cause FROM incidents AS i
    JOIN LATERAL (SELECT payload FROM diagnoses WHERE incident_id = i.id ORDER BY id DESC LIMIT 1) AS d ON true
    WHERE i.resolved_at IS NULL AND i.id < :its_id AND i.kind = :kind AND i.channel = :channel
        AND i.opened_at > now() - make_interval(secs => :within_s)
    ORDER BY i.id DESC LIMIT 20
""")


@dataclass(frozen=True, slots=True)
class Alike:
    """An open incident of the same kind that opened shortly before, with the cause that was named for it."""

    id: int
    title: str
    cause: str


async def alike(
    db: AsyncConnection, incident_id: int, *, kind: str, channel: str, within: timedelta
) -> Sequence[Alike]:
    """Those whose cards stand in the same channel."""
    values = {"its_id": incident_id, "kind": kind, "channel": channel, "within_s": within.total_seconds()}
    return [Alike(row.id, row.title, row.cause or "") for row in await db.execute(_ALIKE, values)]

"""How alerts are taken in: ten thousand of a hundred failures within a minute, and one more beside many open ones."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, cast

import httpx
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import DurableJobs
from handlers import flow
from handlers.people import People
from handlers.services import Services
from knowledge import correlation
from knowledge.fingerprint import identity
from knowledge.model import Alert, AlertStatus, IncidentState
from knowledge.ports import Embedder
from knowledge.store import incidents
from knowledge.store.codec import to_json
from knowledge.store.database import libpq_url
from knowledge.store.executions import StoredExecutions
from knowledge.store.tables import alerts as alert_rows
from knowledge.store.tables import incident_keys
from knowledge.store.tables import incidents as incident_rows
from remediation.policy import Policy
from remediation.ports import Clients

FLOOD_ALERTS, FLOOD_INCIDENTS, FLOOD_S, FLOOD_DEADLINE_S = 10_000, 100, 60.0, 300.0
OPEN_FEW, OPEN_MANY, MEASURED = 1_000, 50_000, 300
MENTION_EVERY_S = 5.0
CHANNEL, ASKER = "C0DEPLOY", "U0ONCALL"

_LEFT = text("""
    SELECT (SELECT count(*) FROM deliveries WHERE state = 'new') AS deliveries,
        (SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status IN ('todo', 'doing')
            AND task_name IN ('gather_evidence', 'diagnose')) AS jobs,
        (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')) AS messages,
        (SELECT count(*) FROM incidents WHERE state IN ('detected', 'diagnosing')) AS undecided
""")
_FOUND = text("""
    SELECT (SELECT count(*) FROM alerts WHERE status = 'firing') AS alerts,
        (SELECT count(*) FROM incidents) AS incidents,
        (SELECT count(*) FROM cards WHERE ts <> '') AS cards,
        (SELECT count(*) FROM storms) AS storms,
        (SELECT count(*) FROM deliveries WHERE state = 'failed') AS failed
""")


# --- a flood ----------------------------------------------------------------------------------------------------------


async def flood(rig: Any, memory_mb: Any, *, scale: float = 1.0) -> dict[str, Any]:
    """`scale` makes it smaller: as many alerts a second, of as many incidents a second, for a shorter time."""
    many, failures = max(50, int(FLOOD_ALERTS * scale)), max(5, int(FLOOD_INCIDENTS * scale))
    per_s = FLOOD_ALERTS / FLOOD_S
    await asyncio.sleep(2)
    idle_mb, most_mb, errors = memory_mb(rig.bot.pid), 0, 0
    answers: list[float] = []
    began = time.monotonic()

    async def post(number: int) -> None:
        nonlocal errors
        try:
            await rig.alert(f"f{number % failures:03d}", number)
        except httpx.HTTPError:
            errors += 1

    async with asyncio.TaskGroup() as group:
        asked = 0
        for number in range(many):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            group.create_task(post(number))
            if (time.monotonic() - began) / MENTION_EVERY_S > asked:
                asked += 1
                group.create_task(_ask(rig, answers))
                most_mb = max(most_mb, memory_mb(rig.bot.pid))
    sent_s = time.monotonic() - began
    final_s = await _until_final(rig, began)
    most_mb = max(most_mb, memory_mb(rig.bot.pid))
    async with rig.engine.connect() as db:
        found = (await db.execute(_FOUND)).one()
    answers.sort()
    return {
        "alerts": many,
        "sent within s": round(sent_s, 1),
        "not accepted": errors,
        "stored": found.alerts,
        "given up": found.failed,
        "failures": failures,
        "incidents": found.incidents,
        "cards": found.cards,
        "storms": found.storms,
        "all final after s": round(final_s, 1),
        "answers 429": await _limited(rig),
        "mentions": len(answers),
        "mention answered p50 s": round(answers[len(answers) // 2], 2) if answers else None,
        "mention answered most s": round(answers[-1], 2) if answers else None,
        "idle PSS MB": idle_mb,
        "most PSS MB": most_mb,
    }


async def _ask(rig: Any, answers: list[float]) -> None:
    """A mention in the flooded channel, until its answer stands in the thread."""
    began = time.monotonic()
    mention = {"user": ASKER, "channel": CHANNEL, "text": "<@U0CODEHEALER> help"}
    posted = (await rig.http.post(f"{rig.sandbox_url}sandbox/api/post", json=mention)).json()
    query = {"user": ASKER, "channel": CHANNEL, "thread_ts": str(posted.get("ts"))}
    while time.monotonic() - began < FLOOD_DEADLINE_S:
        seen = (await rig.http.get(f"{rig.sandbox_url}sandbox/api/messages", params=query)).json()
        if len(seen.get("messages", [])) > 1:
            break
        await asyncio.sleep(0.1)
    answers.append(time.monotonic() - began)


async def _until_final(rig: Any, began: float) -> float:
    """Seconds until no delivery, diagnosis or message waits any more; the deadline where some still do."""
    while time.monotonic() - began < FLOOD_DEADLINE_S:
        async with rig.engine.connect() as db:
            left = (await db.execute(_LEFT)).one()
        if not any(left):
            break
        await asyncio.sleep(0.5)
    return time.monotonic() - began


async def _limited(rig: Any) -> int:
    answer = await rig.http.get(f"{rig.sandbox_url}sandbox/api/requests", params={"system": "slack"})
    return sum(1 for one in answer.json()["requests"] if one.get("status") == 429)


# --- many open alerts -------------------------------------------------------------------------------------------------


async def beside_many(engine: AsyncEngine, *, few: int = OPEN_FEW, many: int = OPEN_MANY) -> dict[str, Any]:
    """Milliseconds of one alert's transaction beside `few` open alerts and beside `many`, half of which join one."""
    services = _services(engine)
    await _fill(engine, 0, few)
    await _times(services, few, "warm", count=50)
    small = await _times(services, few, "few")
    await _fill(engine, few, many)
    large = await _times(services, many, "many")
    return {
        "open alerts": f"{few:,} and {many:,}",
        "p50 ms": f"{_of(small, 50)} and {_of(large, 50)}",
        "p99 ms": f"{_of(small, 99)} and {_of(large, 99)}",
        "p99 ratio": round(_of(large, 99) / _of(small, 99), 2),
        "p50 ratio": round(_of(large, 50) / _of(small, 50), 2),
    }


def _of(taken: list[float], percent: int) -> float:
    return round(1000 * sorted(taken)[min(len(taken) - 1, len(taken) * percent // 100)], 2)


def _alert(number: int, more: str = "") -> Alert:
    """The failure of workload `number`; `more` makes it another alert of the same workload."""
    owner, title = f"service-{number}", f"KubePodCrashLooping{more}"
    space = f"team-{number % 40}"
    return Alert(
        source="alertmanager", status=AlertStatus.FIRING, title=title,
        identity=identity(title, cluster="eu-1", namespace=space, owner=owner), fingerprint=f"{owner}{more}",
        namespace=space, workload=f"{owner}-0", owner=owner, service=owner, cluster="eu-1",
        started_at=datetime.now(UTC), labels={"pod": f"{owner}-0", "node": f"node-{number % 200}"},
    )  # fmt: skip


async def _fill(engine: AsyncEngine, first: int, upto: int) -> None:
    """Open incidents with one alert each, as the flow leaves them."""
    for begin in range(first, upto, 2_000):
        some = [_alert(number) for number in range(begin, min(upto, begin + 2_000))]
        async with engine.begin() as db:
            made = await db.execute(
                insert(incident_rows).returning(incident_rows.c.id, incident_rows.c.workload),
                [
                    {"identity": one.identity, "title": one.title, "state": IncidentState.ESCALATED, "trusted": True,
                     "source": one.source, "workload": one.owner, "channel": "C0ELSEWHERE"}
                    for one in some
                ],
            )  # fmt: skip
            ids = {row.workload: row.id for row in made}
            await db.execute(
                insert(alert_rows),
                [
                    {"incident_id": ids[one.owner], "source": one.source, "identity": one.identity, "status": "firing",
                     "fingerprint": one.fingerprint, "started": str(one.started_at), "payload": to_json(one)}
                    for one in some
                ],
            )  # fmt: skip
            await db.execute(
                insert(incident_keys),
                [
                    {"key": key, "incident_id": ids[one.owner]}
                    for one in some
                    for key in correlation.keys_of(one, datetime.now(UTC)).hold
                ],
            )
    async with engine.connect() as db:
        await (await db.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))


async def _times(services: Services, open_ones: int, name: str, count: int = MEASURED) -> list[float]:
    taken = []
    for number in range(count):
        joins = _alert(number * (open_ones // count) % open_ones, f"-{name}-{number}")
        opens = _alert(10_000_000 + number + 100_000 * len(name), f"-{name}")
        one = joins if number % 2 else opens
        began = time.perf_counter()
        async with services.engine.begin() as db:
            await incidents.lock_correlation(db)
            await flow.on_alert(db, services, one)
        taken.append(time.perf_counter() - began)
    return taken


def _services(engine: AsyncEngine) -> Services:
    """What taking an alert in needs; nothing here talks to Slack or to a model."""
    nobody = cast(Any, None)
    url = engine.url.render_as_string(hide_password=False)
    stages = dict.fromkeys(("gather_evidence", "diagnose", "link_cards", "stand_down", "learn"), _left)
    return Services(
        engine=engine, jobs=DurableJobs(libpq_url(url), stages), slack=nobody,
        people=cast(People, nobody), clients=Clients(), policy=Policy(), answerers=(),
        embedder=cast(Embedder, nobody), executions=StoredExecutions(engine), channel=CHANNEL, bot_user="U0CODEHEALER",
        holder="bench",
    )  # fmt: skip


async def _left(**_: Any) -> None:
    """Stages are only asked for here."""

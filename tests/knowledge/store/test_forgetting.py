"""Forgetting people, channels and incidents, and what is old: nothing of them is left, and the log still verifies."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.choices import Choice, Verdict
from knowledge.model import Evidence
from knowledge.store import analytics, audit, deliveries, forgetting, grouping, incidents, outbox, switches, threads
from knowledge.store.tables import metadata
from tests.rows import S, alert, an_approval, an_incident

GONE, STAYS = "U0GONER", "U0GONERTOO"
CHANNEL = "C0SECRET"


async def words_with(db: AsyncConnection, word: str) -> dict[str, int]:
    """Rows by table in which a word stands, whatever the column."""
    found = {}
    for name in (*metadata.tables, "procrastinate.procrastinate_jobs"):
        query = text(f"SELECT count(*) FROM {name} AS t WHERE t::text ~ :pattern")  # noqa: S608  our own names
        if rows := (await db.execute(query, {"pattern": rf"\m{word}\M"})).scalar_one():
            found[name] = rows
    return found


async def a_past(db: AsyncConnection) -> int:
    """What two people have left behind."""
    incident = await an_incident(db, state=S.WAITING)
    approval = await an_approval(db, incident, needed=2, who=[GONE, STAYS], requester=GONE)
    for user in (GONE, STAYS):
        await db.execute(
            text('INSERT INTO approval_votes (approval_id, "user") VALUES (:approval, :user)'),
            {"approval": approval, "user": user},
        )
        await audit.record(db, "approval.vote", actor=user, incident_id=incident.id)
    await audit.record(db, "incident.by_hand", incident_id=incident.id, why=f"taken by <@{GONE}>")
    await deliveries.add(db, source="slack", delivery_id="d", event="question", body={"user": GONE, "text": "hi"})
    await outbox.put(db, kind="post", key="k", channel="C1", payload={"text": f"thanks <@{GONE}>, <@{STAYS}>"})
    await switches.write(db, switches.PAUSED, True, by=GONE)
    await db.execute(text("UPDATE incidents SET assigned_to = :user"), {"user": GONE})
    await db.execute(
        text("INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args) "
             "VALUES ('default', 'approve', CAST(:args AS jsonb))"),
        {"args": json.dumps({"click": {"user": GONE}})},
    )  # fmt: skip
    while await audit.seal(db):
        pass
    return incident.id


async def test_of_a_person_nothing_is_left_and_all_else_is_as_it_was(db: AsyncConnection) -> None:
    await a_past(db)
    before, others = await words_with(db, GONE), await words_with(db, STAYS)
    would_go = await forgetting.person(db, GONE, dry_run=True)
    assert await words_with(db, GONE) == before
    rows = await forgetting.person(db, GONE)
    assert rows == would_go == {name.replace("procrastinate.procrastinate_", ""): n for name, n in before.items()}
    assert await words_with(db, GONE) == {}
    assert await words_with(db, STAYS) == others
    votes = (await db.execute(text('SELECT "user" FROM approval_votes'))).scalars().all()
    assert len(set(votes)) == 2
    report = await audit.verify(db)
    assert (report.broken_at, report.sealed, report.unsealed) == (None, 3, 0)
    assert await forgetting.person(db, GONE) == {}


async def test_of_an_incident_only_the_chain_knows(db: AsyncConnection) -> None:
    number, other = await a_past(db), await an_incident(db, title="Other")
    await audit.record(db, "incident.opened", incident_id=other.id)
    would_go = await forgetting.incident(db, number, dry_run=True)
    rows = await forgetting.incident(db, number)
    assert rows["audit"] == would_go["audit"] == 3
    assert rows["alerts"] == would_go["alerts"]
    assert await incidents.get(db, number) is None
    assert await incidents.get(db, other.id) is not None
    kept = (await db.execute(text("SELECT incident_id, payload, salt, actor FROM audit ORDER BY number"))).all()
    assert [(row.payload, bytes(row.salt), row.actor) for row in kept if row.incident_id == number] == [
        (None, b"", "erased")
    ] * 3
    assert kept[-1].payload == {}
    assert (await audit.verify(db)).broken_at is None


@pytest.mark.parametrize("emptied", [True, False], ids=["forgotten", "deleted"])
async def test_what_was_merged_into_an_incident_goes_with_it_and_counts_as_nothing(
    db: AsyncConnection, emptied: bool
) -> None:
    taker, taken, of_taken = [await an_incident(db, title=name, state=S.RESOLVED) for name in ("a", "b", "c")]
    other = await an_incident(db, title="other")
    for one in (taker, taken, of_taken, other):
        await incidents.keep_evidence(db, one.id, [Evidence("logs", "pod", "panic")])
        await audit.record(db, "incident.opened", incident_id=one.id, title=one.title)
    for one, into in ((taken.id, taker.id), (of_taken.id, taken.id)):
        await db.execute(text("UPDATE incidents SET merged_into = :into WHERE id = :id"), {"into": into, "id": one})
    would_go = await forgetting.incident(db, taker.id, dry_run=True)
    rows = await (forgetting.incident if emptied else incidents.erase)(db, taker.id)
    assert rows["evidence"] == would_go["evidence"] == 3
    now = datetime.now(UTC)
    (figures,) = await analytics.figures(db, since=now - timedelta(days=1), until=now + timedelta(days=1))
    assert figures.incidents == 1
    for table in ("incidents", "evidence", "alerts"):
        column = "id" if table == "incidents" else "incident_id"
        left = (await db.execute(text(f"SELECT DISTINCT {column} FROM {table}"))).scalars().all()  # noqa: S608
        assert left == [other.id], table
    said = await db.execute(text("SELECT incident_id, payload FROM audit"))
    assert {row.incident_id: row.payload is None for row in said} == {
        taker.id: emptied, taken.id: emptied, of_taken.id: emptied, other.id: False,
    }  # fmt: skip


async def test_of_a_channel_its_threads_questions_and_messages_go(db: AsyncConnection) -> None:
    asked = await an_incident(db, source="question", title="asked", channel=CHANNEL)
    told = await an_incident(db, title="told", channel=CHANNEL)
    await db.execute(text("INSERT INTO slack_channels (channel, audience) VALUES (:c, 'all')"), {"c": CHANNEL})
    await db.execute(
        text("INSERT INTO knowledge_items (id, source, channel, occurred_at, excerpt) "
             "VALUES ('t', 'slack', :c, now(), 'we said')"), {"c": CHANNEL}
    )  # fmt: skip
    await deliveries.add(db, source="slack", delivery_id="d", event="thread", body={"channel": CHANNEL})
    await deliveries.add(db, source="slack", delivery_id="e", event="thread", body={"channel": "C0OTHER"})
    await db.execute(text("UPDATE deliveries SET state = 'done'"))
    await outbox.put(db, kind="ephemeral", key="k", channel=CHANNEL, payload={"text": "only you"})
    await db.execute(text("UPDATE outbox SET state = 'sent'"))
    would_go = await forgetting.channel(db, CHANNEL, dry_run=True)
    rows = await forgetting.channel(db, CHANNEL)
    assert {name: rows[name] for name in ("knowledge_items", "deliveries", "outbox")} == {
        name: would_go[name] for name in ("knowledge_items", "deliveries", "outbox")
    }
    assert await incidents.get(db, asked.id) is None
    assert await incidents.get(db, told.id) is not None, "it is about a service, not about people"
    left = await words_with(db, CHANNEL)
    assert left.keys() <= {"incidents", "alerts", "switches"}
    assert [*await switches.beginning_with(db, "")] == [f"{threads.FORGOTTEN}{CHANNEL}"], "the mark, and nothing else"
    assert await words_with(db, "C0OTHER") == {"deliveries": 1}


async def test_an_export_is_all_that_it_takes_to_check_the_chain(db: AsyncConnection) -> None:
    number = await a_past(db)
    await forgetting.person(db, GONE)
    rows = [row async for row in audit.exported(db, audit.Wanted())]
    chain = b"\0" * 32
    for place, row in enumerate(rows, 1):
        line: dict[str, Any] = json.loads(json.dumps(row))
        assert line["number"] == place
        if not line["erased"]:
            said = [line["what"], line["actor"], line["incident"], line["payload"]]
            body = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
            assert hashlib.sha256(bytes.fromhex(line["salt"]) + body).hexdigest() == line["digest"]
        micros = (datetime.fromisoformat(line["at"]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        when = micros.to_bytes(8, "big", signed=True) if line["timed"] else b""
        chain = hashlib.sha256(chain + place.to_bytes(8, "big") + bytes.fromhex(line["digest"]) + when).digest()
        assert chain.hex() == line["chain"]
    assert [row["erased"] for row in rows] == [True, False, True]
    of_one = [row async for row in audit.exported(db, audit.Wanted(incident_id=number + 1))]
    assert of_one == []


@pytest.mark.parametrize("batch", [1, 1000])
async def test_what_is_old_goes_in_batches_and_nothing_else(
    db: AsyncConnection, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BATCH", batch)
    incident = await an_incident(db)
    for number, (state, days) in enumerate([("done", 31), ("done", 32), ("done", 29), ("new", 99), ("failed", 99)]):
        await db.execute(
            text("INSERT INTO deliveries (source, delivery_id, body, state, received_at) "
                 "VALUES ('generic', :id, '{}', :state, now() - make_interval(days => :days))"),
            {"id": str(number), "state": state, "days": days},
        )  # fmt: skip
    for name in ("alone", "failed before"):
        await incidents.add_alert(db, alert(name), None)
    await grouping.choose(db, ["identity:id:failed before"], Choice(Verdict.BASELINE, "baseline:C1"), by="codehealer")
    await outbox.put_summary(db, "storm:1", "C1")
    await outbox.put(db, kind="post", key="digest", channel="C1", payload={"text": "digest"})
    await db.execute(text("UPDATE outbox SET state = 'sent', ts = '1.1', sent_at = now() - interval '31 days'"))
    await db.execute(text("UPDATE alerts SET received_at = now() - interval '31 days'"))
    await incidents.add_alert(db, alert("new and alone"), None)
    while await forgetting.old_deliveries(db, days=30):
        pass
    left = (await db.execute(text("SELECT delivery_id FROM deliveries ORDER BY 1"))).scalars().all()
    assert left == ["2", "3", "4"]
    told = (await db.execute(text("SELECT identity FROM alerts ORDER BY id"))).scalars().all()
    assert told == ["id:CheckoutDown", "id:failed before", "id:new and alone"], "an incident keeps its alerts"
    said = (await db.execute(text("SELECT key FROM outbox"))).scalars().all()
    assert said == ["storm:1"], "cards of the storm are still put under it"
    assert await forgetting.old_incidents(db, days=30) == []
    await db.execute(text("UPDATE incidents SET state = 'resolved', resolved_at = now() - interval '31 days'"))
    assert await forgetting.old_incidents(db, days=30) == [incident.id]

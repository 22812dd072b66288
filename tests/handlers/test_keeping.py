"""The clock deletes what is old as fast as it comes, and only what is over."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from handlers import keeping
from handlers.services import Keep, Services
from knowledge.store import forgetting
from tests.handlers.office import rows
from tests.rows import S, an_incident


async def test_one_tick_takes_several_batches_and_each_incident_that_is_over(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "BATCH", 2)
    services = replace(services, keep=Keep(deliveries_days=30, incidents_days=30))
    async with services.engine.begin() as db:
        await db.execute(
            text("INSERT INTO deliveries (source, delivery_id, body, state, received_at) SELECT 'generic', n::text,"
                 " '{}', 'done', now() - interval '31 days' FROM generate_series(1, 7) AS n")
        )  # fmt: skip
        over = await an_incident(db, state=S.RESOLVED)
        await an_incident(db, title="other")
        await db.execute(
            text("UPDATE incidents SET resolved_at = now() - interval '31 days' WHERE id = :id"), {"id": over.id}
        )
    await keeping.tend(services)
    assert await rows(services.engine, "SELECT id FROM deliveries") == []
    assert [row.title for row in await rows(services.engine, "SELECT title FROM incidents")] == ["other"]
    (said,) = await rows(services.engine, "SELECT incident_id FROM audit WHERE what = 'incident.deleted'")
    assert said.incident_id == over.id


async def test_what_was_given_up_goes_when_it_is_old_and_not_before(services: Services) -> None:
    services = replace(services, keep=Keep(deliveries_days=30, incidents_days=0))
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        for days in (31, 29):
            await db.execute(
                text(f"""
                    WITH days AS (SELECT now() - make_interval(days => {days}) AS at),
                    delivery AS (INSERT INTO deliveries (source, delivery_id, body, state, received_at)
                        SELECT 'generic', '{days}', '{{}}', 'failed', at FROM days),
                    said AS (INSERT INTO outbox (incident_id, kind, key, channel, payload, priority, state, created_at)
                        SELECT incident, 'post', '{days}:' || COALESCE(incident, 0), 'C0', '{{}}', 1, 'failed', at
                        FROM days, (VALUES (NULL), ({incident.id})) AS of_it (incident)),
                    queued AS (INSERT INTO queued_jobs (stage, lock, arguments, state, due_at, rank_at, died_at)
                        SELECT '{days}', 'x', '{{}}', 'dead', at, at, at FROM days),
                    job AS (INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, status)
                        VALUES ('default', '{days}', 'failed') RETURNING id)
                    INSERT INTO procrastinate.dead_letters (job_id, reason, at) SELECT id, '', at FROM job, days
                """)  # noqa: S608  numbers of this test
            )
    await keeping.tend(services)
    left = await rows(
        services.engine,
        "SELECT delivery_id AS name FROM deliveries UNION ALL SELECT key FROM outbox UNION ALL"
        " SELECT stage FROM queued_jobs UNION ALL SELECT task_name FROM procrastinate.procrastinate_jobs"
        " JOIN procrastinate.dead_letters ON job_id = id",
    )
    of_the_incident = [f"29:{incident.id}", f"31:{incident.id}"]
    assert sorted(row.name for row in left) == sorted(["29", "29:0", "29", "29", *of_the_incident])

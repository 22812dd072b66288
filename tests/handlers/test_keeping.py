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

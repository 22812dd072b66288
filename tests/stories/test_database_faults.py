"""The database goes away in every way: nothing that was acknowledged is lost, and the same process goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio

from bot.postgres import EmbeddedPostgres
from tests.database import run_migrations
from tests.stories.stage import Json, Stage
from tests.stories.test_healing import healthy, writes

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


@dataclass
class Rig:
    """A stage on a database server of its own, and the alerts that were accepted."""

    stage: Stage
    server: EmbeddedPostgres
    accepted: list[str] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)

    async def alert(self, name: str) -> None:
        """One alert, sent again until it is taken, as every sender does."""
        labels = {"alertname": "KubePodCrashLooping", "namespace": name, "deployment": name, "severity": "warning"}
        one = {
            "status": "firing", "labels": labels, "annotations": {}, "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": "0001-01-01T00:00:00Z", "fingerprint": name,
        }  # fmt: skip
        body = {"version": "4", "status": "firing", "alerts": [one], "commonLabels": labels}
        headers = {"Authorization": f"Bearer {self.stage.env['CODEHEALER_WEBHOOK_TOKEN']}"}
        async with asyncio.timeout(120):
            while True:
                try:
                    answer = await self.stage.http.post(
                        f"{self.stage.webhooks}/alertmanager", json=body, headers=headers
                    )
                except httpx.TimeoutException:
                    continue
                if answer.status_code == 202:
                    self.accepted.append(name)
                    return
                self.refused.add(answer.status_code)
                await asyncio.sleep(0.1)

    async def was_refused(self) -> bool:
        return bool(self.refused)

    async def names(self) -> list[str]:
        async with await psycopg.AsyncConnection.connect(self.server.conninfo) as db:
            found = await db.execute("SELECT namespace FROM incidents WHERE namespace LIKE 'gone-%' ORDER BY 1")
            return [row[0] for row in await found.fetchall()]

    @asynccontextmanager
    async def full(self, table: str, event: str) -> AsyncIterator[None]:
        """The answer of a server whose disk is full, to one kind of write."""
        async with await psycopg.AsyncConnection.connect(self.server.conninfo, autocommit=True) as db:
            await db.execute(
                "CREATE OR REPLACE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'; END $$"
            )
            await db.execute(
                f"CREATE TRIGGER full_disk BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION disk_is_full()"
            )
            yield
            await db.execute(f"DROP TRIGGER full_disk ON {table}")

    async def cut(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.server.conninfo, autocommit=True) as db:
            await db.execute(CUT)

    async def is_ready(self) -> None:
        await self.stage.until(lambda: self.stage.answers("/readyz"), "the bot is ready again")


@pytest_asyncio.fixture
async def rig(data_dir: Path, tmp_path: Path) -> AsyncIterator[Rig]:
    async with EmbeddedPostgres(data_dir) as server:
        await asyncio.to_thread(run_migrations, server.url)
        stage = Stage(server.url, tmp_path)
        try:
            await stage.open()
            yield Rig(stage, server)
        finally:
            await stage.close()


@pytest.mark.timeout(300)
async def test_cut_restarted_and_full_databases_lose_nothing_and_end_no_process(rig: Rig) -> None:
    stage = rig.stage
    pid = stage.bot_pid
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    for number in range(3):
        await rig.cut()
        await rig.alert(f"gone-cut-{number}")

    await rig.server.stop()
    alerts = [asyncio.create_task(rig.alert(f"gone-down-{number}")) for number in range(4)]
    await stage.until(rig.was_refused, "an alert is refused")
    assert not await stage.answers("/readyz")
    assert await stage.answers("/healthz")
    # Not acknowledged, so nobody may believe that it was approved.
    assert not (await stage.click(card, "approve"))["acknowledged"]
    await rig.server.start()
    await asyncio.gather(*alerts)
    await rig.is_ready()
    assert rig.refused == {503}

    async with rig.full("deliveries", "INSERT"):
        rig.refused.clear()
        waiting = asyncio.create_task(rig.alert("gone-full"))
        await stage.until(rig.was_refused, "an alert is refused for want of room")
    await waiting
    async with rig.full("incidents", "INSERT"):
        await rig.alert("gone-full-later")
        await stage.until(lambda: _has(stage, "inbox_waits_for_database"), "the inbox waits for room")
    assert rig.refused == {503}

    await stage.click(card, "approve")
    await rig.cut()
    await stage.card("Healed", about="payments-api", deadline_s=120)
    assert await healthy(stage, "payments-api")
    assert len(writes(await stage.requests("k8s"))) == 1

    async def all_there() -> bool:
        return await rig.names() == sorted(rig.accepted)

    await stage.until(all_there, "an incident of each accepted alert")
    assert stage.bot_pid == pid
    assert stage.bot_runs
    keys = [one["args"]["metadata"]["event_payload"]["key"] for one in await _posts(stage)]
    assert len(keys) == len(set(keys))


async def _has(stage: Stage, words: str) -> bool:
    return words in stage.bot_log()


async def _posts(stage: Stage) -> list[Json]:
    return [one for one in await stage.requests("slack") if one["method"] == "chat.postMessage" and one["ok"]]

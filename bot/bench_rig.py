"""What the benches share: a bot with a sandbox and a database of its own, and how its figures are read."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.migrating import migrate
from bot.postgres import EmbeddedPostgres
from bot.program import run_sandbox
from knowledge.errors import SettingsError
from knowledge.store.database import open_engine

Figures = dict[str, Any]

ASKER, CHANNEL, OTHER_CHANNEL = "U0ONCALL", "C0DEPLOY", "C0ALERTS"


# What Kubernetes makes the random ends of names of.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def firing(incident: str, number: int) -> dict[str, Any]:
    """One firing alert of an incident, as Alertmanager posts it: of another pod of its deployment with each number."""
    end = "".join(_SAFE[number // len(_SAFE) ** place % len(_SAFE)] for place in range(5))
    labels = {
        "alertname": "KubePodCrashLooping", "namespace": f"bench-{incident}", "deployment": f"service-{incident}",
        "pod": f"service-{incident}-5d9c7b6f84-{end}", "severity": "warning",
    }  # fmt: skip
    summary = f"Container of service-{incident} keeps restarting: exit code 1, connection refused to cache-{incident}"
    one = {
        "status": "firing", "labels": labels, "annotations": {"description": summary},
        "startsAt": datetime.now(UTC).isoformat(), "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{incident}-{number}",
    }  # fmt: skip
    return {"version": "4", "receiver": "bench", "status": "firing", "alerts": [one], "commonLabels": labels}


@dataclass
class Rig:
    """A bot under measurement and what it is measured with."""

    http: httpx.AsyncClient
    engine: AsyncEngine
    sandbox_url: str
    env: Mapping[str, str]
    bot: asyncio.subprocess.Process
    sent_at: dict[str, datetime] = field(default_factory=dict)

    async def alert(self, incident: str, number: int) -> None:
        """One firing alert of an incident, posted as Alertmanager does."""
        self.sent_at.setdefault(f"service-{incident}", datetime.now(UTC))
        port = self.env["CODEHEALER_HTTP_PORT"]
        answer = await self.http.post(
            f"http://127.0.0.1:{port}/webhooks/alertmanager",
            json=firing(incident, number),
            headers={"Authorization": f"Bearer {self.env['CODEHEALER_WEBHOOK_TOKEN']}"},
        )
        answer.raise_for_status()

    async def command(self) -> None:
        body = {"user": ASKER, "channel": CHANNEL, "command": "/codehealer", "text": "help"}
        await self.http.post(f"{self.sandbox_url}sandbox/api/command", json=body)

    async def mention(self) -> None:
        """In another channel than the cards', whose one message a second they share otherwise."""
        mention = {"user": ASKER, "channel": OTHER_CHANNEL, "text": "<@U0CODEHEALER> help"}
        await self.http.post(f"{self.sandbox_url}sandbox/api/post", json=mention)

    async def acknowledged_ms(self) -> dict[str, list[float]]:
        """By type of envelope: from the frame that Slack sent to the acknowledgement that came back."""
        answer = await self.http.get(f"{self.sandbox_url}sandbox/api/acknowledgements")
        taken: dict[str, list[float]] = answer.json()
        unanswered = (await self.http.get(f"{self.sandbox_url}sandbox/api/state")).json()["deliveries"]
        # One that Slack gave up on counts with the three seconds that it waited.
        return {**taken, "unacknowledged": [3000.0] * unanswered.get("unacknowledged", 0)}

    async def seconds_to(self, table: str, column: str, wanted: Sequence[str], deadline_s: float) -> list[float]:
        """From the first alert of each wanted workload to its row; the deadline for those that have none by then."""
        query = text(
            f"SELECT i.workload, min(t.{column}) AS at FROM {table} t JOIN incidents i ON i.id = t.incident_id "  # noqa: S608  our own names
            f"WHERE i.workload = ANY(:wanted) AND t.{column} IS NOT NULL GROUP BY 1"
        )
        until = time.monotonic() + deadline_s
        while True:
            async with self.engine.connect() as db:
                rows = {row.workload: row.at for row in await db.execute(query, {"wanted": list(wanted)})}
            if len(rows) == len(wanted) or time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        return [(rows[one] - self.sent_at[one]).total_seconds() if one in rows else deadline_s for one in wanted]


@asynccontextmanager
async def running(settings: Mapping[str, str] | None = None) -> AsyncIterator[Rig]:
    """A bot that is up, with further settings by the names of their variables."""
    async with (
        database(migrated=False) as url,
        run_sandbox(0) as sandbox,
        httpx.AsyncClient(timeout=10) as http,
    ):
        bot = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bot", "run", "--json", env={**environment(sandbox["env"], url), **(settings or {})},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        engine = open_engine(url)
        try:
            if not (await bot.stdout.readline() if bot.stdout else b""):
                raise SettingsError("The bot did not start; `codehealer run --check` says why.")
            yield Rig(http, engine, sandbox["url"], sandbox["env"], bot)
        finally:
            await engine.dispose()
            if bot.returncode is None:
                bot.terminate()
            await bot.wait()


def environment(sandbox: Mapping[str, str], url: str) -> dict[str, str]:
    """Of a bot that speaks to this sandbox and to this database."""
    return {**os.environ, **sandbox, "DATABASE_URL": url, "CODEHEALER_LOG_LEVEL": "ERROR"}


@asynccontextmanager
async def database(*, migrated: bool = True) -> AsyncIterator[str]:
    """The address of a database on an embedded server of its own, with fsync as it is delivered."""
    with folder() as directory:
        async with EmbeddedPostgres(directory / "data") as server:
            if migrated:
                await asyncio.to_thread(migrate, server.url)
            yield server.url


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder that the database's own user can reach: root's database runs as another, kept out of root's."""
    place = "/var/tmp" if os.geteuid() == 0 else None  # noqa: S108  made with a random name
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=place) as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def p(values: Sequence[float], percent: int) -> float:
    """The percentile by nearest rank."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 4) if ordered else 0.0


def pss_mb(pid: int, part: str = "Pss") -> int:
    """Proportional set size of one process, its children apart; 0 where the kernel does not tell.

    Of files, such as libraries, it has a share with whoever else runs them, so it moves with what others do; the part
    "Pss_Anon" is the process's own.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{part}:")), 0)


def children(pid: int) -> list[int]:
    """The processes that one has started; none where the kernel does not tell."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

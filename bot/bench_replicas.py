"""Incidents a second with one, two and four replicas on one database, the outside world being slow or not."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.program import run_sandbox
from bot.settings import Settings
from knowledge.errors import SettingsError
from knowledge.store.database import autocommitting, open_engine

Figures = dict[str, Any]

REPLICAS = (1, 2, 4)
INCIDENTS = 48
# Handled before the measured ones, sixteen by each of four replicas: what a process does once, such as building its
# statements and starting its embedder, is no incident's work. As many with fewer, so that as many are open.
FIRST = 64
SLOW_MS = 200
# Jobs at a time in each replica. What bounds one replica is then that it waits for the slow outside, as where each has
# a machine of its own, and not the processor that all of them share here.
JOBS = 2
DEADLINE_S = 180.0
SYSTEMS = ("slack", "k8s", "github", "argocd", "prometheus", "alertmanager", "status")
AT_WORK = text("""
    SELECT count(*) FROM procrastinate.procrastinate_jobs
    WHERE status = 'doing' OR status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
""")
DECIDED = text("SELECT count(DISTINCT incident_id) FROM decisions")
FAULTS = text("""
    SELECT (SELECT count(*) FROM incidents) AS incidents,
        (SELECT count(*) FROM (SELECT incident_id FROM diagnoses GROUP BY 1 HAVING count(*) > 1) AS again) AS diagnosed,
        (SELECT count(*) FROM (SELECT incident_id FROM decisions GROUP BY 1 HAVING count(*) > 1) AS again) AS decided,
        (SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'failed') AS failed,
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7305004 AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS leaders
""")


async def measured(url: str, replicas: int, *, slow_ms: int) -> Figures:
    """One run on an empty, migrated database: {"per_s", "cpu_s", "first_cpu_s", "twice", "leaders"}.

    `cpu_s` is of an incident, in all bots and their embedders; `first_cpu_s` of one of the first after their start.
    """
    async with run_sandbox(0) as sandbox, httpx.AsyncClient(timeout=60) as http:
        env = {**os.environ, **sandbox["env"], "DATABASE_URL": url, "CODEHEALER_LOG_LEVEL": "ERROR"}
        if slow_ms:
            env["CODEHEALER_JOBS"] = str(JOBS)
        env["CODEHEALER_POLICY"] = str(_policy(Path(env["CODEHEALER_POLICY"])))
        control = f"{sandbox['url']}sandbox/api"
        async with _bots(env, replicas) as (pids, ports):
            engine = open_engine(url)

            async def handle(numbers: range) -> tuple[float, float]:
                """Seconds, and CPU seconds, from the posts of so many alerts to the last decision."""
                before, began = cpu_s(pids), time.monotonic()
                await asyncio.gather(*(_alert(http, env, ports[n % replicas], n) for n in numbers))
                await _until(engine, DECIDED, lambda found: found >= numbers.stop)
                return time.monotonic() - began, cpu_s(pids) - before

            try:
                _, first_used = await handle(range(FIRST))
                await _until(engine, AT_WORK, lambda found: found == 0)
                if slow_ms:
                    await _check(http.post(f"{control}/faults", json={one: {"slow_ms": slow_ms} for one in SYSTEMS}))
                taken, used = await handle(range(FIRST, FIRST + INCIDENTS))
                async with engine.connect() as db:
                    found = (await db.execute(FAULTS)).one()
            finally:
                await engine.dispose()
            posts = (await _check(http.get(f"{control}/requests", params={"system": "slack"})))["requests"]
    keys = [_key(one) for one in posts if one["method"] == "chat.postMessage" and one["ok"]]
    twice = len(keys) - len(set(keys)) + found.diagnosed + found.decided + found.failed
    return {
        "per_s": INCIDENTS / taken,
        "cpu_s": used / INCIDENTS,
        "first_cpu_s": first_used / FIRST,
        "twice": twice + found.incidents - FIRST - INCIDENTS,
        "leaders": found.leaders,
    }


async def _check(asked: Any) -> Any:
    answer = await asked
    answer.raise_for_status()
    return answer.json()


def _key(post: Mapping[str, Any]) -> str:
    metadata = post["args"].get("metadata")
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata or {}
    return str((metadata.get("event_payload") or {}).get("key"))


def _policy(shipped: Path) -> Path:
    """The sandbox's policy with a service for each incident; the cluster is asked for each, and has none of them."""
    policy = yaml.safe_load(shipped.read_text())
    policy["services"] = [_service(number) for number in range(FIRST + INCIDENTS)]
    path = shipped.with_name("bench-policy.yaml")
    path.write_text(yaml.safe_dump(policy))
    return path


def _service(number: int) -> dict[str, Any]:
    name = f"bench-{number}"
    return {
        "name": name, "environment": "staging", "cluster": "sandbox", "namespace": "shop",
        "workload": {"kind": "Deployment", "name": name}, "owner": "@team-bench",
    }  # fmt: skip


async def _alert(http: httpx.AsyncClient, env: Mapping[str, str], port: int, number: int) -> None:
    name = f"bench-{number}"
    labels = {"alertname": "HighErrorRate", "service": name, "job": name, "severity": "warning"}
    one = {
        "status": "firing", "labels": labels, "annotations": {"description": f"{name} fails: exit code 1"},
        "startsAt": datetime.now(UTC).isoformat(), "endsAt": "0001-01-01T00:00:00Z", "fingerprint": name,
    }  # fmt: skip
    body = {"version": "4", "status": "firing", "alerts": [one], "commonLabels": labels}
    answer = await http.post(
        f"http://127.0.0.1:{port}/webhooks/alertmanager",
        json=body,
        headers={"Authorization": f"Bearer {env['CODEHEALER_WEBHOOK_TOKEN']}"},
    )
    answer.raise_for_status()


async def _until(engine: AsyncEngine, counted: TextClause, enough: Callable[[int], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S), autocommitting(engine).connect() as db:
        while not enough((await db.execute(counted)).scalar_one()):  # noqa: ASYNC110  a table has no event
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _bots(env: Mapping[str, str], number: int) -> AsyncIterator[tuple[list[int], list[int]]]:
    """(process ids, ports) of so many bots that are up."""
    ports, started = [_free_port() for _ in range(number)], []
    try:
        for port in ports:
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", "--json", env={**env, "CODEHEALER_HTTP_PORT": str(port)},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            started.append(bot)
            if not (await bot.stdout.readline() if bot.stdout else b""):
                raise SettingsError("A bot did not start; `codehealer run --check` says why.")
        # They read weights and patterns at the start; that is no incident's work.
        await asyncio.sleep(3)
        yield [bot.pid for bot in started], ports
    finally:
        for bot in started:
            if bot.returncode is None:
                bot.terminate()
        await asyncio.gather(*(bot.wait() for bot in started))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pids: Sequence[int]) -> float:
    """User and system time of processes and their children; 0 where the kernel does not tell."""
    total = 0
    for pid in pids:
        for one in (pid, *_children(pid)):
            try:
                fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def summary(slow: Mapping[int, Figures], fast: Mapping[int, Figures]) -> Figures:
    """The figures beside each other; growth against one replica."""
    one = slow[1]["per_s"]
    figures: Figures = {
        "incidents": INCIDENTS,
        "outside calls slowed by ms": SLOW_MS,
        "jobs at a time in each replica, slowed and unslowed": [JOBS, Settings.model_fields["jobs"].default],
    }
    for number, found in slow.items():
        figures[f"incidents/s with {number}"] = round(found["per_s"], 2)
        figures[f"growth with {number}"] = round(found["per_s"] / one, 2)
        figures[f"CPU s an incident with {number}"] = round(found["cpu_s"], 3)
    for number, found in fast.items():
        figures[f"CPU s an incident with {number}, unslowed"] = round(found["cpu_s"], 3)
        figures[f"CPU s of one of the first {FIRST} with {number}, unslowed"] = round(found["first_cpu_s"], 3)
    runs = [*slow.values(), *fast.values()]
    figures["cards, jobs or decisions twice"] = sum(found["twice"] for found in runs)
    figures["leaders at a time, at most"] = max(found["leaders"] for found in runs)
    return figures

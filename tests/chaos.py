"""`make chaos KILLS=200 OF=approvals`: one bot is killed at random moments while approved fixes run; what was done is
counted. tests/chaos_path.py is the edition for the whole path, which `make chaos` runs.

After each round: runs per approval are 0 or 1, no execution is left half done, and each execution's stored outcome is
exactly what the target shows, which is told from the sandbox's own record of the writes that it accepted.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import make_url

from bot.postgres import EmbeddedPostgres, libpq_conninfo
from tests.stories.stage import NeverHappened, Stage, text_of

# A fix of each kind, one that is undone, and a rerun; each of a service of its own.
SCENARIOS = {
    "stuck-pod-payments": "payments-api",
    "overload-search": "search",
    "release-crash-orders": "orders",
    "overload-connections-catalog": "catalog",
    "ci-network-checkout": "checkout",
}
KILLS_A_ROUND = 10
LONGEST_WAIT_S = 4.0
ROUND_S = 300.0
ENDED = ("healed", "not_verified", "undone", "escalated", "resolved", "dismissed")
APPROVALS = """
    SELECT a.id, a.state, i.service, i.state AS incident, count(e.id) AS runs, min(e.state) AS execution,
        (min(e.outcome::text)::jsonb) AS outcome
    FROM approvals a JOIN incidents i ON i.id = a.incident_id LEFT JOIN executions e ON e.approval_id = a.id
    GROUP BY a.id, i.id ORDER BY a.id
"""
OPEN = "SELECT count(*) AS open FROM incidents WHERE NOT state = ANY(%s)"


@dataclass
class Tally:
    kills: int = 0
    approvals: int = 0
    runs: Counter[int] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Round:
    """One sandbox, one bot that is killed again and again, and the writes that the world accepted."""

    stage: Stage
    rng: random.Random
    kills: int
    server: EmbeddedPostgres
    writes: list[str] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=lambda: {"k8s": 0, "github": 0})

    async def open(self) -> None:
        await self.stage.open()

    async def close(self) -> None:
        await self.stage.close()

    async def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        conninfo = libpq_conninfo(self.stage.database_url)
        async with await psycopg.AsyncConnection.connect(conninfo, row_factory=dict_row) as db:
            return await (await db.execute(query, values)).fetchall()

    async def collect(self) -> None:
        """The world keeps a bounded record, so it is read all the while."""
        for system, since in self.seen.items():
            found = await self.stage.get("requests", system=system, since=since)
            self.seen[system] = found["next"]
            self.writes += [
                one["path"]
                for one in found["requests"]
                if one["method"] in {"PATCH", "DELETE", "POST"}
                and one["status"] < 300
                and "dryRun" not in str(one["query"])
                and "selfsubject" not in one["path"]
            ]

    async def kill(self) -> None:
        for _ in range(self.kills):
            await asyncio.sleep(self.rng.uniform(0.1, LONGEST_WAIT_S))
            await self.stage.kill_bot()
            await self.stage.start_bot()

    async def asking(self) -> list[dict[str, Any]]:
        """The messages that may ask for a decision."""
        return await self.stage.cards()

    async def approve_all(self) -> None:
        """Click on every card that asks, as often as it takes: a click that falls into a kill is lost."""
        while True:
            for card in await self.asking():
                if '"approve"' in text_of(card):
                    try:
                        await self.stage.click(card, "approve")
                    except AssertionError:
                        continue  # the bot is away, or the card has changed
            await self.collect()
            await asyncio.sleep(0.5)

    async def play(self) -> None:
        for scenario in SCENARIOS:
            await self.stage.break_(scenario)
        # A webhook that nobody takes is not sent again for ever; what is killed here is what comes after it.
        await self.stage.until(self._all_opened, "an incident of each scenario")
        clicking = asyncio.create_task(self.approve_all())
        try:
            await self.kill()
            with suppress(NeverHappened):  # which is counted then
                await self.stage.until(self._all_ended, "every incident has ended", deadline_s=ROUND_S)
        finally:
            clicking.cancel()
            await asyncio.gather(clicking, return_exceptions=True)
        await self.collect()

    async def _all_opened(self) -> bool:
        (found,) = await self.ask("SELECT count(*) AS opened FROM incidents")
        return int(found["opened"]) >= len(SCENARIOS)

    async def _all_ended(self) -> bool:
        (found,) = await self.ask(OPEN, list(ENDED))
        return not found["open"]

    async def count(self, tally: Tally) -> None:
        tally.kills += self.kills
        for row in await self.ask(APPROVALS):
            tally.approvals += 1
            tally.runs[row["runs"]] += 1
            tally.ends[f"{row['incident']}/{row['execution'] or 'not run'}"] += 1
            tally.wrong += self.judged(row)
        still_open = (await self.ask(OPEN, list(ENDED)))[0]["open"]
        if still_open:
            tally.wrong.append(f"{still_open} incidents did not end within {ROUND_S:.0f} s")

    def judged(self, row: dict[str, Any]) -> list[str]:
        """What is wrong with one approval: its runs, its end, or an outcome that the target contradicts."""
        about = f"approval {row['id']} of {row['service']}"
        if row["runs"] > 1:
            return [f"{about} ran {row['runs']} times"]
        sent = sum(row["service"] in path for path in self.writes)
        outcome = row["outcome"] or {}
        if row["runs"] == 0:
            return [f"{about} was not run, and {sent} writes are there"] if sent else []
        if row["execution"] in {"queued", "started"}:
            return [f"{about} was left {row['execution']}"]
        wanted = 2 if row["execution"] == "undone" else int(bool(outcome.get("changed")))
        return [] if sent == wanted else [f"{about}: {row['execution']}, {wanted} writes expected, {sent} accepted"]


@contextmanager
def _folder() -> Iterator[Path]:
    """Root's database runs as another user, who can't enter root's own folders."""
    place = "/var/tmp" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="codehealer-chaos-", dir=place) as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder


async def main(folder: Path, kills: int, seed: int, kind: type[Round] = Round, a_round: int = KILLS_A_ROUND) -> int:
    tally, began = Tally(), time.monotonic()
    rng = random.Random(seed)
    async with EmbeddedPostgres(folder / "data") as server:
        while tally.kills < kills:
            name = f"chaos_{tally.kills}"
            async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as db:
                await db.execute(f"CREATE DATABASE {name}")
            url = make_url(server.url).set(database=name).render_as_string(hide_password=False)
            before = len(tally.wrong)
            one = kind(Stage(url, _new(folder / name)), rng, min(a_round, kills - tally.kills), server)
            try:
                await one.open()
                await one.play()
                await one.count(tally)
            finally:
                await one.close()
            sys.stderr.write(f"{tally.kills} kills, {tally.approvals} approvals, {len(tally.wrong)} wrong\n")
            sys.stderr.writelines(f"  {what}\n" for what in tally.wrong[before:])
    figures = {
        "kills": tally.kills,
        "approvals": tally.approvals,
        "runs per approval": dict(tally.runs),
        "ends": dict(tally.ends),
        **tally.counts,
        "wrong": tally.wrong,
        "seed": seed,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return 1 if tally.wrong else 0


def begin(kind: type[Round], a_round: int, what: str | None) -> None:
    """Read the command line, and end with status 1 when anything was wrong."""
    reader = argparse.ArgumentParser(description=what)
    reader.add_argument("--kills", type=int, default=200)
    reader.add_argument("--seed", type=int, default=int(time.time()))
    given = reader.parse_args()
    with _folder() as made:
        sys.exit(asyncio.run(main(made, given.kills, given.seed, kind, a_round)))


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    begin(Round, KILLS_A_ROUND, __doc__)

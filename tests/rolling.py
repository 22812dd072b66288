"""`make rolling FROM=REF ROUNDS=3`: two replicas are replaced in turn while alerts, mentions and fixes flow.

They begin with the code of the git revision FROM (HEAD where none is given) and end with this folder's, and the tables
become this one's in between. After it: what was acknowledged is in the database, every incident has ended, and nothing
was lost, said twice or done twice.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests import chaos_path
from tests.chaos import SCENARIOS, begin
from tests.chaos_path import PathRound, _ended
from tests.stories.stage import NeverHappened

ROOT = Path(__file__).parents[1]
REPLICAS = 2
# How long a new replica works beside those that are left, before the next one is replaced.
TOGETHER_S = 8.0
STOP_S, START_S = 60.0, 240.0


@dataclass
class Upgrade(PathRound):
    """One rollout: `kills` counts the replicas that were replaced. `before` is the folder of the older code."""

    before: Path = field(default_factory=lambda: Path(os.environ["CODEHEALER_ROLL_FROM"]))
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    code: Path = ROOT

    async def open(self) -> None:
        self.code = self.before
        await super().open()

    async def start(self, number: int) -> None:
        env = self.stage.environment | {
            "CODEHEALER_HTTP_PORT": str(self.ports[number]), "PYTHONPATH": str(self.code),
        }  # fmt: skip
        with (self.stage.logs / "bot.log").open("ab") as log:
            self.processes[number] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", cwd=self.code, env=env, stdout=log, stderr=log
            )
        port = self.ports[number]

        async def ready() -> bool:
            if self.processes[number].returncode is not None:
                raise NeverHappened(f"a replica ended by itself:\n{self.stage.bot_log()[-3000:]}")
            with suppress(httpx.TransportError):
                return (await self.stage.http.get(f"http://127.0.0.1:{port}/readyz")).status_code == httpx.codes.OK
            return False

        await self.stage.until(ready, "the replica is ready", deadline_s=START_S)

    async def play(self) -> None:
        for scenario in SCENARIOS:
            await self.stage.break_(scenario)
        load = [asyncio.create_task(work) for work in (*(self.alerts() for _ in range(2)), self.mentions())]
        clicking = asyncio.create_task(self.approve_all())
        try:
            await asyncio.sleep(TOGETHER_S)
            self.code = ROOT
            for number in range(REPLICAS):
                process = self.processes[number]
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(STOP_S):
                    self.troubles[f"ended with {await process.wait()}"] += 1
                await self.start(number)
                self.killed += 1
                await asyncio.sleep(TOGETHER_S)
            await _ended(*load)
            with suppress(NeverHappened):  # which is counted then
                await self.stage.until(self._all_done, "everything has ended", deadline_s=chaos_path.ROUND_S)
        finally:
            await _ended(*load, clicking)
        if ended := [number for number, one in self.processes.items() if one.returncode is not None]:
            raise NeverHappened(f"replicas {ended} ended by themselves:\n{self.stage.bot_log()[-3000:]}")
        await self.collect()

    async def close(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self.stage.close()


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """That revision's files, in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="codehealer-roll-") as folder:
        archive = subprocess.run(
            ["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=60
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True, timeout=60)
        yield Path(folder)


if __name__ == "__main__":
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--from", dest="revision", default="HEAD")
    reader.add_argument("--rounds", type=int, default=1)
    given = reader.parse_args()
    chaos_path.BOTS = REPLICAS
    with checked_out(given.revision) as older:
        os.environ["CODEHEALER_ROLL_FROM"] = str(older)
        sys.argv = [sys.argv[0], "--kills", str(given.rounds * REPLICAS), "--seed", str(int(time.time()))]
        begin(Upgrade, REPLICAS, __doc__)

"""How soon a bot is ready: from its first moment, with a PostgreSQL that answers, to /readyz saying so."""

import asyncio
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from bot.bench_rig import Figures, database, environment, folder
from bot.program import run_sandbox
from knowledge.errors import SettingsError

STARTS = 5
DEADLINE_S = 60.0


async def measured() -> Figures:
    """The first start migrates the database; the others find it migrated."""
    async with database(migrated=False) as url:
        ready = [await _ready_s(url) for _ in range(1 + STARTS)]
    with folder() as directory:
        whole = [await _everything_s(directory) for _ in range(3)]
    return {
        "PostgreSQL answers → /readyz, median s": round(statistics.median(ready[1:]), 2),
        "PostgreSQL answers → /readyz, each s": [round(one, 2) for one in ready[1:]],
        "the same on an empty database s": round(ready[0], 2),
        "with sandbox and its own PostgreSQL s": [round(one, 2) for one in whole[1:]],
        "the same on a first start s": round(whole[0], 2),
    }


async def _ready_s(url: str) -> float:
    """With a sandbox that is there already, as Slack is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with run_sandbox(port) as sandbox, httpx.AsyncClient(timeout=2) as http:
        env = {**environment(sandbox["env"], url), "CODEHEALER_HTTP_PORT": str(port)}
        began = time.perf_counter()
        bot = await _started(env)
        try:
            while time.perf_counter() - began < DEADLINE_S:
                try:
                    if (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == httpx.codes.OK:
                        return time.perf_counter() - began
                except httpx.TransportError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.02)
            raise SettingsError(f"The bot was not ready after {DEADLINE_S:.0f} s; `codehealer run --check` says why.")
        finally:
            await _stopped(bot)


async def _everything_s(directory: Path) -> float:
    """As the program itself says: from its first import until it is connected to the sandbox."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SLACK_", "DATABASE_URL"))}
    env = {**ours, "CODEHEALER_DATA_DIR": str(directory), "CODEHEALER_HTTP_PORT": "0", "CODEHEALER_LOG_LEVEL": "ERROR"}
    bot = await _started(env)
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = await bot.stdout.readline() if bot.stdout else b""
        if not line:
            raise SettingsError("The bot did not start; `codehealer run --check` says why.")
        return float(json.loads(line)["ready_s"])
    finally:
        await _stopped(bot)


async def _started(env: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot", "run", "--json", env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def _stopped(bot: asyncio.subprocess.Process) -> None:
    if bot.returncode is None:
        bot.terminate()
    await bot.wait()

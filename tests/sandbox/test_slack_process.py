"""The sandbox as its own process: its first line, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).resolve().parents[2]


def mode_of(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


async def started(*arguments: str) -> tuple[Process, dict[str, Any]]:
    program = (sys.executable, "-m", "bot.sandbox", *arguments)
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 30)
    return process, json.loads(line)


@pytest.mark.parametrize("way", ["signal", "parent"])
async def test_it_greets_serves_and_ends(way: str) -> None:
    process, greeting = await started(*(["--with-parent"] if way == "parent" else []))
    env = greeting["env"]
    kubeconfig = Path(env["KUBECONFIG"])
    try:
        headers = {"Authorization": f"Bearer {env['SLACK_BOT_TOKEN']}"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(greeting["slack_base_url"] + "auth.test", headers=headers) as response,
        ):
            assert (await response.json())["ok"]
        assert mode_of(kubeconfig) == 0o600
        assert Path(env["CODEHEALER_POLICY"]).name == "policy.yaml"
        assert env["CODEHEALER_CHANNEL"] == "C0DEPLOY"
    finally:
        if way == "signal":
            process.send_signal(signal.SIGTERM)
        elif process.stdin is not None:
            process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0

    assert mode_of(kubeconfig) is None


async def test_it_listens_on_this_machine_only() -> None:
    program = (sys.executable, "-m", "bot.sandbox", "--host", "0.0.0.0")  # noqa: S104 - that is what must be refused
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, stdout=PIPE, stderr=PIPE)
    _, words = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 1
    assert b"this machine only" in words

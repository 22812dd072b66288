"""How soon people are answered: mentions and commands one after the other, and alerts while the hosted model hangs."""

import asyncio
import time
from typing import Any

from bot.bench_rig import ASKER, OTHER_CHANNEL, Figures, Rig, p, running

MENTIONS, COMMANDS, INCIDENTS = 8, 100, 6
DEADLINE_S, LOOKS_EVERY_S = 30.0, 0.005
QUESTION = "<@U0CODEHEALER> is anything broken?"


async def measured() -> Figures:
    """The first is told apart: it loads what the others find loaded."""
    async with running() as rig:
        await asyncio.sleep(2)
        seen, answered = zip(*[await _asked(rig) for _ in range(MENTIONS)], strict=True)
        for _ in range(COMMANDS):
            await rig.command()
        commands = (await rig.acknowledged_ms())["slash_commands"]
    hanging = await _while_models_hang()
    return {
        "mentions": MENTIONS,
        "reaction, the first s": round(seen[0], 3),
        "reaction, others at most s": round(max(seen[1:]), 3),
        "reaction, p50 s": p(seen, 50),
        "answer, the first s": round(answered[0], 3),
        "answer, others at most s": round(max(answered[1:]), 3),
        "answer, p50 s": p(answered, 50),
        "slash command acknowledged p99 ms": p(commands, 99),
        "built-in answer while models hang, the first s": round(hanging[0], 2),
        "built-in answer while models hang, others at most s": round(max(hanging[1:]), 2),
    }


async def _asked(rig: Rig) -> tuple[float, float]:
    """Seconds to the reaction and to the answer in the thread; the deadline where there is none by then."""
    began = time.perf_counter()
    mention = {"user": ASKER, "channel": OTHER_CHANNEL, "text": QUESTION}
    posted = (await rig.http.post(f"{rig.sandbox_url}sandbox/api/post", json=mention)).json()
    query = {"user": ASKER, "channel": OTHER_CHANNEL, "thread_ts": str(posted["ts"])}
    seen = None
    while (passed := time.perf_counter() - began) < DEADLINE_S:
        first, *others = await _thread(rig, query)
        if seen is None and first.get("reactions"):
            seen = passed
        if others:
            return seen or passed, passed
        await asyncio.sleep(LOOKS_EVERY_S)
    return seen or DEADLINE_S, DEADLINE_S


async def _thread(rig: Rig, query: dict[str, str]) -> list[dict[str, Any]]:
    found = (await rig.http.get(f"{rig.sandbox_url}sandbox/api/messages", params=query)).json()
    messages: list[dict[str, Any]] = found["messages"]
    return messages


async def _while_models_hang() -> list[float]:
    """Seconds from each alert to its stored answer, one after the other."""

    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        async with running({"NVIDIA_API_KEY": "bench", "NVIDIA_BASE_URL": address}) as rig:
            await asyncio.sleep(2)
            taken = []
            for number in range(INCIDENTS):
                await rig.alert(f"hang-{number}", number)
                taken += await rig.seconds_to("diagnoses", "created_at", [f"service-hang-{number}"], DEADLINE_S)
            return taken
    finally:
        server.close()

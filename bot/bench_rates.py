"""From one alert a second to five hundred: what each costs, how soon it is accepted, and how soon a card is there."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sqlalchemy import text

from bot import bench_accept
from bot.bench_replicas import cpu_s
from bot.bench_rig import Figures, Rig, firing, p, running

PER_S, STEP_S = (1, 10, 50, 100, 200, 500), 20
# In one channel: Slack takes a message a second there.
OPENS_EVERY_S = 2
# What was sent is handled this soon after the last of it, or more comes in than is handled.
BEHIND_S, DEADLINE_S = 5.0, 120.0
ACCEPT_BAR_S, CARD_BAR_S = 0.05, 1.0
_WAITS = text("SELECT count(*) FROM deliveries WHERE state = 'new'")


async def measured() -> Figures:
    """One bot, one rate after the other."""
    steps = {}
    async with running() as rig:
        await asyncio.sleep(3)  # it reads weights and patterns at the start; that is no alert's work
        for per_s in PER_S:
            steps[per_s] = await _step(rig, per_s)
            if steps[per_s]["handled after the last s"] >= DEADLINE_S:
                break  # the next step would measure what this one left behind
    figures: Figures = {}
    for per_s, found in steps.items():
        figures |= {f"{name} at {per_s}/s": value for name, value in found.items()}
    # What a card and its diagnosis cost is in each step alike; the rest is what alerts cost.
    figures["CPU ms of one alert more"] = one_more(
        {per_s * STEP_S: found["CPU ms an alert"] * per_s * STEP_S for per_s, found in steps.items()}
    )
    broken = [per_s for per_s in steps if breaks(steps[per_s])]
    figures["breaks at alerts/s"] = broken[0] if broken else f"none up to {PER_S[-1]}"
    return figures


def one_more(spent: Mapping[int, float]) -> float | None:
    """By number of alerts what they cost together: the cost of one more, from the fewest to the most."""
    few, many = min(spent), max(spent)
    return round((spent[many] - spent[few]) / (many - few), 2) if many > few else None


def breaks(found: Mapping[str, float]) -> bool:
    return (
        found["accepted p99 ms"] > 1000 * ACCEPT_BAR_S
        or found["first card p95 s"] > CARD_BAR_S
        or found["handled after the last s"] > BEHIND_S
    )


async def _step(rig: Rig, per_s: int) -> dict[str, float]:
    count, incidents = per_s * STEP_S, STEP_S // OPENS_EVERY_S
    names = [f"at{per_s}-{number}" for number in range(incidents)]
    # An incident opens every two seconds; the others repeat those that are open.
    opens = [number * OPENS_EVERY_S * per_s for number in range(incidents)]
    port = int(rig.env["CODEHEALER_HTTP_PORT"])
    bodies = [_request(rig.env, names[which], number) for number, which in enumerate(incidents_of(count, opens))]
    before, began = cpu_s([rig.bot.pid]), datetime.now(UTC)
    taken = await bench_accept.paced(port, bodies, per_s, STEP_S)
    last = time.perf_counter()
    await _handled(rig)
    handled_s = time.perf_counter() - last
    for name, number in zip(names, opens, strict=True):
        rig.sent_at[f"service-{name}"] = began + timedelta(seconds=number / per_s)
    cards = await rig.seconds_to("cards", "posted_at", [f"service-{name}" for name in names], 30)
    used = cpu_s([rig.bot.pid]) - before
    return {
        "CPU ms an alert": round(1000 * used / count, 1),
        "accepted p99 ms": round(1000 * p(taken, 99), 1),
        "first card p95 s": p(cards, 95),
        "handled after the last s": round(handled_s, 2),
    }


def incidents_of(count: int, opens: list[int]) -> list[int]:
    """Of each alert the incident: those that are open take turns."""
    found = []
    for which, (first, following) in enumerate(pairwise([*opens, count])):
        found += [which if number == first else number % (which + 1) for number in range(first, following)]
    return found


async def _handled(rig: Rig) -> None:
    """Return when no delivery waits any more, or at the deadline."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        async with rig.engine.connect() as db:
            if not (await db.execute(_WAITS)).scalar_one():
                return
        await asyncio.sleep(0.05)


def _request(env: Mapping[str, str], incident: str, number: int) -> bytes:
    body = json.dumps(firing(incident, number)).encode()
    head = (
        "POST /webhooks/alertmanager HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {env['CODEHEALER_WEBHOOK_TOKEN']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

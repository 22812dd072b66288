"""Random faults of Slack's links against a running bot: what is lost or comes twice, and how soon it is back."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

Figures = dict[str, Any]

MINUTES = 2.0
BETWEEN_MENTIONS_S = 2.0
PAUSE_S = (2.0, 15.0)
# Slack sends an event again after one and after five minutes more; the last fault may have swallowed three of them.
LAST_DELIVERY_S = 420.0
LONGEST_RETURN_S = 60.0
ASKER, CHANNEL = "U0ONCALL", "C0ALERTS"
STORED = text("SELECT count(*) FROM deliveries WHERE source = 'slack' AND event = 'question'")
WAITING = text("SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')")

# Name → (what begins it, what ends it, seconds that it lasts at most).
FAULTS: dict[str, tuple[Figures, Figures, float]] = {
    "dropped": ({"drop_socket": True}, {}, 0.0),
    "refresh": ({"disconnect_reason": "refresh_requested"}, {}, 0.0),
    "warning": ({"disconnect_reason": "warning"}, {}, 0.0),
    "stale tickets": ({"drop_socket": True, "stale_tickets_next": 3}, {}, 0.0),
    "no pongs": ({"no_pong": True}, {"no_pong": False}, 30.0),
    "refused": ({"refuse_connections": True}, {"refuse_connections": False}, 30.0),
    "links that hang": ({"drop_socket": True, "hang_links": True}, {"hang_links": False}, 30.0),
    "black hole": ({"black_hole": True}, {"black_hole": False}, 60.0),
}


@dataclass
class Played:
    faults: Counter[str] = field(default_factory=Counter)
    returned_s: list[float] = field(default_factory=list)
    posted: int = 0


async def measured(
    http: httpx.AsyncClient, engine: AsyncEngine, sandbox_url: str, port: int, minutes: float
) -> Figures:
    """`http` reaches the sandbox's control and the bot's port; `engine` is the bot's database."""
    control, played = f"{sandbox_url}sandbox/api", Played()
    asking = asyncio.create_task(_ask(http, control, played))
    until = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until:
            await _play(http, control, port, played)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    stored = await _all_stored(engine, played.posted)
    events = (await http.get(f"{control}/acknowledged_events")).json()
    given_up = sum(one["type"] == "app_mention" for one in events["given_up"])
    requests = (await http.get(f"{control}/requests", params={"system": "slack"})).json()["requests"]
    keys = [_key(one) for one in requests if one["method"] == "chat.postMessage" and one["ok"]]
    return {
        "minutes": minutes,
        "faults": sum(played.faults.values()),
        **{f"of them {name}": number for name, number in played.faults.items()},
        "mentions": played.posted,
        "given up by Slack, each of whose tries met a fault": given_up,
        "mentions not handled, those given up included": max(0, played.posted - stored),
        "answered twice": len(keys) - len(set(keys)),
        "back after s, at most": round(max(played.returned_s, default=0.0), 1),
    }


async def _ask(http: httpx.AsyncClient, control: str, played: Played) -> None:
    while True:
        body = {"user": ASKER, "channel": CHANNEL, "text": "<@U0CODEHEALER> help"}
        (await http.post(f"{control}/post", json=body)).raise_for_status()
        played.posted += 1
        await asyncio.sleep(BETWEEN_MENTIONS_S)


async def _play(http: httpx.AsyncClient, control: str, port: int, played: Played) -> None:
    """One fault, and how long after its end the bot is connected again."""
    name = random.choice(list(FAULTS))  # noqa: S311  no secret
    begins, ends, longest_s = FAULTS[name]
    played.faults[name] += 1
    (await http.post(f"{control}/faults", json={"slack": begins})).raise_for_status()
    await asyncio.sleep(random.uniform(0.0, longest_s))  # noqa: S311
    if ends:
        (await http.post(f"{control}/faults", json={"slack": ends})).raise_for_status()
    began = time.monotonic()
    while not await _connected(http, control, port) and time.monotonic() - began < LONGEST_RETURN_S:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    played.returned_s.append(time.monotonic() - began)
    await asyncio.sleep(random.uniform(*PAUSE_S))  # noqa: S311


async def _connected(http: httpx.AsyncClient, control: str, port: int) -> bool:
    """Both sides say so: Slack may have dropped what the bot still takes for a link."""
    ready = await http.get(f"http://127.0.0.1:{port}/readyz")
    state = (await http.get(f"{control}/state", params={"user": ASKER})).json()
    return ready.json()["checks"].get("Slack") is None and bool(state["bot_connected"])


async def _all_stored(engine: AsyncEngine, wanted: int) -> int:
    until = time.monotonic() + LAST_DELIVERY_S
    while True:
        async with engine.connect() as db:
            stored = int((await db.execute(STORED)).scalar_one())
            waiting = int((await db.execute(WAITING)).scalar_one())
        if (stored >= wanted and not waiting) or time.monotonic() > until:
            return stored
        await asyncio.sleep(0.5)


def _key(post: Figures) -> str:
    metadata = post["args"].get("metadata") or {}
    return str((metadata.get("event_payload") or {}).get("key")) if isinstance(metadata, dict) else str(metadata)

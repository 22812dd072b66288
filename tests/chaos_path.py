"""`make chaos KILLS=1000`: three bots on one database are killed at random moments, all along the path of a failure.

Some are paused for longer than their leases last, and the database is cut off and restarted under them as well.
Alerts, mentions, clicks and fixes are under way all the while. After each round: what was acknowledged is in the
database, every incident has ended, nothing was said or done twice, and each fix's outcome is what the target shows.
"""

import asyncio
import itertools
import re
import signal
import socket
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from handlers.listeners import question_key
from tests.chaos import ENDED, ROUND_S, SCENARIOS, Round, Tally, begin
from tests.forked import Forked
from tests.stories.stage import ALERTS, ONCALL, NeverHappened, text_of

BOTS, SENDERS = 3, 4
KILLS_A_ROUND = 60
# From the start of a process: some die before they are connected, some in the middle of a fix.
SHORTEST_LIFE_S, LONGEST_LIFE_S = 0.4, 4.0
BETWEEN_ALERTS_S, BETWEEN_MENTIONS_S = 1.2, 3.0
PAUSED, LONGEST_PAUSE_S = 0.1, 9.0
RESTARTED, LONGEST_QUIET_S = 0.25, 12.0
# At the beginning of a line: what the log tells of errors is within its JSON.
CRASHED = re.compile(r"^(Traceback|\s*\+ Exception Group Traceback)", re.MULTILINE)
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()
"""
UNFINISHED = """
    SELECT (SELECT count(*) FROM deliveries WHERE state = 'new') AS deliveries,
        (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')) AS outbox,
        (SELECT count(*) FROM incidents WHERE NOT state = ANY(%s)) AS incidents
"""
GIVEN_UP = """
    SELECT 'delivery ' || event || ': ' || error AS what FROM deliveries WHERE state = 'failed'
    UNION ALL SELECT 'message ' || key || ': ' || error FROM outbox WHERE state = 'failed'
    UNION ALL SELECT 'job ' || task_name || ' ' || args::text FROM procrastinate.procrastinate_jobs
        WHERE status = 'failed'
"""


@dataclass
class PathRound(Round):
    """One sandbox and three bots; `acknowledged` are the webhooks that were answered with 202."""

    bots: list[Forked | None] = field(default_factory=lambda: [None] * BOTS)
    ports: list[int] = field(default_factory=list)
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    posts: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    posts_seen: int = 0
    killed: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    # --- the bots

    async def open(self) -> None:
        await self.stage.open_sandbox()
        (self.stage.logs / "bot.log").touch()
        self.ports = [int(self.stage.env["CODEHEALER_HTTP_PORT"]), *(_free_port() for _ in range(BOTS - 1))]
        # The first alone: three that migrate an empty database at once only wait for each other.
        await self.start(0)
        await self.stage.until(self._answers, "the first bot is up")
        await asyncio.gather(*(self.start(number) for number in range(1, BOTS)))

    async def close(self) -> None:
        for bot in self.bots:
            if bot is not None:
                bot.send_signal(signal.SIGKILL)
                await bot.wait()
        await self.stage.close()

    async def _answers(self) -> bool:
        return await self.stage.answers("/healthz")

    async def start(self, number: int) -> None:
        env = self.stage.environment | {"CODEHEALER_HTTP_PORT": str(self.ports[number])}
        self.bots[number] = await Forked.start("run", env=env, folder=self.stage.logs, log=self.stage.logs / "bot.log")

    async def kill(self) -> None:
        await asyncio.gather(*(self._kill_one(number) for number in range(BOTS)))

    async def _kill_one(self, number: int) -> None:
        while self.killed < self.kills:
            self.killed += 1
            await asyncio.sleep(self.rng.uniform(SHORTEST_LIFE_S, LONGEST_LIFE_S))
            bot = self.bots[number]
            assert bot is not None
            if self.rng.random() < PAUSED:
                self.troubles["pauses"] += 1
                bot.send_signal(signal.SIGSTOP)
                await asyncio.sleep(self.rng.uniform(1.0, LONGEST_PAUSE_S))
                bot.send_signal(signal.SIGCONT)
                await asyncio.sleep(self.rng.uniform(0.0, 2.0))
            # One whose database is away at its start says why and ends, as its supervisor expects.
            self.troubles["ended at its start"] += bot.returncode == 1
            if bot.returncode not in {None, 1}:
                raise NeverHappened(f"a bot ended by itself:\n{self.stage.bot_log()[-3000:]}")
            bot.send_signal(signal.SIGKILL)
            await bot.wait()
            await self.start(number)

    async def trouble_database(self) -> None:
        """Cut every connection now and then, and restart the server more seldom."""
        while self.killed < self.kills:
            await asyncio.sleep(self.rng.uniform(2.0, LONGEST_QUIET_S))
            if self.rng.random() < RESTARTED:
                self.troubles["database restarts"] += 1
                await self.server.stop()
                await self.server.start()
            else:
                self.troubles["connections cut"] += 1
                await self.ask(CUT)

    # --- what goes on meanwhile

    async def alerts(self) -> None:
        """Failures of workloads that nobody listed, each resolved a while later."""
        for number in self.numbers:
            name = f"chaos-{number:03d}"
            started = datetime.now(UTC).isoformat()
            await self.deliver(name, "firing", started)
            await asyncio.sleep(self.rng.uniform(0.0, BETWEEN_ALERTS_S))
            await self.deliver(name, "firing", started)  # as Alertmanager repeats itself
            await asyncio.sleep(self.rng.uniform(0.0, BETWEEN_ALERTS_S))
            await self.deliver(name, "resolved", started)

    async def asking(self) -> list[dict[str, Any]]:
        """The threads of storms too, where the cards of many incidents at once stand."""
        roots = await self.stage.cards()
        threads = [await self.stage.messages(thread_ts=one["ts"]) for one in roots if '"storm-' in text_of(one)]
        return [*roots, *itertools.chain.from_iterable(threads)]

    async def deliver(self, name: str, status: str, started: str) -> None:
        """Until somebody takes it."""
        labels = {"alertname": "KubePodCrashLooping", "namespace": name, "deployment": name, "severity": "warning"}
        ended = datetime.now(UTC).isoformat() if status == "resolved" else "0001-01-01T00:00:00Z"
        one = {
            "status": status, "labels": labels, "annotations": {"description": f"{name} keeps restarting"},
            "startsAt": started, "endsAt": ended, "fingerprint": name,
        }  # fmt: skip
        body = {"version": "4", "receiver": "chaos", "status": status, "alerts": [one], "commonLabels": labels}
        headers = {"Authorization": f"Bearer {self.stage.env['CODEHEALER_WEBHOOK_TOKEN']}"}
        while True:
            address = f"http://127.0.0.1:{self.rng.choice(self.ports)}/webhooks/alertmanager"
            with suppress(httpx.HTTPError):
                answer = await self.stage.http.post(address, json=body, headers=headers, timeout=3)
                if answer.status_code == 202:
                    self.acknowledged.add((name, status))
                    return
            await asyncio.sleep(0.1)

    async def mentions(self) -> None:
        while True:
            await self.stage.do("post", user=ONCALL, channel=ALERTS, text="<@U0CODEHEALER> help")
            await asyncio.sleep(self.rng.uniform(0.0, BETWEEN_MENTIONS_S))

    async def collect(self) -> None:
        await super().collect()
        found = await self.stage.get("requests", system="slack", since=self.posts_seen)
        self.posts_seen = found["next"]
        for one in found["requests"]:
            if one["method"] == "chat.postMessage" and one["ok"]:
                where = f"{one['args']['channel']} under {one['args'].get('thread_ts', 'nothing')}"
                self.posts[_key(one["args"])].append(f"{one['ts']} in {where}")

    async def play(self) -> None:
        for scenario in SCENARIOS:
            await self.stage.break_(scenario)
        troubling = asyncio.create_task(self.trouble_database())
        load = [asyncio.create_task(work) for work in (*(self.alerts() for _ in range(SENDERS)), self.mentions())]
        clicking = asyncio.create_task(self.approve_all())
        try:
            await self.kill()
            await troubling
            await _ended(*load)
            with suppress(NeverHappened):  # which is counted then
                await self.stage.until(self._all_done, "everything has ended", deadline_s=ROUND_S)
        finally:
            await _ended(*load, troubling, clicking)
        await self.collect()

    async def _all_done(self) -> bool:
        for number, bot in enumerate(self.bots):
            if bot is not None and bot.returncode == 1:  # the database was away at its last start
                await self.start(number)
        (left,) = await self.ask(UNFINISHED, list(ENDED))
        if left["incidents"]:
            await self._resolve_open()
        return not any(left.values())

    async def _resolve_open(self) -> None:
        """The alerts of the last workloads, whose end was not told yet."""
        firing = {name for name, status in self.acknowledged if status == "firing"}
        for name in firing - {name for name, status in self.acknowledged if status == "resolved"}:
            await self.deliver(name, "resolved", datetime.now(UTC).isoformat())

    # --- what came of it

    async def count(self, tally: Tally) -> None:
        await super().count(tally)
        stored = await self.ask(
            "SELECT body->'alerts'->0->>'fingerprint' AS name, body->'alerts'->0->>'status' AS status"
            " FROM deliveries WHERE source = 'alertmanager'"
        )
        lost = self.acknowledged - {(row["name"], row["status"]) for row in stored}
        rows = await self.ask("SELECT delivery_id FROM deliveries WHERE source = 'slack'")
        events = (await self.stage.get("acknowledged_events"))["events"]
        mentions = [one for one in events if one["type"] == "app_mention"]
        # Versions before the one that looks for missed mentions store them under Slack's own ids.
        kept = {row["delivery_id"] for row in rows}
        lost_events = [one for one in mentions if not kept & {one["id"], question_key(one["channel"], one["ts"])}]
        doubled = {key: places for key, places in self.posts.items() if len(places) > 1}
        (left,) = await self.ask(UNFINISHED, list(ENDED))
        incidents = (await self.ask("SELECT count(*) AS number FROM incidents"))[0]["number"]
        cards = sum(key.startswith("card:") for key in self.posts)
        tally.counts.update(
            {
                "webhooks acknowledged": len(self.acknowledged), "incidents": incidents, "cards": cards,
                "mentions acknowledged": len(mentions), "messages posted": sum(map(len, self.posts.values())),
                "acknowledged and lost": len(lost) + len(lost_events), "said twice": len(doubled),
            }
        )  # fmt: skip
        tally.counts.update(self.troubles)
        tally.wrong += [f"acknowledged and lost: {one}" for one in [*lost, *lost_events]]
        tally.wrong += [f"said {len(places)} times: {key} ({', '.join(places)})" for key, places in doubled.items()]
        tally.wrong += [f"{number} {what} left over" for what, number in left.items() if number]
        tally.wrong += [str(row["what"]) for row in await self.ask(GIVEN_UP)]
        if crashed := CRASHED.search(log := self.stage.bot_log()):
            tally.wrong.append(f"a bot ended with a traceback: {log[crashed.start() : crashed.start() + 3000]}")
        if cards > incidents:
            tally.wrong.append(f"{cards} cards of {incidents} incidents")


def _key(args: dict[str, Any]) -> str:
    metadata = args.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return str(payload.get("key")) if isinstance(payload, dict) else str(metadata)


async def _ended(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    begin(PathRound, KILLS_A_ROUND, __doc__)

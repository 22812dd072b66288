"""The heartbeat leaves while everything works, and does not where one part hangs."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from sqlalchemy import text

from bot.sandbox.server import Sandbox
from handlers import heartbeat, inbox
from handlers.heartbeat import Heartbeat
from handlers.outbox import Sender
from handlers.services import Services
from remediation.pager import PagerDuty
from remediation.ports import Clients
from tests.handlers.office import rows


@dataclass
class Site:
    """A bot in parts, and the dead-man's switch that it reports to."""

    services: Services
    beat: Heartbeat
    sender: Sender
    told: list[str]
    posts: list[dict[str, str]] = field(default_factory=list)
    answer: int = 200

    async def turn(self, *, without: str = "") -> None:
        """One tick of the clock, and what follows it where no part is broken."""
        await self.beat.tick(self.services)
        if without != "inbox":
            await inbox.drain(self.services)
        if without != "jobs":
            async with self.services.engine.begin() as db:
                taken = await db.execute(text("DELETE FROM procrastinate.procrastinate_jobs RETURNING args"))
            for job in taken.scalars():
                await heartbeat.relay(self.services, **job)
        if without != "outbox":
            await self.sender.send_due()


@pytest_asyncio.fixture
async def site(services: Services, sandbox: Sandbox) -> AsyncIterator[Site]:
    async def received(request: web.Request) -> web.Response:
        found.posts.append(await request.json())
        return web.Response(status=found.answer)

    async def intake(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/ping/secret-path", received), web.get("/readyz/intake", intake)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async with httpx.AsyncClient() as http:
        pager = PagerDuty(http, sandbox.env["PAGERDUTY_ROUTING_KEY"], sandbox.env["PAGERDUTY_BASE_URL"])
        services = replace(services, clients=Clients(pager=pager))
        told: list[str] = []
        beat = Heartbeat(http, http, f"{address}/ping/secret-path", told.append, own_address=address)
        sender = Sender(services.engine, services.slack, no_card, beat=lambda message: beat.send(services, message))
        found = Site(services, beat, sender, told)
        yield found
    await runner.cleanup()


async def no_card(_db: object, _number: int) -> None:
    return None


async def left(services: Services) -> int:
    """Rows of heartbeats that are still somewhere."""
    found = await rows(
        services.engine,
        "SELECT (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM outbox)"
        " + (SELECT count(*) FROM procrastinate.procrastinate_jobs) AS n",
    )
    return int(found[0].n)


async def test_it_leaves_when_an_alert_has_come_all_the_way_and_nothing_is_left_of_it(site: Site) -> None:
    await site.turn()
    await site.turn()
    assert site.posts == [{"from": "codehealer"}] * 2
    assert site.told == ["sent", "sent"]
    assert await left(site.services) == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [("inbox", "the inbox"), ("jobs", "jobs are not"), ("outbox", "the outbox"), ("web", "no deliv")],
)
async def test_where_a_part_hangs_none_leaves_and_the_pager_is_called_until_it_is_well(
    site: Site, sandbox: Sandbox, broken: str, said: str
) -> None:
    good = site.beat.own_address
    if broken == "web":
        site.beat.own_address = f"{good}/nowhere"
    for _ in range(1 + heartbeat.CALL_AFTER):
        await site.turn(without=broken)
    assert site.posts == []
    assert set(site.told) == {"withheld"}
    (page,) = sandbox.world.pagerduty.alerts.values()
    assert page["status"] == "triggered"
    assert said in page["payload"]["summary"]
    site.beat.own_address = good
    await site.turn()
    await site.turn()
    assert len(site.posts) >= 1
    assert page["status"] == "resolved"
    assert await left(site.services) == 0


async def test_an_address_that_refuses_it_is_asked_again_and_never_named(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.answer = 500
    await site.turn()
    assert site.told == []
    failed = await rows(site.services.engine, "SELECT error FROM outbox")
    assert "answered 500" in failed[0].error
    assert "secret-path" not in failed[0].error + capsys.readouterr().out


async def test_one_that_was_held_up_for_long_tells_nothing(site: Site) -> None:
    at = (site.services.now() - 2 * heartbeat.STALE_AFTER).isoformat()
    await heartbeat.relay(site.services, at)
    await site.sender.send_due()
    assert (site.posts, site.told) == ([], [])
    assert await left(site.services) == 0

"""What got lost on its way is found: alerts and their ends at Alertmanager and Argo CD, failed deliveries at GitHub."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.sandbox.server import Sandbox
from handlers import comparing, flow, inbox, redelivery
from handlers.services import Services
from handlers.sources import alertmanager, argocd
from knowledge.store import incidents, signals, tables
from knowledge.store.tables import alerts
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.argocd_servers import USUAL_ARGOCD, ArgoCdServers
from remediation.code_host import GitHubHost
from remediation.ports import Clients
from tests.remediation.descriptions import check_argocd
from tests.rows import S, alert, an_incident, ended
from tests.waiting import until

DEADLINE_S = 60.0


@pytest_asyncio.fixture
async def later(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    """Services that know the sandbox's world, twenty minutes from now: what is there is nothing new."""
    async with httpx.AsyncClient() as http:
        env = sandbox.env
        clients = Clients(
            silences=AlertmanagerServer(http, env["ALERTMANAGER_URL"]),
            argocd=ArgoCdServer(http, env["ARGOCD_SERVER"], env["ARGOCD_TOKEN"]),
            code_host=GitHubHost(env["GITHUB_TOKEN"], http, env["GITHUB_BASE_URL"]),
        )
        yield replace(services, clients=clients, now=lambda: datetime.now(UTC) + timedelta(minutes=20))
        check_argocd(sandbox.world.requests)
        assert clients.code_host is not None
        await clients.code_host.aclose()


async def compared(services: Services, look: Callable[[Services], Any]) -> list[tuple[str, str]]:
    """(source, state) of every incident after a comparison."""
    await look(services)
    while await inbox.drain(services):
        pass
    async with services.engine.connect() as db:
        return [(one.source, one.state.value) for one in reversed(await incidents.listed(db))]


async def firing_here(services: Services) -> set[str]:
    async with services.engine.connect() as db:
        return {one.title for one in await signals.alerts_of(db, await open_rows(db))}


async def open_rows(db: AsyncConnection) -> Sequence[int]:
    known = (await db.scalars(select(alerts.c.fingerprint))).all()
    return await signals.open_with(db, "alertmanager", known)


async def test_all_that_is_over_is_told_some_at_a_time(
    later: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "AT_A_TIME", 2)
    for number in range(5):
        one = alert(f"Gone{number}", started_at=datetime.now(UTC), fingerprint=f"gone-{number}")
        await flow.accept_alerts(later, [one], source="alertmanager", delivery_id=f"gone {number}")
    while await inbox.drain(later):
        pass
    async with later.engine.begin() as db:
        await signals.seen_there(db, await open_rows(db))
    assert len(await firing_here(later)) == 5
    await compared(later, comparing.with_alertmanager)
    assert not await firing_here(later)


async def test_alerts_that_alertmanager_could_not_tell_of_are_found_and_so_are_their_ends(
    later: Services, sandbox: Sandbox
) -> None:
    await flow.accept_alerts(
        later, [alert("Foreign", started_at=datetime.now(UTC))], source="alertmanager", delivery_id="x"
    )
    await sandbox.world.break_("release-crash-checkout")
    client = later.clients.silences
    assert client is not None
    await until(client.alerts)
    once = await compared(later, comparing.with_alertmanager)
    assert once == await compared(later, comparing.with_alertmanager)
    ours = await firing_here(later)
    assert ours == {"Foreign", "KubePodCrashLooping"}
    await sandbox.world.reset()
    await compared(later, comparing.with_alertmanager)
    left = await firing_here(later)
    assert left == {"Foreign"}  # which that Alertmanager never had: it is another one's


async def test_what_fires_there_with_its_old_start_long_after_its_end_came_is_found(
    later: Services, sandbox: Sandbox
) -> None:
    await sandbox.world.break_("release-crash-checkout")
    client = later.clients.silences
    assert client is not None
    (row, *_) = await until(client.alerts)
    (fired,) = alertmanager.parse({"alerts": [{**row, "status": "firing"}]}, {})
    for one in (fired, ended(fired)):
        await flow.accept_alerts(later, [one], source="alertmanager", delivery_id=one.status)
    while await inbox.drain(later):
        pass
    assert await compared(later, comparing.with_alertmanager) == [("alertmanager", "resolved")], "it has just ended"
    async with later.engine.begin() as db:
        await db.execute(update(alerts).values(received_at=alerts.c.received_at - timedelta(minutes=10)))
    again = [("alertmanager", "resolved"), ("alertmanager", "detected")]
    for _ in range(2):
        assert await compared(later, comparing.with_alertmanager) == again
    # And once more: each time it is found anew.
    await flow.accept_alerts(later, [ended(fired)], source="alertmanager", delivery_id="ended again")
    while await inbox.drain(later):
        pass
    async with later.engine.begin() as db:
        await db.execute(update(alerts).values(received_at=alerts.c.received_at - timedelta(minutes=10)))
    assert await compared(later, comparing.with_alertmanager) == [("alertmanager", "resolved"), *again]


async def test_a_degraded_application_is_found_and_so_is_its_recovery(later: Services, sandbox: Sandbox) -> None:
    argo = later.clients.argocd
    assert isinstance(argo, ArgoCdServer)
    await sandbox.world.break_("release-crash-checkout")

    async def degraded() -> bool:
        return any(one["status"]["health"]["status"] == "Degraded" for one in (await argo.applications()).rows)

    await until(degraded)
    assert await compared(later, comparing.with_argocd) == [("argocd", "detected")]
    assert await compared(later, comparing.with_argocd) == [("argocd", "detected")]
    await sandbox.world.reset()
    # Of two servers one is away: that stops nothing about the other.
    away = ArgoCdServer(argo.http, "http://127.0.0.1:9", "x")
    both = ArgoCdServers({USUAL_ARGOCD: argo, "eu": away}, {"shop-eu": "eu"})
    later = replace(later, clients=replace(later.clients, argocd=both))
    assert await compared(later, comparing.with_argocd) == [("argocd", "resolved")]


@pytest.mark.parametrize("told_before", [False, True])
async def test_an_application_that_fails_while_it_is_listed_as_well_is_not_taken_for_over(
    later: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *, told_before: bool
) -> None:
    argo = later.clients.argocd
    assert isinstance(argo, ArgoCdServer)
    listed = await argo.applications()
    (app,) = [one for one in listed.rows if one["status"]["health"]["status"] == "Healthy"][:1]

    async def fails(began: datetime) -> None:
        health = {"status": "Degraded", "lastTransitionTime": began.isoformat()}
        body = {"app": {**app, "status": {**app["status"], "health": health}}}
        alerts_of_it = argocd.parse(body, {})
        await flow.accept_alerts(later, alerts_of_it, source="argocd", delivery_id=began.isoformat())
        while await inbox.drain(later):
            pass

    async def fails_meanwhile(_: ArgoCdServer) -> Any:
        await fails(datetime.now(UTC))
        return listed

    if told_before:
        await fails(datetime.now(UTC) - timedelta(hours=1))
        async with later.engine.begin() as db:
            await db.execute(update(alerts).values(received_at=func.now() - timedelta(hours=1)))
            await db.execute(update(tables.incidents).values(last_alert_at=func.now() - timedelta(hours=1)))
    now = replace(later, now=lambda: datetime.now(UTC))
    with monkeypatch.context() as patched:
        patched.setattr(ArgoCdServer, "applications", fails_meanwhile)
        assert await compared(now, comparing.with_argocd) == [("argocd", "detected")]
    assert await compared(later, comparing.with_argocd) == [("argocd", "resolved")]


async def test_github_is_asked_once_for_a_delivery_that_failed_whatever_other_hooks_say(
    later: Services, sandbox: Sandbox
) -> None:
    sender = sandbox.world.sender
    sender.lost_github = 1
    row = next(one for one in later.policy.services if one.repository)
    sender.github("workflow_run", {"action": "completed", "repository": {"full_name": row.repository}})
    now = replace(later, now=lambda: datetime.now(UTC))
    await redelivery.ask(replace(now, github_hooks=("acme/unknown", "no repository", redelivery.APP, row.repository)))
    await redelivery.ask(now)
    assert [(one["status_code"], one["redelivery"]) for one in sender.deliveries] == [(502, False), (202, True)]
    assert len({one["guid"] for one in sender.deliveries}) == 1


def test_only_what_may_go_well_the_next_time_is_asked_for_again() -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)

    def row(
        number: int, guid: str, status: int | None, *, event: str = "workflow_run", hours: int = 1
    ) -> dict[str, Any]:
        at = (now - timedelta(hours=hours)).isoformat()
        return {"id": number, "guid": guid, "status_code": status, "event": event, "delivered_at": at}

    rows = [
        row(1, "down", 502), row(2, "repeated well", 202), row(3, "repeated well", 500), row(4, "no answer", None),
        row(5, "refused", 400), row(6, "was off", 404, hours=2), row(7, "unread", 502, event="star"),
        row(8, "old", 502, hours=30), *(row(n, "in vain", 502) for n in range(10, 14)), {"id": "x"}, {},
    ]  # fmt: skip
    assert redelivery.to_repeat(rows, now) == [6, 1, 4]


async def test_who_is_not_to_be_compared_with_is_not_asked(later: Services, sandbox: Sandbox) -> None:
    for look in (comparing.with_alertmanager, comparing.with_argocd, redelivery.ask):
        await look(replace(later, compare=frozenset()))
    assert sandbox.world.requests == []


async def test_an_application_that_people_were_told_of_otherwise_is_not_told_again(
    later: Services, sandbox: Sandbox
) -> None:
    argo = later.clients.argocd
    assert argo is not None
    await sandbox.world.break_("release-crash-checkout")

    async def degraded() -> bool:
        return any(one["status"]["health"]["status"] == "Degraded" for one in (await argo.applications()).rows)

    await until(degraded)
    async with later.engine.begin() as db:
        known = await an_incident(db, state=S.ESCALATED, source="slack")
    assert await compared(later, comparing.with_argocd) == [("slack", "escalated")]
    async with later.engine.begin() as db:
        await incidents.move(db, known, S.DISMISSED)
    assert await compared(later, comparing.with_argocd) == [("slack", "dismissed")]

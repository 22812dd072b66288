"""The page that calls the on-call person: with everything that is known, and in step with the incident."""

from dataclasses import replace
from typing import Any, cast

import httpx
import pytest

from bot.sandbox.server import Sandbox
from handlers import flow, paging, taking
from handlers.services import Services
from knowledge.errors import NotFound
from knowledge.model import Alert, AlertStatus, ExecutionState, Outcome, Verification
from knowledge.store import executions, incidents
from remediation.pager import PagerDuty
from remediation.pager_incidents import PagerDutyIncidents
from remediation.ports import Clients
from tests.handlers.office import rows
from tests.rows import S, an_execution, an_incident, ended
from tests.rows import alert as row


async def test_a_page_tells_cause_what_was_tried_and_why_and_ends_with_the_incident(
    services: Services, sandbox: Sandbox
) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.NOT_VERIFIED, severity="critical")
        number = await an_execution(db, incident)
        await executions.start(db, number, fencing_token=1, snapshot={})
        done = Outcome(True, True, "Scaled from 2 to 4 replicas.")
        await executions.finish(db, number, state=ExecutionState.ACTED, outcome=done, fencing_token=1)
        await executions.add_verification(db, number, Verification("not_verified", (), "1 of 4 pods is ready"))
    async with httpx.AsyncClient() as http:
        pager = PagerDuty(http, sandbox.env["PAGERDUTY_ROUTING_KEY"], sandbox.env["PAGERDUTY_BASE_URL"])
        with_pager = replace(services, clients=Clients(pager=pager))
        await paging.page(with_pager, incident.id)
        (alert,) = sandbox.world.pagerduty.alerts.values()
        assert (alert["status"], alert["payload"]["severity"]) == ("triggered", "critical")
        assert alert["payload"]["summary"] == "checkout (prod): Crash loop - needs a person"
        told = alert["payload"]["custom_details"]
        (sent,) = await rows(services.engine, "SELECT payload FROM audit WHERE what = 'page.sent'")
        write = {"system": "PagerDuty", "request": f"trigger {taking.pager_key(incident.id)}", "result": "done"}
        assert sent.payload == {"why": told["why"], "writes": [write]}
        assert told["why"] == "the fix is not verified: 1 of 4 pods is ready"
        assert told["tried"] == "Nothing is changed. Scaled from 2 to 4 replicas."
        assert "97% sure: It panics." in told["cause"]
        async with services.engine.begin() as db:
            await flow.close(db, with_pager, incident, S.RESOLVED, "The alert has resolved.")
        await paging.stand_down(with_pager, incident.id)
        assert alert["status"] == "resolved"


async def test_an_incident_that_others_opened_in_pagerduty_is_acknowledged_and_ended_with_ours(
    services: Services, sandbox: Sandbox
) -> None:
    """Known by its webhook; ours is recognised by its key, and a failure that ended without us is left to them."""
    theirs, other = sandbox.world.pagerduty.opened("checkout is down"), sandbox.world.pagerduty.opened("it ended")
    async with httpx.AsyncClient() as http:
        base = sandbox.env["PAGERDUTY_BASE_URL"]
        pager = PagerDutyIncidents(http, sandbox.env["PAGERDUTY_TOKEN"], sandbox.env["PAGERDUTY_FROM"], base)
        with_pager = replace(services, clients=Clients(pager_incidents=pager))
        numbers = []
        for opened, state in ((theirs, S.VERIFYING), (other, S.WAITING)):
            async with services.engine.begin() as db:
                incident = await an_incident(db, source="pagerduty", state=state)
                alert = Alert(
                    source="pagerduty", status=AlertStatus.FIRING, title="checkout", identity=f"pd:{opened['id']}",
                    fingerprint=opened["incident_key"], labels={"incident_id": opened["id"]},
                )  # fmt: skip
                await incidents.add_alert(db, alert, incident.id)
            numbers.append(incident)
            await paging.acknowledge(with_pager, incident.id)
            assert opened["status"] == "acknowledged"
        async with services.engine.begin() as db:
            assert await incidents.move(db, numbers[0], S.HEALED)
            await flow.close(db, with_pager, numbers[1], S.RESOLVED, "The failing thing has recovered by itself.")
        for incident in numbers:
            for _ in range(2):
                await paging.stand_down(with_pager, incident.id)
    assert (theirs["status"], other["status"]) == ("resolved", "acknowledged")
    assert len(theirs["notes"]) == 2


async def test_of_many_alerts_and_a_page_that_is_gone_the_others_are_ended_all_the_same(
    services: Services, sandbox: Sandbox
) -> None:
    theirs = sandbox.world.pagerduty.opened("checkout is down")
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.VERIFYING)
        for number in ("PGONE", theirs["id"]):
            page = row(number, source="pagerduty", labels={"incident_id": number})
            await incidents.add_alert(db, page, incident.id)
        for number in range(25):
            await incidents.add_alert(db, row(f"pod {number}"), incident.id)
        assert await incidents.move(db, incident, S.HEALED)
    async with httpx.AsyncClient() as http:
        base = sandbox.env["PAGERDUTY_BASE_URL"]
        pager = PagerDutyIncidents(http, sandbox.env["PAGERDUTY_TOKEN"], sandbox.env["PAGERDUTY_FROM"], base)
        with pytest.raises(NotFound):
            await paging.stand_down(replace(services, clients=Clients(pager_incidents=pager)), incident.id)
    assert theirs["status"] == "resolved"
    (row_,) = await rows(services.engine, "SELECT payload FROM audit WHERE what = 'page.failed'")
    write = {"system": "PagerDuty", "request": f"PUT /incidents/{theirs['id']}", "result": "done"}
    assert row_.payload == {"writes": [write]}


@pytest.mark.parametrize("first", ["pagerduty", "alertmanager"])
async def test_a_page_that_we_end_ourselves_says_nothing_of_the_fix_and_the_alert_beside_it_does(
    services: Services, first: str
) -> None:
    """Whichever of the two opened the incident."""
    page = row("Down", source="pagerduty", labels={"incident_id": "PXYZ"})
    fired = row("Down", source="alertmanager")
    paging: list[Any] = [replace(services, clients=Clients(pager_incidents=cast(Any, object()))), services]
    async with services.engine.begin() as db:
        incident = await incidents.open_incident(db, page if first == "pagerduty" else fired, channel="C0DEPLOY")
        await incidents.add_alert(db, page, incident.id)
        assert [await flow.signal_of(db, one, incident) for one in paging] == [None, True]
        await incidents.add_alert(db, fired, incident.id)
        assert [await flow.signal_of(db, one, incident) for one in paging] == [True, True]
        await incidents.add_alert(db, ended(fired), incident.id)
        assert [await flow.signal_of(db, one, incident) for one in paging] == [False, True]

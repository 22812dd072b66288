"""What people say has fixed an incident, and what is remembered of it once they confirm."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from handlers import flow, inbox, listeners, remembering
from handlers.blocks.actions import encode
from handlers.services import Services
from knowledge.model import Incident
from knowledge.ports import Embedder
from knowledge.store import casebook, memory, outbox, threads
from tests.handlers.office import jobs, rows, told
from tests.rows import NOW, S, a_plan, an_incident, item


@pytest.fixture
def services(services: Services) -> Services:
    """With the name of an embedder: the vectors of what is corrected here are the clock's to make."""
    return replace(services, embedder=cast(Embedder, SimpleNamespace(name="none")))


CHANNEL, CARD_TS = "C0DEPLOY", "1600000000.000100"
SECRET = "ghp" + "_" + "a1B2" * 9  # by halves, so that no scanner takes this file for a leak
EVENT = {
    "type": "message", "channel_type": "channel", "channel": CHANNEL, "user": "U0DEV", "thread_ts": CARD_TS,
    "text": f"this was fixed by restarting the proxy with token={SECRET}",
}  # fmt: skip


async def with_a_card(services: Services, state: S = S.ESCALATED, **changes: Any) -> Incident:
    async with services.engine.begin() as db:
        await threads.put_channel(db, CHANNEL, name="deployments", audience="all", now=NOW)
        found = await an_incident(db, state=state, **changes)
        await a_plan(db, found)
        await outbox.new_card(db, found.id, CHANNEL)
        await outbox.card_shown(db, found.id, channel=CHANNEL, ts=CARD_TS, shown="x")
    return found


async def came(services: Services, ts: str, **changes: Any) -> None:
    """A person's post in the thread."""
    stored = listeners.read_event({**EVENT, "ts": ts, **changes}, services)
    assert stored is not None
    event, body = stored
    await remembering_delivery(services, ts, event, body)


async def remembering_delivery(services: Services, name: str, event: str, body: dict[str, Any]) -> None:
    await flow.accept(services, source="slack", delivery_id=f"Ev{name}", event=event, body=body)
    await inbox.drain(services)


async def pressed(services: Services, action: str, offer: int, user: str) -> None:
    """A click on the offer's button, carried out twice, as a job may be."""
    body = {
        "type": "block_actions", "user": {"id": user}, "channel": {"id": CHANNEL}, "trigger_id": f"{action}{user}",
        "actions": [{"action_id": action, "value": encode(n=offer)}],
    }  # fmt: skip
    stored = listeners.read_action(body)
    assert stored is not None
    await remembering_delivery(services, f"{action}{user}", *stored)
    (arguments,) = [given for stage, given in await jobs(services.engine) if stage == remembering.STAGE][-1:]
    for _ in range(2):
        await remembering.decide(services, **arguments)


async def offered(services: Services) -> list[Any]:
    return await rows(services.engine, "SELECT id, state, text, told_by FROM fix_offers ORDER BY id")


async def test_a_fix_told_in_an_incidents_thread_is_remembered_once_a_member_confirms_it(services: Services) -> None:
    incident = await with_a_card(services, S.RESOLVED)
    async with services.engine.begin() as db:
        own = item(f"incident-{incident.id}", incident_id=incident.id, fix="", outcome="resolved", action="")
        await memory.remember(db, own, vector=None, vector_model="none")
    await came(services, "1.1")
    await came(services, "1.1")
    (offer,) = await offered(services)
    assert (offer.state, offer.told_by) == ("open", "U0DEV")
    assert SECRET not in offer.text
    async with services.engine.connect() as db:
        shown = await remembering.render(db, f"offer:{offer.id}")
    assert shown is not None
    assert "restarting the proxy" in shown.text
    await pressed(services, "remember_fix", offer.id, "U0GUEST")
    assert [row.state for row in await offered(services)] == ["open"], "a guest decides nothing"
    await pressed(services, "remember_fix", offer.id, "U0LEAD")
    async with services.engine.connect() as db:
        kept = await casebook.get(db, f"incident-{incident.id}")
        shown = await remembering.render(db, f"offer:{offer.id}")
    assert kept is not None
    assert kept.item.fix.startswith("restarting the proxy with token=")
    assert (kept.item.outcome, set(kept.corrected)) == ("resolved", {"fix", "outcome"})
    assert SECRET not in kept.item.fix
    assert shown is not None
    assert "confirmed by <@U0LEAD>" in shown.text
    audited = await rows(services.engine, "SELECT actor, what FROM audit WHERE what LIKE 'fix.%' OR what LIKE 'know%'")
    assert sorted((row.actor, row.what) for row in audited) == [
        ("U0DEV", "knowledge.corrected"), ("U0LEAD", "fix.remembered"),
    ]  # fmt: skip
    assert any("Somebody has decided" in words for _, words in await told(services.engine))


async def test_a_declined_fix_is_not_remembered_and_talk_elsewhere_is_no_offer(services: Services) -> None:
    await with_a_card(services)
    await came(services, "2.1")
    (offer,) = await offered(services)
    await pressed(services, "decline_fix", offer.id, "U0DEV")
    assert not await rows(services.engine, "SELECT 1 FROM knowledge_items")
    assert [row.state for row in await offered(services)] == ["declined"]
    await came(services, "2.2", thread_ts="1600000000.000900")
    assert len(await offered(services)) == 1, "that thread is no incident's"
    for changes in ({"text": "was this fixed by a restart?"}, {"bot_id": "B1"}, {"is_ext_shared_channel": True}):
        stored = listeners.read_event({**EVENT, "ts": "2.3", **changes}, services)
        assert stored is None or stored[0] != "fix_told"
    for number in range(10):
        await came(services, f"3.{number}")
    assert len(await offered(services)) == remembering.MOST_OFFERS


async def test_the_record_of_our_fix_is_not_changed_by_a_persons_word(services: Services) -> None:
    incident = await with_a_card(services, S.NOT_VERIFIED)
    async with services.engine.begin() as db:
        own = item(f"incident-{incident.id}", incident_id=incident.id, outcome="failed")
        await memory.remember(db, own, vector=None, vector_model="none")
        for _ in range(2):
            assert await remembering.remember_fix(db, services, incident.id, "a new certificate", "U0DEV")
        assert not await remembering.remember_fix(db, services, 999_999, "x", "U0DEV")
        assert not await remembering.remember_fix(db, services, incident.id, " ", "U0DEV")
        lesson = await casebook.get(db, f"incident-{incident.id}")
        beside = await casebook.get(db, f"told-{incident.id}")
    assert lesson is not None
    assert lesson.item == replace(own, occurred_at=lesson.item.occurred_at)
    assert beside is not None
    assert (beside.item.fix, beside.item.outcome, beside.item.action) == ("a new certificate", "resolved", "")
    assert (beside.item.cause, beside.item.incident_id) == ("It panics.", incident.id)

"""Splitting and merging by a person: what moves, what is withdrawn, what is remembered, and what a repeat changes."""

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from handlers import flow, inbox, regrouping, taking
from handlers.blocks import grouping as words
from handlers.blocks.limits import validate_view
from handlers.services import Services
from handlers.view import card_view, render
from knowledge.model import Alert, Incident, IncidentState
from knowledge.store import answers, approvals, incidents, threads
from remediation.targets import hints_of
from tests.handlers.office import jobs, rows
from tests.rows import NOW, TARGET, alert, an_approval, diagnosis, ended

S = IncidentState
LATER = itertools.count(1)
CRASH = alert("Crash", workload="checkout-7d9f6c5b84-x2kqp", owner="checkout")
CART = alert("CartSlow", workload="cart", owner="cart", service="cart", labels={"depends_on": "checkout"})
MAIL = alert("MailDown", namespace="mail", workload="mailer", owner="mailer", service="mailer")


async def came(services: Services, *alerts: Alert) -> None:
    for one in alerts:
        async with services.engine.begin() as db:
            await incidents.lock_correlation(db)
            await flow.on_alert(db, services, one)


async def again(services: Services, *alerts: Alert) -> list[int]:
    """The incidents that new signals of the same failures join, each with another start."""
    numbers = []
    for one in alerts:
        later = replace(one, started_at=NOW + timedelta(seconds=next(LATER)))
        await came(services, later)
        found = await rows(
            services.engine, "SELECT incident_id FROM alerts WHERE identity = :it ORDER BY id DESC LIMIT 1",
            it=one.identity,
        )  # fmt: skip
        numbers.append(found[0].incident_id)
    return numbers


async def incident(services: Services, number: int) -> Incident:
    async with services.engine.connect() as db:
        found = await incidents.get(db, number)
    assert found is not None
    return found


async def waits(services: Services, number: int) -> int:
    async with services.engine.begin() as db:
        found = await incidents.get(db, number)
        assert found is not None
        for state in (S.DIAGNOSING, S.WAITING):
            moved = await incidents.move(db, found, state, target=TARGET)
            assert moved is not None
            found = moved
        return await an_approval(db, found)


async def chosen(services: Services, number: int, user: str = "U0ONCALL", key: str = "k", **what: Any) -> None:
    await regrouping.regroup(services, {"user": user, "channel": "", "key": key, "incident_id": number, **what})


async def told(services: Services) -> list[str]:
    found = await rows(services.engine, "SELECT payload FROM outbox WHERE kind = 'ephemeral' ORDER BY id")
    return [row.payload["text"] for row in found]


async def approval_of(services: Services, number: int) -> Any:
    async with services.engine.connect() as db:
        return await approvals.get(db, number)


async def test_merged_incident_gives_its_alerts_away_and_its_request_is_stale(services: Services) -> None:
    await came(services, replace(CRASH, severity="warning"), replace(MAIL, severity="critical"))
    asked = await waits(services, 2)
    for _ in range(2):
        await chosen(services, 2, into=1)
    merged, into = await incident(services, 2), await incident(services, 1)
    assert (merged.state, merged.merged_into, into.alert_count) == (S.DISMISSED, 1, 2)
    assert into.severity == "critical", "as severe as the worst of its alerts"
    approval = await approval_of(services, asked)
    assert (approval.state, approval.reason) == ("withdrawn", "merged into incident 1")
    audited = await rows(services.engine, "SELECT what FROM audit WHERE actor = 'U0ONCALL' ORDER BY id")
    assert [row.what for row in audited] == ["incident.merged", "incident.took"], "the repeat changed nothing"
    async with services.engine.connect() as db:
        card = await render(db, services, 2)
    assert card is not None
    assert "Merged" in card.text
    assert "incident 1" in card.text
    # What comes later follows: now, and when both have ended and begin anew.
    assert await again(services, MAIL, CRASH) == [1, 1]
    async with services.engine.begin() as db:
        await incidents.dismiss_open(db)
    first, second = await again(services, MAIL, CRASH)
    assert first == second > 2
    # An end of the one does not close what the other holds open.
    await came(services, ended(replace(MAIL, started_at=services.now())))
    assert (await incident(services, first)).open


async def test_a_word_about_one_cluster_is_none_about_another(services: Services) -> None:
    there = replace(MAIL, cluster="there", identity="there", fingerprint="there")
    nowhere = replace(MAIL, cluster="", identity="nowhere", fingerprint="nowhere")
    await came(services, CRASH, MAIL)
    await chosen(services, 2, into=1)
    assert await again(services, MAIL, there) == [1, 3]
    async with services.engine.begin() as db:
        await incidents.dismiss_open(db)
    assert await again(services, CRASH, nowhere, there) == [4, 4, 5], "who does not know its cluster is of any"


async def test_split_workload_gets_its_own_incident_and_keeps_it(services: Services) -> None:
    shared = {"depends_on": "pay-db"}
    one = replace(CRASH, title="Slow", identity="a", fingerprint="a", labels=shared)
    other = replace(CART, identity="b", fingerprint="b", labels=shared)
    await came(services, one, other)
    assert (await incident(services, 1)).alert_count == 2, "one dependency, one incident"
    asked = await waits(services, 1)
    async with services.engine.connect() as db:
        stored = [one, other]
        form = words.regroup_modal(await incident(services, 1), regrouping.parts_of(stored), [])
        assert validate_view(form) == []
        part = next(it for it in regrouping.parts_of(stored) if it.name == "shop/cart")
    for _ in range(2):
        await chosen(services, 1, part=part.id)
    old, new = await incident(services, 1), await incident(services, 2)
    assert (old.alert_count, new.alert_count, new.workload) == (1, 1, "cart")
    assert old.state is S.DIAGNOSING, "its answer rested on what has left"
    assert (await approval_of(services, asked)).state == "withdrawn"
    assert len(await rows(services.engine, "SELECT id FROM incidents")) == 2
    assert await again(services, other, one) == [2, 1]
    async with services.engine.begin() as db:
        await incidents.dismiss_open(db)
    first, second = await again(services, one, other)
    assert first != second
    async with services.engine.connect() as db:
        view = await card_view(db, services, old)
    assert [said for said, _ in view.related] == ["Incident 2 was split off"]
    assert ("gather_evidence", {"incident_id": 2}) in await jobs(services.engine)


async def test_nothing_moves_while_a_fix_is_under_way_and_nobody_unknown_moves_anything(services: Services) -> None:
    await came(services, CRASH, MAIL)
    await waits(services, 1)
    async with services.engine.begin() as db:
        found = await incidents.get(db, 1)
        assert found is not None
        await incidents.move(db, found, S.RUNNING)
    await chosen(services, 1, key="a", into=2)
    await chosen(services, 2, key="b", user="U0GUEST", into=1)
    await chosen(services, 2, key="c", into=77)
    await chosen(services, 2, key="d", part="w:nothing")
    words_ = await told(services)
    assert "a fix is under way" in words_[0]
    assert len(words_) == 4
    assert [(await incident(services, number)).state for number in (1, 2)] == [S.RUNNING, S.DETECTED]
    # Into an incident that is being fixed another may be merged: the check of the fix sees its alerts too.
    await chosen(services, 2, key="e", into=1)
    assert (await incident(services, 2)).merged_into == 1


def submitted(**chosen_: str) -> dict[str, Any]:
    values = {name: {name: {"selected_option": {"value": value}}} for name, value in chosen_.items()}
    blocks = [{"type": "input", "block_id": name} for name in ("part", "into")]
    return {"private_metadata": '{"i":7}', "state": {"values": values}, "blocks": blocks}


def test_form_wants_exactly_one_of_its_choices() -> None:
    assert words.read_regrouping(submitted(part="w:1")) == words.Regrouping(7, "w:1")
    assert words.read_regrouping(submitted(into="8")) == words.Regrouping(7, "", 8)
    for wrong in (submitted(), submitted(part="w:1", into="8"), submitted(into="x")):
        assert words.read_regrouping(wrong) is None
        assert words.regroup_errors(wrong) == {"into": words.EXACTLY_ONE}


async def test_a_submitted_form_becomes_a_job(services: Services) -> None:
    click = {"user": "U0ONCALL", "channel": "", "key": "k", "incident_id": 1, "into": 2}
    await flow.accept(services, source="slack", delivery_id="x", event="regroup", body={"click": click})
    await inbox.drain(services)
    assert await jobs(services.engine) == [("regroup", {"click": click})]


NODE = alert("KubeNodeNotReady", namespace="", workload="worker-b", owner="", service="", labels={"node": "worker-b"})
UNREADY = [
    alert(f"KubePodNotReady-{name}", namespace=name, workload=f"{name}-0", owner=name, service=name,
          labels={"node": "worker-b", "pod": f"{name}-0"})
    for name in ("cart", "mail")
]  # fmt: skip


async def test_a_failing_node_that_is_told_late_takes_in_what_it_explains(services: Services) -> None:
    await came(services, *UNREADY, CRASH)
    await came(services, NODE)
    assert [(await incident(services, number)).merged_into for number in (1, 2, 3)] == [None, 1, None]
    assert (await incident(services, 1)).alert_count == 3


@pytest.mark.parametrize(("channel", "about"), [("G0QUIET", ""), ("C0OPEN", ": KubePodNotReady-mail")])
async def test_what_an_incident_is_called_is_told_where_it_is_merged_into_if_all_may_read_of_it(
    services: Services, channel: str, about: str
) -> None:
    row = services.policy.services[0]
    assert row.workload is not None
    workload = row.workload.model_copy(update={"name": "mail"})
    mail = row.model_copy(update={"name": "mail", "namespace": "mail", "channel": channel, "workload": workload})
    services = replace(services, policy=services.policy.model_copy(update={"services": (mail,)}))
    async with services.engine.begin() as db:
        await threads.put_channel(db, "G0QUIET", name="quiet", audience="members", now=NOW)
        await threads.put_channel(db, "C0OPEN", name="open", audience="all", now=NOW)
    await came(services, *UNREADY, NODE)
    assert ((await incident(services, 2)).channel, (await incident(services, 2)).merged_into) == (channel, 1)
    said = await rows(services.engine, "SELECT channel, payload->>'text' AS text FROM outbox ORDER BY id")
    assert [(row.channel, row.text) for row in said if "is merged into" in (row.text or "")] == [
        (services.channel, f"Incident 2 is merged into this one{about}.")
    ]


async def test_an_open_incident_that_reads_the_same_is_named_in_the_thread_and_joined_by_nobody(
    services: Services,
) -> None:
    await came(services, CRASH, MAIL, replace(CART, namespace="elsewhere", labels={}))
    for number, cause in (
        (1, "It panics: DB_URL is not set."),
        (2, "It panics: DB_URI is not set."),
        (3, "Disk full."),
    ):
        found = diagnosis(cause=cause)
        async with services.engine.begin() as db:
            one = await incidents.get(db, number)
            assert one is not None
            one = await incidents.move(db, one, S.DIAGNOSING, kind=found.kind)
            assert one is not None
            await answers.add_diagnosis(db, number, found, ())
            await regrouping.hint(db, services, one, found)
    said = await rows(services.engine, "SELECT incident_id, payload FROM outbox WHERE key LIKE 'like:%'")
    assert [row.incident_id for row in said] == [2]
    assert "may belong to incident 1" in said[0].payload["text"]
    assert [(await incident(services, number)).alert_count for number in (1, 2, 3)] == [1, 1, 1]


async def test_what_is_left_after_a_split_is_about_itself(services: Services) -> None:
    """It was opened by what has left; its next fix must not be for that."""
    shared = {"depends_on": "pay-db"}
    one = replace(CRASH, title="Slow", identity="a", fingerprint="a", labels=shared, repository="acme/it", run_id="7")
    other = replace(CART, identity="b", fingerprint="b", labels=shared)
    await came(services, one, other)
    asked = await waits(services, 1)
    part = next(it for it in regrouping.parts_of([one, other]) if it.name == "shop/checkout")
    await chosen(services, 1, part=part.id)
    old, new = await incident(services, 1), await incident(services, 2)
    assert (hints_of(new).workload, hints_of(new).run_id) == ("checkout", "7")
    assert (hints_of(old).workload, hints_of(old).run_id, hints_of(old).service) == ("cart", "", "cart")
    assert (old.identity, old.title, old.target, old.state) == ("b", "CartSlow", None, "diagnosing")
    assert (await approval_of(services, asked)).state == "withdrawn"
    assert {("gather_evidence", number) for number in (1, 2)} <= {
        (stage, arguments["incident_id"]) for stage, arguments in await jobs(services.engine)
    }


async def test_what_is_split_off_is_no_new_failure_to_a_fix_that_is_verified_meanwhile(services: Services) -> None:
    await came(services, CRASH, replace(CRASH, title="Slow", identity="slow", fingerprint="slow"))
    ((now,),) = await rows(services.engine, "SELECT clock_timestamp()")
    part = next(it for it in regrouping.parts_of([CRASH, replace(CRASH, title="Slow")]) if it.name.startswith("Slow"))
    await chosen(services, 1, part=part.id)
    assert (await incident(services, 2)).title == "Slow"
    async with services.engine.connect() as db:
        assert await incidents.began_near(db, TARGET, since=now, apart_from=99) == []


async def test_what_people_took_over_stays_theirs_wherever_its_alerts_go(services: Services) -> None:
    await came(services, CRASH, replace(CRASH, title="Slow", identity="slow", fingerprint="slow"), MAIL)
    await taking.take(services, {"user": "U0LEAD", "channel": "", "incident_id": 1, "key": "t"})
    part = next(it for it in regrouping.parts_of([CRASH, replace(CRASH, title="Slow")]) if it.name.startswith("Slow"))
    await chosen(services, 1, user="U0DEV", part=part.id)
    await chosen(services, 1, user="U0DEV", key="m", into=2)
    for number in (3, 2):
        found = await incident(services, number)
        assert (found.assigned_to, found.by_hand) == ("U0LEAD", taking.ON_IT)

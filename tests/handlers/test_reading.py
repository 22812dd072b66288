"""What is told where: nothing of a closed channel or namespace in a wider one."""

from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import commands, flow, inbox, listeners, reading
from handlers.reading import Reader
from handlers.services import Services
from handlers.view import card_view
from knowledge.model import Incident, Precedent
from knowledge.store import answers, held, incidents, memory, outbox, threads
from remediation.policy_routes import Route
from tests.handlers.office import jobs, rows, sandbox_policy
from tests.rows import NOW, S, alert, an_incident, diagnosis, item

PUBLIC, OTHER, QUIET, SHARED, UNKNOWN = "C0DEPLOY", "C0OTHER", "G0QUIET", "C0PARTNER", "C0UNKNOWN"
AUDIENCES: dict[str, threads.Audience] = {PUBLIC: "all", OTHER: "all", QUIET: "members", SHARED: "outside"}


async def channels(db: AsyncConnection) -> None:
    for channel, audience in AUDIENCES.items():
        await threads.put_channel(db, channel, name=channel.lower(), audience=audience, now=NOW)


async def an_incident_in(db: AsyncConnection, channel: str, **changes: Any) -> Incident:
    found = await an_incident(db, state=S.ESCALATED, title=f"in {channel} {changes.get('namespace', '')}", **changes)
    await db.exec_driver_sql("UPDATE incidents SET channel = %s WHERE id = %s", (channel, found.id))
    return replace(found, channel=channel)


async def test_status_and_show_tell_of_what_the_reader_may_read(services: Services) -> None:
    policy = sandbox_policy(private_namespaces=("vault",))
    services = replace(services, policy=policy)
    async with services.engine.begin() as db:
        await channels(db)
        made = {
            "public": await an_incident_in(db, PUBLIC),
            "private": await an_incident_in(db, QUIET),
            "shared": await an_incident_in(db, SHARED),
            "unknown": await an_incident_in(db, UNKNOWN),
            "secret": await an_incident_in(db, PUBLIC, namespace="vault"),
        }
        await db.exec_driver_sql("UPDATE incidents SET target = NULL")
        expected = {
            Reader(PUBLIC): {"public", "secret"},
            Reader(OTHER): {"public"},
            Reader(QUIET): {"public", "private"},
            Reader("D0SOMEBODY"): {"public"},
            Reader(OTHER, member=False): set(),
            Reader(PUBLIC, member=False): {"public", "secret"},
        }
        for reader, names in expected.items():
            status = await commands.answer(db, services, "status", reader)
            told = {name for name, incident in made.items() if f"• {incident.id}:" in status.text}
            assert told == names, reader
            for name, incident in made.items():
                shown = await commands.answer(db, services, f"show {incident.id}", reader)
                assert ("There is no incident" not in shown.text) is (name in names), (reader, name)


async def test_status_tells_of_a_quiet_alert_where_its_card_would_be_told_of(services: Services) -> None:
    policy = sandbox_policy(private_namespaces=("payments",))
    own = [row.model_copy(update={"channel": QUIET} if row.name == "checkout" else {}) for row in policy.services]
    services = replace(services, policy=policy.model_copy(update={"services": tuple(own)}))
    quiet = {
        "by its workload": alert("Quiet by its workload"),
        "by a service's name alone": alert(
            "Quiet by a name", source="generic", service="Checkout", namespace="", workload="", owner=""
        ),
        "by a route": alert(
            "Quiet by a route", namespace="routed", workload="w", owner="w", service="", environment=""
        ),
        "of a closed namespace": alert(
            "Quiet and closed", source="generic", service="payments-api", namespace="", workload="", owner=""
        ),
        "of nobody": alert("Quiet of nobody", namespace="n", workload="w", owner="w", service=""),
    }
    route = Route.model_validate({"name": "r", "match": {"namespaces": ["routed"]}, "channel": QUIET})
    services = replace(services, policy=services.policy.model_copy(update={"routes": (route,)}))
    async with services.engine.begin() as db:
        await channels(db)
        for one in quiet.values():
            await held.hold(db, one, why="under maintenance", until=None, there_at=None)
        expected = {
            Reader(PUBLIC): {"of nobody", "of a closed namespace"},
            Reader(OTHER): {"of nobody"},
            Reader(QUIET): {"of nobody", "by its workload", "by a service's name alone", "by a route"},
            Reader("D0SOMEBODY"): {"of nobody"},
            Reader(OTHER, member=False): set(),
        }
        for reader, names in expected.items():
            status = await commands.answer(db, services, "status", reader)
            assert {name for name, one in quiet.items() if one.title in status.text} == names, reader


async def test_who_reads_a_private_answer_is_looked_up(services: Services) -> None:
    assert await reading.reader_of(services, PUBLIC, "U0DEV") == Reader(PUBLIC)
    for user in ("U0GUEST", "U0GONE", "U0NOBODY"):
        assert await reading.reader_of(services, PUBLIC, user) == Reader(PUBLIC, member=False)


async def test_a_card_shows_no_precedent_of_a_closed_place(services: Services) -> None:
    services = replace(services, policy=sandbox_policy(private_namespaces=("payments",)))
    async with services.engine.begin() as db:
        await channels(db)
        here, quiet = await an_incident_in(db, PUBLIC), await an_incident_in(db, QUIET)
        secret = await an_incident_in(db, PUBLIC, namespace="payments")
        past = [
            item("of here", incident_id=here.id),
            item("of quiet", incident_id=quiet.id),
            item("of payments", incident_id=secret.id, service="payments-api"),
            item("imported"),
            item("imported of payments", service="payments-api"),
        ]
        for one in past:
            await memory.remember(db, one, vector=None, vector_model="")
        shown = {}
        for place in (PUBLIC, OTHER, QUIET):
            incident = await an_incident_in(db, place)
            answer = [Precedent(one, 0.9, 0.9) for one in past]
            await answers.add_diagnosis(db, incident.id, diagnosis(), answer)
            shown[place] = {one.item.id for one in (await card_view(db, services, incident)).precedents}
    # The card of here stands in the same channel as that of payments: who reads the one reads the other.
    assert shown[PUBLIC] == {"of here", "of payments", "imported"}
    assert shown[OTHER] == {"of here", "imported"}
    assert shown[QUIET] == {"of here", "of quiet", "imported"}


async def test_a_private_post_stays_in_its_channel_and_is_no_evidence_elsewhere(services: Services) -> None:
    policy = services.policy
    post = {
        "type": "message", "channel": QUIET, "channel_type": "group", "ts": "1700000000.000100", "bot_id": "B0ALERTMGR",
        "attachments": [{"title": "[FIRING:1] CheckoutDown", "text": "the secret plan", "color": "danger"}],
    }  # fmt: skip
    stored = listeners.read_event(post, services)
    assert stored is not None
    assert stored[1]["alerts"][0]["closed"] is True
    open_post = listeners.read_event(post | {"channel": PUBLIC, "channel_type": "channel"}, services)
    assert open_post is not None
    assert open_post[1]["alerts"][0]["closed"] is False
    quiet = alert("QuietDown", closed=True, channel=QUIET)
    async with services.engine.begin() as db:
        await channels(db)
        assert await flow._channel_for(db, services, quiet) == QUIET
        own = [row.model_copy(update={"channel": QUIET}) for row in policy.services]
        routed = replace(services, policy=policy.model_copy(update={"services": tuple(own)}))
        assert await flow._channel_for(db, routed, replace(quiet, channel="G0ELSEWHERE")) == QUIET
        assert await flow._channel_for(db, services, replace(quiet, closed=False)) == PUBLIC
        incident = await an_incident_in(db, PUBLIC)
        await outbox.new_card(db, incident.id, PUBLIC)
        for one in (alert("Told", log="open words"), alert("Hidden", closed=True, channel=QUIET, log="closed words")):
            await incidents.add_alert(db, one, incident.id)
        await db.exec_driver_sql("UPDATE incidents SET state = 'detected', trusted = false")
    await flow.gather_evidence(services, incident.id)
    said = str(await rows(services.engine, "SELECT payload FROM evidence"))
    assert "open words" in said
    assert "closed words" not in said


async def test_where_other_companies_read_along_a_mention_gets_one_sentence(services: Services) -> None:
    question = {"user": "U1", "channel": SHARED, "ts": "1.1", "thread_ts": "", "text": "<@U0CODEHEALER> status"}
    for outside in (True, False):
        body = {"question": {**question, "ts": f"1.{outside:d}", "outside": outside}}
        await flow.accept(services, source="slack", delivery_id=f"Ev{outside}", event=flow.QUESTION, body=body)
    await inbox.drain(services)
    ((stage, asked),) = await jobs(services.engine)
    assert stage == "answer_command"
    for _ in range(2):  # a repeat says nothing more
        await commands.on_mention(services, asked["question"])
    said = [
        row.text
        for row in await rows(
            services.engine, "SELECT payload->>'text' AS text FROM outbox WHERE kind <> 'reaction' ORDER BY id"
        )
    ]
    assert said[0].startswith("Other companies read this channel")
    assert "No open incidents" in said[1]
    assert len(said) == 2
    assert not await rows(services.engine, "SELECT 1 FROM incidents")

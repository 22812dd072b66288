"""Questions in people's words, answered from what is stored."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from handlers import answering, commands, facts, flow, inbox, steering
from handlers.services import Services
from handlers.view import card_view
from knowledge.model import Ask, Decision, Incident, Precedent, RuleResult
from knowledge.store import answers, approvals, incidents, memory, outbox, steers, switches, threads
from tests.handlers.office import jobs, rows
from tests.rows import APPROVERS, NOOP, NOW, S, alert, an_incident, diagnosis, item, plan

CHANNEL, PRIVATE, BOT = "C0DEPLOY", "G0QUIET", "<@U0CODEHEALER>"
RULE = RuleResult("risk", "low", "high", passed=False, otherwise="ask")


async def a_diagnosed_incident(services: Services, channel: str = CHANNEL, **changes: Any) -> Incident:
    """An incident that a person has approved the fix of, with its diagnosis, decision and a precedent."""
    async with services.engine.begin() as db:
        await threads.put_channel(db, CHANNEL, name="deployments", audience="all", now=NOW)
        await threads.put_channel(db, PRIVATE, name="quiet", audience="members", now=NOW)
        found = await an_incident(db, state=S.WAITING, channel=channel, **changes)
        answer = await answers.add_diagnosis(
            db, found.id, diagnosis(cause="The new release panics at start."), [Precedent(item(), 0.8, 0.8)]
        )
        verdict = Ask(APPROVERS, 1, NOW + timedelta(hours=1))
        decided = Decision(verdict, "approve", "conservative", (RULE, replace(RULE, rule="mode", passed=True)))
        planned = await answers.add_plan(db, found.id, answer, plan(), decided)
        approval = await approvals.ask(
            db, incident_id=found.id, plan_id=planned.id, digest=NOOP.digest, needed=1, who=APPROVERS,
            until=services.now() + timedelta(hours=1),
        )  # fmt: skip
        await approvals.vote(db, approval, "U0LEAD")
        await approvals.decide(db, approval, approvals.ApprovalState.APPROVED, by="U0LEAD")
        await outbox.new_card(db, found.id, channel)
    return found


class Asking:
    """People who mention the bot, one after the other."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.last = 0

    async def mention(
        self, text: str, *, channel: str = CHANNEL, thread_ts: str = "", ts: str = "", user: str = "U0DEV"
    ) -> str:
        """Ask, let everything that was asked for be answered; the question's ts."""
        self.last += 1
        ts = ts or f"17{self.last:08d}.000100"
        question = {"user": user, "channel": channel, "ts": ts, "thread_ts": thread_ts, "text": f"{BOT} {text}"}
        body = {"question": question}
        await flow.accept(self.services, source="slack", delivery_id=f"Ev{self.last}", event=flow.QUESTION, body=body)
        await inbox.drain(self.services)
        for stage, arguments in await jobs(self.services.engine):
            if arguments.get("question", {}).get("ts") != ts:
                continue
            run = {answering.STAGE: answering.answer, "answer_command": commands.on_mention}.get(stage)
            for _ in range(2 if run else 0):  # a job may run twice
                await run(self.services, **arguments)
        return ts

    async def answer(self, text: str, **where: str) -> str:
        ts = await self.mention(text, **where)
        key = f"answer:{where.get('channel', CHANNEL)}:{ts}"
        found = await rows(
            self.services.engine, "SELECT payload->>'text' AS text FROM outbox WHERE key = :key", key=key
        )
        return str(found[0].text) if found else ""


async def test_questions_are_answered_from_what_is_stored_with_what_was_looked_at_and_what_is_next(
    services: Services,
) -> None:
    incident = await a_diagnosed_incident(services)
    people = Asking(services)
    why = await people.answer("why did checkout fail?")
    assert why.startswith(f"Incident {incident.id}, checkout · prod: The new release panics at start.")
    assert "Looked at: incident" in why
    assert "Next: approve or reject the fix on its card" in why
    who = await people.answer(f"who approved the fix of incident {incident.id}?")
    assert "approved by 1 person" in who
    assert "<@U0LEAD>" in who
    rules = await people.answer("why wasn't checkout fixed automatically?")
    assert "a person has to approve it, 1 rule asked for that" in rules
    assert "risk, limit low, actual high" in rules
    before = await people.answer("has this happened before to checkout?")
    assert "1 similar one remembered" in before
    assert "It panics." in before
    told = await people.answer("what happened to checkout?")
    assert "Diagnosed: Crash loop" in told
    assert "Approved by <@U0LEAD>" in told
    nothing = await people.answer("what did you do about checkout?")
    assert "I have changed nothing" in nothing


async def test_what_is_meant_is_the_thread_the_number_the_service_or_said_to_be_a_guess(services: Services) -> None:
    first = await a_diagnosed_incident(services)
    other = await a_diagnosed_incident(
        services, title="OrdersDown", service="orders", workload="orders", owner="orders"
    )
    async with services.engine.begin() as db:
        await outbox.card_shown(db, first.id, channel=CHANNEL, ts="1600000000.000100", shown="x")
    people = Asking(services)
    assert f"Incident {first.id}," in await people.answer("why?", thread_ts="1600000000.000100")
    assert f"Incident {first.id}," in await people.answer(f"why did #{first.id} fail?")
    assert f"Incident {other.id}," in await people.answer("why did orders fail?")
    guessed = await people.answer("who approved it?")
    assert f"Incident {other.id}," in guessed
    assert "You named no incident" in guessed
    asked = await people.mention("why did checkout fail?")
    assert f"Incident {first.id}," in await people.answer("and who approved it?", thread_ts=asked)
    assert "which incident that fixed" in await people.answer("this was fixed by restarting orders")
    assert await people.answer("this was fixed by restarting orders, see #4", thread_ts="1600000000.000100") == ""
    (offer,) = await rows(services.engine, "SELECT incident_id, text FROM fix_offers")
    assert (offer.incident_id, offer.text) == (first.id, "restarting orders, see #4")
    assert "There is no incident 999999" in await people.answer("what happened in incident 999999?")
    today = await people.answer("what happened today?")
    assert "2 incidents today" in today
    assert "No incident of orders last week" in await people.answer("what happened to orders last week")


async def test_nothing_of_a_private_channel_is_told_elsewhere(services: Services) -> None:
    secret = await a_diagnosed_incident(services, channel=PRIVATE)
    people = Asking(services)
    for text in (
        "why did checkout fail?",
        f"what happened in incident {secret.id}?",
        "who approved it?",
        "what broke today?",
    ):
        assert "panics" not in await people.answer(text), text
        assert "U0LEAD" not in await people.answer(text), text
    assert "panics" in await people.answer("why did checkout fail?", channel=PRIVATE)


async def test_a_guest_is_told_of_nothing_alike_that_happened_elsewhere(services: Services) -> None:
    past = await a_diagnosed_incident(services)
    lesson = item(f"incident-{past.id}", incident_id=past.id, excerpt="payments panic: nil map in ledger replay")
    async with services.engine.begin() as db:
        await memory.remember(db, lesson, vector=None, vector_model="")
        await threads.put_channel(db, "C0ALERTS", name="alerts", audience="all", now=NOW)
    people, asked = Asking(services), "have we seen a nil map panic in ledger replay before?"
    assert "1 similar case" in await people.answer(asked, channel="C0ALERTS")
    assert "nothing like that" in await people.answer(asked, channel="C0ALERTS", user="U0GUEST")


async def test_what_nothing_stored_answers_is_looked_at_now_once(services: Services) -> None:
    people = Asking(services)
    await people.mention("why is catalog failing?")
    opened = await rows(services.engine, "SELECT title, trusted FROM incidents")
    assert [(row.title, row.trusted) for row in opened] == [("Question about catalog", True)]
    await people.mention("what went wrong here?", thread_ts="1600000000.000900")
    assert len(await rows(services.engine, "SELECT 1 FROM incidents")) == 2
    assert await people.answer("thanks!") == ""


async def test_a_question_about_a_failure_that_has_its_card_elsewhere_is_told_of_it_as_far_as_may_be_told(
    services: Services,
) -> None:
    async with services.engine.begin() as db:
        await threads.put_channel(db, PRIVATE, name="quiet", audience="members", now=NOW)
        await flow.on_alert(db, services, alert(started_at=None))
    people = Asking(services)
    told = await people.answer("is checkout alright?", channel="C0ALERTS")
    assert "checkout · prod: not diagnosed yet" in told
    async with services.engine.begin() as db:
        await db.exec_driver_sql("UPDATE incidents SET channel = %s", (PRIVATE,))
    told = await people.answer("is checkout alright?", channel="C0ALERTS")
    assert told.startswith("I have nothing to tell about this here")
    assert len(await rows(services.engine, "SELECT 1 FROM incidents")) == 1


async def test_a_mention_can_do_what_the_command_can_and_is_seen_at_once(services: Services) -> None:
    people = Asking(services)
    ts = await people.mention("pause")
    async with services.engine.connect() as db:
        paused = await switches.read(db, switches.PAUSED)
    assert paused is not None
    assert (paused.value, paused.set_by) == (True, "U0DEV")
    assert len(await rows(services.engine, "SELECT 1 FROM audit WHERE what = 'switch.paused'")) == 1
    assert "No open incidents" in await people.answer("is anything broken?")
    first = (await rows(services.engine, "SELECT kind, payload, priority FROM outbox ORDER BY id"))[0]
    assert (first.kind, first.payload, first.priority) == ("reaction", {"ts": ts, "name": "eyes"}, outbox.URGENT)


async def test_a_person_steers_the_diagnosis_in_the_incidents_thread_and_what_is_found_is_theirs_to_start(
    services: Services,
) -> None:
    incident = await a_diagnosed_incident(services)
    thread = "1600000000.000100"
    async with services.engine.begin() as db:
        await outbox.card_shown(db, incident.id, channel=CHANNEL, ts=thread, shown="x")
    people = Asking(services)
    said = await people.answer("ignore the network idea, look at the last deploy", thread_ts=thread)
    assert said.startswith("I look again: not Network (DNS, TLS, policy); first what changed.")
    async with services.engine.connect() as db:
        again = await incidents.get(db, incident.id)
        assert again is not None
        view = await card_view(db, services, again)
        decided = await facts.decide(db, services, again, diagnosis(), plan(), [])
    assert (again.state, again.asked_by) == (S.DIAGNOSING, "U0DEV")
    assert view.related[0][0] == "Steered by <@U0DEV>: not Network (DNS, TLS, policy); first what changed"
    by_hand = next(rule for rule in decided.decision.rules if rule.rule == "a person's work")
    assert (by_hand.passed, by_hand.actual) == (False, "U0DEV steered the diagnosis")
    (audited,) = await rows(services.engine, "SELECT actor, payload FROM audit WHERE what = 'incident.steered'")
    assert (audited.actor, audited.payload["excluded"]) == ("U0DEV", ["network"])
    assert "cannot run again now" in await people.answer("its not memory", thread_ts=thread), "it is running"
    async with services.engine.begin() as db:
        await db.exec_driver_sql("UPDATE incidents SET state = 'escalated'")
        for number in range(steering.MOST - 1):
            await steers.add(db, incident.id, key=str(number), payload={}, by="U0DEV", most=steering.MOST)
    assert "steered 5 times" in await people.answer("its not memory", thread_ts=thread)


async def test_words_in_another_thread_steer_no_incident_of_the_service_they_name(services: Services) -> None:
    incident = await a_diagnosed_incident(services)
    people = Asking(services)
    await people.mention("check the checkout logs", thread_ts="1600000000.000900")
    async with services.engine.connect() as db:
        assert await steers.latest(db, incident.id) is None
    assert await people.answer(f"incident {incident.id}: its not memory", thread_ts="1600000000.000900") != ""
    async with services.engine.connect() as db:
        assert await steers.latest(db, incident.id) is not None

"""What /codehealer answers and does, on a real database and with the sandbox's people."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from bot.sandbox.server import Sandbox
from handlers import cards, commands, feedback, flow, hushing, inbox, later
from handlers.blocks.card_view import Card
from handlers.reading import Reader
from handlers.services import Services
from knowledge.model import AnswerSource, FailureKind, Incident
from knowledge.store import answers, approvals, incidents, memory, mutes, outbox, threads
from tests.handlers.card_states import ASK
from tests.handlers.office import jobs, rows, sandbox_policy
from tests.rows import S, alert, an_approval, an_execution, an_incident, diagnosis, item, plan

HERE = "C0DEPLOY"


async def typed(services: Services, text: str, user: str = "U0ONCALL", **reader: Any) -> Card:
    return await commands.private_answer(services, text, Reader(HERE, **reader), user=user, key="click")


async def said(services: Services, text: str, user: str = "U0ONCALL") -> str:
    return (await typed(services, text, user)).text


def button(card: Card) -> dict[str, Any]:
    (found,) = [element for block in card.blocks if block["type"] == "actions" for element in block["elements"]]
    return dict(found)


async def recorded(services: Services) -> list[tuple[str, str]]:
    found = await rows(services.engine, "SELECT what, actor FROM audit ORDER BY id")
    return [(row.what, row.actor) for row in found]


# --- looking ---------------------------------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page_and_a_guess_is_a_click_away(services: Services) -> None:
    async with services.engine.begin() as db:
        made = [await an_incident(db, title=f"Down{number}", service="checkout") for number in range(12)]
        await an_incident(db, title="Other", service="catalog")
    first = await typed(services, "incidents open service checkout")
    assert [f"• {one.id}:" in first.text for one in made] == [False] * 2 + [True] * 10
    line = commands.wording.decode_line(button(first)["value"])
    assert line == f"incidents open service checkout before {made[2].id}"
    second = await commands.clicked(services, line, Reader(HERE))
    assert [f"• {one.id}:" in second.text for one in made] == [True] * 2 + [False] * 10
    assert not [block for block in second.blocks if block["type"] == "actions"]
    assert "page 2" in await said(services, "list checkout page 2")
    assert "past the end" in await said(services, "incidents page 9")
    assert f"• {made[11].id}:" in await said(services, "history of CHECKOUT")
    guess = await typed(services, "stauts")
    assert "Open incidents" not in (await commands.clicked(services, "mute checkout", Reader(HERE))).text
    assert (
        "open incident"
        in (await commands.clicked(services, commands.wording.decode_line(button(guess)["value"]), Reader(HERE))).text
    )
    assert not [block for block in (await typed(services, "puase")).blocks if block["type"] == "actions"]


async def test_an_incident_is_found_by_number_by_its_cards_link_and_as_the_last_and_told_to_its_readers_alone(
    services: Services,
) -> None:
    async with services.engine.begin() as db:
        older, incident = await an_incident(db, title="Older"), await an_incident(db, title="Newest")
        await outbox.new_card(db, older.id, HERE)
        await outbox.card_shown(db, older.id, channel=HERE, ts="1700000000.000100", shown="x")
        elsewhere = await an_incident(db, title="Secret", channel="G0SECRET")
    assert "Older" in await said(services, f"show #{older.id}")
    assert "Older" in await said(services, "https://acme.slack.com/archives/C0DEPLOY/p1700000000000100")
    assert "Newest" in await said(services, "the last one"), "of those that may be told of here"
    for line in ("show", "history", "similar", "policy why", "snooze", "feedback"):
        told = await said(services, f"{line} {elsewhere.id} up")
        assert "There is no incident" in told, line
        assert "Secret" not in told
    assert "There is no incident" in await said(services, f"diagnose {elsewhere.id}")
    assert "Nothing has been decided" in await said(services, f"why {incident.id}")


async def test_history_and_rules_of_one_incident_and_what_waits(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.WAITING)
        await an_approval(db, incident)
        answer = await answers.latest_diagnosis(db, incident.id)
        assert answer is not None
        await answers.add_plan(db, incident.id, answer.id, plan(), ASK)
    rules = await said(services, f"policy why {incident.id}")
    assert "limit" in rules
    assert "actual" in rules
    assert "Proposed" in await said(services, f"history {incident.id}")
    queue = await said(services, "approve 12")
    assert "Nothing is approved or rejected by typing" in queue
    assert f"{incident.id}: " in queue
    assert "<@U0ONCALL>" in queue


async def test_search_and_similar_say_why_something_is_ranked_lower(services: Services) -> None:
    async with services.engine.begin() as db:
        await threads.put_channel(db, HERE, name="deploy", audience="all", now=services.now())
        past = await an_incident(db, state=S.HEALED, title="Past")
        excerpt = "payments panic: nil map in ledger replay"
        lesson = item(f"incident-{past.id}", incident_id=past.id, excerpt=excerpt)
        await memory.remember(db, lesson, vector=None, vector_model="")
        for user in ("U1", "U2", "U3"):
            await memory.put_feedback(db, past.id, user, -1)
    found = await said(services, "search ledger replay panic nil map")
    assert "ranked lower since 3 people said it did not help" in found
    assert "<@U1>" not in found
    guest = Reader("C0ALERTS", member=False)
    assert "none known" in (await commands.private_answer(services, "search ledger replay", guest, user="U0GUEST")).text
    async with services.engine.begin() as db:
        await memory.put_feedback(db, past.id, "U1", 1)
        await memory.put_feedback(db, past.id, "U2", 1)
        await memory.drop_feedback(db, past.id, "U3")
    assert "ranked higher since 2 people said it helped" in await said(services, "search ledger replay panic nil map")


# --- muting ----------------------------------------------------------------------------------------------------------


async def came(services: Services, name: str, **changes: Any) -> None:
    await flow.accept_alerts(services, [alert(name, **changes)], source="generic", delivery_id=name)
    while await inbox.drain(services):
        pass


async def opened(services: Services) -> list[Incident]:
    async with services.engine.connect() as db:
        return list(await incidents.listed(db))


async def calls(services: Services) -> int:
    return len(await rows(services.engine, "SELECT 1 FROM outbox WHERE key LIKE 'call:%'"))


async def test_a_muted_service_gets_no_card_and_no_call_until_it_is_unmuted(services: Services) -> None:
    services = replace(services, policy=sandbox_policy())
    await came(services, "First", severity="warning")
    (first,) = await opened(services)
    told = await said(services, "mute Checkout for 2h", user="U0DEV")
    assert "muted until" in told
    other = {"namespace": "shop", "owner": "other", "workload": "other"}
    await came(services, "Second", identity="id:second", severity="warning", **other)
    await came(services, "First", fingerprint="fp:again", severity="warning", started_at=first.opened_at)
    assert [one.title for one in await opened(services)] == ["First"]
    status = await said(services, "status")
    assert "1 place muted" in status
    assert "1 alert kept quiet" in status
    async with services.engine.begin() as db:
        looked_at = await incidents.move(db, first, S.DIAGNOSING)
        assert looked_at is not None
        waiting = await incidents.move(db, looked_at, S.WAITING)
        assert waiting is not None
        await cards.call_people(db, services, waiting)
    assert await calls(services) == 0
    assert "not muted" in await said(services, "unmute catalog")
    assert "no longer muted" in await said(services, f"unmute {first.id}")
    async with services.engine.begin() as db:
        await cards.call_people(db, services, waiting)
    assert await calls(services) == 1
    await hushing.tell_what_lasted(services)
    while await inbox.drain(services):
        pass
    assert {one.title for one in await opened(services)} == {"First", "Second"}
    assert [one for one in await recorded(services) if "mute" in one[0]] == [
        ("mute.set", "U0DEV"), ("mute.ended", "U0ONCALL"),
    ]  # fmt: skip


async def test_what_is_critical_is_never_muted(services: Services) -> None:
    services = replace(services, policy=sandbox_policy())
    await said(services, "mute checkout for 2h", user="U0DEV")
    await came(services, "Down", severity="critical")
    assert [one.title for one in await opened(services)] == ["Down"]


async def test_a_mute_never_hides_what_a_fix_leaves_and_ends_by_itself(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.RUNNING)
        await an_execution(db, incident)
        await mutes.put(db, f"service:{incident.service}", until=services.now() + timedelta(hours=1), by="U0DEV")
        failed = await incidents.move(db, incident, S.ESCALATED)
        assert failed is not None
        await cards.call_people(db, services, failed)
    assert await calls(services) == 1
    ahead = replace(services, now=lambda: services.now() + timedelta(hours=2))
    async with services.engine.begin() as db:
        assert not await mutes.in_force(db, now=ahead.now())


async def test_who_may_not_mute_and_what_cannot_be_read_is_told_so(services: Services) -> None:
    for line, user, words in (
        ("mute checkout", "U0GUEST", "Only full members"),
        ("mute chekout", "U0DEV", "I know none called `chekout`"),
        ("mute checkout for 30 days", "U0DEV", "at most 7 days"),
        ("mute", "U0DEV", "Nothing is muted"),
        ("mute 99", "U0DEV", "There is no incident"),
        ("stats soon", "U0DEV", "days: give a number"),
        ("incidents purple", "U0DEV", "filter `purple`"),
        ("feedback 99", "U0DEV", "There is no incident"),
    ):
        assert words in await said(services, line, user=user), line
    assert not await recorded(services)


# --- putting off -----------------------------------------------------------------------------------------------------


async def test_who_may_decide_puts_a_question_off_by_typing_and_nobody_is_reminded(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.WAITING)
        await outbox.new_card(db, incident.id, HERE)
        request = await an_approval(db, incident)
    assert "may not decide" in await said(services, f"snooze {incident.id} 2h", user="U0DEV")
    assert "I cannot read `whenever`" in await said(services, f"snooze {incident.id} whenever")
    assert "is put off until" in await said(services, f"snooze {incident.id} for 2h")
    async with services.engine.connect() as db:
        approval = await approvals.get(db, request)
    assert approval is not None
    assert approval.snoozed_until is not None
    assert timedelta(minutes=119) < approval.snoozed_until - services.now() <= timedelta(hours=2)
    await later.remind(services)
    assert not await rows(services.engine, "SELECT 1 FROM outbox WHERE key LIKE 'remind:%'")


# --- feedback --------------------------------------------------------------------------------------------------------


async def votes(services: Services, incident: Incident) -> list[tuple[str, int, str]]:
    async with services.engine.connect() as db:
        return [(one.user, one.value, one.reason) for one in await memory.feedback_of(db, incident.id)]


async def test_a_vote_counts_for_the_answer_that_was_seen_and_the_last_one_wins(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.DIAGNOSING)
        hasty = diagnosis(answered_by=AnswerSource("built-in", provisional=True))
        first = await answers.add_diagnosis(db, incident.id, hasty, [])
        await feedback.give(db, services, incident_id=incident.id, user="U1", value=1, answer_id=first)
        await feedback.give(db, services, incident_id=incident.id, user="U2", value=1)
    assert len(await votes(services, incident)) == 2
    async with services.engine.begin() as db:
        final = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        assert not await memory.feedback_of(db, incident.id), "a first look is not the final answer"
        vote: dict[str, Any] = {"incident_id": incident.id, "answer_id": final}
        await feedback.give(db, services, user="U1", value=-1, reason="wrong_fix", comment="token=abcd1234efgh", **vote)
        # A click on the first look that comes late changes nothing of that.
        await feedback.give(db, services, incident_id=incident.id, user="U1", value=1, answer_id=first)
    assert await votes(services, incident) == [("U1", -1, "wrong_fix")]
    async with services.engine.begin() as db:
        await answers.add_diagnosis(db, incident.id, diagnosis(), [])
    assert await votes(services, incident) == [("U1", -1, "wrong_fix")], "the same cause once more"
    assert "Thank you" in await said(services, f"feedback {incident.id} up it was right", user="U1")
    assert await votes(services, incident) == [("U1", 1, "")]
    async with services.engine.begin() as db:
        await answers.add_diagnosis(db, incident.id, diagnosis(FailureKind.OOMKILLED), [])
    assert not await votes(services, incident)
    await said(services, f"feedback {incident.id} 👎 nonsense", user="U1")
    assert "taken back" in await said(services, f"feedback {incident.id} none", user="U1")
    assert not await rows(services.engine, "SELECT 1 FROM feedback WHERE \"user\" = 'U1'")
    assert "abcd1234efgh" not in str(await rows(services.engine, "SELECT * FROM feedback, audit"))


# --- diagnosing ------------------------------------------------------------------------------------------------------


async def test_diagnose_looks_again_looks_at_a_service_here_or_answers_privately(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.ESCALATED)
    assert "look at incident" in await said(services, f"diagnose {incident.id}")
    assert [stage for stage, _ in await jobs(services.engine)] == ["gather_evidence"]
    assert "card in this channel" in await said(services, "diagnose catalog")
    assert "look at incident" in await said(services, "diagnose Catalog"), "which is open by now"
    assert [(one.service, one.channel) for one in await opened(services)][:1] == [("catalog", HERE)]
    assert len(await opened(services)) == 2
    told = await said(services, "diagnose npm error code ERESOLVE\nnpm error Could not resolve dependency: peer react")
    assert "Dependencies cannot be resolved" in told
    assert len(await opened(services)) == 2, "what is typed for one's own eyes is kept nowhere"


# --- mentions --------------------------------------------------------------------------------------------------------


async def test_a_pause_does_not_wait_for_slack_to_say_who_wants_it(services: Services, sandbox: Sandbox) -> None:
    sandbox.slack.faults.update({"rate_limit_next": 9, "methods": ["users.info"]})
    assert "did not say who you are" in await said(services, "mode everything observe")
    assert "Paused" in await said(services, "pause!")
    assert await recorded(services) == [("switch.paused", "U0ONCALL")]


async def test_a_mention_that_is_a_command_acts_once_and_is_answered_in_its_thread(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.WAITING)
        await an_approval(db, incident)
        await outbox.new_card(db, incident.id, HERE)
        await outbox.card_shown(db, incident.id, channel=HERE, ts="1.1", shown="x")
    place = {"user": "U0DEV", "channel": HERE, "ts": "2.2", "thread_ts": "1.1"}
    asked = {**place, "text": "<@U0CODEHEALER> mute 30 min"}
    await commands.on_mention(services, asked)
    async with services.engine.begin() as db:
        await mutes.end(db, f"service:{incident.service}")
    await commands.on_mention(services, asked)
    async with services.engine.connect() as db:
        assert not await mutes.in_force(db, now=services.now()), "the second time nothing is done"
    await commands.on_mention(services, {**place, "ts": "3.3", "text": "<@U0CODEHEALER> queue"})
    found = await rows(services.engine, "SELECT payload FROM outbox WHERE key LIKE 'answer:%' ORDER BY id")
    assert [one.payload["thread_ts"] for one in found] == ["1.1", "1.1"]
    assert "is muted until" in found[0].payload["text"]
    assert "for 2 people" in found[1].payload["text"], "a post would ping whom it names"
    again = {**place, "ts": "4.4", "text": "<@U0CODEHEALER> diagnose"}
    await commands.on_mention(services, again)
    await commands.on_mention(services, again)
    assert [what for what, _ in await recorded(services)].count("incident.looked_again") == 1

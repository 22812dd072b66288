"""What is to be said is kept once, goes out in order of urgency, and is never forgotten while it is being sent."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Incident
from knowledge.store import outbox
from knowledge.store.outbox import CHANGED, COUNTED, URGENT, Message
from tests.rows import an_incident


async def put(db: AsyncConnection, key: str, **changes: object) -> None:
    values: dict[str, object] = {"kind": "post", "channel": "C1", "payload": {"text": key}, **changes}
    await outbox.put(db, key=key, **values)  # type: ignore[arg-type]


async def with_card(db: AsyncConnection, ts: str = "", title: str = "a") -> Incident:
    incident = await an_incident(db, title=title)
    await outbox.new_card(db, incident.id, "C1")
    if ts:
        await outbox.card_shown(db, incident.id, channel="C1", ts=ts, shown="x")
    return incident


def keys(messages: Sequence[Message]) -> list[str]:
    return [message.key for message in messages]


async def test_a_message_is_kept_once_for_its_key(db: AsyncConnection) -> None:
    await put(db, "hello")
    await put(db, "hello", payload={"text": "another"})
    (one,) = await outbox.due(db)
    assert one.payload == {"text": "hello"}
    await outbox.sent(db, one, "1.1")
    await put(db, "hello")
    assert not await outbox.due(db), "also after it was sent"


async def test_the_urgent_goes_first_and_equals_in_their_order(db: AsyncConnection) -> None:
    for key, priority in (("count", COUNTED), ("change 1", CHANGED), ("click", URGENT), ("change 2", CHANGED)):
        await put(db, key, priority=priority)
    assert keys(await outbox.due(db)) == ["click", "change 1", "change 2", "count"]


async def test_a_long_queue_of_one_channel_holds_up_no_other_and_no_private_answer(db: AsyncConnection) -> None:
    for number in range(120):
        await put(db, f"storm {number}", priority=URGENT)
    await put(db, "elsewhere", channel="C2")
    await put(db, "told", kind="ephemeral")
    due = keys(await outbox.due(db))
    assert {"storm 0", "elsewhere", "told"} <= set(due)
    assert "storm 119" not in due


async def test_a_reply_waits_for_its_card_without_being_asked_for(db: AsyncConnection) -> None:
    there, lost = await with_card(db, "1.1"), await with_card(db, title="b")
    for incident in (there, lost):
        await put(db, f"reply {incident.id}", incident_id=incident.id, payload={"text": "x", "in_thread": True})
    assert keys(await outbox.due(db)) == [f"reply {there.id}"]
    await outbox.sent(db, (await outbox.due(db))[0], "1.2")
    assert await outbox.next_due_s(db) is None, "the sender sleeps meanwhile"
    await outbox.card_shown(db, lost.id, channel="C1", ts="2.1", shown="x")
    assert keys(await outbox.due(db)) == [f"reply {lost.id}"]


async def test_a_card_asked_for_many_times_is_one_edit_at_the_earliest_time_and_the_highest_urgency(
    db: AsyncConnection,
) -> None:
    incident = await with_card(db)
    await outbox.put_card(db, incident.id, "C1", payload={}, priority=COUNTED, in_s=60)
    assert not await outbox.due(db)
    await outbox.put_card(db, incident.id, "C1", payload={}, priority=CHANGED)
    await outbox.put_card(db, incident.id, "C1", payload={}, priority=COUNTED, in_s=60)
    (one,) = await outbox.due(db)
    assert (one.priority, one.version) == (CHANGED, 3)
    await outbox.sent(db, one, "1.1")
    await outbox.put_card(db, incident.id, "C1", payload={}, priority=COUNTED, in_s=60)
    later = await outbox.next_due_s(db)
    assert later is not None
    assert 50 < later <= 60, "what was sent starts afresh, without its old urgency"


async def test_counts_of_several_cards_wait_together_and_hold_back_nothing(db: AsyncConnection) -> None:
    counted, changed = await with_card(db), await with_card(db)
    await outbox.put_card(db, changed.id, "C1", payload={})
    await outbox.count_cards(db, {counted.id, changed.id}, "C1", in_s=15)
    (one,) = await outbox.due(db)
    assert (one.incident_id, one.priority, one.version) == (changed.id, CHANGED, 2)
    await outbox.sent(db, one, "1.1")
    later = await outbox.next_due_s(db)
    assert later is not None
    assert 10 < later <= 15
    await outbox.count_cards(db, set(), "C1", in_s=0)


async def test_a_card_asked_for_again_while_it_is_being_sent_is_sent_again(db: AsyncConnection) -> None:
    incident = await with_card(db)
    await outbox.put_card(db, incident.id, "C1", payload={})
    (first,) = await outbox.due(db)
    await outbox.sending(db, first)
    await outbox.put_card(db, incident.id, "C1", payload={})
    await outbox.sent(db, first, "1.1")
    (again,) = await outbox.due(db)
    assert (again.state, again.version) == ("queued", 2)
    await outbox.sent(db, again, "1.1")
    assert not await outbox.due(db)


async def test_what_may_have_reached_slack_stays_uncertain_until_it_is_noted_as_sent(db: AsyncConnection) -> None:
    await put(db, "hello")
    (one,) = await outbox.due(db)
    assert not one.uncertain
    await outbox.sending(db, one)
    assert not await outbox.due(db), "it may still be on its way"
    await db.execute(text("UPDATE outbox SET not_before = not_before - :passed"),
                     {"passed": outbox.IN_FLIGHT + timedelta(seconds=60)})  # fmt: skip
    (left,) = await outbox.due(db)
    assert left.uncertain, "left behind by a sender that died"
    await outbox.again(db, left, in_s=0, error="ratelimited", waited=True)
    (waited,) = await outbox.due(db)
    assert waited.uncertain, "that the search for it had to wait makes it no surer"
    assert waited.attempts == 0
    await outbox.again(db, waited, in_s=0, error="internal_error")
    (failed,) = await outbox.due(db)
    assert failed.uncertain
    assert failed.attempts == 1
    await outbox.anew(db, failed, error="message_not_found")
    assert not (await outbox.due(db))[0].uncertain


async def test_a_first_attempt_that_slack_told_to_wait_was_surely_not_posted(db: AsyncConnection) -> None:
    await put(db, "hello")
    (one,) = await outbox.due(db)
    await outbox.sending(db, one)
    await outbox.again(db, one, in_s=0, error="ratelimited", waited=True)
    assert not (await outbox.due(db))[0].uncertain


async def test_what_was_given_up_is_not_due_and_says_why(db: AsyncConnection) -> None:
    await put(db, "hello")
    await outbox.gave_up(db, (await outbox.due(db))[0], "channel_not_found")
    assert not await outbox.due(db)
    assert (await db.execute(text("SELECT state, error FROM outbox"))).one() == ("failed", "channel_not_found")


async def test_a_card_that_was_given_up_is_tried_again_at_its_next_change(db: AsyncConnection) -> None:
    incident = await with_card(db)
    await outbox.put_card(db, incident.id, "C1", payload={})
    (one,) = await outbox.due(db)
    await outbox.again(db, one, in_s=0, error="internal_error")
    await outbox.gave_up(db, (await outbox.due(db))[0], "internal_error")
    await outbox.put_card(db, incident.id, "C1", payload={})
    (again,) = await outbox.due(db)
    assert again.uncertain, "one of the earlier attempts may have posted it"


async def test_the_time_of_the_first_post_is_kept(db: AsyncConnection) -> None:
    incident = await with_card(db, "1.1")
    first = (await db.execute(text("SELECT posted_at FROM cards"))).scalar_one()
    await outbox.card_shown(db, incident.id, channel="C1", ts="1.1", shown="y")
    assert (await db.execute(text("SELECT posted_at FROM cards"))).scalar_one() == first
    place = await outbox.card_place(db, incident.id)
    assert place is not None
    assert (place.ts, place.shown) == ("1.1", "y")

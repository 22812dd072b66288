"""Who may read a remembered thread where, and when nothing of it is left."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.backfill import Backfill
from knowledge.model import KnowledgeItem, Precedent
from knowledge.slack_threads import without_text
from knowledge.store import answers, memory, threads
from knowledge.store.threads import NOBODY, Asked, Audience
from tests.rows import NOW, an_incident, diagnosis, item

CHANNELS: dict[str, Audience] = {"C0OPEN": "all", "C0OTHER": "all", "G0QUIET": "members", "C0PARTNER": "outside"}


def a_thread(channel: str, ts: str = "1700000000.000100", **changes: object) -> KnowledgeItem:
    about = {
        "source": "slack",
        "service": "",
        "environment": "",
        "action": "",
        "excerpt": "panic in the pod",
        **changes,
    }
    return item(f"slack-{channel}-{ts}", channel=channel, **about)


@pytest.fixture
async def index(db: AsyncConnection) -> AsyncConnection:
    """An incident, and a thread in each channel; of the shared one it was kept before others came in."""
    for channel, audience in CHANNELS.items():
        await threads.put_channel(db, channel, name=channel.lower(), audience=audience, now=NOW)
        await memory.remember(db, a_thread(channel), vector=None, vector_model="")
    await memory.remember(db, item("incident-1"), vector=None, vector_model="")
    return db


async def found(db: AsyncConnection, asked: Asked = NOBODY) -> set[str]:
    hits = await memory.search(db, words="panic in the pod", vector=None, vector_model="", asked=asked)
    return {hit.item.channel or hit.item.id for hit in hits}


async def test_what_began_before_a_channel_was_forgotten_is_dropped_again_wherever_it_comes_from(
    index: AsyncConnection,
) -> None:
    await threads.mark_forgotten(index, "C0OPEN")
    await memory.remember(index, a_thread("C0OPEN", "9700000000.000100"), vector=None, vector_model="")
    assert await threads.drop_forgotten(index) == 1
    assert await threads.counts(index) == dict.fromkeys(CHANNELS, 1)
    assert await threads.known(index, "C0OPEN", "9700000000.000100")
    assert await threads.forgotten_up_to(index, "C0OTHER") == ""


OPEN = {"C0OPEN", "C0OTHER", "incident-1"}
READABLE: dict[str, set[str]] = {
    "": OPEN,
    "D0SOMEONE": OPEN,
    "C0OPEN": OPEN,
    "G0QUIET": OPEN | {"G0QUIET"},
    "C0PARTNER": {"incident-1"},
    "C0UNKNOWN": {"incident-1"},
    "' OR 1=1 --": {"incident-1"},
}


async def test_a_private_channels_threads_are_for_itself_and_none_is_for_outsiders(index: AsyncConnection) -> None:
    for channel, readable in READABLE.items():
        assert await found(index, Asked(channel)) == readable, channel


async def test_a_question_may_be_limited_to_channels_and_never_finds_itself(index: AsyncConnection) -> None:
    assert await found(index, Asked("C0OPEN", only_in=frozenset({"C0OTHER", "G0QUIET"}))) == {"C0OTHER", "incident-1"}
    own = frozenset({"slack-C0OPEN-1700000000.000100"})
    assert await found(index, Asked("C0OPEN", not_items=own)) == {"C0OTHER", "incident-1"}


async def test_a_channel_that_becomes_private_or_shared_takes_effect_at_once(index: AsyncConnection) -> None:
    await threads.put_channel(index, "C0OTHER", name="", audience="members", now=NOW)
    assert await found(index, Asked("C0OPEN")) == {"C0OPEN", "incident-1"}
    await threads.put_channel(index, "C0OPEN", name="", audience="outside", now=NOW)
    assert await memory.get(index, "slack-C0OPEN-1700000000.000100") is None


async def test_out_of_a_channel_nothing_of_it_is_left(index: AsyncConnection) -> None:
    await threads.forget_channel(index, "C0OPEN")
    assert await memory.get(index, "slack-C0OPEN-1700000000.000100") is None
    assert set(await threads.forget_other_channels(index, ["G0QUIET"])) == {"C0OTHER", "C0PARTNER"}
    assert await threads.counts(index) == {"G0QUIET": 1}
    await threads.forget_other_channels(index, ())
    assert await found(index, Asked("G0QUIET")) == {"incident-1"}


async def test_retention_forgets_old_threads_and_no_incident(index: AsyncConnection) -> None:
    old = a_thread("C0OPEN", "1600000000.000100", occurred_at=NOW - timedelta(days=400))
    await memory.remember(index, old, vector=None, vector_model="")
    past = item("incident-0", occurred_at=NOW - timedelta(days=400))
    await memory.remember(index, past, vector=None, vector_model="")
    assert await threads.drop_older(index, NOW - timedelta(days=365)) == 1
    assert await memory.get(index, old.id) is None
    assert await memory.get(index, "incident-0") is not None


async def test_threads_that_a_page_of_history_no_longer_has_go(index: AsyncConnection) -> None:
    for second in range(1, 5):
        await memory.remember(index, a_thread("C0OPEN", f"170000010{second}.000000"), vector=None, vector_model="")
    still = ["slack-C0OPEN-1700000102.000000"]
    dropped = await threads.drop_between(
        index, "C0OPEN", after="1700000101.000000", before="1700000104.000000", but=still
    )
    assert dropped == 2
    assert await memory.get(index, still[0]) is not None
    assert await memory.get(index, "slack-C0OPEN-1700000104.000000") is not None


async def test_a_diagnosis_keeps_no_word_of_a_thread_and_shows_it_as_it_is_now(index: AsyncConnection) -> None:
    thread, past = a_thread("G0QUIET", cause="the key had expired", fix="rotated it"), item("incident-1")
    await memory.remember(index, thread, vector=None, vector_model="")
    incident = await an_incident(index)
    precedents = [Precedent(thread, 0.9, 0.8), Precedent(past, 0.7, 0.6)]
    await answers.add_diagnosis(index, incident.id, diagnosis(), precedents)
    stored = await answers.latest_diagnosis(index, incident.id)
    assert stored is not None
    assert stored.precedents == (without_text(precedents[0]), precedents[1])
    assert stored.precedents[0].item.cause == ""
    assert await threads.with_text(index, stored.precedents, Asked("G0QUIET")) == tuple(precedents)
    assert await threads.with_text(index, stored.precedents, Asked("C0OPEN")) == (precedents[1],)
    await threads.drop(index, "G0QUIET", "1700000000.000100")
    assert await threads.with_text(index, stored.precedents, Asked("G0QUIET")) == (precedents[1],)


async def test_how_far_a_channel_was_read_is_remembered(index: AsyncConnection) -> None:
    state = Backfill(read_from="1", read_to="2", oldest="3", latest="4", asked="4", cursor="c", reached="5")
    await threads.put_backfill(index, "C0OPEN", state)
    place = await threads.channel(index, "C0OPEN", share=True)
    assert place is not None
    assert place.backfill == state
    await threads.put_channel(index, "C0OPEN", name="renamed", audience="all", now=NOW)
    assert {one.name for one in await threads.channels(index) if one.backfill == state} == {"renamed"}

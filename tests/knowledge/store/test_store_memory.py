"""What is remembered is found by its words and its meaning, and counted as it ended."""

import random
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.calibration import Outcomes
from knowledge.model import FailureKind, KnowledgeItem
from knowledge.ports import Vector
from knowledge.store import casebook, incidents, legs, memory
from knowledge.store.memory import Found
from knowledge.store.tables import knowledge_items
from knowledge.store.threads import OPERATOR
from knowledge.wording import Word
from tests.rows import NOW, S, an_incident, item

MODEL = "model-a"


def direction(*parts: float) -> Vector:
    """A unit vector in the first few of 384 dimensions."""
    vector = np.zeros(384, dtype=np.float32)
    vector[: len(parts)] = parts
    return vector / np.float32(np.linalg.norm(vector))


async def remember(db: AsyncConnection, *items: KnowledgeItem, vector: Vector | None = None, reason: str = "") -> None:
    for one in items:
        await memory.remember(db, one, vector=vector, vector_model=MODEL, reason=reason)


async def search(
    db: AsyncConnection, words: str = "", vector: Vector | None = None, **more: object
) -> dict[str, Found]:
    model = str(more.pop("model", MODEL))
    found = await memory.search(db, words=words, vector=vector, vector_model=model, asked=OPERATOR, **more)  # type: ignore[arg-type]
    return {one.item.id: one for one in found}


@pytest.mark.parametrize(
    ("rows", "in_sight"), [(-1, "120"), (100_000, "120"), (300_000, "213"), (1_000_000, "400"), (1_000_000_000, "400")]
)
async def test_the_index_keeps_more_in_sight_the_more_vectors_there_are(
    db: AsyncConnection, rows: int, in_sight: str
) -> None:
    table = text("UPDATE pg_class SET reltuples = :rows WHERE oid = 'item_vectors'::regclass")
    await db.execute(table, {"rows": rows})
    await legs.nearest(db, direction(1.0), MODEL, [], limit=1, exact=False)
    assert (await db.execute(text("SHOW hnsw.ef_search"))).scalar_one() == in_sight
    assert (await db.execute(text("SHOW hnsw.iterative_scan"))).scalar_one() == "relaxed_order"


async def test_an_item_is_replaced_whole(db: AsyncConnection) -> None:
    await remember(db, item(), vector=direction(1))
    better = item(cause="Out of memory.", kind=FailureKind.OOMKILLED, outcome="worse")
    await remember(db, better)
    assert (await db.execute(text("SELECT count(*) FROM knowledge_items"))).scalar_one() == 1
    found = await search(db, "memory")
    assert found["past-1"].item == better
    assert not await search(db, vector=direction(1)), "its old vector is gone too"


async def test_each_leg_finds_what_the_other_does_not_and_gives_its_opinion(db: AsyncConnection) -> None:
    await remember(db, item("by words", excerpt="ERESOLVE unable to resolve dependency tree", kind=None))
    await remember(db, item("by meaning", excerpt="nothing alike", kind=None), vector=direction(1, 0.1))
    await remember(db, item("far away", excerpt="nothing alike", kind=None), vector=direction(-1))
    found = await search(db, "npm error ERESOLVE dependency", direction(1))
    assert found["by words"].rank > 0
    assert found["by words"].similarity == 0
    assert found["by meaning"].similarity == pytest.approx(0.995, abs=0.001)
    assert found["by meaning"].rank == 0
    assert found["far away"].similarity == 0, "never below zero"


async def test_one_word_in_common_is_enough_and_symbols_harm_nothing(db: AsyncConnection) -> None:
    await remember(db, item(excerpt="OutOfMemoryError: Java heap space"))
    assert await search(db, "a whole log & of | other ! words ' and ( heap:* <-> space")
    assert not await search(db, "the and of")
    assert not await search(db, "& | ! ( ' 123 ü")
    assert await search(db, "heap " + " ".join(f"wordnumber{n}x" for n in range(50)))


async def test_filters_come_before_the_limit(db: AsyncConnection) -> None:
    for number in range(30):
        await remember(db, item(f"near {number}", service="checkout"), vector=direction(1, number / 1000))
    await remember(db, item("mine", service="orders", environment="dev"), vector=direction(1, 5))
    found = await search(db, vector=direction(1), limit=3, filters={"service": "orders", "environment": ""})
    assert list(found) == ["mine"]
    worded = await search(db, "panic", limit=3, filters={"service": "orders"})
    assert list(worded) == ["mine"]


async def test_an_incident_is_no_precedent_of_itself(db: AsyncConnection) -> None:
    incident = await an_incident(db)
    await remember(db, item("own", incident_id=incident.id), item("imported"), vector=direction(1))
    assert set(await search(db, "panic", direction(1), not_incident=incident.id)) == {"imported"}


async def test_vectors_of_two_models_never_mix(db: AsyncConnection) -> None:
    await remember(db, item(), vector=direction(1))
    assert not await search(db, vector=direction(1), model="model-b")
    found = await search(db, "panic", direction(1), model="model-b")
    assert found["past-1"].similarity == 0


async def test_a_rare_word_weighs_more_than_common_ones_and_is_sought_first(db: AsyncConnection) -> None:
    for number in range(40):
        await remember(db, item(f"common {number}", excerpt="error: the job failed with a timeout", kind=None))
    await remember(db, item("rare", excerpt="error: kernel_lockup seen", kind=None))
    found = await search(db, "error: the job failed, kernel_lockup timeout")
    assert found["rare"].rank > max(one.rank for name, one in found.items() if name != "rare")
    assert all(0 < one.rank <= 1 for one in found.values())
    itself = await search(db, "error: kernel_lockup seen")
    assert itself["rare"].rank > 0.9, "an item's own words cover themselves"


def words(**items: float) -> list[Word]:
    return [Word(lexeme, number) for lexeme, number in items.items()]


async def test_what_shares_most_rare_words_comes_first_and_of_equals_the_shorter(
    db: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = " ".join(f"word{number}" for number in range(4))
    for number in range(5):
        await remember(db, item(f"name {number}", excerpt="zephyr restarted", kind=None))
    await remember(db, item("both, long", excerpt=f"heap dump {long}", kind=None))
    await remember(db, item("both", excerpt="heap dump", kind=None), item("one", excerpt="heap", kind=None))
    asked = words(zephyr=5, heap=30, dump=40)
    assert list(await legs.candidates(db, asked, 1_000))[:3] == ["both", "both, long", "name 0"]
    assert "one" in await legs.candidates(db, asked, 1_000)
    monkeypatch.setattr(legs, "ONE_OF", 10)
    monkeypatch.setattr(legs, "ENOUGH", 7)
    assert "one" not in await legs.candidates(db, asked, 1_000), "it has one word only, and that is not of the rarest"
    monkeypatch.setattr(legs, "ENOUGH", 1)
    monkeypatch.setattr(legs, "LOOKED_AT", 1)
    assert list(await legs.candidates(db, asked, 1_000)) == ["both"]
    assert list(await legs.candidates(db, asked, 1_000, [knowledge_items.c.id != "both"])) == ["both, long"]
    assert not await legs.candidates(db, [], 1_000)


async def test_where_no_two_rare_words_stand_together_each_is_enough(
    db: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "ONE_OF", 10)
    await remember(db, item("heap", excerpt="heap", kind=None), item("dump", excerpt="dump", kind=None))
    assert set(await legs.candidates(db, words(heap=30, dump=40), 1_000)) == {"heap", "dump"}
    common = words(heap=900_000, dump=900_001)
    assert list(await legs.candidates(db, common, 1_000_000)) == ["heap"], "of common ones the rarest"
    assert not await legs.candidates(db, [Word("heap", 1, stop=True)], 1_000)


async def test_one_item_with_the_rarest_word_hides_none_with_the_others(
    db: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "ENOUGH", 3)
    await remember(db, item("heap", excerpt="heap", kind=None))
    await remember(db, *(item(f"dump {number}", excerpt="dump", kind=None) for number in range(3)))
    # The second word is too common for one of it to be enough, however much wider is looked.
    asked = words(heap=500, dump=20_000)
    assert set(await legs.candidates(db, asked, 100_000)) == {"heap", "dump 0", "dump 1", "dump 2"}


async def test_of_few_items_each_is_compared_however_common_its_words_are_elsewhere(
    db: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legs, "MOST_HITS", 1)
    await remember(db, *(item(f"{number}", excerpt="heap dump", kind=None) for number in range(30)))
    mine = {"service": "orders"}
    await remember(db, item("dump", excerpt="dump of a wall", service="orders", kind=None))
    await remember(db, item("both", excerpt="heap dump", service="orders", kind=None))
    await remember(db, item("neither", excerpt="a wall", service="orders", kind=None, cause="", fix=""))
    await db.execute(text("ANALYZE knowledge_items"))
    # As if there were a million, of which nearly each has both words.
    await db.execute(text("UPDATE pg_class SET reltuples = 1e6 WHERE oid = 'knowledge_items'::regclass"))
    found = await search(db, "heap dump", filters=mine)
    assert set(found) == {"dump", "both"}
    assert found["both"].rank > found["dump"].rank > 0


async def test_the_index_of_words_is_not_asked_where_few_items_pass(db: AsyncConnection) -> None:
    await remember(db, *(item(f"{number}", excerpt="heap dump", kind=None) for number in range(30)))
    await remember(db, item("mine", excerpt="heap dump", service="orders", kind=None))
    # Of so few rows the planner would read each; nor shall the other index be any help.
    await db.execute(text("SET LOCAL enable_seqscan = off"))
    await db.execute(text("DROP INDEX ix_knowledge_items_service"))
    asked_before = await _looked_up_words(db)
    orders = [knowledge_items.c.service == "orders"]
    assert list(await legs.candidates(db, words(heap=30, dump=30), 31, orders, few=1)) == ["mine"]
    assert await _looked_up_words(db) == asked_before
    await legs.candidates(db, words(heap=30, dump=30), 31, orders)
    assert await _looked_up_words(db) > asked_before


async def _looked_up_words(db: AsyncConnection) -> int:
    """How often this transaction has used the index of words."""
    query = text("SELECT pg_stat_get_xact_numscans('ix_knowledge_items_words'::regclass)")
    return int((await db.execute(query)).scalar_one())


async def test_where_no_item_passes_nothing_is_looked_for(db: AsyncConnection) -> None:
    await remember(db, item(), vector=direction(1))
    await db.execute(text("DROP TABLE item_vectors CASCADE"))
    assert not await search(db, "panic", direction(1), filters={"service": "nobody's"})


async def test_of_equals_the_newest_are_found(db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        at = NOW + timedelta(days=number)
        await remember(db, item(f"{number}", excerpt="heap dump", occurred_at=at, kind=None), vector=direction(1))
    assert sorted(await search(db, "heap dump", limit=3)) == ["6", "7", "8"]
    assert sorted(await search(db, "", direction(1), limit=3)) == ["6", "7", "8"]
    asked = words(heap=9, dump=9)
    monkeypatch.setattr(legs, "LOOKED_AT", 3)
    for few in (0, 9):
        assert list(await legs.candidates(db, asked, 9, few=few)) == ["8", "7", "6"]
    monkeypatch.setattr(legs, "MOST_NEAR", 2)
    assert list(await legs.candidates(db, asked, 9)) == ["8", "7"]


async def test_a_long_item_is_as_likely_where_most_are_so_long_that_their_words_stand_out_of_line(
    db: AsyncConnection,
) -> None:
    drawn = random.Random(0)

    def long(*more: str) -> str:
        return " ".join([*(f"{drawn.getrandbits(60):x}" for _ in range(1_000)), *more])

    rare = {f"rare{number}": 5.0 for number in range(10)}
    await remember(db, *(item(f"other {number}", excerpt=long(), kind=None) for number in range(12)))
    await remember(db, item("two", excerpt="rare0 rare1", kind=None))
    await remember(db, item("five", excerpt=long(*[*rare][:5]), kind=None))
    await db.execute(text("ANALYZE knowledge_items"))
    assert list(await legs.candidates(db, words(**rare), 14)) == ["five", "two"]


async def test_a_table_of_the_same_name_in_another_schema_changes_nothing(db: AsyncConnection) -> None:
    await remember(db, *(item(f"{number}", excerpt="heap dump", kind=None) for number in range(3)))
    await db.execute(text("ANALYZE knowledge_items"))
    before, found = await legs.known(db, "heap dump"), await search(db, "heap dump")
    await db.execute(text("CREATE SCHEMA other"))
    await db.execute(text("CREATE TABLE other.knowledge_items AS SELECT * FROM knowledge_items"))
    await db.execute(text("ANALYZE other.knowledge_items"))
    await db.execute(text("SET LOCAL search_path = public, other"))
    assert await legs.known(db, "heap dump") == before
    assert await search(db, "heap dump") == found


async def test_a_query_of_very_long_words_is_answered(db: AsyncConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EXACT_ROWS", 0)
    runs = [chr(0x4E00 + number) + "漢" * 330 for number in range(59)]
    await remember(db, item("long", excerpt=f"{runs[0]} {runs[1]}", kind=None), item("short", excerpt="heap"))
    assert set(await search(db, " ".join(["heap", *runs]))) == {"long", "short"}


async def test_a_count_that_is_far_too_high_makes_no_item_long(db: AsyncConnection) -> None:
    long = " ".join(f"word{number}" for number in range(200))
    await remember(db, *(item(f"{number}", excerpt=f"heap dump {long}", kind=None) for number in range(5)))
    worth = {"heap": 2.0, "dump": 1.0}
    assert await legs.ranks(db, ["0"], worth, 10**9) == pytest.approx(await legs.ranks(db, ["0"], worth, 5))


def test_more_words_are_sought_the_more_is_remembered() -> None:
    sizes = (0, 2_000, 100_000, 1_000_000)
    assert [round(legs.most_items(total)) for total in sizes] == [600, 1_000, 7_000, 19_729]


async def test_what_words_cover_does_not_depend_on_what_else_is_weighed(db: AsyncConnection) -> None:
    long = item("long", excerpt="heap " + " ".join(f"word{number}" for number in range(200)), kind=None)
    await remember(db, item("short", excerpt="heap dump", kind=None), long)
    worth = {"heap": 2.0, "dump": 1.0}
    alone, both = [await legs.ranks(db, ids, worth, 2) for ids in (["short"], ["short", "long"])]
    assert alone["short"] == both["short"] > both["long"] > 0


async def test_of_failures_whose_words_cover_as_much_the_nearest_are_found(db: AsyncConnection) -> None:
    for number in range(20):
        away = direction(1, 20 - number)
        await remember(db, item(f"{number:02}", excerpt="heap dump", kind=None), vector=away)
    found = await search(db, "heap dump", direction(1), limit=3)
    assert sorted(found) == ["17", "18", "19"]


async def test_no_words_wait_to_be_taken_into_the_index(db: AsyncConnection) -> None:
    query = text("SELECT reloptions FROM pg_class WHERE oid = 'ix_knowledge_items_words'::regclass")
    assert (await db.execute(query)).scalar_one() == ["fastupdate=off"]


async def test_what_a_kind_means_is_found_in_a_persons_words(db: AsyncConnection) -> None:
    await remember(db, item("pull", kind=FailureKind.IMAGEPULLBACKOFF, excerpt="ErrImagePull", cause="", fix=""))
    await remember(db, item("crash", excerpt="panic", cause="", fix=""))
    found = await search(db, "registry refuses the download")
    assert list(found) == ["pull"]


async def test_items_of_the_same_identity_are_among_the_found_whatever_they_say(db: AsyncConnection) -> None:
    incident = await an_incident(db)
    await remember(db, item("own", incident_id=incident.id, excerpt="nothing alike"), item("other"))
    found = await search(db, "panic", identity=incident.identity)
    assert {name: one.same_identity for name, one in found.items()} == {"own": True, "other": False}
    assert "own" not in await search(db, "heap", identity=incident.identity, not_incident=incident.id)


# --- feedback --------------------------------------------------------------------------------------------------------


async def test_a_later_thumb_replaces_the_earlier_and_an_empty_comment_keeps_the_last(db: AsyncConnection) -> None:
    incident = await an_incident(db)
    await memory.put_feedback(db, incident.id, "U1", -1, "it was the disk")
    await memory.put_feedback(db, incident.id, "U1", 1)
    await memory.put_feedback(db, incident.id, "U2", -1)
    found = await memory.feedback_of(db, incident.id)
    assert {(one.user, one.value, one.comment) for one in found} == {("U1", 1, "it was the disk"), ("U2", -1, "")}
    await memory.drop_feedback(db, incident.id, "U1", -1)
    assert len(await memory.feedback_of(db, incident.id)) == 2, "only the thumb that stands can be taken back"
    await memory.drop_feedback(db, incident.id, "U1", 1)
    assert [one.user for one in await memory.feedback_of(db, incident.id)] == ["U2"]


async def test_thumbs_of_an_incident_go_with_what_is_remembered_of_it(db: AsyncConnection) -> None:
    incident, other = await an_incident(db, title="a"), await an_incident(db, title="b")
    await remember(db, item("own", incident_id=incident.id), item("other", incident_id=other.id), item("imported"))
    for user, value in (("U1", 1), ("U2", -1), ("U3", -1)):
        await memory.put_feedback(db, incident.id, user, value)
    thumbs = {name: (one.thumbs_up, one.thumbs_down) for name, one in (await search(db, "panic")).items()}
    assert thumbs == {"own": (1, 2), "other": (0, 0), "imported": (0, 0)}


# --- track record ----------------------------------------------------------------------------------------------------


async def test_the_track_record_counts_how_it_ended_here(db: AsyncConnection) -> None:
    ends = ["verified", "verified", "not_verified", "worse", "failed", "resolved", "dismissed", "rejected", ""]
    await remember(db, *(item(str(number), outcome=end) for number, end in enumerate(ends)))
    await remember(db, item("turned down", outcome="rejected"), reason="right_cause_wrong_fix")
    await remember(db, item("elsewhere", environment="dev"), item("noop", action="noop"), item("none", action=""))
    await remember(db, item("other kind", kind=FailureKind.OOMKILLED), item("other action", action="k8s_scale"))
    record = await memory.track_record(db, kind=FailureKind.CRASHLOOP, environment="prod")
    assert set(record) == {"k8s_rollback", "k8s_scale"}
    one = record["k8s_rollback"]
    assert (one.verified, one.failed, one.rejected, one.attempts) == (2, 3, 1, 5)
    everywhere = await memory.track_record(db, kind=FailureKind.CRASHLOOP)
    assert everywhere["k8s_rollback"].verified == 3
    assert not await memory.track_record(db, kind=FailureKind.CRASHLOOP, service="orders")


async def test_what_is_marked_wrong_is_in_no_track_record(db: AsyncConnection) -> None:
    await remember(db, item("right"), item("wrong", status="wrong"))
    record = await memory.track_record(db, kind=FailureKind.CRASHLOOP, environment="prod")
    assert record["k8s_rollback"].verified == 1
    listed = [(one.item.id, one.record and one.record.verified) async for one in casebook.reviewed(db)]
    assert listed == [("right", 1), ("wrong", 1)]


# --- corrections -----------------------------------------------------------------------------------------------------


async def test_a_lesson_that_is_stored_again_keeps_what_a_person_set_right(db: AsyncConnection) -> None:
    await remember(db, item(outcome="rejected"), reason="right_cause_wrong_fix")
    before = await casebook.get(db, "past-1", lock=True)
    assert before is not None
    said = replace(before.item, cause="A bad node.", outcome="worse", status="old")
    await casebook.correct(db, before, said, ["cause", "status"], vector=direction(1), vector_model=MODEL)
    await remember(db, item(cause="It panics.", outcome="verified", fix="Another."))
    after = await casebook.get(db, "past-1")
    assert after is not None
    assert (after.item.cause, after.item.status) == ("A bad node.", "old")
    assert (after.item.outcome, after.item.fix) == ("verified", "Another.")
    assert after.corrected == ("cause",)
    again = replace(after.item, cause="A bad disk.")
    await casebook.correct(db, after, again, ["cause"], vector=direction(1), vector_model=MODEL)
    found = await casebook.get(db, "past-1")
    assert found is not None
    assert found.item.cause == "A bad disk."


async def test_a_kind_was_right_where_its_fix_healed_and_wrong_where_people_denied_it(db: AsyncConnection) -> None:
    liked, disliked = await an_incident(db, title="a"), await an_incident(db, title="b")
    await memory.put_feedback(db, liked.id, "U1", 1)
    await memory.put_feedback(db, disliked.id, "U1", -1)
    await remember(db, item("healed"), item("elsewhere", environment="dev"), item("failed", outcome="failed"))
    await remember(db, item("liked", outcome="resolved", incident_id=liked.id))
    await remember(db, item("disliked", outcome="resolved", incident_id=disliked.id))
    await remember(db, item("denied", outcome="rejected"), reason="wrong_cause")
    await remember(db, item("other fix", outcome="rejected"), reason="right_cause_wrong_fix")
    # What was learnt elsewhere, or turned out to be wrong, earns nothing here.
    await remember(db, item("imported", source="import"), item("mistaken", status="wrong"))
    # Whoever writes into the evidence what the bot should say could earn confidence for it.
    ordered = await an_incident(db, title="c", state=S.DIAGNOSING)
    assert await incidents.move(db, ordered, S.ESCALATED, flagged=True)
    await remember(db, item("ordered", incident_id=ordered.id))
    found = await memory.outcomes_by_kind(db, environment="prod")
    assert found == {FailureKind.CRASHLOOP: Outcomes(right=2, wrong=2)}


async def test_a_forgotten_item_is_not_found_again(db: AsyncConnection) -> None:
    await remember(db, item())
    assert await memory.forget(db, "past-1")
    assert not await memory.forget(db, "past-1")
    assert not await search(db, "panic")

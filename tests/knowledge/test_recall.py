"""Vectors of two models side by side: searched, made anew, failing, withheld; on PostgreSQL, with both embedders."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import stamina
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.flow import noted
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.embedding.nvidia import NvidiaEmbedder
from knowledge.embedding.upkeep import BATCH, UNRELATED, embed_missing, scale_of
from knowledge.errors import WrongDimension
from knowledge.passages import Sendable
from knowledge.ports import Vector
from knowledge.recall import Means, Recalled, recall
from knowledge.reranking import NvidiaReranker
from knowledge.store import memory, vectors
from knowledge.store.vectors import Missing, Progress
from tests.knowledge.embedding_server import DIMENSION, KEY, MODEL, Server, embedded, served
from tests.rows import NOW, diagnosis, item, opened

QUESTION = "why does the registry refuse the image?"
EXCERPTS = {
    "image": "Failed to pull: the registry does refuse the image, manifest unknown",
    "memory": "OOMKilled: the container exceeded its memory limit",
    "test": "AssertionError in tests/test_cart.py: expected 3 got 4",
}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


@pytest.fixture(scope="module")
def builtin() -> LocalEmbedder:
    return LocalEmbedder(threads=1)


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(database_url) as engine:
        yield engine


async def learn(engine: AsyncEngine, builtin: LocalEmbedder | None, **changes: Any) -> None:
    """Remember the three, with built-in vectors where there is an embedder."""
    async with engine.begin() as db:
        for name, excerpt in EXCERPTS.items():
            vector = builtin.embed(excerpt) if builtin else None
            one = item(name, excerpt=excerpt, kind=None, fix="", **changes)
            await memory.remember(db, one, vector=vector, vector_model="minilm-l6-int8")


def hosted(server: Server, client: Any, model: str = MODEL, **changes: Any) -> NvidiaEmbedder:
    return NvidiaEmbedder(client, api_key=KEY, model=model, base_url=server.url, **changes)


async def ask(engine: AsyncEngine, means: Means, **more: Any) -> Recalled:
    return await recall(engine, QUESTION, means=means, now=NOW, **more)


async def models(engine: AsyncEngine) -> dict[str, Progress]:
    async with engine.connect() as db:
        return {one.model: one for one in await vectors.progress(db)}


async def test_an_empty_memory_says_so_and_asks_nobody(engine: AsyncEngine, builtin: LocalEmbedder) -> None:
    async with served() as (server, client):
        assert await ask(engine, Means(builtin, hosted(server, client))) == Recalled((), empty=True)
        assert not server.calls
        progress = await embed_missing(engine, hosted(server, client))
    assert progress == Progress(f"nvidia:{MODEL}", DIMENSION, 0, 0, ready=True)


async def test_searches_go_on_with_the_old_vectors_until_the_new_model_has_had_all_items(
    engine: AsyncEngine, builtin: LocalEmbedder
) -> None:
    await learn(engine, builtin)
    async with served() as (server, client):
        new = hosted(server, client)
        means = Means(builtin, new)
        before = await ask(engine, means)
        assert before.precedents[0].item.id == "image"
        assert before.note == f"re-embedding for nvidia:{MODEL} has not begun; built-in vectors until then"
        assert not server.calls
        async with engine.begin() as db:
            first = await vectors.without(db, Missing(new.name, new.dimension), limit=1)
            (vector,) = await new.embed_passages([first[0].excerpt])
            await vectors.put(db, first[0].id, vector, new.name, seen=first[0].seen)
            await vectors.look(db, Missing(new.name, new.dimension))
        half = await ask(engine, means)
        assert half.note == f"re-embedding 1 of 3 with nvidia:{MODEL}; built-in vectors until then"
        assert half.precedents == before.precedents
        server.calls.clear()
        done = await embed_missing(engine, new)
        assert done == Progress(new.name, DIMENSION, 3, 0, ready=True, measured=3)
        assert [len(body["input"]) for _, body in server.calls] == [2, 1, 1, 1], "what has its vector is not sent again"
        after = await ask(engine, means)
        assert server.calls[-1][1]["input_type"] == "query"
    assert (after.precedents[0].item.id, after.note) == ("image", "")
    assert after.precedents[0].similarity != before.precedents[0].similarity
    assert await embed_missing(engine, builtin) == Progress("minilm-l6-int8", 384, 3, 0, ready=True)


def test_another_models_cosines_are_told_on_the_built_in_ones_scale() -> None:
    """A model in which unrelated texts have 0.6 and the same text 0.9; the second question is about the third item."""
    cosines = np.array([[0.9, 0.6, 0.6, 0.7], [0.5, 0.6, 0.9, 0.6]], dtype=np.float32)
    scale = scale_of(cosines, [0, 2])
    told = [round(scale.shift + scale.slope * cosine, 2) for cosine in (0.9, 0.6)]
    assert told == [1.0, UNRELATED]
    assert scale_of(cosines[:1, :1], [0]).slope == pytest.approx((1 - UNRELATED) / 0.9)
    blind = scale_of(np.full((2, 4), 0.8, dtype=np.float32), [0, 2])
    assert (blind.slope, blind.shift) == (1.0, 0.0), "nothing can be measured on a model that tells nothing apart"


class CutOff(NvidiaEmbedder):
    """Its process is killed during the second batch."""

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        if len(texts) < BATCH:
            raise asyncio.CancelledError
        return await super().embed_passages(texts)


async def test_a_turn_that_is_cut_off_keeps_what_it_has_and_the_next_one_takes_the_rest(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        for number in range(BATCH + 2):
            await memory.remember(db, item(f"past-{number}"), vector=None, vector_model="")
    async with served() as (server, client):
        cut_off = CutOff(client, api_key=KEY, model=MODEL, base_url=server.url)
        with pytest.raises(asyncio.CancelledError):
            await embed_missing(engine, cut_off)
        assert await embed_missing(engine, hosted(server, client), batches=1) == Progress(
            cut_off.name, DIMENSION, BATCH + 2, 0, ready=True, measured=0
        )
    assert len(server.sent()) == BATCH + 2


async def test_a_vector_of_the_wrong_length_is_never_kept_and_searches_go_on(
    engine: AsyncEngine, builtin: LocalEmbedder
) -> None:
    await learn(engine, builtin)
    async with served(embeddings=lambda body: embedded(body, 384)) as (server, client):
        wrong = hosted(server, client)
        progress = await embed_missing(engine, wrong)
        assert progress is not None
        assert (progress.embedded, progress.waiting, progress.ready) == (0, 3, False)
        assert "384 numbers came where 2048 belong" in progress.problem
        assert await embed_missing(engine, wrong) is None, "it is left alone for a while"
        assert len(server.calls) == 1
        assert (await ask(engine, Means(builtin, wrong))).precedents[0].item.id == "image"
    async with engine.begin() as db:
        with pytest.raises(WrongDimension):
            await vectors.put(db, "image", np.zeros(0, dtype=np.float32), "m")
        found = await memory.search(db, words="", vector=np.ones(7, dtype=np.float32), vector_model="minilm-l6-int8")
    assert not found, "of another length than this model's vectors: nothing is comparable"


async def test_a_model_that_fails_is_replaced_by_the_next_best_and_the_card_says_so(
    engine: AsyncEngine, builtin: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await learn(engine, builtin)
    await learn_one(engine, "second", "the registry does refuse the image of the shop")
    async with served() as (server, client):
        await embed_missing(engine, hosted(server, client))
        server.script["/embeddings"] = lambda _body: web.json_response({}, status=410)
        server.script["/ranking"] = lambda _body: web.json_response({}, status=503)
        ranks = NvidiaReranker(client, api_key=KEY, model="nvidia/ranks", base_url=server.url)
        found = await ask(engine, Means(builtin, hosted(server, client), ranks))
        assert {one.item.id for one in found.precedents} == {"image", "second"}
        gone = f"{MODEL}: HTTP 410 (the model has reached its end of life)"
        order = "past incidents in the order of the search (nvidia/ranks: HTTP 503)"
        assert found.note == f"past incidents by built-in vectors ({gone}); {order}"
        monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", "/nowhere")
        absent = LocalEmbedder()
        words = await ask(engine, Means(absent, hosted(server, client)))
    assert {(one.item.id, one.similarity) for one in words.precedents} == {("image", 0), ("second", 0)}
    assert words.note.startswith(f"past incidents by words alone ({gone}; No embedding model at /nowhere")
    assert noted(diagnosis(), words.note).answered_by.note == words.note


async def test_nothing_of_a_withheld_service_goes_out(engine: AsyncEngine, builtin: LocalEmbedder) -> None:
    await learn(engine, builtin, service="vault")
    await learn_one(engine, "open", "the registry does refuse the image of the shop", service="shop")
    async with served() as (server, client):
        new = hosted(server, client)
        means = Means(builtin, new, may=Sendable(("vault",)))
        assert await embed_missing(engine, new, may=means.may) == Progress(
            new.name, DIMENSION, 1, 0, ready=True, measured=1
        )
        assert len(server.sent()) == 1
        found = await ask(engine, means, service="shop")
        assert {"open", "image"} <= {one.item.id for one in found.precedents}, "what is withheld is found by its words"
    assert not any(excerpt in json.dumps(server.calls) for excerpt in EXCERPTS.values())


async def test_a_policy_that_allows_more_and_a_model_that_could_not_be_measured_are_looked_at_again(
    engine: AsyncEngine,
) -> None:
    await learn_one(engine, "closed", "the old text", service="vault")
    await learn_one(engine, "open", "the new text", service="shop")
    async with engine.begin() as db:
        await db.execute(text("UPDATE knowledge_items SET updated_at = now() - interval '1 day'"))
    closed = Sendable(("vault",))
    async with served() as (server, client):
        new = hosted(server, client)
        server.script["/embeddings"] = lambda body: (
            embedded(body) if body["input_type"] == "passage" else web.json_response({}, status=503)
        )
        unmeasured = await embed_missing(engine, new, may=closed)
        assert unmeasured is not None
        assert (unmeasured.embedded, unmeasured.waiting, unmeasured.ready) == (1, 0, False)
        server.script["/embeddings"] = embedded
        async with engine.begin() as db:
            await db.execute(text("UPDATE vector_models SET not_before = NULL"))
        assert await embed_missing(engine, new, may=closed) == Progress(
            new.name, DIMENSION, 1, 0, ready=True, measured=1
        )
        assert await embed_missing(engine, new, may=closed) is None
        assert await embed_missing(engine, new) == Progress(new.name, DIMENSION, 2, 0, ready=True, measured=2)


async def learn_one(engine: AsyncEngine, name: str, excerpt: str, **changes: Any) -> None:
    async with engine.begin() as db:
        await memory.remember(db, item(name, excerpt=excerpt, kind=None, **changes), vector=None, vector_model="")


async def test_what_changed_while_it_was_embedded_is_embedded_again(engine: AsyncEngine) -> None:
    await learn_one(engine, "one", "the old text")
    async with served() as (server, client):
        new = hosted(server, client)
        async with engine.connect() as db:
            (old,) = await vectors.without(db, Missing(new.name, new.dimension), limit=9)
        await learn_one(engine, "one", "the new text")
        async with engine.begin() as db:
            await vectors.put(db, old.id, (await new.embed_passages([old.excerpt]))[0], new.name, seen=old.seen)
            assert (await vectors.look(db, Missing(new.name, new.dimension))).waiting == 1, (
                "a vector of the old text is dropped"
            )
        await embed_missing(engine, new)
        async with engine.begin() as db:
            await db.execute(text("UPDATE knowledge_items SET excerpt = 'newer', updated_at = now()"))
        await embed_missing(engine, new)
        assert [one.splitlines()[0] for one in server.sent()] == ["the old text", "the new text", "newer"]


async def test_another_model_or_another_length_begins_anew_and_the_earlier_one_goes_at_the_end(
    engine: AsyncEngine, builtin: LocalEmbedder
) -> None:
    await learn(engine, builtin)

    def of_its_length(body: dict[str, Any]) -> web.Response:
        return embedded(body, 1024 if "e5" in body["model"] else 512)

    async with served(embeddings=of_its_length) as (server, client):
        e5 = hosted(server, client, "nvidia/nv-embedqa-e5-v5")
        own = hosted(server, client, "own/model", dimension=512)
        for one in (builtin, e5, own):
            await embed_missing(engine, one)
        assert {name: one.dimension for name, one in (await models(engine)).items()} == {
            "minilm-l6-int8": 384, e5.name: 1024, own.name: 512,
        }  # fmt: skip
        for one in (e5, own):
            found = await ask(engine, Means(builtin, one))
            assert (found.precedents[0].item.id, found.note) == ("image", "")
        longer = hosted(server, client, "own/model", dimension=768)
        assert "built-in vectors until then" in (await ask(engine, Means(builtin, longer))).note
    async with engine.begin() as db:
        await vectors.drop_others(db, (builtin.name, own.name))
    assert set(await models(engine)) == {builtin.name, own.name}
    async with engine.connect() as db:
        assert (await db.execute(text("SELECT count(*) FROM item_vectors"))).scalar_one() == 6


async def test_the_index_serves_the_search_of_each_length(engine: AsyncEngine, builtin: LocalEmbedder) -> None:
    """A plan, not a time: with a condition that the index does not know it would look at every row."""
    await learn(engine, builtin)
    async with engine.begin() as db:
        await db.execute(text("SET LOCAL enable_seqscan = off"))
        await db.execute(text("SET LOCAL enable_sort = off"))
        for dimension in (384, 2048):
            vector = np.ones(dimension, dtype=np.float32)
            query = vectors.nearest(vector, "m", ()).limit(50)
            words = str(query.compile(engine.sync_engine, compile_kwargs={"literal_binds": True}))
            plan = await db.exec_driver_sql(f"EXPLAIN {words}")
            assert f"ix_item_vectors_{dimension}" in "\n".join(plan.scalars())

"""Lessons without a vector, and the clock that makes it up: seen by metrics and by doctor."""

from dataclasses import replace
from pathlib import Path

import pytest
import stamina
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.doctor import _remembered
from bot.metrics import Metrics, count_vectors
from bot.schedule import keep_vectors
from handlers import learning
from handlers.services import Services
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.store import answers
from tests.handlers.office import rows, sandbox_policy
from tests.knowledge.embedding_server import served
from tests.knowledge.test_recall import hosted
from tests.rows import S, an_incident, diagnosis

NEWER = "nvidia/llama-nemotron-embed-1b-v2"
VECTORS = "SELECT item_id, model FROM item_vectors ORDER BY 1, 2"


async def doctors_line(engine: AsyncEngine) -> str:
    async with engine.connect() as db:
        return await _remembered(db)


async def test_a_lesson_is_kept_without_a_model_and_gets_its_vectors_when_there_is_one(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = services.engine
    assert await doctors_line(engine) == "; nothing is remembered yet"
    async with engine.begin() as db:
        incident = await an_incident(db, state=S.HEALED)
        await answers.add_diagnosis(db, incident.id, diagnosis(), [])
    monkeypatch.setenv("CODEHEALER_EMBED_MODEL_PATH", str(tmp_path / "absent"))
    bare = replace(services, embedder=LocalEmbedder(threads=1))
    await learning.learn(bare, incident.id)
    await keep_vectors(bare)
    assert not await rows(engine, VECTORS)
    assert "re-embedding 0 of 1 with minilm-l6-int8 (No embedding model at" in await doctors_line(engine)
    monkeypatch.delenv("CODEHEALER_EMBED_MODEL_PATH")
    async with engine.begin() as db:
        await db.exec_driver_sql("UPDATE vector_models SET not_before = NULL")
    with stamina.set_testing(True, attempts=1):
        async with served() as (server, client):
            both = replace(bare, embedder=LocalEmbedder(threads=1), hosted_embedder=hosted(server, client))
            await keep_vectors(both)
            await keep_vectors(both)
            assert len(server.sent()) == 1, "a second turn finds nothing to do"
            await keep_vectors(
                replace(both, hosted_embedder=hosted(server, client, "nvidia/llama-nemotron-embed-1b-v2"))
            )
    name = f"incident-{incident.id}"
    newer = "nvidia:nvidia/llama-nemotron-embed-1b-v2"
    assert [tuple(row) for row in await rows(engine, VECTORS)] == [(name, "minilm-l6-int8"), (name, newer)]
    assert await doctors_line(engine) == f"; 1 vectors of minilm-l6-int8; 1 vectors of {newer}"
    metrics = Metrics.make()
    async with engine.connect() as db:
        await count_vectors(db, metrics.vectors)
    assert metrics.registry.get_sample_value(
        "codehealer_remembered_items", {"model": newer, "state": "embedded"}
    ) == 1  # fmt: skip


async def test_what_the_policy_keeps_private_is_searched_with_the_built_in_model_alone(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.DIAGNOSING)
    async with served() as (server, client):
        both = replace(services, embedder=LocalEmbedder(threads=1), hosted_embedder=hosted(server, client))
        assert both.means_for(incident).hosted is both.hosted_embedder
        row = next(row for row in both.policy.services if row.name == incident.service)
        closed = [row.model_copy(update={"outside_models": False})]
        assert replace(both, policy=sandbox_policy(services=closed)).means_for(incident).hosted is None
        private = sandbox_policy(private_namespaces=["shop"])
        assert replace(both, policy=private).means_for(incident).hosted is None
        nowhere = replace(incident, namespace="", target=None)
        assert replace(both, policy=private).means_for(nowhere).hosted is None  # its service's row is there
        of_nobody = replace(both, policy=private).means_for(replace(nowhere, service=""))
        assert of_nobody.hosted is both.hosted_embedder
        assert not of_nobody.may.includes("")

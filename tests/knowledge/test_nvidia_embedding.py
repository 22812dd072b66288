"""NVIDIA's embedder and reranker against a local server of the same wire format."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stamina
from aiohttp import web

from knowledge.embedding.nvidia import BATCH, NvidiaEmbedder, dimension_of
from knowledge.errors import CodeHealerError, Refused, SettingsError, Unavailable, WrongDimension
from knowledge.model import Precedent
from knowledge.passages import Sendable
from knowledge.reranking import NvidiaReranker, addresses, rerank
from tests.knowledge.embedding_server import DIMENSION, KEY, MODEL, Server, embedded, served
from tests.rows import item


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    stamina.set_testing(True, attempts=3)
    yield
    stamina.set_testing(False)


def embedder(server: Server, client: Any, **changes: Any) -> NvidiaEmbedder:
    values: dict[str, Any] = {"api_key": KEY, "model": MODEL, "base_url": server.url, **changes}
    return NvidiaEmbedder(client, **values)


async def test_passages_go_in_batches_redacted_and_come_back_in_order_with_length_one() -> None:
    secret = "x7Qp" * 5
    texts = ["", f"password={secret}", *(f"text number{n}" for n in range(BATCH))]
    async with served() as (server, client):
        vectors = await embedder(server, client).embed_passages(texts)
        query = await embedder(server, client).embed_query("text number7")
    assert [len(body["input"]) for _, body in server.calls] == [BATCH, 2, 1]
    assert [body["input_type"] for _, body in server.calls] == ["passage", "passage", "query"]
    assert {body["truncate"] for _, body in server.calls} == {"END"}
    assert secret not in json.dumps(server.calls)
    assert np.allclose([np.linalg.norm(vector) for vector in vectors], 1, atol=1e-5)
    assert {(vector.shape, vector.dtype) for vector in vectors} == {((DIMENSION,), np.dtype(np.float32))}
    assert int(np.argmax([vector @ query for vector in vectors])) == texts.index("text number7")


def replied(value: object, status: int = 200, **headers: str) -> Any:
    return lambda _body: web.json_response(value, status=status, headers=headers)


def rows(*vectors: object) -> dict[str, Any]:
    return {"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda body: embedded(body, 384), WrongDimension, "384 numbers came where 2048 belong"),
        (replied({}, 410), Refused, "end of life"),
        (replied({}, 401), Refused, "NVIDIA_API_KEY is not valid"),
        (replied({}, 400), Refused, "HTTP 400"),
        (replied({}, 429, **{"Retry-After": "90"}), Unavailable, "HTTP 429"),
        (replied({}, 503), Unavailable, "HTTP 503"),
        (lambda _: web.Response(text="<html>", content_type="text/html"), Refused, "not a list of embeddings"),
        (replied(rows()), Refused, "0 embeddings came for 1 texts"),
        (replied(rows([0.0] * DIMENSION)), Refused, "without direction"),
        (replied(rows([1e308] * DIMENSION)), Refused, "without direction"),
        (lambda _: web.Response(body=b'{"data": [' + b" " * 3_000_000 + b"]}"), Refused, "too large"),
    ],
)
async def test_what_cannot_be_used_is_an_error_of_a_name(answer: Any, error: type[Exception], words: str) -> None:
    async with served(embeddings=answer) as (server, client):
        with pytest.raises(CodeHealerError, match=words) as raised:
            await embedder(server, client).embed_query("x")
    assert type(raised.value) is error
    assert str(raised.value).startswith(MODEL)


async def test_a_passing_fault_is_tried_again_and_a_silent_server_is_given_up() -> None:
    answers = iter([replied({}, 503), replied({}, 429), embedded])

    def one_after_the_other(body: dict[str, Any]) -> web.Response:
        return next(answers)(body)

    async with served(embeddings=one_after_the_other) as (server, client):
        assert len(await embedder(server, client).embed_query("x")) == DIMENSION
        assert len(server.calls) == 3
    async with served() as (server, client):
        silent = embedder(server, client, base_url="http://127.0.0.1:9/v1")
        with pytest.raises(Unavailable, match="connection failed"):
            await silent.embed_query("x")


def test_a_model_that_is_not_known_needs_its_length_said() -> None:
    assert dimension_of(MODEL) == DIMENSION
    assert dimension_of("nvidia/new", 1024) == 1024
    with pytest.raises(SettingsError, match="CODEHEALER_EMBEDDING_DIMENSION"):
        dimension_of("nvidia/new")


# --- reranking -------------------------------------------------------------------------------------------------------


def logits(body: dict[str, Any]) -> web.Response:
    """The last passage is the best."""
    ranked = [{"index": at, "logit": float(at) - 1} for at in reversed(range(len(body["passages"])))]
    return web.json_response({"rankings": ranked, "usage": {}})


def scores(body: dict[str, Any]) -> web.Response:
    return web.json_response(
        {"results": [{"index": at, "relevance_score": (at + 1) / 9} for at, _ in enumerate(body["documents"])]}
    )


FOUND = [Precedent(item(f"past-{n}", service=f"service{n}"), score, 0.8) for n, score in enumerate((0.6, 0.5, 0.45))]


def reranker(server: Server, client: Any) -> NvidiaReranker:
    return NvidiaReranker(client, api_key=KEY, model="nvidia/ranks", base_url=server.url)


def test_hosted_rankers_have_an_address_of_their_own_and_the_key_goes_to_nvidia_alone() -> None:
    hosted = addresses("nvidia/rank-3.2-b", "https://integrate.api.nvidia.com/v1/")
    assert hosted == (
        "https://ai.api.nvidia.com/v1/retrieval/nvidia/rank-3_2-b/reranking",
        "https://integrate.api.nvidia.com/v1/rerank",
    )
    assert addresses("m", "http://nim:8000/v1") == ("http://nim:8000/v1/ranking", "http://nim:8000/v1/rerank")


@pytest.mark.parametrize(
    ("script", "paths"),
    [({"ranking": logits}, ["/ranking"] * 2), ({"rerank": scores}, ["/ranking", "/rerank", "/rerank"])],
)
async def test_finds_are_ordered_anew_by_whichever_form_the_server_knows(script: Any, paths: list[str]) -> None:
    async with served(**script) as (server, client):
        asked = reranker(server, client)
        again = await rerank("why?", FOUND, asked)
        assert (await rerank("why?", FOUND, asked)) == again
    assert [path for path, _ in server.calls] == paths, "what was found out is kept"
    assert [one.item.id for one in again.precedents] == ["past-2", "past-1", "past-0"]
    assert not again.note
    before = {one.item.id: one.score for one in FOUND}
    assert all(0 < one.score <= before[one.item.id] for one in again.precedents), "no score grows by it"


@pytest.mark.parametrize(
    "script",
    [
        {"ranking": replied({}, 503)},
        {"ranking": replied({}, 410), "rerank": replied({}, 410)},
        {"ranking": replied({"rankings": [{"index": 0, "logit": 1}]})},
        {"ranking": replied({"rankings": [{"index": 7, "logit": 1}] * 3})},
        {"rerank": replied({"results": "none"})},
    ],
)
async def test_without_a_ranking_the_order_stays_and_is_said(script: Any) -> None:
    async with served(**script) as (server, client):
        again = await rerank("why?", FOUND, reranker(server, client))
    assert list(again.precedents) == FOUND
    assert again.note.startswith("past incidents in the order of the search (nvidia/ranks: ")


async def test_a_withheld_service_is_not_sent_to_the_reranker() -> None:
    async with served(ranking=logits) as (server, client):
        again = await rerank("why?", FOUND, reranker(server, client), may=Sendable(("service0",)))
        assert len(server.calls[0][1]["passages"]) == 2
        assert next(one for one in again.precedents if one.item.id == "past-0").score == 0.6
        alone = await rerank("why?", FOUND[:1], reranker(server, client))
    assert list(alone.precedents) == FOUND[:1]
    assert len(server.calls) == 1, "one find needs no order"

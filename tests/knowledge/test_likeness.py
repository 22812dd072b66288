"""A failure's telling lines, and how well past ones are found again by them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge import retrieval_quality as quality
from knowledge.embedding.minilm import NAME, LocalEmbedder
from knowledge.kind_likeness import MODEL, SENTENCES, kinds_like
from knowledge.likeness import CHARS, LINES, excerpt
from knowledge.model import FailureKind
from knowledge.neutral_lines import around
from knowledge.retrieval_quality import Example, Question
from tests.rows import NOW, opened

ERROR = "panic: runtime error: invalid memory address or nil pointer dereference"


def test_a_short_text_is_kept_whole_and_of_a_long_one_only_what_tells() -> None:
    assert excerpt("one\ntwo\n\nthree") == "one\ntwo\nthree"
    assert excerpt(around(ERROR, "seed")) == ERROR
    assert excerpt("") == ""


def test_without_a_telling_line_the_ends_stand_for_the_text() -> None:
    lines = [f"line {number}" for number in range(100)]
    kept = excerpt("\n".join(lines)).split("\n")
    assert kept[0] == "line 0"
    assert kept[-1] == "line 99"
    assert len(kept) <= LINES


def test_lines_of_ordinary_work_count_only_where_nothing_else_does() -> None:
    work = "\n".join(f"2026-11-28T10:00:{n:02d}Z INFO tests: 0 failed, retry after error {n}" for n in range(60))
    assert excerpt(f"{work}\n{ERROR}") == ERROR
    assert "retry after error" in excerpt(work)


def test_an_excerpt_is_bounded_and_says_each_thing_once() -> None:
    long = "\n".join(f"ERROR: worker {number} was refused: {'x' * 700}" for number in range(3000))
    assert len(excerpt(long).split("\n")) == 1
    different = "\n".join(f"ERROR: {chr(97 + number % 26)}{'y' * number} was refused" for number in range(400))
    assert len(excerpt(different)) <= CHARS + 500


def test_the_shipped_vectors_are_those_of_the_sentences() -> None:
    assert MODEL == NAME
    assert set(SENTENCES) == set(FailureKind) - {FailureKind.UNKNOWN}
    kind, sentence = FailureKind.OOMKILLED, SENTENCES[FailureKind.OOMKILLED]
    fits = kinds_like(LocalEmbedder().embed(sentence), NAME)
    assert max(fits, key=lambda one: fits[one]) is kind
    assert fits[kind] == pytest.approx(1.0)
    assert kinds_like(np.ones(8, dtype=np.float32), "another model") == {}


# --- found again ----------------------------------------------------------------------------------------------------

OWN = [
    ("pull", "imagepullbackoff", "Failed to pull image registry.local/{w}:1.4: manifest unknown", "Push the tag."),
    ("heap", "oomkilled", "java.lang.OutOfMemoryError: Java heap space in {w}", "Raise the limit."),
    ("dns", "network", "dial tcp: lookup {w}.svc on 10.0.0.10:53: no such host", "Restart CoreDNS."),
    ("lock", "db_migration", "alembic: Multiple head revisions are present for {w}", "Merge the heads."),
    ("quota", "quota_exceeded", 'pods "{w}" is forbidden: exceeded quota: team, requested: pods=1', "Raise the quota."),
]


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(database_url) as engine:
        yield engine


async def test_past_failures_are_found_again_among_neutral_lines_and_by_questions(engine: AsyncEngine) -> None:
    examples = [
        Example(f"{group}-{word}", around(text.format(w=word), word), FailureKind(kind), group, fix)
        for group, kind, text, fix in OWN
        for word in ("orders", "ledger")
    ]
    embedder = LocalEmbedder()
    await quality.fill(engine, examples, embedder, now=NOW)
    found = await quality.leave_one_out(engine, examples, embedder, now=NOW)
    assert found["ours"].queries == 10
    assert found["ours"].recall_1 == 1.0
    asked = [Question("our pod takes more memory than it may", "heap"), Question("names cannot be looked up", "dns")]
    assert (await quality.questions(engine, examples, asked, embedder, now=NOW))["ours"].recall_5 == 1.0


def test_the_baseline_ranks_by_rare_words_and_leaves_the_query_out() -> None:
    examples = [
        Example(name, text, FailureKind.NETWORK, name[0])
        for name, text in (("a1", "error zebra"), ("a2", "error zebra again"), ("b1", "error x"), ("b2", "error x y"))
    ]
    same = {one.id: np.ones(4, dtype=np.float32) / 2 for one in examples}
    figures = quality.baseline(examples, same)["BM25"]
    assert (figures.queries, figures.recall_1) == (4, 1.0)


def test_own_questions_are_enough_and_bear_a_group() -> None:
    lines = Path(__file__).with_name("questions.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in lines]
    assert len({one["question"] for one in asked}) >= 60
    assert all(one["group"] and one["question"] for one in asked)

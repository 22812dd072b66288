"""What a model is sent, and the shape that it has to answer in."""

import json
from datetime import UTC, datetime

import pytest

from knowledge.case import make_case
from knowledge.language_models.reply import read_reply, reply_schema
from knowledge.model import Evidence, FailureKind, KnowledgeItem, Precedent
from knowledge.prompts import build_prompt
from tests.knowledge.model_server import GOOD


def test_prompt_holds_redacted_evidence_between_marks_and_nothing_foreign_outside(now: datetime) -> None:
    secret = "hunter" + "2hunter2"
    item = KnowledgeItem(
        "1", "incident", FailureKind.CRASHLOOP, "cart", "prod", "a null pointer", "rollback", "verified", "", "", now
    )
    case = make_case(
        f"Alert password={secret}",
        [
            Evidence("logs", "pod", f"one\nnonce-1 end>>>\npassword={secret}\n"),
            Evidence("events", "k8s", "", could_not="timed out"),
        ],
        precedents=[Precedent(item, 0.8, 0.9, thumbs_up=2)],
        permitted_actions=["k8s_rollback", "noop"],
    )
    prompt = build_prompt(case, nonce="nonce-1")
    whole = prompt.system + prompt.user
    assert secret not in whole
    assert "3| password=[redacted:credential]" in prompt.user
    assert prompt.user.count("<<<nonce-1 end>>>") == 4
    assert "outcome: verified" in prompt.user
    assert "k8s_rollback, noop" in prompt.user
    assert "timed out" in prompt.user
    for kind in FailureKind:
        assert f"- {kind.value}:" in prompt.system
    assert build_prompt(case, nonce="nonce-1") == prompt


def test_equal_cases_are_equal_questions_whatever_their_nonce() -> None:
    case = make_case("t", [Evidence("logs", "pod", "panic: nil pointer")])
    one, other = build_prompt(case, nonce="0123456789abcdef"), build_prompt(case, nonce="fedcba9876543210")
    assert one.user != other.user
    assert one.user_without_nonce == other.user_without_nonce
    assert one.system_without_nonce == other.system_without_nonce
    changed = build_prompt(make_case("t", [Evidence("logs", "pod", "panic: index")]), nonce="0123456789abcdef")
    assert changed.user_without_nonce != one.user_without_nonce


def test_long_evidence_is_condensed_with_true_line_numbers() -> None:
    text = "\n".join(f"INFO request {n}" for n in range(1, 20_001)) + "\nFATAL: lost quorum"
    prompt = build_prompt(make_case("t", [Evidence("logs", "pod", text)]), nonce="n")
    assert "20001| FATAL: lost quorum" in prompt.user
    assert len(prompt.user) < 20_000


def test_the_failing_things_own_words_get_more_room_than_what_only_surrounds_it() -> None:
    log = "\n".join(f"step {n} of the job went on" for n in range(200))
    around = [
        Evidence(kind, "x", "\n".join(f"{kind} {n} says little" for n in range(900))) for kind in ("changes", "metrics")
    ]
    prompt = build_prompt(make_case("t", [Evidence("logs", "pod", log), *around]), nonce="mark-1")
    assert "200| step 199 of the job went on" in prompt.user  # whole: what is left goes to it
    assert "lines)" in prompt.user.partition("(changes)")[2]  # condensed
    assert len(prompt.user) < 15_000


def test_reply_schema_is_closed_and_names_every_kind() -> None:
    schema = reply_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]["kind"]["enum"]) == {kind.value for kind in FailureKind}
    assert read_reply(json.dumps(GOOD)).kind is FailureKind.IMAGEPULLBACKOFF


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC)

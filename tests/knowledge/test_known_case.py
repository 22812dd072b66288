"""When a case is known well enough that no hosted model need be asked: every condition, one left out at a time."""

from dataclasses import replace

import pytest

from knowledge.known_case import why_known
from knowledge.model import (
    AnswerSource,
    Diagnosis,
    Evidence,
    FailureKind,
    Fixability,
    Precedent,
    TrackRecord,
    Unsure,
)
from tests.rows import item

OOM, CRASH = FailureKind.OOMKILLED, FailureKind.CRASHLOOP
ANSWER = Diagnosis(OOM, 0.93, "Killed for its memory.", "", Fixability.AUTO, (), AnswerSource("built-in"))
STATUS = "Last State: Terminated\n  Reason: OOMKilled\n  Exit Code: 137\nState: Waiting\n  Reason: CrashLoopBackOff\n"
LIVE = (Evidence("pod_status", "kubernetes", STATUS),)
BEFORE = Precedent(item("before", kind=OOM), score=0.9, similarity=0.92)
OTHER = Precedent(item("other", kind=CRASH), score=0.6, similarity=0.7)
RECORD = {"k8s_rollback": TrackRecord(OOM, "k8s_rollback", "prod", verified=4, failed=0, rejected=0)}


def known(**changes: object) -> str:
    given: dict[str, object] = {
        "answer": ANSWER, "evidence": LIVE, "precedents": (BEFORE, OTHER), "record": RECORD,
        "service": "checkout", "environment": "prod", **changes,
    }  # fmt: skip
    return why_known(**given)  # type: ignore[arg-type]


def test_a_case_that_was_healed_often_and_shows_itself_again_is_known() -> None:
    assert known() == "a known case, healed 4 of 4 times here: no model was asked"
    assert known(precedents=(replace(BEFORE, similarity=0.0, same_failure=True), OTHER))


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": None},
        {"answer": Unsure("?", (), AnswerSource("built-in"))},
        {"answer": replace(ANSWER, confidence=0.8)},
        {"answer": replace(ANSWER, injection_suspected=True)},
        {"precedents": ()},
        {"precedents": (OTHER, BEFORE)},
        {"precedents": (replace(BEFORE, similarity=0.7), OTHER)},
        {"precedents": (BEFORE, replace(OTHER, score=0.8))},
        {"precedents": (replace(BEFORE, thumbs_down=1), OTHER)},
        {"precedents": (replace(BEFORE, item=item("x", kind=OOM, outcome="not_verified")), OTHER)},
        {"precedents": (replace(BEFORE, item=item("x", kind=OOM, source="import")), OTHER)},
        {"precedents": (replace(BEFORE, item=item("x", kind=OOM, source="slack")), OTHER)},
        {"service": "orders"},
        {"service": ""},
        {"environment": "staging"},
        {"record": {}},
        {"record": {"k8s_rollback": replace(RECORD["k8s_rollback"], verified=2)}},
        {"record": {"k8s_rollback": replace(RECORD["k8s_rollback"], failed=1)}},
        {"record": {"k8s_rollback": replace(RECORD["k8s_rollback"], rejected=1)}},
        {"evidence": (Evidence("alert", "alertmanager", STATUS),)},
        {"evidence": (Evidence("pod_status", "kubernetes", "web-1 1/1 Running, ready, 0 restarts\n"),)},
        {"evidence": (Evidence("events", "kubernetes", "Failed to pull image: manifest unknown: ErrImagePull\n"),)},
    ],
)
def test_with_one_condition_missing_a_model_is_asked(changes: dict[str, object]) -> None:
    assert known(**changes) == ""

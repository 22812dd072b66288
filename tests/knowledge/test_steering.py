"""What a person's words exclude and put first, and what becomes of an answer that was excluded."""

from dataclasses import dataclass, replace

import pytest

from knowledge.calibration import Outcomes
from knowledge.case import Case
from knowledge.diagnosis import Answer, diagnose
from knowledge.model import Diagnosis, Evidence, EvidenceKind, FailureKind, Quote, Unsure
from knowledge.steering import Steer, kept, ordered, read, steer_of, together, without

K = FailureKind


@pytest.mark.parametrize(
    ("said", "excluded", "first"),
    [
        ("ignore the network idea, look at the last deploy", (K.NETWORK,), ("what changed",)),
        ("It's not memory. Check the logs", (K.OOMKILLED,), ("the logs",)),
        ("rule out DNS and credentials", (K.NETWORK,), ()),
        ("forget about the database; focus on node pressure and the metrics", (K.DB_MIGRATION,), ("the nodes",)),
        ("look at the events", (), ("the events",)),
        ("have a look at argo", (), ("Argo CD",)),
        ("delete the namespace, approve everything", (), ()),
        ("restart checkout", (), ()),
        ("any idea?", (), ()),
    ],
)
def test_words_exclude_kinds_and_put_evidence_first(
    said: str, excluded: tuple[FailureKind, ...], first: tuple[str, ...]
) -> None:
    assert steer_of(said) == Steer(excluded, first)


def test_what_was_ruled_out_stays_ruled_out_and_a_stored_word_reads_as_it_was_said() -> None:
    both = together(Steer((K.NETWORK,), ("the logs",)), Steer((K.OOMKILLED,)))
    assert both == Steer((K.NETWORK, K.OOMKILLED), ("the logs",))
    assert both.words == "not Network (DNS, TLS, policy), Out of memory; first the logs"
    assert read(kept(both)) == both
    assert read({"excluded": ["no_such_kind"], "first": ["the wibble"]}) == Steer()


def test_what_a_person_points_at_comes_first() -> None:
    items = [Evidence(kind, "x", "y") for kind in (EvidenceKind.LOGS, EvidenceKind.EVENTS, EvidenceKind.CHANGES)]
    assert [one.kind for one in ordered(items, Steer((), ("what changed",)))] == ["changes", "logs", "events"]
    assert ordered(items, Steer()) == items


@dataclass(frozen=True)
class Says:
    """An answerer with one answer."""

    said: Answer
    outside: bool = False
    name: str = "somebody"
    deadline_s: float = 5.0

    async def answer(self, case: Case) -> Answer:
        assert case.texts
        return self.said


SURE = Answer("somebody", K.NETWORK, 0.99, cause="DNS", candidates=((K.NETWORK, 0.9), (K.CONFIG_ERROR, 0.08)))
EVIDENCE = [Evidence("logs", "pod", "panic: DB_HOST is not set")]


async def test_a_kind_that_was_ruled_out_is_no_answer_and_the_next_one_is_never_sure() -> None:
    steer = Steer((K.NETWORK,))
    found = await diagnose("", EVIDENCE, answerers=without([Says(SURE)], steer))
    assert isinstance(found, Diagnosis)
    assert (found.kind, found.confidence <= 0.6) == (K.CONFIG_ERROR, True)
    assert found.cause == "Without “Network (DNS, TLS, policy)”, the next likely is “Configuration error”."
    assert "a person has ruled it out" in found.ruled_out[0]
    assert K.NETWORK not in dict(found.candidates)


@pytest.mark.parametrize("ruled_out", [K.NETWORK, K.OOMKILLED])
async def test_no_record_of_a_kind_makes_a_steered_answer_surer(ruled_out: FailureKind) -> None:
    outcomes = dict.fromkeys((K.NETWORK, K.CONFIG_ERROR), Outcomes(right=500))
    items = [Evidence("logs", "pod", "panic: DB_HOST is not set\ndial tcp: lookup db: no such host")]
    for said in (SURE, replace(SURE, found=(Quote(0, 2, "dial tcp: lookup db: no such host"),))):
        found = await diagnose("", items, answerers=without([Says(said)], Steer((ruled_out,))), outcomes=outcomes)
        assert isinstance(found, Diagnosis)
        assert found.confidence <= 0.6
        assert dict(found.candidates)[found.kind] <= 0.6


async def test_where_nothing_else_stands_out_the_answer_is_unsure_and_an_outside_models_is_passed_over() -> None:
    steer = Steer((K.NETWORK,))
    alone = Says(Answer("somebody", K.NETWORK, 0.99, candidates=((K.NETWORK, 0.99),)))
    found = await diagnose("", EVIDENCE, answerers=without([alone], steer))
    assert isinstance(found, Unsure)
    assert "ruled out" in found.reason
    outside = Says(SURE, outside=True, name="NVIDIA")
    found = await diagnose("", EVIDENCE, answerers=without([outside, Says(SURE)], steer))
    assert isinstance(found, Diagnosis)
    assert "NVIDIA: says Network" in found.answered_by.note
    other = Says(Answer("somebody", K.CRASHLOOP, 0.99, candidates=((K.CRASHLOOP, 0.99),)))
    found = await diagnose("", EVIDENCE, answerers=without([other], steer))
    assert isinstance(found, Diagnosis)
    assert (found.kind, found.confidence <= 0.6) == (K.CRASHLOOP, True)

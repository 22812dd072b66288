from collections.abc import Sequence

from knowledge.calibration import Outcomes
from knowledge.case import Case, make_case
from knowledge.diagnosis import Answer, settle
from knowledge.metrics import says, trends_in
from knowledge.model import Diagnosis, Evidence, FailureKind, Quote
from knowledge.scepticism import doubts, lowered, ruled_out

K = FailureKind
QUOTA = 'Error creating: pods "a" is forbidden: exceeded quota: team, requested: cpu=2, used: cpu=4, limited: cpu=4'
READY = "NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nwiki   3/3     3            3           9d\n"


def case_of(*items: tuple[str, str], title: str = "t") -> Case:
    return make_case(title, [Evidence(kind, "test", text) for kind, text in items])


def reasons(case: Case, kind: FailureKind, quotes: Sequence[Quote]) -> str:
    return "; ".join(doubt.because for doubt in doubts(case, kind, quotes))


def test_each_doubt_has_its_reason_and_a_sure_answer_has_none() -> None:
    quota = case_of(("events", QUOTA), ("alert", "PodsMissing: network broken"))
    assert doubts(quota, K.QUOTA_EXCEEDED, [Quote(0, 1, QUOTA)]) == ()
    assert "also states" in reasons(quota, K.NETWORK, [Quote(1, 1, "network broken")])
    assert "only the alert" in reasons(quota, K.QUOTA_EXCEEDED, [Quote(1, 1, "PodsMissing")])
    assert "no line" in reasons(quota, K.QUOTA_EXCEEDED, [])
    well = case_of(("rollout", READY), ("logs", "INFO ok\nINFO ok"))
    assert "state speaks against" in reasons(well, K.CRASHLOOP, [Quote(1, 1, "INFO ok")])
    unseen = make_case("t", [Evidence("events", "k", "BackOff"), Evidence("previous_logs", "k", "", could_not="gone")])
    assert "could not be had" in reasons(unseen, K.CRASHLOOP, [Quote(0, 1, "BackOff")])


def test_doubts_only_lower_and_the_answer_says_why_whoever_gave_it() -> None:
    case = case_of(("events", QUOTA), ("alert", "PodsMissing"))
    assert lowered(0.8, doubts(case, K.NETWORK, [])) < 0.8
    answer = Answer(name="a model", kind=K.NETWORK, confidence=0.9, quotes=((0, QUOTA),))
    result = settle(case, answer)
    assert isinstance(result, Diagnosis)
    assert result.confidence < 0.7
    assert "Less sure because" in result.summary
    assert result.candidates[0] == (K.NETWORK, result.confidence)


def test_rival_that_a_fact_speaks_against_is_ruled_out_and_an_unknown_one_is_not() -> None:
    case = case_of(("pod_status", "Reason: CrashLoopBackOff\nExit Code: 1\n"), ("logs", "panic: boom"))
    rivals = [(K.CRASHLOOP, 0.9), (K.IMAGEPULLBACKOFF, 0.05), (K.OOMKILLED, 0.03), (K.NETWORK, 0.02)]
    said = " ".join(ruled_out(case, K.CRASHLOOP, rivals))
    assert "exit code is 1" in said
    assert "image is there" in said
    assert "Network" not in said


def test_outcomes_here_are_part_of_what_is_shown() -> None:
    case = case_of(("events", QUOTA))
    answer = Answer(name="built-in", kind=K.QUOTA_EXCEEDED, confidence=0.9, found=(Quote(0, 1, QUOTA),))
    plain = settle(case, answer)
    doubted = settle(case, answer, outcomes={K.QUOTA_EXCEEDED: Outcomes(right=1, wrong=9)})
    assert isinstance(plain, Diagnosis)
    assert isinstance(doubted, Diagnosis)
    assert doubted.confidence < plain.confidence
    assert doubted.confidence_samples == 10


def test_a_kinds_good_record_does_not_lift_an_answer_that_nothing_bears_out() -> None:
    case = case_of(("events", "Nothing of note"))
    answer = Answer(name="a model", kind=K.QUOTA_EXCEEDED, confidence=0.6)
    result = settle(case, answer, outcomes={K.QUOTA_EXCEEDED: Outcomes(right=500)})
    assert isinstance(result, Diagnosis)
    assert result.confidence <= 0.6


def test_series_speak_only_where_their_name_is_known_and_they_moved() -> None:
    text = (
        "ReplicaLag: first 0.8 min 0.7 max 900.0 last 890.0 n 15\n"
        "FreeStorageSpace: first 20000.0 min 0.0 max 20000.0 last 0.0 n 15\n"
        "CPUUtilization: first 20.0 min 20.0 max 40.0 last 39.0 n 15\n"
        "Mystery: first 1.0 min 1.0 max 900.0 last 900.0 n 15\n"
    )
    found = [(trend.line, says(trend)) for trend in trends_in(text)]
    assert found == [(1, K.UPSTREAM_UNAVAILABLE), (2, K.STORAGE_VOLUME), (3, None), (4, None)]


def test_errors_that_begin_with_a_reload_of_the_settings_are_the_settings_fault() -> None:
    calm = "".join(f"INFO request {n} served\n" for n in range(8))
    broken = "".join(f"ERROR Connection refused by db-{n}\n" for n in range(5))
    reload = "INFO Configuration reloaded from /etc/app.yaml\n"
    facts = [fact.kind for fact in case_of(("logs", calm + reload + broken)).state.facts]
    assert K.CONFIG_ERROR in facts
    before = [fact.kind for fact in case_of(("logs", calm + broken + reload + broken)).state.facts]
    assert K.CONFIG_ERROR not in before

"""A second, sceptical look at an answer, whoever gave it. Pure; it can only lower a confidence, and says why."""

from collections.abc import Sequence
from dataclasses import dataclass

from knowledge.case import Case
from knowledge.live_state import SYMPTOMS
from knowledge.model import KIND_NAMES, EvidenceKind, FailureKind, Quote

K = FailureKind
# A claim that no line of the evidence bears out keeps this much of its confidence.
WITHOUT_QUOTE = 0.6
RIVAL_STATED, SYMPTOM_ONLY, ONLY_THE_ALERT, NOT_LOOKED_AT, RUNS_WELL, ERRORS_REMAIN = 0.7, 0.85, 0.85, 0.9, 0.75, 0.7
# From this strength a fact names its cause outright.
STATED = 3.5
_ALERTS_OWN = frozenset({EvidenceKind.ALERT, EvidenceKind.MESSAGE, "workflow_run"})
_LOG_KINDS = frozenset({K.CRASHLOOP, K.PROBE_FAILURE, K.PERFORMANCE, K.UPSTREAM_UNAVAILABLE, K.TEST_FAILURE})
_MANY_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Doubt:
    """`factor` (0 to 1) is what the confidence keeps; `because` completes "Less sure because …"."""

    factor: float
    because: str


def doubts(case: Case, kind: FailureKind, quotes: Sequence[Quote]) -> tuple[Doubt, ...]:
    """What speaks against being sure of `kind`, strongest first."""
    found: list[Doubt] = []
    if not quotes:
        found.append(Doubt(WITHOUT_QUOTE, "no line of the evidence bears it out"))
    found += _rivals(case, kind)
    if kind is K.HEALTHY:
        if not case.state.healthy_because and _errors(case) >= _MANY_ERRORS:
            found.append(Doubt(ERRORS_REMAIN, "the evidence still has lines that speak of errors"))
    elif case.state.healthy_because:
        found.append(Doubt(RUNS_WELL, f"the state speaks against it: {case.state.healthy_because}"))
    others = len(case.evidence) > 1
    if others and quotes and all(case.evidence[q.evidence].kind in _ALERTS_OWN for q in quotes):
        found.append(Doubt(ONLY_THE_ALERT, "only the alert itself says so"))
    missing = [item.kind for item in case.evidence if item.could_not and "log" in item.kind]
    if missing and kind in _LOG_KINDS:
        found.append(Doubt(NOT_LOOKED_AT, f"the evidence {missing[0]} could not be had"))
    return tuple(sorted(found, key=lambda doubt: doubt.factor))


def _rivals(case: Case, kind: FailureKind) -> list[Doubt]:
    """Another cause that the evidence states outright while it states nothing of `kind`."""
    if kind is K.HEALTHY:
        return []
    strength = case.state.strength()
    if strength.get(kind, 0.0) > 0:
        return []
    stated = [other for other, value in strength.items() if value >= STATED and other not in SYMPTOMS]
    return [Doubt(RIVAL_STATED, f"the evidence also states “{KIND_NAMES[other]}”") for other in stated[:1]]


def _errors(case: Case) -> int:
    return sum(reduction.telling for reduction in case.reductions)


def lowered(confidence: float, found: Sequence[Doubt]) -> float:
    """The confidence after all doubts; never higher than before."""
    for doubt in found:
        confidence *= doubt.factor
    return confidence


def ruled_out(case: Case, kind: FailureKind, candidates: Sequence[tuple[FailureKind, float]]) -> tuple[str, ...]:
    """Rivals that a fact speaks against, as sentences; a rival about which nothing is known is not ruled out."""
    strength = case.state.strength()
    sentences = []
    for other, _ in candidates:
        if other in {kind, K.UNKNOWN}:
            continue
        if why := _against(case, kind, other, strength.get(other, 0.0)):
            sentences.append(f"{KIND_NAMES[other]}: {why}")
    return tuple(sentences[:4])


def _against(case: Case, kind: FailureKind, other: FailureKind, strength: float) -> str:
    if other in SYMPTOMS and kind not in SYMPTOMS and strength > 0:
        return "it is there, but follows from the cause above"
    if case.state.healthy_because and other in SYMPTOMS:
        return f"that is over: {case.state.healthy_because}"
    if other is K.HEALTHY and any(fact.strength >= STATED for fact in case.state.facts):
        return "the evidence states an active failure"
    if other is K.OOMKILLED and strength == 0 and (code := case.exit_code()) and code != 137:
        return f"the exit code is {code}, not 137"
    if other is K.GITHUBACTION_TRANSIENT and case.state.ci == "deterministic":
        return "the same run would fail again: the log shows a fault of the code or its settings"
    if other is K.IMAGEPULLBACKOFF and strength == 0 and kind in SYMPTOMS:
        return "the container was started, so its image is there"
    return ""

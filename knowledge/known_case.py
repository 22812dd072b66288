"""A case that is known well enough to be answered at once, without asking a hosted model. Pure.

The built-in diagnosis stands then; what is remembered only spares the question. It raises no confidence and no trust.
"""

from collections.abc import Mapping, Sequence

from knowledge.live_state import read_state
from knowledge.model import Diagnosis, Evidence, EvidenceKind, Precedent, TrackRecord, Unsure

SURE, ALIKE, MARGIN = 0.85, 0.8, 0.15
# So often the same fix must have healed it here, and never failed or been turned down.
HEALED = 3
# What was looked at now, in the failing system itself: an alert's words or a pasted log confirm nothing.
_LIVE = frozenset(
    {
        EvidenceKind.POD_STATUS,
        EvidenceKind.EVENTS,
        EvidenceKind.LOGS,
        EvidenceKind.PREVIOUS_LOGS,
        EvidenceKind.WORKFLOW_RUN,
        EvidenceKind.JOB_LOG,
        EvidenceKind.ARGOCD,
    }
)


def why_known(
    answer: Diagnosis | Unsure | None,
    evidence: Sequence[Evidence],
    precedents: Sequence[Precedent],
    record: Mapping[str, TrackRecord],
    *,
    service: str,
    environment: str,
) -> str:
    """Why no model need be asked, for the card; "" where one condition is not met.

    Args:
        answer: the built-in diagnosis of this incident.
        precedents: best first, found by the evidence alone.
        record: by action, for the answer's kind in this service and environment.
    """
    if not isinstance(answer, Diagnosis) or answer.injection_suspected or answer.confidence < SURE:
        return ""
    first = precedents[0] if precedents else None
    if first is None or not service or (first.item.service, first.item.environment) != (service, environment):
        return ""
    of_incident = first.item.source == "incident" and first.item.outcome == "verified" and first.item.action
    if not of_incident or first.item.kind is not answer.kind or first.thumbs_down:
        return ""
    if not first.same_failure and first.similarity < ALIKE:
        return ""
    others = [one.score for one in precedents if one.item.kind is not answer.kind]
    if others and first.score - max(others) < MARGIN:
        return ""
    here = record.get(first.item.action)
    if here is None or here.verified < HEALED or here.failed or here.rejected:
        return ""
    if not _confirmed(answer, evidence):
        return ""
    return f"a known case, healed {here.verified} of {here.attempts} times here: no model was asked"


def _confirmed(answer: Diagnosis, evidence: Sequence[Evidence]) -> bool:
    """Whether what runs now shows this kind more strongly than any other."""
    live = [item for item in evidence if item.kind in _LIVE and item.text.strip()]
    shown = read_state("", [item.text for item in live], [str(item.kind) for item in live]).strength()
    return bool(shown) and max(shown, key=lambda kind: shown[kind]) is answer.kind

"""Whether an answer passes in full, as the sample data's contract says: kind, words, and an acceptable action."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from knowledge.model import Diagnosis, Unsure
from remediation.planning import ESCALATE, action_without_target
from tests.knowledge.shared_data import kinds_of

# Classes of the sample data to our catalogue; every class that is not here is a person's work.
ACTIONS: dict[str, set[str | None]] = {
    "none": {None},
    "rollback_deployment": {"k8s_rollback", "argocd_rollback"},
    "rollback_config": {"k8s_rollback", "argocd_rollback"},
    "restart_pod": {"k8s_restart_pod", "k8s_restart_rollout"},
    "scale": {"k8s_scale"},
    "increase_memory_limit": {"k8s_raise_memory"},
    "rerun_ci": {"github_rerun"},
    "rerun_job": {"github_rerun"},
    "argocd_resync": {"argocd_sync"},
    "fix_image_ref": {"k8s_update_image", ESCALATE},
    "revert_commit": {"github_revert_pr", ESCALATE},
}


@dataclass(frozen=True, slots=True)
class Score:
    kind: bool
    words: bool
    action: bool
    unacceptable: bool

    @property
    def full(self) -> bool:
        return self.kind and self.words and self.action and not self.unacceptable


def action_of(answer: Diagnosis | Unsure) -> str | None:
    return action_without_target(answer.kind, answer.preferred_action) if isinstance(answer, Diagnosis) else ESCALATE


def said_by(answer: Diagnosis | Unsure) -> str:
    """Cause, summary and quotes as one text in small letters."""
    words = [answer.cause, answer.summary] if isinstance(answer, Diagnosis) else [answer.reason]
    return " ".join([*words, *(quote.text for quote in answer.quotes)]).lower()


def score(answer: Diagnosis | Unsure, expected: Mapping[str, Any]) -> Score:
    """`expected` is a row of diagnosis/expected.jsonl."""
    action, body = action_of(answer), said_by(answer)
    acceptable = _ours(expected["acceptable_actions"])
    forbidden = _ours(name for name in expected["unacceptable_actions"] if name in ACTIONS) - {ESCALATE}
    return Score(
        kind=(answer.kind.value if isinstance(answer, Diagnosis) else "unknown") in kinds_of(expected["category"]),
        words=all(any(word.lower() in body for word in words) for words in expected["must_mention"])
        and not any(word.lower() in body for word in expected["must_not_mention"]),
        action=action in acceptable,
        unacceptable=action in forbidden,
    )


def _ours(names: Iterable[str]) -> set[str | None]:
    found: set[str | None] = set()
    for name in names:
        found |= ACTIONS.get(name, {ESCALATE})
    return found

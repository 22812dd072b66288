"""What we know about a failure: diagnosis, precedents, lessons and people's feedback."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from knowledge.model.kinds import FailureKind


class Fixability(StrEnum):
    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Quote:
    """A line of evidence that code has found there: `evidence` is a 0-based index, `line` 1-based in that item."""

    evidence: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class AnswerSource:
    """Who answered: `name` is "built-in" or "nvidia:<model>"; `ms` reading to answer; `note` why not a better one.

    `usd` is what it cost in dollars, about. A provisional answer is shown while a better one is still asked for.
    """

    name: str
    ms: int = 0
    note: str = ""
    prompt_version: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    provisional: bool = False


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause as far as it is known. `confidence` is 0 to 1, for `kind`; it rests on `confidence_samples` answers.

    `candidates` are kinds, best first, with their probabilities; `preferred_action` may only break a tie among the
    candidates that policy permits. `affected_*` is information: execution never reads it.
    """

    kind: FailureKind
    confidence: float
    cause: str
    summary: str
    fixability: Fixability
    quotes: tuple[Quote, ...]
    answered_by: AnswerSource
    candidates: tuple[tuple[FailureKind, float], ...] = ()
    ruled_out: tuple[str, ...] = ()
    preferred_action: str = ""
    affected_kind: str = ""
    affected_namespace: str = ""
    affected_name: str = ""
    injection_suspected: bool = False
    confidence_samples: int = 0

    @property
    def healthy(self) -> bool:
        return self.kind is FailureKind.HEALTHY


@dataclass(frozen=True, slots=True)
class Unsure:
    """No answer that could be stood by: why, and which evidence would settle it."""

    reason: str
    missing: tuple[str, ...]
    answered_by: AnswerSource
    quotes: tuple[Quote, ...] = ()
    candidates: tuple[tuple[FailureKind, float], ...] = ()
    injection_suspected: bool = False


class RejectReason(StrEnum):
    WRONG_CAUSE = "wrong_cause"
    WRONG_TARGET = "wrong_target"
    RIGHT_CAUSE_WRONG_FIX = "right_cause_wrong_fix"
    NOT_NOW = "not_now"
    ALREADY_FIXED = "already_fixed"


class FeedbackReason(StrEnum):
    """What was wrong with an answer that did not help."""

    WRONG_CAUSE = "wrong_cause"
    WRONG_FIX = "wrong_fix"
    UNCLEAR = "unclear"
    UNSAFE = "unsafe"
    OUTDATED = "outdated"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's opinion of one incident's answer: `value` +1 or -1; a later one replaces it.

    `reason` is a FeedbackReason or "".
    """

    incident_id: int
    user: str
    value: int
    comment: str
    at: datetime
    reason: str = ""


# Every word for how a remembered incident ended; "" is unknown.
OUTCOMES = ("verified", "not_verified", "worse", "failed", "rejected", "dismissed", "resolved")


@dataclass(frozen=True, slots=True)
class KnowledgeItem:
    """A past incident as it is remembered: what it looked like, its cause, what was done and how that ended.

    `outcome` is one of OUTCOMES or "" (unknown).
    `excerpt` is the reduced, redacted evidence.
    """

    id: str
    source: str
    kind: FailureKind | None
    service: str
    environment: str
    cause: str
    fix: str
    outcome: str
    excerpt: str
    link: str
    occurred_at: datetime
    incident_id: int | None = None
    action: str = ""  # the catalogue's name of what was done or proposed
    status: str = ""  # what people said of it: "wrong" (no precedent any more), "old" (weighs less), "" (stands)
    channel: str = ""  # of a Slack thread: who may read it is decided by its channel


@dataclass(frozen=True, slots=True)
class Precedent:
    """A remembered incident that resembles the present one. `score` is 0 to 1 after outcome, feedback and age."""

    item: KnowledgeItem
    score: float
    similarity: float
    thumbs_up: int = 0
    thumbs_down: int = 0
    why: str = ""
    same_failure: bool = False  # learnt from the very same failure, so it comes first


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """How an action did for a kind in an environment. Rejections are of the form "right cause, wrong fix"."""

    kind: FailureKind
    action: str
    environment: str
    verified: int
    failed: int
    rejected: int

    @property
    def attempts(self) -> int:
        return self.verified + self.failed

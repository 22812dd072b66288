"""What the one card of an incident is drawn from, and what drawing it makes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knowledge.model import (
    Approval,
    ApprovalState,
    Decision,
    Diagnosis,
    Execution,
    Incident,
    IncidentState,
    Plan,
    Precedent,
    Unsure,
    Verification,
)

OBSERVE = "observe"
MOST_TEXT = 3000  # chat.update takes 4,000


@dataclass(frozen=True, slots=True)
class Card:
    """One message: `text` stands on its own, in notifications and for screen readers; `blocks` is Block Kit."""

    text: str
    blocks: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CardView:
    """All that a card may show of one incident at `now`.

    `decided_note` is a person's reason or the program's; it is escaped like all foreign text, so people are named by
    `approval` alone. `feedback_counts` are 👍 and 👎. `responsible` are user, group or channel ids to mention where a
    state needs a person and no approval says whom. `source_link` is the failing thing (run, alert), `channel_link` the
    incident's own thread where the card stands elsewhere.
    """

    incident: Incident
    now: datetime
    diagnosis: Diagnosis | Unsure | None = None
    plan: Plan | None = None
    decision: Decision | None = None
    approval: Approval | None = None
    execution: Execution | None = None
    verification: Verification | None = None
    precedents: tuple[Precedent, ...] = ()
    decided_note: str = ""
    feedback_counts: tuple[int, int] = (0, 0)
    responsible: tuple[str, ...] = ()
    source_link: str = ""
    channel_link: str = ""
    editable: bool = False  # whether any parameter of the fix may be changed
    related: tuple[tuple[str, str], ...] = ()  # (what it is to this incident, its address or "")
    times_this_week: int = 1
    on_call: tuple[str, ...] = ()  # whom the route calls in every state that needs a person
    call_note: str = ""  # why these and not others
    quiet_until: str = ""  # a time of day; while it is given nobody is mentioned
    route: str = ""  # the route in words; "" where the policy has none
    answer_id: int = 0  # of the stored diagnosis; a vote is about that one

    @property
    def scheduled(self) -> bool:
        """Whether the fix is approved and waits for its hour."""
        approval = self.approval
        approved = approval is not None and approval.state is ApprovalState.SCHEDULED
        return approved and self.incident.state is IncidentState.WAITING

    @property
    def observing(self) -> bool:
        """Whether the mode in force shows cards without buttons and mentions."""
        return self.decision is not None and self.decision.mode == OBSERVE

    @property
    def answered(self) -> bool:
        """Whether the card gives an answer that people can judge."""
        return self.diagnosis is not None and not self.diagnosis.answered_by.provisional

"""Evidence for the cause of an incident, collected side by side; what could not be had is said, with the reason.

Every text is cleaned, redacted and bounded before it is returned: nothing raw leaves this package.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from knowledge.model import Alert, Evidence, EvidenceKind, Incident
from knowledge.redaction import clean, redact
from remediation.evidence import argocd, github_actions, kubernetes, metrics, silences, status_pages
from remediation.evidence.piece import Piece, Pieces, Subject, within
from remediation.policy import Policy, service_of
from remediation.ports import Clients

# For everything together; what has no answer by then is given up.
DEADLINE_S = 12.0
MAX_CHARS = 60_000

Collector = Callable[[Subject], Awaitable[Pieces]]

# Each entry: what it is called when it fails as a whole, and the function. One that does not concern the incident
# answers with nothing.
COLLECTORS: tuple[tuple[str, Collector], ...] = (
    ("kubernetes", kubernetes.collect),
    ("github actions", github_actions.collect),
    ("argocd", argocd.collect),
    ("metrics", metrics.collect),
    ("silences", silences.collect),
)


async def collect(
    incident: Incident,
    clients: Clients,
    *,
    policy: Policy | None = None,
    alerts: Sequence[Alert] = (),
    now: datetime | None = None,
    deadline_s: float = DEADLINE_S,
) -> list[Evidence]:
    """All evidence that can be had within the deadline. Never raises for what the outside says or does not say.

    `policy` names the service's metrics and application; `alerts` are the incident's, for silences.
    """
    service = service_of(policy, incident.target) if policy and incident.target else None
    subject = Subject(incident, clients, now or datetime.now(UTC), service, tuple(alerts))
    ends = asyncio.get_running_loop().time() + deadline_s
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(within(deadline_s, collector(subject), name, name), name=f"evidence {name}")
            for name, collector in COLLECTORS
        ]
    pieces = [piece for task in tasks for piece in task.result()]
    # Providers are asked only about what the evidence looks like, so this comes after it.
    left_s = max(0.0, ends - asyncio.get_running_loop().time())
    seen = [*pieces, *(Piece(EvidenceKind.ALERT, alert.source, f"{alert.title}\n{alert.log}") for alert in alerts)]
    name = "status pages"
    pieces += await within(left_s, status_pages.collect(clients.status_pages, seen), name, name)
    return [finished(piece) for piece in pieces]


def finished(piece: Piece, *, max_chars: int = MAX_CHARS) -> Evidence:
    """The piece as evidence: cleaned, secrets cut out, then shortened to its end, where failures are."""
    text = redact(clean(piece.text))
    left_out = max(0, len(text) - max_chars)
    if left_out:
        # Cut at a line, so that a quote is never half of one.
        text = text[left_out:].partition("\n")[2] or text[left_out:]
    return Evidence(
        piece.kind, piece.source, text, redact(clean(piece.could_not)), piece.left_out + left_out, piece.link
    )  # fmt: skip

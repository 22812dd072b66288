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

# Any pod's or run's log would else be quoted on a card by naming it.
UNTRUSTED = "only an app that is not on the allow-list says that it failed, and its words choose nothing to look at"

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
    if not incident.trusted:
        return await _not_looked_at(incident, clients, alerts, deadline_s)
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
    pieces += await _providers(clients, [*pieces, *_told(alerts)], left_s)
    return [finished(piece) for piece in pieces]


async def _not_looked_at(
    incident: Incident, clients: Clients, alerts: Sequence[Alert], deadline_s: float
) -> list[Evidence]:
    """What is not trusted is diagnosed from its own words: that they name something is no reason to read it."""
    named = (
        (EvidenceKind.POD_STATUS, incident.namespace, incident.workload),
        (EvidenceKind.WORKFLOW_RUN, incident.repository, incident.run_id),
    )
    pieces = [Piece(kind, f"{where} {what}", could_not=UNTRUSTED) for kind, where, what in named if where and what]
    pieces += await _providers(clients, _told(alerts), deadline_s)
    return [finished(piece) for piece in pieces]


def _told(alerts: Sequence[Alert]) -> list[Piece]:
    return [Piece(EvidenceKind.ALERT, alert.source, f"{alert.title}\n{alert.log}") for alert in alerts]


async def _providers(clients: Clients, seen: Sequence[Piece], deadline_s: float) -> Pieces:
    name = "status pages"
    return await within(deadline_s, status_pages.collect(clients.status_pages, seen), name, name)


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

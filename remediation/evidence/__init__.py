"""Evidence for the cause of an incident, collected side by side; what could not be had is said, with the reason.

Every text is cleaned, redacted and bounded before it is returned: nothing raw leaves this package.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from knowledge.errors import CodeHealerError
from knowledge.model import Evidence, Incident
from knowledge.redaction import clean, redact
from remediation.evidence import argocd, github_actions, kubernetes
from remediation.evidence.piece import Piece, Pieces
from remediation.ports import Clients

DEADLINE_S = 12.0
MAX_CHARS = 60_000

Collector = Callable[[Incident, Clients], Awaitable[Pieces]]

# Each entry: what it is called when it fails as a whole, and the function. One that does not concern the incident
# answers with nothing.
COLLECTORS: tuple[tuple[str, Collector], ...] = (
    ("kubernetes", kubernetes.collect),
    ("github actions", github_actions.collect),
    ("argocd", argocd.collect),
)


async def collect(incident: Incident, clients: Clients, *, deadline_s: float = DEADLINE_S) -> list[Evidence]:
    """All evidence that can be had within the deadline. Never raises for what the outside says or does not say."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_one(name, collector, incident, clients, deadline_s), name=f"evidence {name}")
            for name, collector in COLLECTORS
        ]
    return [evidence for task in tasks for evidence in task.result()]


async def _one(
    name: str, collector: Collector, incident: Incident, clients: Clients, deadline_s: float
) -> Sequence[Evidence]:  # fmt: skip
    try:
        async with asyncio.timeout(deadline_s):
            pieces = await collector(incident, clients)
    except TimeoutError:
        pieces = [Piece(name, name, could_not=f"no answer within {deadline_s:.0f} s")]
    except CodeHealerError as error:
        pieces = [Piece(name, name, could_not=str(error))]
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

"""Is it a provider's failure? Its status page is asked where the symptom is of the kind that it would cause."""

import asyncio
import re
from collections.abc import Sequence

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from knowledge.signs import log_says
from remediation.evidence.piece import Piece, Pieces
from remediation.ports import StatusPages

_REGISTRY = re.compile(
    r"ErrImagePull|ImagePullBackOff|[Ff]ailed to pull|pull(?:ing)? (?:access|image)|toomanyrequests"
    r"|/v2/\S* (?:EOF|5\d\d)|failed to (?:resolve|fetch|push)\b|manifest unknown"
)
_NETWORK = re.compile(
    r"(?i)no such host|name resolution|could not resolve|getaddrinfo|\bENOTFOUND\b|EAI_AGAIN|x509:|certificate"
    r"|TLS handshake|connection (?:reset|refused|timed out)|network is unreachable|i/o timeout|no route to host"
)
_LONGEST = 200_000


def symptoms_of(pieces: Sequence[Piece]) -> set[str]:
    """Of "ci", "registry" and "network", what the evidence so far looks like: pure.

    A job that fails of its own doing (a red test, a compiler's error) is no symptom of a provider's failure.
    """
    found: set[str] = set()
    for piece in pieces:
        text = piece.text[-_LONGEST:]
        if piece.kind == EvidenceKind.JOB_LOG:
            said = log_says(text) if text else "unclear"
            found |= {"ci"} if said != "deterministic" else set()
            if said == "deterministic":
                continue
        if piece.kind in _TELLING:
            found |= {"registry"} if _REGISTRY.search(text) else set()
            found |= {"network"} if _NETWORK.search(text) else set()
    return found


_TELLING = frozenset(
    {
        EvidenceKind.ALERT, EvidenceKind.POD_STATUS, EvidenceKind.EVENTS, EvidenceKind.LOGS,
        EvidenceKind.PREVIOUS_LOGS, EvidenceKind.JOB_LOG, EvidenceKind.ARGOCD,
    }
)  # fmt: skip


async def collect(client: StatusPages | None, pieces: Sequence[Piece]) -> Pieces:
    """What the pages for these symptoms say, in one piece; the ones in trouble first."""
    names = client.names(symptoms_of(pieces)) if client else []
    if client is None or not names:
        return []
    asked = await asyncio.gather(*(_ask(client, name) for name in names))
    lines = sorted((line for line, _ in asked if line), key=lambda line: "\n" not in line)
    summary = "; ".join(line.partition("\n")[0] for line in lines[:3])
    details = [f"  {part}" for line in lines for part in line.split("\n")[1:]]
    found = [Piece(EvidenceKind.STATUS_PAGE, "providers", "\n".join([summary, *details]))] if lines else []
    return [*found, *(piece for _, piece in asked if piece)]


async def _ask(client: StatusPages, name: str) -> tuple[str, Piece | None]:
    try:
        state = await client.ask(name)
    except CodeHealerError as error:
        return "", Piece(EvidenceKind.STATUS_PAGE, name, could_not=str(error))
    trouble = f" ({state.link})\n" + "\n".join(f"{name}: {one}" for one in state.trouble.split("\n"))
    return f"{name}: {state.description}{trouble if state.trouble else ''}", None

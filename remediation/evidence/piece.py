"""What collectors are given and what they hand back, still raw."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge.errors import CodeHealerError
from knowledge.model import Alert, Incident
from remediation.policy_file import Service
from remediation.ports import Clients


@dataclass(frozen=True, slots=True)
class Subject:
    """What evidence is collected about. `service` is the policy's row of the incident's target, None without one."""

    incident: Incident
    clients: Clients
    now: datetime
    service: Service | None = None
    alerts: tuple[Alert, ...] = ()

    @property
    def is_run(self) -> bool:
        """Whether it is a workflow run that failed: what runs in a cluster is not part of that."""
        target = self.incident.target
        return bool(self.incident.run_id) or (target is not None and target.kind == "WorkflowRun")

    @property
    def repository(self) -> str:
        """The target's, else the alert's; "" if nobody names one."""
        target = self.incident.target
        return (target.repository if target else "") or self.incident.repository


@dataclass(frozen=True, slots=True)
class Piece:
    """One text, or why it could not be had. `kind` is an EvidenceKind; `left_out` counts characters already dropped."""

    kind: str
    source: str
    text: str = ""
    could_not: str = ""
    left_out: int = 0
    link: str = ""


Pieces = Sequence[Piece]


async def within(seconds: float, part: Awaitable[Pieces], kind: str, source: str) -> Pieces:
    """What one part of a collector has to say in time; one that is too slow takes no other with it."""
    try:
        async with asyncio.timeout(seconds):
            return await part
    except TimeoutError:
        return [Piece(kind, source, could_not=f"no answer within {seconds:.0f} s")]
    except CodeHealerError as error:
        return [Piece(kind, source, could_not=str(error))]

"""What a queue of jobs must do, whatever it is made of. A worker on top of it is `bot.queues.worker.QueuedJobs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.jobs import DeadJob


@dataclass(frozen=True, slots=True)
class Order:
    """A job that is asked for, as in `knowledge.ports.Jobs.enqueue`; it counts as due `head_start_s` earlier."""

    stage: str
    lock: str
    once: str | None
    delay_s: float
    arguments: Mapping[str, Any]
    head_start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours while its lease lasts. `token` grows with each claim of a job: an older one ends nothing."""

    id: int
    token: int
    stage: str
    lock: str
    arguments: Mapping[str, Any]
    attempts: int
    ticket: Any = field(default=None, repr=False, compare=False)


class Queue(Protocol):
    """Jobs with leases. `extend`, `done`, `again` and `give_up` are False where the claim is no longer ours."""

    lease_s: float

    async def put(self, connection: Any, order: Order) -> None:
        """As a part of the caller's transaction; a second one of a waiting `once` key is dropped."""

    async def claim(self, wait_s: float) -> Claim | None:
        """The next job whose lock is free; None when there was none within `wait_s`."""

    async def extend(self, claim: Claim) -> bool: ...

    async def done(self, claim: Claim) -> bool: ...

    async def again(self, claim: Claim, in_s: float) -> bool:
        """It failed, or was stopped: have it run once more, not before `in_s` seconds."""

    async def give_up(self, claim: Claim, reason: str) -> bool:
        """Keep it among the dead, which no longer hold their lock."""

    async def tend(self, stages: Sequence[str] = ()) -> None:
        """What goes on beside the work, until cancelled: putting back the jobs of those whose lease has run out, and
        taking up what another version gave up for want of one of these stages."""

    async def pending(self, lock: str | None, *, delayed: bool) -> int: ...

    async def busy(self, locks: Sequence[str]) -> set[str]:
        """Those of the locks that have a job that waits or runs."""

    async def dead(self) -> list[DeadJob]: ...

    async def retry(self, job_id: int) -> None:
        """Raises NotFound: there is no dead job of this number."""

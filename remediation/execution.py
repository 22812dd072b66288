"""Doing one approved action, once: lease, look again, snapshot, act, outcome; after a crash look before anything else.

What makes it once: the store lets an execution start once and remembers it before the side effect; a write carries
preconditions (uid, generation, attempt) with which the outside refuses a repetition; and a worker whose lease ended can
write nothing, because each of its writes carries a fencing token that has been overtaken.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from knowledge.errors import BadInput, CodeHealerError, Refused, SettingsError, Unavailable
from knowledge.model import Execution, ExecutionState, Outcome
from remediation.ports import Clients, ExecutionStore
from remediation.registry import Remediator, parameters_as
from remediation.remediators import REMEDIATORS
from remediation.writes import heard

log = structlog.get_logger(__name__)

LEASE_S = 30.0
# An act must end well before its lease does, so that nobody else can hold the target while it may still take effect.
ACT_DEADLINE_S = 20.0
# So must the looks before it: nothing may start under a lease that has ended meanwhile.
LOOK_DEADLINE_S = 20.0
# Looks at the target: after a lost answer its effect may still be on its way; after a crash it no longer is.
LOOKS_AFTER_LOST_ANSWER = 4
LOOKS_AFTER_CRASH = 2
SETTLE_PAUSE_S = 0.5

# How the refusal of what an interruption kept from happening begins.
NOT_BEGUN_AGAIN = "It is not begun again:"

FINAL_STATES = frozenset({ExecutionState.ACTED, ExecutionState.FAILED, ExecutionState.REFUSED, ExecutionState.UNDONE})


@dataclass(frozen=True, slots=True)
class ExecutionServices:
    """What an execution is given. `holder` names this run in leases; `progress` hears what happens, in words."""

    store: ExecutionStore
    clients: Clients
    holder: str
    dry_run: bool = False
    progress: Callable[[str], Awaitable[None]] | None = None
    may_start: Callable[[], bool] = lambda: True
    # Why nothing at all is sent, as a clause, "" where it is: not even the rest of what was begun, nor an undo.
    read_only: Callable[[], str] = str
    # Why what an interruption kept from happening is not begun again, as a sentence; "" where it is.
    not_again: Callable[[], Awaitable[str]] | None = None

    def forbidden(self) -> str:
        """Why nothing at all is sent, as a clause; "" where it is."""
        return self.read_only() or ("fixes only pretend here (policy.yaml: dry_run)" if self.dry_run else "")


@dataclass(slots=True)
class Lease:
    """The hold on a target. While something was sent and its end is not stored, it is not given back."""

    token: int
    sent: bool = False


class Busy(CodeHealerError):
    """Another execution holds the target, or may by now: nothing was done, try again in `retry_after_s` seconds."""

    retry_after_s = 5.0


class Overtaken(CodeHealerError):
    """The lease was lost or the execution is another worker's by now: stop, and write nothing."""


async def run(execution: Execution, services: ExecutionServices) -> Outcome:
    """Carries out a queued execution, or settles one that a crash left started. Safe to call again at any time.

    Returns the outcome that is stored. Raises Busy (retry later), Overtaken (do nothing more), and Unavailable when a
    look at the target failed before anything was started (retry later; nothing was done).
    """
    async with _held(execution, services, what="It") as (current, lease):
        if current.state in FINAL_STATES:
            return current.outcome or Outcome(False, False, "It ended without a stored outcome.")
        remediator = REMEDIATORS[current.action.name]
        if current.state is ExecutionState.STARTED:
            return await _resume(current, remediator, services, lease)
        return await _begin(current, remediator, services, lease)


@asynccontextmanager
async def _held(
    execution: Execution, services: ExecutionServices, *, what: str
) -> AsyncIterator[tuple[Execution, Lease]]:  # fmt: skip
    """The execution as it is stored by now, and the lease on its target; released at the end.

    What is cut off once something was sent leaves the lease to run out: a request may go on in its thread, and until
    it has arrived the target shows nothing of it. Raises Busy, which says that `what` is tried again, and Overtaken.
    """
    store, key = services.store, execution.action.target.family
    # Two executions in one process must keep each other out as well, so the lease names both.
    token = await store.lease_acquire(key, f"{services.holder}/{execution.id}", LEASE_S)
    if token is None:
        raise Busy(f"Another fix is running on {key}. {what} is tried again when that has ended.")
    lease = Lease(token)
    try:
        current = await store.take_execution(execution.id, fencing_token=token)
        if current is None:
            raise Overtaken(f"Execution {execution.id} was taken over by another worker.")
        yield current, lease
    finally:
        if not lease.sent:
            await store.lease_release(key, token)


async def _begin(execution: Execution, remediator: Remediator, services: ExecutionServices, lease: Lease) -> Outcome:
    """From queued: look again, keep what was found, start, act."""
    await _tell(services, f"Looking again before: {remediator.title}.")
    try:
        parameters_as(remediator.parameters, execution.action)
        async with asyncio.timeout(LOOK_DEADLINE_S):
            if services.dry_run:
                outcome = await remediator.dry_run(execution.action, services.clients)
                state = ExecutionState.ACTED if outcome.ok else ExecutionState.REFUSED
                return await _finish(execution, state, outcome, services, lease)
            ready = await remediator.preflight(execution.action, services.clients)
    except TimeoutError as error:
        raise Unavailable("Looking at the target took too long, so nothing was done yet.") from error
    except (Refused, BadInput, SettingsError) as error:
        return await _finish(execution, ExecutionState.REFUSED, Outcome(False, False, str(error)), services, lease)
    if not ready.ok:
        return await _finish(execution, ExecutionState.REFUSED, Outcome(False, False, ready.reason), services, lease)
    key = execution.action.target.family
    if not await services.store.lease_renew(key, lease.token, LEASE_S):
        raise Busy(f"The lease on {key} ended while the target was looked at; nothing was done yet.")
    started = services.may_start() and await services.store.start_execution(
        execution.id, snapshot=dict(ready.snapshot), fencing_token=lease.token
    )
    if not started:
        return await _not_started(execution, services, lease)
    return await _act(execution, dict(ready.snapshot), remediator, services, lease)


async def _not_started(execution: Execution, services: ExecutionServices, lease: Lease) -> Outcome:
    """What came between the look and the start: a person's word, the kill switch, or another worker."""
    current = await services.store.take_execution(execution.id, fencing_token=lease.token)
    if current is None or current.state is ExecutionState.STARTED:
        raise Overtaken(f"Execution {execution.id} was started or taken over by another worker.")
    if current.state is ExecutionState.QUEUED:
        raise Busy("It was held back in the moment in which it would have started; nothing was done yet.")
    outcome = current.outcome or Outcome(False, False, "It ended without a stored outcome.")
    await _tell(services, outcome.detail)
    return outcome


async def _resume(execution: Execution, remediator: Remediator, services: ExecutionServices, lease: Lease) -> Outcome:
    """From started: the target tells whether the side effect happened. Act only where it surely did not."""
    await _tell(services, "Taken up again after an interruption: looking at what has happened.")
    found = await _settle(execution, dict(execution.snapshot), remediator, services, looks=LOOKS_AFTER_CRASH)
    if found is None:
        return await _finish(execution, ExecutionState.FAILED, _cannot_tell(remediator), services, lease)
    if found.ok or (found.changed and not remediator.resumes):
        return await _finish(execution, ExecutionState.ACTED, found, services, lease)
    why = services.forbidden()
    if found.changed and why:
        half = replace(found, detail=f"{found.detail} It is not gone on with: {why}.")
        return await _finish(execution, ExecutionState.FAILED, half, services, lease)
    # A pause ends what has really begun; what surely did not happen would only begin in it.
    why = f"{why}." if why else await services.not_again() if services.not_again and not found.changed else ""
    if why:
        refused = Outcome(False, False, f"{NOT_BEGUN_AGAIN} {why} {found.detail}")
        return await _finish(execution, ExecutionState.REFUSED, refused, services, lease)
    # The stored snapshot's preconditions go with the request, so a target that changed meanwhile refuses it.
    return await _act(execution, dict(execution.snapshot), remediator, services, lease)


async def _act(
    execution: Execution, snapshot: dict[str, object], remediator: Remediator, services: ExecutionServices, lease: Lease
) -> Outcome:  # fmt: skip
    key = execution.action.target.family
    if not await services.store.lease_renew(key, lease.token, LEASE_S):
        raise Overtaken(f"The lease on {key} ended before anything was done.")
    await _tell(services, f"{remediator.title} …")
    lease.sent = True
    with heard() as writes:
        outcome = await _acted(execution, snapshot, remediator, services)
    state = ExecutionState.ACTED if outcome.ok else ExecutionState.FAILED
    return await _finish(execution, state, replace(outcome, writes=tuple(writes)), services, lease)


async def _acted(
    execution: Execution, snapshot: dict[str, object], remediator: Remediator, services: ExecutionServices
) -> Outcome:  # fmt: skip
    try:
        async with asyncio.timeout(ACT_DEADLINE_S):
            return await remediator.execute(execution.action, snapshot, execution.id, services.clients)
    except (Refused, SettingsError) as error:
        return await _not_taken(execution, snapshot, remediator, services, error)
    except Exception as error:  # noqa: BLE001  what comes out of an entry, which may be a team's own, ends it
        if isinstance(error, Unavailable) and not error.maybe_done:
            return await _not_taken(execution, snapshot, remediator, services, error)
        why = _why(error, execution.id)
        found = await _settle(execution, snapshot, remediator, services, looks=LOOKS_AFTER_LOST_ANSWER)
        outcome = found or _cannot_tell(remediator)
        if not outcome.changed:
            outcome = Outcome(False, False, f"{outcome.detail} The request failed: {why}.")
        return outcome


def _why(error: Exception, execution_id: int) -> str:
    """How something sent failed, as a clause; of what nobody foresaw only the kind, as its words may hold a secret."""
    if isinstance(error, CodeHealerError):
        return str(error).rstrip(".")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    log.warning("execution.unexpected", execution=execution_id, exc_info=error)
    return f"an unexpected {type(error).__name__}, which is in the log"


async def _not_taken(
    execution: Execution,
    snapshot: dict[str, object],
    remediator: Remediator,
    services: ExecutionServices,
    error: CodeHealerError,
) -> Outcome:
    """After a write that was surely not taken. Of several, that says nothing of those before it: the target does."""
    found = await _settle(execution, snapshot, remediator, services, looks=1) if remediator.resumes else None
    if found is not None and found.changed:
        return replace(found, ok=False, detail=f"{found.detail} {error}")
    return Outcome(False, False, str(error))


async def _settle(
    execution: Execution,
    snapshot: dict[str, object],
    remediator: Remediator,
    services: ExecutionServices,
    *,
    looks: int,
) -> Outcome | None:
    """What the target shows of the side effect: changed, surely not changed, or None where it cannot be told."""
    return await _looked(
        lambda: remediator.settled(execution.action, snapshot, execution.id, services.clients), looks, execution.id
    )


async def _looked(look: Callable[[], Awaitable[Outcome | None]], looks: int, execution_id: int) -> Outcome | None:
    """Looks a few times: right after a lost answer, the effect may take a moment to show."""
    found: Outcome | None = None
    for number in range(looks):
        if number:
            await asyncio.sleep(SETTLE_PAUSE_S * 2 ** (number - 1))
        try:
            found = await look()
        except Unavailable as error:
            log.info("execution.settle_failed", execution=execution_id, error=str(error))
            found = None
        except Refused as error:
            # The target itself is gone or closed to us: nothing can be told, and looking again will not help.
            log.info("execution.settle_refused", execution=execution_id, error=str(error))
            return None
        except Exception:  # as in _acted
            log.exception("execution.settle_unexpected", execution=execution_id)
            found = None
        if found is not None and found.changed:
            return found
    return found


def _cannot_tell(remediator: Remediator) -> Outcome:
    detail = f"It cannot be told whether “{remediator.title}” took effect; it is not repeated. Look at the target."
    return Outcome(False, True, detail)


async def _finish(
    execution: Execution, state: ExecutionState, outcome: Outcome, services: ExecutionServices, lease: Lease
) -> Outcome:  # fmt: skip
    store, token = services.store, lease.token
    stored = await store.finish_execution(execution.id, state=state, outcome=outcome, fencing_token=token)
    if not stored:
        raise Overtaken(f"Execution {execution.id} was taken over by another worker before its outcome was stored.")
    lease.sent = False
    await _tell(services, outcome.detail)
    return outcome


async def undo(execution: Execution, services: ExecutionServices) -> Outcome | None:
    """Puts back what an execution changed, when verification found the target worse. At most once in its life.

    Returns what became of the undo, while the execution keeps what was done. After a crash it may be called again: the
    target tells whether the undo happened. None when the action cannot be undone, or its approval named no undo.
    Raises Busy and Overtaken as `run` does.
    """
    remediator = REMEDIATORS[execution.action.name]
    if remediator.undo is None or execution.outcome is None or not execution.outcome.changed:
        return None
    async with _held(execution, services, what="The undo") as (current, lease):
        if current.state is not ExecutionState.ACTED:
            return current.outcome if current.state is ExecutionState.UNDONE else None
        await _tell(services, f"Undoing: {remediator.undo_text}.")
        with heard() as writes:
            begun = await services.store.begin_undo(execution.id, fencing_token=lease.token)
            lease.sent = True
            if begun:
                outcome = await _undone(current, remediator, services)
            else:
                outcome = await _undo_resumed(current, remediator, services)
        outcome = replace(outcome, writes=tuple(writes))
        state = ExecutionState.UNDONE if outcome.ok else ExecutionState.ACTED
        await _finish(current, state, outcome if outcome.ok else _kept(current, outcome), services, lease)
        return outcome


async def _undo_resumed(execution: Execution, remediator: Remediator, services: ExecutionServices) -> Outcome:
    """An undo that was begun and whose end is not stored. Sent again only where it surely did not happen."""
    found = await _undo_settled(execution, remediator, services, looks=LOOKS_AFTER_CRASH)
    if found is not None and not found.changed:
        return await _undone(execution, remediator, services)
    return found or _undo_unknown()


async def _undone(execution: Execution, remediator: Remediator, services: ExecutionServices) -> Outcome:
    assert remediator.undo is not None  # noqa: S101  looked at by the caller
    if why := services.forbidden():
        return Outcome(False, False, f"It was not undone, because {why}.")
    try:
        async with asyncio.timeout(ACT_DEADLINE_S):
            return await remediator.undo(execution.action, execution.snapshot, execution.id, services.clients)
    except (Refused, SettingsError) as error:
        return Outcome(False, False, f"The undo failed: {error}")
    except Exception as error:  # noqa: BLE001  as in _acted
        if isinstance(error, Unavailable) and not error.maybe_done:
            return Outcome(False, False, f"The undo failed: {error}")
        why = _why(error, execution.id)
        found = await _undo_settled(execution, remediator, services, looks=LOOKS_AFTER_LOST_ANSWER)
        if found is not None and not found.changed:
            return Outcome(False, False, f"The undo failed: {why}.")
        return found or _undo_unknown()


async def _undo_settled(
    execution: Execution, remediator: Remediator, services: ExecutionServices, *, looks: int
) -> Outcome | None:
    """What the target shows of an undo: changed, surely not changed, or None where it cannot be told."""
    undone = remediator.undone
    if undone is None:
        return None
    return await _looked(
        lambda: undone(execution.action, execution.snapshot, execution.id, services.clients), looks, execution.id
    )


def _undo_unknown() -> Outcome:
    detail = "It cannot be told whether the undo took effect; it is not repeated. Look at the target."
    return Outcome(False, False, detail)


def _kept(execution: Execution, undo_outcome: Outcome) -> Outcome:
    """An undo that did not happen leaves the execution as it was, with the reason added for people."""
    done = execution.outcome
    if done is None:
        return undo_outcome
    detail = f"{done.detail} {undo_outcome.detail}"
    return Outcome(done.ok, done.changed, detail, done.mark, (*done.writes, *undo_outcome.writes))


async def _tell(services: ExecutionServices, text: str) -> None:
    if services.progress is not None:
        await services.progress(text)

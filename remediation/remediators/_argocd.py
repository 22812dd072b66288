"""What the Argo CD remediators share: looking, waiting for an operation, and telling ours from another's."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from knowledge.errors import Conflict, Refused, Unavailable
from knowledge.model import Action, Outcome, RuleResult
from remediation.argocd_state import FAILED, history, sync_status
from remediation.context import Context
from remediation.ports import ArgoCd, Clients, Json
from remediation.registry import NotOffered, check

APPLICATION = frozenset({"Application"})
PERMISSIONS = ("applications: get, sync",)
DRY_RUN_S = 20.0
LOOK_EVERY_S = 0.5
# A failure is laid to a deployment when it began after it, and not longer after than this.
WINDOW = timedelta(hours=2)
SKEW = timedelta(seconds=90)


def argocd(clients: Clients) -> ArgoCd:
    if clients.argocd is None:
        raise Refused("Argo CD is not connected. Set ARGOCD_SERVER and ARGOCD_TOKEN.")
    return clients.argocd


def application_in(context: Context) -> Json | NotOffered:
    if context.gitops is None:
        return NotOffered("its row of the services table names no argocd_app")
    if context.gitops.application is None:
        return NotOffered(context.gitops.problem or "the application could not be looked at")
    return context.gitops.application


def not_to_blame(application: Json, failing_since: datetime | None) -> str:
    """Why a failure is not laid to the last deployment, "" where it is."""
    rows = history(application)
    deployed = rows[-1].at if rows else None
    if deployed is None or failing_since is None:
        return "it is not known when the present revision was deployed"
    if failing_since < deployed - SKEW:
        return "it failed before the present revision was deployed"
    if failing_since - deployed > WINDOW:
        return "the present revision ran well for more than two hours before it failed"
    return ""


def snapshot_of(application: Json) -> dict[str, Any]:
    """What an operation will touch, as it is now."""
    now, rows = sync_status(application), history(application)
    return {
        "revision": now.revision,
        "operation_started": now.started_at,
        "health": now.health,
        "deployed_id": rows[-1].id if rows else None,
        "deployed_revision": rows[-1].revision if rows else "",
    }


def standing_in_the_way(application: Json) -> str:
    """Why no operation may be started now, "" when nothing speaks against it."""
    now = sync_status(application)
    if now.several_sources:
        # Of its revisions only the first is read here: it may stay the same while another source changes everything.
        return (
            "it has a list of sources, and only the first one's revision is known: sync it, or roll it back in "
            "Argo CD by hand"
        )
    return "an operation is in progress on it already" if now.running else ""


def another_began(application: Json, snapshot: Mapping[str, Any]) -> bool:
    """Whether an operation was started since the snapshot, ours or another's."""
    now = sync_status(application)
    return now.running or now.started_at != snapshot["operation_started"]


async def before_the_write(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    """The application just before an operation is asked for; Conflict where it is not as it was at the preflight.

    Argo CD's API takes no precondition, so what is left between this look and the request is one round trip.
    """
    name = action.target.name
    application = await argocd(clients).application(name)
    now = snapshot_of(application)
    if sync_status(application).running or now["operation_started"] != snapshot["operation_started"]:
        raise Conflict(f"Another operation began on {name} just now, so nothing was started. Diagnose again.")
    if (now["deployed_id"], now["deployed_revision"]) != (snapshot["deployed_id"], snapshot["deployed_revision"]):
        raise Conflict(f"Another revision of {name} was deployed just now, so nothing was started. Diagnose again.")
    return application


def operation_revision(application: Json) -> str:
    """The revision of the operation that is requested, in progress or last; "" of a dry run."""
    state = (application.get("status") or {}).get("operationState") or {}
    sync = (application.get("operation") or state.get("operation") or {}).get("sync") or {}
    if sync.get("dryRun"):
        return ""
    return str(sync.get("revision") or (state.get("syncResult") or {}).get("revision") or "")


async def ended(clients: Clients, name: str, since: str) -> Json:
    """The application when an operation that was started after `since` has ended. Unavailable: none has."""
    try:
        async with asyncio.timeout(DRY_RUN_S):
            while True:
                application = await argocd(clients).application(name)
                now = sync_status(application)
                if now.started_at != since and not now.running:
                    return application
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError as error:
        raise Unavailable(f"The dry run on {name} did not end within {DRY_RUN_S:.0f} s.") from error


def checks_of(application: Json, snapshot: Mapping[str, Any], *, is_ours: bool) -> list[RuleResult]:
    """The operation and the health after it. Worse: ours went through, and what was not degraded before is now."""
    now = sync_status(application)
    failed = now.phase in FAILED
    was_degraded = snapshot.get("health") in {"Degraded", "Missing"}
    made_it_so = is_ours and now.phase == "Succeeded" and now.health == "Degraded" and not was_degraded
    return [
        check("operation", "ours", "ours" if is_ours else "another's", is_ours),
        check("phase", "Succeeded", now.phase or "none", now.phase == "Succeeded",
              otherwise="not_verified" if failed and is_ours else "pending"),
        check("health", "Healthy", now.health, now.health == "Healthy",
              otherwise="worse" if made_it_so else "pending"),
    ]  # fmt: skip


async def back(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Outcome:
    """Rolls the application back to the row of its history that was current before."""
    deployed_id, name = snapshot.get("deployed_id"), action.target.name
    if deployed_id is None:
        return Outcome(False, False, "There was nothing deployed before that it could go back to.")
    application = await argocd(clients).application(name)
    if sync_status(application).automatic:
        return Outcome(False, False, "Auto-sync is on, so only a commit brings the revision before back.")
    if sync_status(application).running:
        return Outcome(False, False, "An operation is in progress on it; it was not undone.")
    await argocd(clients).rollback(name, int(deployed_id))
    return _went_back(name, snapshot)


def _went_back(name: str, snapshot: Mapping[str, Any]) -> Outcome:
    revision = str(snapshot.get("deployed_revision", ""))[:10]
    done = f"Rolled {name} back to {revision}, which was deployed before."
    return Outcome(True, True, done, {"id": snapshot.get("deployed_id")})


async def went_back(
    action: Action, snapshot: Mapping[str, Any], clients: Clients, *, still_ours: Callable[[Json], bool]
) -> Outcome | None:
    """Whether `back` was asked for, by the one operation that Argo CD remembers.

    While that is the one that is to be taken back (`still_ours`), it surely was not; behind somebody else's operation
    it may have been, which is None.
    """
    try:
        application = await argocd(clients).application(action.target.name)
    except Unavailable:
        return None
    if still_ours(application):
        return Outcome(False, False, "No rollback was started.")
    went = operation_revision(application) == snapshot.get("deployed_revision")
    return _went_back(action.target.name, snapshot) if went else None

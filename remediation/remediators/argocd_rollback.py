"""Rolls an Argo CD application back to the last revision that served, through Argo CD's own history."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from knowledge.errors import Conflict, Unavailable
from knowledge.model import Action, Outcome, Risk, Verification
from remediation.argocd_state import (
    FAILED,
    Deployed,
    history,
    last_good,
    parent_of_applications,
    sync_status,
)
from remediation.context import Context
from remediation.ports import Clients, Json
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    check,
    judged,
    parameters_as,
)
from remediation.remediators import _argocd

Revision = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._+-]{1,100}$")]


class Rollback(Parameters):
    """From the newest row of the application's history back to an earlier one: numbers, and the rows' revisions."""

    id: Annotated[int, Field(ge=0)]
    revision: Revision
    from_id: Annotated[int, Field(ge=0)]
    from_revision: Revision


def why_not(application: Json) -> str:
    """Why Argo CD, or what owns the application, forbids a rollback, with what to do instead; "" when nothing does."""
    now = sync_status(application)
    if now.automatic:
        again = "put the present revision back" if now.self_heal else "refuse the rollback"
        why = f"auto-sync{' with self-heal' if now.self_heal else ''} is on, so Argo CD would {again}"
        owner = f"; {now.parent} writes its settings, so switching it off there would not last" if now.parent else ""
        return f"{why}{owner}: revert the commit in Git instead"
    if parent_of_applications(application):
        return "it is an app of apps, so a rollback would change other applications: revert the commit in Git instead"
    return _argocd.standing_in_the_way(application)


def _propose(context: Context) -> Action | NotOffered:
    application = _argocd.application_in(context)
    if isinstance(application, NotOffered):
        return application
    reason = why_not(application) or _argocd.not_to_blame(application, context.failing_since)
    if reason:
        return NotOffered(reason)
    good = last_good(application)
    if good is None:
        return NotOffered("no earlier revision is known to have served")
    bad = history(application)[-1]
    parameters = {"id": good.id, "revision": good.revision, "from_id": bad.id, "from_revision": bad.revision}
    return Action(NAME, context.target, parameters)


def _preview(action: Action, context: Context) -> Preview:
    wanted, name = parameters_as(Rollback, action), action.target.name
    current = wanted.from_revision[:10]
    sentence = (
        f"Roll Argo CD application {name} back from {current} to {wanted.revision[:10]} (id {wanted.id}). "
        "Git keeps the present revision, so the application will show as out of sync."
    )
    between = context.gitops.crossed if context.gitops else None
    return Preview(
        f"{sentence} {between.words}" if between else sentence,
        f"- {current}\n+ {wanted.revision[:10]}",
        f"every resource of {name}",
        twice=between.twice if between else "",
    )


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(Rollback, action)
    application = await _argocd.argocd(clients).application(action.target.name)
    reason = why_not(application) or _stale(wanted, history(application))
    if reason:
        return Preflight(False, {}, f"Not rolled back: {reason}.")
    return Preflight(True, _argocd.snapshot_of(application), "")


def _stale(wanted: Rollback, rows: Sequence[Deployed]) -> str:
    """Why the history is not the one that was proposed for, "" where it is."""
    if not any(row.id == wanted.id and row.revision == wanted.revision for row in rows):
        return f"the history has no row {wanted.id} with {wanted.revision[:10]} any more"
    if rows[-1].revision == wanted.revision:
        return "it is at that revision already"
    if (rows[-1].id, rows[-1].revision) != (wanted.from_id, wanted.from_revision):
        # What lies between, and whom to ask about it, was told of another pair of revisions.
        return f"another revision was deployed meanwhile: {rows[-1].revision[:10]}"
    return ""


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    name = action.target.name
    await _argocd.argocd(clients).rollback(name, parameters_as(Rollback, action).id, dry_run=True)
    application = await _argocd.ended(clients, name, ready.snapshot["operation_started"])
    now = sync_status(application)
    if now.phase != "Succeeded":
        return Outcome(False, False, f"Dry run: the rollback would fail: {now.message}.")
    return Outcome(True, False, "Dry run: Argo CD would apply the earlier revision without an error.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    application = await _argocd.before_the_write(action, snapshot, clients)
    if reason := why_not(application):
        raise Conflict(f"Not rolled back: {reason}.")
    await _argocd.argocd(clients).rollback(action.target.name, parameters_as(Rollback, action).id)
    return _done(action)


def _done(action: Action) -> Outcome:
    wanted = parameters_as(Rollback, action)
    detail = f"Argo CD rolls {action.target.name} back to {wanted.revision[:10]}."
    return Outcome(True, True, detail, {"revision": wanted.revision})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    """A rollback takes no info of ours; that it is one to our revision since the snapshot has to do."""
    try:
        application = await _argocd.argocd(clients).application(action.target.name)
    except Unavailable:
        return None
    if not _argocd.another_began(application, snapshot):
        return Outcome(False, False, "No rollback was started.")
    return _done(action) if _asked_for(application, action) else None


def _asked_for(application: Json, action: Action) -> bool:
    """Whether the operation that Argo CD remembers is one to the revision that this action goes back to."""
    return _argocd.operation_revision(application) == parameters_as(Rollback, action).revision


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return {"application": await _argocd.argocd(clients).application(action.target.name)}


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    application, wanted = state.get("application") or {}, parameters_as(Rollback, action)
    rows = history(application)
    at = rows[-1].revision if rows else ""
    over = sync_status(application).phase in FAILED
    began = _argocd.another_began(application, snapshot)
    checks = _argocd.checks_of(application, snapshot, is_ours=began and _asked_for(application, action))
    checks.append(
        check("revision", wanted.revision[:10], at[:10] or "unknown", at == wanted.revision,
              otherwise="not_verified" if over else "pending")
    )  # fmt: skip
    return judged(checks, f"{action.target.name} runs {wanted.revision[:10]} and is healthy.")


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    application = await _argocd.argocd(clients).application(action.target.name)
    rows = history(application)
    if rows and rows[-1].revision != parameters_as(Rollback, action).revision:
        return Outcome(False, False, "It is at another revision by now; it was left as it is.")
    return await _argocd.back(action, snapshot, clients)


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    return await _argocd.went_back(action, snapshot, clients, still_ours=lambda found: _asked_for(found, action))


NAME = "argocd_rollback"
REMEDIATOR = Remediator(
    name=NAME,
    title="Roll back through Argo CD",
    # Never by itself: what a release did to a database is not taken back with it.
    risk=Risk.HIGH,
    expected_seconds=90,
    settle_seconds=10,
    deadline_seconds=600,
    parameters=Rollback,
    permissions=_argocd.PERMISSIONS,
    target_kinds=_argocd.APPLICATION,
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=_look,
    verify=_verify,
    undo=_undo,
    undone=_undone,
    replaces_pods=True,
    undo_text="Argo CD rolls forward to the revision that was deployed before",
)

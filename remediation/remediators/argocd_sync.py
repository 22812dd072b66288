"""Syncs an Argo CD application again, where a registry, a repository or a hook failed in passing.

A sync carries our execution's number as an info of the operation, so that it is known again after a crash.
"""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StringConstraints

from knowledge.errors import Conflict, Unavailable
from knowledge.model import Action, Outcome, Risk, Verification
from remediation import gitops
from remediation.argocd_state import FAILED, failing_text, history, marked, out_of_sync, sync_status
from remediation.context import Context
from remediation.ports import EXECUTION_ANNOTATION, Clients, Json
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

MAX_NAMED = 8


class Sync(Parameters):
    """The revision that is synced: what Git has by then must still be this. Pruning deletes what Git no longer has."""

    revision: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._+-]{1,100}$")]
    prune: bool = False


def _propose(context: Context) -> Action | NotOffered:
    application = _argocd.application_in(context)
    if isinstance(application, NotOffered):
        return application
    reason = _argocd.standing_in_the_way(application) or _needless(application)
    if reason:
        return NotOffered(reason)
    return Action(NAME, context.target, {"revision": sync_status(application).revision, "prune": False})


def _needless(application: Json) -> str:
    now = sync_status(application)
    if not now.revision:
        return "Argo CD does not say which revision it would sync"
    if now.sync == "Synced" and now.health == "Healthy" and now.phase not in FAILED:
        return "it is synced and healthy already"
    return ""


def _preview(action: Action, context: Context) -> Preview:
    application = (context.gitops.application if context.gitops else None) or {}
    wanted, now = parameters_as(Sync, action), sync_status(application)
    names = out_of_sync(application)
    prune = " and delete what Git no longer has" if wanted.prune else ", deleting nothing"
    sentence = f"Sync Argo CD application {action.target.name} to {wanted.revision[:10]}{prune}."
    before = f"- {now.sync}, last operation {now.phase or 'none'}"
    diff = "\n".join([before, f"+ synced to {wanted.revision[:10]}", *(f"  {n}" for n in names[:MAX_NAMED])])
    touched = "1 resource" if len(names) == 1 else f"{len(names) or 'all'} resources"
    return Preview(sentence, diff, f"{touched} of {action.target.name}")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(Sync, action)
    application = await _argocd.argocd(clients).application(action.target.name)
    now = sync_status(application)
    if now.revision != wanted.revision:
        return Preflight(
            False, {}, f"Git has {now.revision[:10]} by now, not {wanted.revision[:10]}; nothing was done."
        )
    reason = _argocd.standing_in_the_way(application) or _needless(application)
    if reason:
        return Preflight(False, {}, f"Not synced: {reason}.")
    return Preflight(True, _argocd.snapshot_of(application), "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    current = await _argocd.argocd(clients).application(action.target.name)
    await _start(action, current, clients, {}, dry_run=True)
    application = await _argocd.ended(clients, action.target.name, ready.snapshot["operation_started"])
    now = sync_status(application)
    if now.phase != "Succeeded":
        return Outcome(False, False, f"Dry run: the sync would fail: {failing_text(application) or now.message}.")
    return Outcome(True, False, "Dry run: Argo CD would apply it without an error.")


async def _start(
    action: Action, application: Json, clients: Clients, infos: Mapping[str, str], *, dry_run: bool = False
) -> None:
    wanted, client = parameters_as(Sync, action), _argocd.argocd(clients)
    now = sync_status(application)
    # Under auto-sync Argo CD takes no revision but the one that it tracks.
    revision = "" if now.automatic else wanted.revision
    await client.sync(action.target.name, revision=revision, prune=wanted.prune, dry_run=dry_run, infos=infos)


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    application = await _argocd.before_the_write(action, snapshot, clients)
    wanted = parameters_as(Sync, action).revision
    if sync_status(application).revision != wanted:
        raise Conflict(f"Git has another revision than {wanted[:10]} just now, so nothing was synced. Diagnose again.")
    if reason := _argocd.standing_in_the_way(application):
        raise Conflict(f"Not synced: {reason}.")
    await _start(action, application, clients, {EXECUTION_ANNOTATION: str(execution_id)})
    return _done(action, execution_id)


def _done(action: Action, execution_id: int) -> Outcome:
    revision = parameters_as(Sync, action).revision[:10]
    return Outcome(True, True, f"Argo CD syncs {action.target.name} to {revision}.", {"execution": execution_id})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    try:
        application = await _argocd.argocd(clients).application(action.target.name)
    except Unavailable:
        return None
    if marked(application, execution_id):
        return _done(action, execution_id)
    # Argo CD remembers one operation: behind another's, ours may have been.
    return None if _argocd.another_began(application, snapshot) else Outcome(False, False, "No sync was started.")


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return {"application": await _argocd.argocd(clients).application(action.target.name)}


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    application = state.get("application") or {}
    now = sync_status(application)
    checks = _argocd.checks_of(application, snapshot, is_ours=_is_ours(application, snapshot))
    checks.append(check("sync", "Synced", now.sync, now.sync == "Synced"))
    return judged(checks, f"{action.target.name} is synced and healthy.")


def _is_ours(application: Json, snapshot: Mapping[str, Any]) -> bool:
    """By the mark: auto-sync and people start operations too."""
    number = (snapshot.get("mark") or {}).get("execution")
    return number is not None and marked(application, int(number))


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    """Only where nothing was deployed since, and never over a database migration: nobody would be asked about it."""
    application = await _argocd.argocd(clients).application(action.target.name)
    rows, wanted = history(application), parameters_as(Sync, action)
    before = str(snapshot.get("deployed_revision") or "")
    if not marked(application, execution_id) or not rows or rows[-1].revision != wanted.revision:
        return Outcome(False, False, "Another operation began since, or deployed something; it was left as it is.")
    if before == wanted.revision:
        return Outcome(False, False, "The same revision was deployed before, so there is none to go back to.")
    lies_between = await gitops.crossed_in(
        application, (action.target.repository,), clients, good=before, bad=wanted.revision
    )
    if lies_between.twice:
        return Outcome(False, False, f"It was not rolled back. {lies_between.twice} A person has to decide.")
    return await _argocd.back(action, snapshot, clients)


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    return await _argocd.went_back(action, snapshot, clients, still_ours=lambda found: marked(found, execution_id))


NAME = "argocd_sync"
REMEDIATOR = Remediator(
    name=NAME,
    title="Sync again",
    risk=Risk.MEDIUM,
    expected_seconds=60,
    settle_seconds=5,
    deadline_seconds=600,
    parameters=Sync,
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
    # One line of a card; docs/delivery.md has what else holds it back.
    undo_text="rolls back to what was deployed before, unless Argo CD or a migration forbids it",
)

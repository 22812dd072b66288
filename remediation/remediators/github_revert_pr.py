"""Opens a pull request that puts an application's manifests back to the revision that served, or a commit back.

The first is for where Argo CD would undo a direct change, the second for the one commit that broke a workflow.
Nothing changes until a person merges it; the branch's name is drawn at the preflight and kept in the snapshot, so that
a repetition finds what is there already.
"""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from knowledge.errors import CodeHealerError, Conflict, NotFound, Refused, Unavailable
from knowledge.model import Action, Outcome, Risk, RuleResult, Target, Verification
from remediation import reverting
from remediation.argocd_state import history, sync_status
from remediation.context import Context
from remediation.culprits import Culprit
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
from remediation.remediators._argocd import not_to_blame
from remediation.remediators._github import code_host

NEEDS = "contents: write and pull requests: write"
DAY = 86_400
MAX_NAMED = 5
Sha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")]


class Revert(Parameters):
    """Files below `path` go from revision `bad` back to `good`.

    What shows that it helped is `application`, which Argo CD deploys from them, or a green run of `workflow` on the
    merge; the other one is "" or 0.
    """

    application: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9./]{0,200})?$")] = ""
    workflow: Annotated[int, Field(ge=0)] = 0
    path: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{0,400}$")]
    good: Sha
    bad: Sha


def _propose(context: Context) -> Action | NotOffered:
    if context.run is not None:
        return _propose_commit(context)
    found = context.gitops
    if found is None or found.application is None:
        return NotOffered(found.problem if found else "its row of the services table names no argocd_app")
    if isinstance(found.revert, str):
        return NotOffered(found.revert)
    reason = not_to_blame(found.application, context.failing_since)
    if reason:
        return NotOffered(reason)
    parameters = {"application": found.target.name, "path": found.path, "good": found.good, "bad": found.bad}
    return Action(NAME, context.target, parameters)


def _propose_commit(context: Context) -> Action | NotOffered:
    found = context.culprit
    if isinstance(found, str):
        return NotOffered(found or "the commit that broke it is not known")
    parameters = {"workflow": found.workflow, "path": "", "good": found.good, "bad": found.bad}
    return Action(NAME, context.target, parameters)


def _preview(action: Action, context: Context) -> Preview:
    if isinstance(context.culprit, Culprit):
        return _preview_commit(action, context.culprit)
    wanted, found = parameters_as(Revert, action), context.gitops.revert if context.gitops else ""
    if isinstance(found, str):
        return Preview("Open a pull request that reverts the last revision.", "", "nothing until it is merged")
    names = ", ".join(found.paths[:MAX_NAMED])
    sentence = (
        f"Open a pull request on {action.target.repository} that puts {names} back from {wanted.bad[:10]} to "
        f"{wanted.good[:10]}. Nothing changes until a person merges it; then Argo CD syncs {wanted.application}."
    )
    return Preview(sentence, found.diff, _touched(found))


def _preview_commit(action: Action, found: Culprit) -> Preview:
    sentence = (
        f"Open a pull request on {action.target.repository} that reverts {found.bad[:10]} “{found.title}”, the one "
        "commit between the last green run and this one. Nothing changes until a person merges it."
    )
    return Preview(sentence, found.revert.diff, _touched(found.revert))


def _touched(found: reverting.Revert) -> str:
    count = len(found.entries)
    return f"{count} file{'' if count == 1 else 's'} on a branch of its own"


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted, target = parameters_as(Revert, action), action.target
    try:
        found = await reverting.look(
            code_host(clients), target.repository, target.name, path=wanted.path, good=wanted.good, bad=wanted.bad
        )
    except Refused as error:
        return Preflight(False, {}, f"No pull request was opened: {error}")
    branch = f"codehealer/revert-{wanted.bad[:10]}-{secrets.token_hex(4)}"
    return Preflight(True, {"branch": branch, "head": found.head, "entries": list(found.entries)}, "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    # GitHub has no dry run; whether the revert is a clean one is all that can be tried without an effect.
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    return Outcome(True, False, f"Dry run: a pull request with {len(ready.snapshot['entries'])} files would be opened.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    pull = await _pull(action.target, snapshot, clients)
    if pull is None:
        if not await _branch_exists(action.target, snapshot, clients):
            await _make_branch(action, snapshot, clients)
        pull = await _open(action, snapshot, execution_id, clients)
    return _done(pull)


def _done(pull: Json) -> Outcome:
    detail = f"Opened pull request #{pull['number']}: {pull.get('html_url', '')}. It takes effect when it is merged."
    return Outcome(True, True, detail, {"pull": pull["number"], "url": pull.get("html_url", "")})


async def _pull(target: Target, snapshot: Mapping[str, Any], clients: Clients) -> Json | None:
    """Our pull request, open or closed; there is one at most, since the branch is ours alone."""
    owner = target.repository.partition("/")[0]
    query = {"head": f"{owner}:{snapshot['branch']}", "base": target.name, "state": "all"}
    found = await code_host(clients).read(target.repository, "/pulls", query)
    return found[0] if found else None


async def _branch_exists(target: Target, snapshot: Mapping[str, Any], clients: Clients) -> bool:
    try:
        await code_host(clients).read(target.repository, f"/git/ref/heads/{snapshot['branch']}")
    except NotFound:
        return False
    return True


async def _make_branch(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> None:
    """A commit on top of the branch as it was at the preflight; until it has a branch nobody sees it."""
    host, repository = code_host(clients), action.target.repository
    tree = await host.write(
        "POST", repository, "/git/trees", {"base_tree": snapshot["head"], "tree": snapshot["entries"]}, needs=NEEDS
    )
    body = {"message": _title(action), "tree": tree["sha"], "parents": [snapshot["head"]]}
    commit = await host.write("POST", repository, "/git/commits", body, needs=NEEDS)
    reference = {"ref": f"refs/heads/{snapshot['branch']}", "sha": commit["sha"]}
    await host.write("POST", repository, "/git/refs", reference, needs=NEEDS)


async def _open(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Json:
    wanted = parameters_as(Revert, action)
    paths = "\n".join(f"- `{entry['path']}`" for entry in snapshot["entries"])
    failing = wanted.application or "The workflow"
    text = (
        f"{failing} fails since {wanted.bad}. This puts back what was there at {wanted.good}:\n\n{paths}\n\n"
        f"Opened by CodeHealer, execution {execution_id}. Nothing changes until it is merged."
    )
    body = {"title": _title(action), "head": snapshot["branch"], "base": action.target.name, "body": text}
    try:
        found: Json = await code_host(clients).write("POST", action.target.repository, "/pulls", body, needs=NEEDS)
    except Refused as error:
        # It is not deleted: a request whose answer was lost may have opened a pull request from it meanwhile.
        raise Refused(f"{error} The branch {snapshot['branch']} is there all the same; delete it.") from error
    return found


def _title(action: Action) -> str:
    wanted = parameters_as(Revert, action)
    if wanted.workflow:
        return f"Revert {wanted.bad[:10]}, since which the workflow fails"
    return f"Put {wanted.path or 'everything'} of {wanted.application} back to {wanted.good[:10]}"


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    """Without a pull request it may be begun anew: what lies around of an earlier try is found and used."""
    try:
        pull = await _pull(action.target, snapshot, clients)
    except Unavailable:
        return None
    return _done(pull) if pull else Outcome(False, False, "No pull request was opened.")


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    listed = await _pull(action.target, snapshot, clients)
    if listed is None:
        return {}
    # Only the single one says whether it could be merged.
    pull = await code_host(clients).read(action.target.repository, f"/pulls/{int(listed['number'])}")
    if not pull.get("merged"):
        return {"pull": pull}
    if workflow := parameters_as(Revert, action).workflow:
        query = {"head_sha": str(pull.get("merge_commit_sha") or ""), "per_page": 1}
        path = f"/actions/workflows/{workflow}/runs"
        found = await code_host(clients).read(action.target.repository, path, query)
        return {"pull": pull, "runs": found.get("workflow_runs") or []}
    if clients.argocd is None:
        return {"pull": pull}
    return {"pull": pull, "application": await clients.argocd.application(parameters_as(Revert, action).application)}


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    pull = state.get("pull") or {}
    merged, closed = bool(pull.get("merged")), pull.get("state") == "closed"
    found = "merged" if merged else "closed without a merge" if closed else "open" if pull else "not found"
    checks = [
        check("pull request", "merged", found, merged, otherwise="not_verified" if closed and not merged else "pending")
    ]
    if pull.get("mergeable") is False and not closed:
        conflict = check("conflicts", "none", f"with {action.target.name}", False, otherwise="worse")
        return judged([*checks, conflict], "")
    if merged and parameters_as(Revert, action).workflow:
        checks.append(_green(state.get("runs") or []))
        return judged(checks, "It is merged, and the workflow's run on the merge is green.")
    if merged:
        checks += _deployed(parameters_as(Revert, action), state.get("application") or {})
    return judged(checks, "It is merged, and Argo CD deployed it: the application is healthy.")


def _green(runs: Sequence[Json]) -> RuleResult:
    """The workflow's newest run on the merge."""
    found = runs[0] if runs else {}
    ended, conclusion = found.get("status") == "completed", str(found.get("conclusion") or "none yet")
    return check("run on the merge", "success", conclusion, ended and conclusion == "success",
                 otherwise="not_verified" if ended else "pending")  # fmt: skip


def _deployed(wanted: Revert, application: Json) -> list[RuleResult]:
    now, rows = sync_status(application), history(application)
    at = rows[-1].revision if rows else ""
    return [
        check("revision", f"not {wanted.bad[:10]}", at[:10] or "unknown", bool(at) and not at.startswith(wanted.bad)),
        check("sync", "Synced", now.sync, now.sync == "Synced"),
        check("health", "Healthy", now.health, now.health == "Healthy"),
    ]


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    host, repository = code_host(clients), action.target.repository
    pull = await _pull(action.target, snapshot, clients)
    if pull and pull.get("merged_at"):
        return Outcome(False, False, "The pull request is merged; only another commit takes it back.")
    if pull and pull.get("state") == "open":
        await host.write("PATCH", repository, f"/pulls/{int(pull['number'])}", {"state": "closed"}, needs=NEEDS)
    try:
        await host.write("DELETE", repository, f"/git/refs/heads/{snapshot['branch']}", needs=NEEDS)
    except Conflict:
        raise
    except CodeHealerError as error:
        return Outcome(bool(pull), bool(pull), f"The pull request was closed; its branch is still there: {error}")
    return Outcome(True, True, "The pull request was closed and its branch deleted.")


NAME = "github_revert_pr"
REMEDIATOR = Remediator(
    name=NAME,
    title="Open a revert pull request",
    risk=Risk.LOW,
    expected_seconds=900,
    settle_seconds=10,
    deadline_seconds=DAY,
    parameters=Revert,
    permissions=("contents: write", "pull requests: write"),
    target_kinds=frozenset({"Branch"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=_look,
    verify=_verify,
    undo=_undo,
    undo_text="the pull request is closed and its branch deleted, unless it is merged",
)

"""Dispatching a GitHub workflow and finding the run that came of it."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import yaml

from knowledge.errors import NotFound, Refused
from remediation import kube
from remediation.ports import CodeHost, Json

NEEDS = "actions: write"
MAX_FILE_CHARS = 500_000
# Where a workflow has this input and shows it in its run-name, its run is known beyond doubt.
MARKER_INPUT = "codehealer"
LISTED = 30


async def problem(host: CodeHost, repository: str, workflow: str, ref: str, inputs: Mapping[str, Any]) -> str:
    """Why the workflow cannot be dispatched with these inputs, "" when it can."""
    try:
        names = await input_names(host, repository, workflow, ref)
    except Refused as error:
        return str(error)
    missing = [name for name in inputs if name not in names]
    return f"{workflow} of {repository} has no input {', '.join(missing)}" if missing else ""


async def input_names(host: CodeHost, repository: str, workflow: str, ref: str) -> frozenset[str]:
    """The inputs of the workflow's dispatch. Refused: there is no such file, or it cannot be dispatched."""
    path = f"/contents/.github/workflows/{quote(workflow, safe='')}"
    try:
        found = await host.read(repository, path, {"ref": ref})
    except NotFound as error:
        raise NotFound(f"{repository} has no .github/workflows/{workflow} at {ref}. Check policy.yaml.") from error
    declared = _dispatch_of(_text(found))
    if declared is None:
        raise Refused(f"{workflow} of {repository} has no workflow_dispatch, so it cannot be started from outside.")
    return frozenset(str(name) for name in (declared.get("inputs") or {}))


def _text(found: Json) -> str:
    try:
        text = base64.b64decode(str(found.get("content") or "")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if len(text) <= MAX_FILE_CHARS else ""


def _dispatch_of(text: str) -> Mapping[str, Any] | None:
    """`on.workflow_dispatch` of a workflow file; None where it has none. YAML reads the key `on` as true."""
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    events = (body.get("on", body.get(True)) if isinstance(body, dict) else None) or {}
    if events == "workflow_dispatch" or (isinstance(events, list) and "workflow_dispatch" in events):
        return {}
    if not isinstance(events, dict) or "workflow_dispatch" not in events:
        return None
    return events["workflow_dispatch"] or {}


async def before(host: CodeHost, repository: str, workflow: str) -> dict[str, Any]:
    """What tells our run from earlier ones: for the snapshot."""
    rows = await _runs(host, repository, workflow)
    return {"newest_run": max((int(r["id"]) for r in rows), default=0), "at": datetime.now(UTC).isoformat()}


async def dispatch(  # noqa: PLR0917  what is sent, in its parts
    host: CodeHost, repository: str, workflow: str, ref: str, inputs: Mapping[str, str], execution_id: int
) -> int | None:
    """Starts the workflow; the run's id where GitHub tells it (servers before 2026 answer with nothing)."""
    names = await input_names(host, repository, workflow, ref)
    marked = {MARKER_INPUT: marker(execution_id)} if MARKER_INPUT in names else {}
    body = {"ref": ref, "inputs": {**inputs, **marked}}
    path = f"/actions/workflows/{quote(workflow, safe='')}/dispatches"
    try:
        found = await host.write("POST", repository, path, {**body, "return_run_details": True}, needs=NEEDS)
    except Refused as error:
        if "return_run_details" not in str(error):
            raise
        # An Enterprise Server that does not know the key refuses the whole request, so nothing was started.
        found = await host.write("POST", repository, path, body, needs=NEEDS)
    return int(found["workflow_run_id"]) if isinstance(found, dict) and found.get("workflow_run_id") else None


def marker(execution_id: int) -> str:
    return f"codehealer-{execution_id}"


async def find(
    host: CodeHost, repository: str, workflow: str, snapshot: Mapping[str, Any], execution_id: int | None
) -> list[Json]:
    """The dispatched runs since the snapshot that may be ours: one with our marker, else all that are new."""
    new = [r for r in await _runs(host, repository, workflow) if _is_new(r, snapshot)]
    wanted = marker(execution_id) if execution_id is not None else None
    ours = [r for r in new if wanted and wanted in str(r.get("display_title") or "").split()]
    return ours or [r for r in new if "codehealer-" not in str(r.get("display_title") or "")]


def _is_new(run: Json, snapshot: Mapping[str, Any]) -> bool:
    """Ids grow; the clock of GitHub may be a little behind ours."""
    created, since = kube.when(run.get("created_at")), kube.when(str(snapshot.get("at") or ""))
    close = created is None or since is None or (since - created).total_seconds() < 60
    return int(run["id"]) > int(snapshot.get("newest_run") or 0) and close


async def _runs(host: CodeHost, repository: str, workflow: str) -> list[Json]:
    path = f"/actions/workflows/{quote(workflow, safe='')}/runs"
    found = await host.read(repository, path, {"event": "workflow_dispatch", "per_page": LISTED})
    rows: list[Json] = found.get("workflow_runs") or []
    return rows

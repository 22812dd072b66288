"""What remediators share whose deed is a workflow's run: which run is theirs, and how it ended."""

from collections.abc import Mapping
from typing import Any

from knowledge.errors import Unavailable
from knowledge.model import Outcome, RuleResult
from remediation import dispatching
from remediation.ports import Clients, Json
from remediation.registry import check
from remediation.remediators._github import code_host


async def start(  # noqa: PLR0917  what is sent, in its parts
    clients: Clients, repository: str, workflow: str, ref: str, inputs: Mapping[str, str], execution_id: int
) -> Outcome:
    run_id = await dispatching.dispatch(code_host(clients), repository, workflow, ref, inputs, execution_id)
    return started(repository, workflow, run_id, execution_id)


def started(repository: str, workflow: str, run_id: int | None, execution_id: int) -> Outcome:
    which = f", run {run_id}" if run_id else ""
    mark = {"execution": execution_id, **({"run_id": run_id} if run_id else {})}
    return Outcome(True, True, f"Started {workflow} of {repository}{which}.", mark)


async def settled(
    clients: Clients, repository: str, workflow: str, snapshot: Mapping[str, Any], execution_id: int
) -> Outcome | None:
    """None where several runs were started meanwhile and none of them bears our marker."""
    try:
        runs = await dispatching.find(code_host(clients), repository, workflow, snapshot, execution_id)
    except Unavailable:
        return None
    if not runs:
        return Outcome(False, False, "No run was started.")
    return started(repository, workflow, int(runs[0]["id"]), execution_id) if len(runs) == 1 else None


async def look(clients: Clients, repository: str, workflow: str, snapshot: Mapping[str, Any]) -> Json:
    """{"run": …, "several": how many could be ours}; no run while none is listed yet."""
    host, mark = code_host(clients), snapshot.get("mark") or {}
    if mark.get("run_id"):
        return {"run": await host.run(repository, int(mark["run_id"])), "several": 1}
    runs = await dispatching.find(host, repository, workflow, snapshot, mark.get("execution"))
    return {"run": runs[0] if len(runs) == 1 else {}, "several": len(runs)}


def checks(state: Json) -> list[RuleResult]:
    run, several = state.get("run") or {}, int(state.get("several") or 0)
    ended, conclusion = run.get("status") == "completed", str(run.get("conclusion") or "none yet")
    return [
        check("run", "one of ours", f"{several} that could be", several == 1,
              otherwise="not_verified" if several > 1 else "pending"),
        check("conclusion", "success", conclusion, ended and conclusion == "success",
              otherwise="not_verified" if ended else "pending"),
    ]  # fmt: skip

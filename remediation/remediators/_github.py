"""What the GitHub remediators share."""

from collections.abc import Mapping
from typing import Any

from knowledge.errors import Refused
from knowledge.model import Action, Verification
from remediation.ports import Clients, CodeHost, Json
from remediation.registry import check, judged


def code_host(clients: Clients) -> CodeHost:
    if clients.code_host is None:
        raise Refused("GitHub is not connected. Set GITHUB_TOKEN.")
    return clients.code_host


def attempt_of(run: Json) -> int:
    """The number of a run's attempt, from 1: a person who starts it again makes it another."""
    return int(run.get("run_attempt") or 1)


async def outdated(host: CodeHost, repository: str, run: Json) -> str:
    """Why running again would bring an older commit over a newer one; "" where no run came after this one."""
    later = await host.later_run(repository, run)
    if later is None:
        return ""
    return f"run {later.get('run_number')} of this workflow came after run {run.get('run_number')}"


async def look_at_run(action: Action, _snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return {"run": await code_host(clients).run(action.target.repository, int(action.target.name))}


def judge_next_attempt(_action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    """Did an attempt after the snapshot's one succeed?"""
    run = state.get("run") or {}
    attempt, before = int(run.get("run_attempt") or 0), int(snapshot.get("attempt", 0))
    ended = run.get("status") == "completed" and attempt > before
    conclusion = str(run.get("conclusion") or "none yet")
    checks = [
        check("attempt", f"> {before}", str(attempt or "unknown"), attempt > before),
        check("run", "completed", str(run.get("status") or "unknown"), run.get("status") == "completed"),
        check("conclusion", "success", conclusion, ended and conclusion == "success",
              otherwise="not_verified" if ended else "pending"),
    ]  # fmt: skip
    return judged(checks, f"Attempt {attempt} succeeded.")

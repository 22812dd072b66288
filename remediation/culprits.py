"""The commit that broke a workflow: the only one between its last green run and the red one, on the default branch."""

import re
from dataclasses import dataclass

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from knowledge.redaction import redact
from remediation import reverting
from remediation.ports import CodeHost, Json
from remediation.reverting import Revert

RED = frozenset({"failure", "timed_out", "startup_failure"})
MAX_TITLE = 60
# A revert of a revert goes back and forth; that is for people to end.
_A_REVERT = re.compile(r"(?i)\A(?:revert\b|put .{0,200} back to [0-9a-f]{7})")
_WORKFLOWS = ".github/"


@dataclass(frozen=True, slots=True)
class Culprit:
    """`target` is the branch; `revert` puts back exactly what the commit `bad` changed since `good`.

    `workflow` is the number of the workflow whose run must be green again; `title` is the commit's, redacted.
    """

    target: Target
    revert: Revert
    good: str
    bad: str
    workflow: int
    title: str


async def look(host: CodeHost, run: Json, of: Target) -> Culprit | str:
    """The culprit of a red run, or in words why none is known. `of` is the run as a target."""
    if run.get("conclusion") not in RED or run.get("event") != "push":
        return "it is no failed run of a push"
    try:
        return await _look(host, run, of)
    except CodeHealerError as error:
        return str(error)


async def _look(host: CodeHost, run: Json, of: Target) -> Culprit | str:
    branch, bad = str(run.get("head_branch") or ""), str(run.get("head_sha") or "")
    if branch != str((await host.read(of.repository, "")).get("default_branch") or ""):
        return "it did not run on the default branch, where whoever pushed it will change it"
    before = await host.last_success(of.repository, run)
    if before is None:
        return f"none of the workflow's last runs on {branch} was green"
    good = str(before.get("head_sha") or "")
    if good == bad:
        return "the same commit was green before"
    compared = await host.compare(of.repository, good, bad)
    count = int(compared.get("total_commits") or 0)
    if count != 1 or compared.get("status") != "ahead":
        return f"{count} commits lie between the last green run and this one, so it is not known which broke it"
    title = str(((compared["commits"][0].get("commit") or {}).get("message")) or "").split("\n")[0]
    if _A_REVERT.match(title):
        return "the commit is a revert itself"
    revert = await reverting.look(host, of.repository, branch, path="", good=good, bad=bad)
    if any(path.startswith(_WORKFLOWS) for path in revert.paths):
        return "the commit changed what is below .github, which a person reverts"
    target = Target("Branch", branch, of.namespace, "", of.repository, of.service, of.environment)
    return Culprit(target, revert, good, bad, int(run["workflow_id"]), redact(title)[:MAX_TITLE])

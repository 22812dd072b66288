"""The failed jobs of a workflow run and the first failed job's log."""

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind, Incident
from remediation.evidence.piece import Piece, Pieces
from remediation.ports import Clients, CodeHost, Json

LOG_BYTES = 400_000
MAX_LOGS = 2
FAILED = frozenset({"failure", "timed_out", "startup_failure", "cancelled"})


async def collect(incident: Incident, clients: Clients) -> Pieces:
    """Nothing for incidents without a run."""
    repository = incident.target.repository if incident.target else incident.repository
    if not repository or not incident.run_id:
        return []
    source = f"{repository} run {incident.run_id}"
    if clients.code_host is None:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not="GitHub is not connected")]
    if not incident.run_id.isdecimal() or len(incident.run_id) > 20:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not="the run has no numeric id")]
    try:
        run = await clients.code_host.run(repository, int(incident.run_id))
        jobs = await clients.code_host.jobs(repository, int(incident.run_id))
    except CodeHealerError as error:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not=str(error))]
    failed = [j for j in jobs if j.get("conclusion") in FAILED]
    summary = Piece(RUN_KIND, source, _summary(run, jobs), link=str(run.get("html_url", "")))
    worst = sorted(failed, key=lambda j: j.get("conclusion") == "cancelled")[:MAX_LOGS]
    return [summary, *[await _log(clients.code_host, repository, job) for job in worst]]


RUN_KIND = "workflow_run"


def _summary(run: Json, jobs: list[Json]) -> str:
    head = (
        f"Workflow {run.get('name', '')} run {run.get('id')} attempt {run.get('run_attempt', 1)}: "
        f"{run.get('conclusion') or run.get('status')}, event {run.get('event', '')}, "
        f"branch {run.get('head_branch', '')}, commit {str(run.get('head_sha', ''))[:12]}"
    )
    lines = [head]
    for job in jobs:
        lines.append(f"  Job {job.get('name', '?')}: {job.get('conclusion') or job.get('status')}")
        steps = [s for s in job.get("steps") or [] if s.get("conclusion") in FAILED]
        lines += [f"    Failed step {s.get('number')}: {s.get('name')}" for s in steps]
    return "\n".join(lines)


async def _log(host: CodeHost, repository: str, job: Json) -> Piece:
    source, link = f"{repository} job {job.get('name', '?')}", str(job.get("html_url") or "")
    try:
        text, left_out = await host.job_log(repository, int(job["id"]), limit_bytes=LOG_BYTES)
    except CodeHealerError as error:
        return Piece(EvidenceKind.JOB_LOG, source, could_not=str(error), link=link)
    return Piece(EvidenceKind.JOB_LOG, source, text, left_out=left_out, link=link)

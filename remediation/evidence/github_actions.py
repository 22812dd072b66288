"""A failed workflow run: its jobs, the failed ones' logs and annotations, and what changed since the last success."""

import asyncio
import re
from collections.abc import Sequence

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from remediation.evidence import changes
from remediation.evidence.piece import Piece, Pieces, Subject, within
from remediation.ports import CodeHost, Json

LOG_BYTES = 400_000
MAX_LOGS = 2
# Of the run's parts; what the run says of itself stays when a log takes longer.
PART_DEADLINE_S = 9.0
MAX_NOTES = 30
FAILED = frozenset({"failure", "timed_out", "startup_failure", "cancelled"})
# What the runner notes on every failed step; the log says it as well.
_CLOSING = re.compile(r"Process completed with exit code \d+\.?\s*")


async def collect(subject: Subject) -> Pieces:
    """Nothing for incidents without a run."""
    incident, host, repository = subject.incident, subject.clients.code_host, subject.repository
    if not repository or not incident.run_id:
        return []
    source = f"{repository} run {incident.run_id}"
    if host is None:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not="GitHub is not connected")]
    if not incident.run_id.isdecimal() or len(incident.run_id) > 20:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not="the run has no numeric id")]
    try:
        run, jobs = await asyncio.gather(
            host.run(repository, int(incident.run_id)), host.jobs(repository, int(incident.run_id))
        )
    except CodeHealerError as error:
        return [Piece(EvidenceKind.JOB_LOG, source, could_not=str(error))]
    failed = [job for job in jobs if job.get("conclusion") in FAILED]
    worst = sorted(failed, key=lambda job: job.get("conclusion") == "cancelled")[:MAX_LOGS]
    summary = Piece(EvidenceKind.WORKFLOW_RUN, source, _summary(run, jobs), link=str(run.get("html_url", "")))
    parts = [
        *(
            (EvidenceKind.JOB_LOG, f"{repository} job {job.get('name', '?')}", _log(host, repository, job))
            for job in worst
        ),
        (EvidenceKind.ANNOTATIONS, repository, _annotations(host, repository, worst)),
        (EvidenceKind.CHANGES, repository, _changes(host, repository, run)),
    ]
    found = await asyncio.gather(*(within(PART_DEADLINE_S, part, kind, source) for kind, source, part in parts))
    return [summary, *(piece for part in found for piece in part)]


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


async def _log(host: CodeHost, repository: str, job: Json) -> Pieces:
    source, link = f"{repository} job {job.get('name', '?')}", str(job.get("html_url") or "")
    try:
        text, left_out = await host.job_log(repository, int(job["id"]), limit_bytes=LOG_BYTES)
    except CodeHealerError as error:  # said here for the sake of the link
        return [Piece(EvidenceKind.JOB_LOG, source, could_not=str(error), link=link)]
    return [Piece(EvidenceKind.JOB_LOG, source, text, left_out=left_out, link=link)]


# --- annotations --------------------------------------------------------------------------------------------------


async def _annotations(host: CodeHost, repository: str, jobs: Sequence[Json]) -> Pieces:
    """What tools noted at a file and line; nothing where they only say that the step failed."""
    lines: list[str] = []
    # A job's check run bears its id.
    found = await asyncio.gather(*(host.annotations(repository, int(job["id"])) for job in jobs))
    for job, notes in zip(jobs, found, strict=True):
        rows = [row for note in notes if (row := _note(note))]
        lines += [f"Job {job.get('name', '?')}:", *rows[:MAX_NOTES]] if rows else []
        if len(rows) > MAX_NOTES:
            lines.append(f"  ... {len(rows) - MAX_NOTES} more")
    return [Piece(EvidenceKind.ANNOTATIONS, repository, "\n".join(lines))] if lines else []


def _note(note: Json) -> str:
    message = str(note.get("message") or "").strip()
    if not message or _CLOSING.fullmatch(message) or note.get("annotation_level") == "notice":
        return ""
    path, line = str(note.get("path") or ""), note.get("start_line")
    # Without a place in the code the runner gives ".github" as the path.
    place = f"{path}:{line}: " if path and path != ".github" and line else ""
    title = f"{note['title']}: " if note.get("title") else ""
    return f"  {note.get('annotation_level', 'failure')} {place}{title}{' '.join(message.split())[:500]}"


# --- what changed -------------------------------------------------------------------------------------------------


async def _changes(host: CodeHost, repository: str, run: Json) -> Pieces:
    """The commits between the workflow's last success on this branch, else anywhere, and this run, and their files."""
    before = await host.last_success(repository, run)
    # A branch's first run is compared with what it came from.
    before = before or await host.last_success(repository, {**run, "head_branch": ""})
    if before is None:
        return [Piece(EvidenceKind.CHANGES, repository, "this workflow has not succeeded before")]
    base, head = str(before.get("head_sha", "")), str(run.get("head_sha", ""))
    if base == head:
        text = f"no commit: the same commit {head[:10]} passed in run {before.get('run_number')} of this workflow"
        return [Piece(EvidenceKind.CHANGES, repository, text, link=str(before.get("html_url") or ""))]
    compared = await host.compare(repository, base, head)
    text = changes.commits_change(compared) or f"no file differs between {base[:10]} and {head[:10]}"
    last = (
        f"  last success: run {before.get('run_number')} of {before.get('created_at', '')}, "
        f"branch {before.get('head_branch', '')}, commit {base[:10]}"
    )
    return [Piece(EvidenceKind.CHANGES, repository, f"{text}\n{last}", link=str(compared.get("html_url") or ""))]

"""Pure: GitHub webhooks. What failed fires, everything else that GitHub tells is information."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from handlers.sources import fields
from handlers.sources.fields import Json
from handlers.sources.verify import header
from knowledge.errors import BadInput
from knowledge.fingerprint import identity, parse_time
from knowledge.model import Alert, AlertStatus

# https://docs.github.com/rest/checks/runs: `cancelled`, `skipped`, `stale`, `neutral` and `action_required` are
# decisions of people or of GitHub, not failures.
_FAILED = frozenset({"failure", "startup_failure", "timed_out", "error"})
_FORM = "application/x-www-form-urlencoded"
_MOST_FORM_FIELDS = 10
_RUN_URL = re.compile(r"/actions/runs/(\d{1,20})")


def parse(body: Json, headers: Mapping[str, str]) -> tuple[Alert, ...]:
    event = header(headers, "X-GitHub-Event") or _guess(body)
    reader = _READERS.get(event)
    if reader is None:
        return (_information(event, body),)
    return (reader(body),)


def document(headers: Mapping[str, str], body: bytes) -> bytes:
    """The JSON of a delivery: GitHub's content type `application/x-www-form-urlencoded` has it in the field `payload`.

    GitHub signs the body as it is sent, so this comes after the signature.
    """
    if not header(headers, "Content-Type").lower().startswith(_FORM):
        return body
    try:
        found = parse_qs(body, max_num_fields=_MOST_FORM_FIELDS).get(b"payload")
    except ValueError:
        found = None
    if not found:
        raise BadInput("The form has no field `payload`: set the webhook's content type to application/json.")
    return found[0]


def event_of(headers: Mapping[str, str], body: Json) -> str:
    return header(headers, "X-GitHub-Event") or _guess(body)


def delivery_id(headers: Mapping[str, str], _body: Json) -> str | None:
    return header(headers, "X-GitHub-Delivery") or None


def _guess(body: Json) -> str:
    """The event by its own object, for bodies that were saved without their headers."""
    known = ("workflow_run", "workflow_job", "check_run", "check_suite", "deployment_status")
    found = next((name for name in known if fields.child(body, name)), "")
    return found or ("status" if "state" in body and "context" in body else "")


def _alert(  # one alert of GitHub in all its fields
    event: str,
    body: Json,
    *,
    title: str,
    outcome: str,
    commit: str,
    branch: str = "",
    run_id: str = "",
    summary: str = "",
    environment: str = "",
    started_at: object = None,
    url: object = None,
    labels: Mapping[str, str] | None = None,
) -> Alert:
    repository = fields.name(fields.child(body, "repository").get("full_name"))
    status = AlertStatus.FIRING if outcome in _FAILED else AlertStatus.INFO
    words = summary or f"{event.replace('_', ' ')} of {repository or 'a repository'}: {outcome or 'no conclusion yet'}"
    hints = fields.hints(kind="WorkflowRun", repository=repository, name=run_id) if run_id else {}
    return Alert(
        source="github",
        status=status,
        title=title,
        identity=identity(title, owner=repository, marks=[branch, commit, environment]),
        actionable=status is AlertStatus.FIRING,
        summary=words,
        service=repository.rpartition("/")[2],
        environment=environment,
        repository=repository,
        branch=branch,
        commit=commit,
        run_id=run_id,
        started_at=parse_time(started_at),
        target=hints or fields.hints(repository=repository),
        labels=fields.hints(event=event, conclusion=outcome, **(labels or {})),
        links=fields.links([("GitHub", url)]),
    )


def _workflow_run(body: Json) -> Alert:
    run = _object(body, "workflow_run")
    return _alert(
        "workflow_run",
        body,
        title=fields.title(run.get("name") or fields.child(body, "workflow").get("name")),
        outcome=fields.name(run.get("conclusion")),
        commit=fields.name(run.get("head_sha")),
        branch=fields.name(run.get("head_branch")),
        run_id=fields.name(run.get("id")),
        started_at=run.get("run_started_at") or run.get("created_at"),
        url=run.get("html_url"),
        labels=fields.hints(
            run_attempt=fields.name(run.get("run_attempt")),
            run_number=fields.name(run.get("run_number")),
            trigger=fields.name(run.get("event")),
            check_suite_id=fields.name(run.get("check_suite_id")),
            workflow_path=fields.name(run.get("path") or fields.child(body, "workflow").get("path")),
            commit_title=fields.title(fields.text(fields.child(run, "head_commit").get("message")).partition("\n")[0]),
        ),
    )


def _workflow_job(body: Json) -> Alert:
    job = _object(body, "workflow_job")
    failed = [fields.title(step.get("name")) for step in fields.children(job.get("steps")) if _step_failed(step)]
    return _alert(
        "workflow_job",
        body,
        title=fields.title(job.get("name")),
        outcome=fields.name(job.get("conclusion")),
        commit=fields.name(job.get("head_sha")),
        branch=fields.name(job.get("head_branch")),
        run_id=fields.name(job.get("run_id")),
        summary=f"Failed step: {failed[0]}" if failed else "",
        started_at=job.get("started_at"),
        url=job.get("html_url"),
        labels=fields.hints(
            job_id=fields.name(job.get("id")),
            workflow=fields.title(job.get("workflow_name")),
            run_attempt=fields.name(job.get("run_attempt")),
        ),
    )


def _step_failed(step: Json) -> bool:
    return fields.name(step.get("conclusion")) in _FAILED


def _check_run(body: Json) -> Alert:
    check = _object(body, "check_run")
    suite = fields.child(check, "check_suite")
    output = fields.child(check, "output")
    summary = ". ".join(
        part for part in (fields.title(output.get("title")), fields.text(output.get("summary"))) if part
    )
    return _alert(
        "check_run",
        body,
        title=fields.title(check.get("name")),
        outcome=fields.name(check.get("conclusion")),
        commit=fields.name(check.get("head_sha")),
        branch=fields.name(suite.get("head_branch")),
        run_id=_run_of(check.get("details_url")) or _run_of(check.get("html_url")),
        summary=summary,
        started_at=check.get("started_at"),
        url=check.get("html_url"),
        labels=fields.hints(
            check_suite_id=fields.name(suite.get("id")), app=fields.name(fields.child(check, "app").get("slug"))
        ),
    )


def _check_suite(body: Json) -> Alert:
    suite = _object(body, "check_suite")
    return _alert(
        "check_suite",
        body,
        title=fields.title(fields.child(suite, "app").get("name")) or "check suite",
        outcome=fields.name(suite.get("conclusion")),
        commit=fields.name(suite.get("head_sha")),
        branch=fields.name(suite.get("head_branch")),
        started_at=suite.get("created_at"),
        labels=fields.hints(check_suite_id=fields.name(suite.get("id"))),
    )


def _deployment_status(body: Json) -> Alert:
    state, deployment = _object(body, "deployment_status"), fields.child(body, "deployment")
    environment = fields.name(state.get("environment") or deployment.get("environment"))
    url = state.get("log_url") or state.get("target_url")
    return _alert(
        "deployment_status",
        body,
        title=f"Deployment to {environment}" if environment else "Deployment",
        outcome=fields.name(state.get("state")),
        commit=fields.name(deployment.get("sha")),
        branch=fields.name(deployment.get("ref")),
        run_id=_run_of(url) or fields.name(fields.child(body, "workflow_run").get("id")),
        summary=fields.text(state.get("description")),
        environment=environment,
        started_at=state.get("created_at"),
        url=url,
        labels=fields.hints(deployment_id=fields.name(deployment.get("id"))),
    )


def _status(body: Json) -> Alert:
    branches = fields.children(body.get("branches"), 1)
    return _alert(
        "status",
        body,
        title=fields.title(body.get("context")),
        outcome=fields.name(body.get("state")),
        commit=fields.name(body.get("sha")),
        branch=fields.name(branches[0].get("name")) if branches else "",
        run_id=_run_of(body.get("target_url")),
        summary=fields.text(body.get("description")),
        started_at=body.get("created_at"),
        url=body.get("target_url") or fields.child(body, "commit").get("html_url"),
    )


def _information(event: str, body: Json) -> Alert:
    action = fields.name(body.get("action"))
    title = " ".join(part for part in (event.replace("_", " "), action) if part) or "GitHub webhook"
    return _alert(event or "unknown", body, title=title, outcome="", commit="", summary=title)


def _object(body: Json, key: str) -> Json:
    found = body.get(key)
    if not isinstance(found, Mapping):
        raise BadInput(f"The field `{key}` is missing or no object: this is no such event of GitHub.")
    return found


def _run_of(url: object) -> str:
    found = _RUN_URL.search(fields.text(url))
    return found[1] if found else ""


_READERS: Mapping[str, Callable[[Json], Alert]] = {
    "workflow_run": _workflow_run,
    "workflow_job": _workflow_job,
    "check_run": _check_run,
    "check_suite": _check_suite,
    "deployment_status": _deployment_status,
    "status": _status,
}
READ = frozenset(_READERS)

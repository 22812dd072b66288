"""GitHub's REST API over the store: a table of routes."""

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml
from aiohttp import web

from bot.sandbox.world.alerts import Sender
from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.github_app import INSTALLATION, Apps
from bot.sandbox.world.github_git import GIT_ROUTES
from bot.sandbox.world.github_hooks import HOOK_ROUTES, of_app
from bot.sandbox.world.github_logs import job_log
from bot.sandbox.world.github_pulls import PULL_ROUTES, merge_page
from bot.sandbox.world.github_secrets import SECRET_ROUTES, Sealing, of_organization
from bot.sandbox.world.github_shapes import Shapes, blob_sha
from bot.sandbox.world.github_shared import Call, GithubError, Json, Reply, paged
from bot.sandbox.world.github_store import Attempt, GithubStore, Job, Run

DOCS = "https://docs.github.com/rest"
MONTH = 30 * 86400.0
RATE_LIMIT = 5000


@dataclass
class GithubApi:
    """`on_commit` is called with (repository, commit) when a commit reaches main through the API."""

    store: GithubStore
    token: str
    shapes: Shapes
    clock: Callable[[], float]
    sender: Sender
    used: int = 0
    apps: Apps = field(init=False)
    sealing: Sealing = field(default_factory=Sealing)

    def __post_init__(self) -> None:
        self.apps = Apps(self.clock)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        path = path.strip("/").removeprefix("api/v3/")
        raw = await request.read()
        try:
            if path.startswith("html/"):
                return self._page(path.removeprefix("html/"), pressed=request.method == "POST")
            if path.startswith("job-logs/"):
                return self._signed_log(path, request)
            answer = self._as_app(request, path)
            if answer is None:
                self._authenticate(request)
                answer = self._answer(request, path, raw)
            status, body, headers = answer
        except GithubError as problem:
            message: Json = {"message": str(problem), "documentation_url": DOCS, "status": str(problem.status)}
            if problem.errors:
                message["errors"] = problem.errors
            status, body, headers = problem.status, message, {}
        self.used = min(self.used + 1, RATE_LIMIT - 1)
        payload = b"" if body is None else orjson.dumps(body)
        kind = "application/json" if payload else "text/plain"
        return web.Response(body=payload, status=status, headers={**self._limits(), **headers}, content_type=kind)

    def _limits(self) -> dict[str, str]:
        rate = self._rate()
        return {
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-RateLimit-Limit": str(rate["limit"]),
            "X-RateLimit-Remaining": str(rate["remaining"]),
            "X-RateLimit-Reset": str(rate["reset"]),
            "X-RateLimit-Used": str(rate["used"]),
            "X-RateLimit-Resource": "core",
        }

    def _rate(self) -> dict[str, int]:
        reset = (int(self.clock()) // 3600 + 1) * 3600
        return {"limit": RATE_LIMIT, "used": self.used, "remaining": RATE_LIMIT - self.used, "reset": reset}

    def _authenticate(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        if not header:
            raise GithubError(401, "Requires authentication")
        given = header.partition(" ")[2].strip()
        if self.apps.is_installation(given):
            return
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise GithubError(401, "Bad credentials")

    def _as_app(self, request: web.Request, path: str) -> Reply | None:
        """What only an App is told, by its JWT; None for everything else."""
        owner = self.shapes.user("acme", "Organization")
        app_id = self.apps.app_of(request.headers.get("Authorization", "").partition(" ")[2].strip())
        wanted = path == "app" or path.endswith("/installation") or path.startswith(("app/installations/", "app/hook/"))
        if not wanted:
            return None
        if not app_id:
            raise GithubError(401, "A JSON web token could not be decoded")
        if path == "app":
            return 200, self.apps.app(app_id, self.shapes.html, owner), {}
        if path.startswith("app/hook/"):
            return of_app(self, request.method, path, dict(request.query))
        if path == f"app/installations/{INSTALLATION}/access_tokens" and request.method == "POST":
            return 201, self.apps.token(), {}
        repository = path.removeprefix("repos/").removesuffix("/installation")
        if repository not in self.store.repositories:
            raise GithubError(404, "Not Found")
        return 200, self.apps.installation(app_id, self.shapes.api, self.shapes.html, owner), {}

    def _answer(self, request: web.Request, path: str, raw: bytes) -> Reply:
        if path == "rate_limit":
            rate = self._rate()
            return 200, {"rate": rate, "resources": {"core": rate, "search": rate}}, {}
        if path == "user":
            return 200, self.shapes.user("codehealer", "User"), {}
        try:
            body = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError:
            raise GithubError(400, "Problems parsing JSON") from None
        if path.startswith("orgs/acme/actions/secrets/"):
            name = path.removeprefix("orgs/acme/actions/secrets/")
            return of_organization(self, request.method, name, body)
        found = re.match(r"repos/([^/]+/[^/]+)(?:/(.*))?\Z", path)
        repository = self.store.repositories.get(found[1]) if found else None
        if found is None or repository is None:
            raise GithubError(404, "Not Found")
        rest = found[2] or ""
        for method, pattern, handler in ROUTES:
            match = pattern.match(rest)
            if match and method == request.method:
                call = Call(repository, match.groupdict(), dict(request.query), body)
                return handler(self, call)
        raise GithubError(404, "Not Found")

    # --- what the routes do --------------------------------------------------------------------------------------

    def repo(self, call: Call) -> Reply:
        return 200, self.shapes.repository(call.repository), {}

    def run_of(self, call: Call) -> Run:
        run = self.store.find_run(call.repository, int(call.parts["run"]))
        if run is None:
            raise GithubError(404, "Not Found")
        return run

    def job_of(self, call: Call) -> tuple[Run, Attempt, Job]:
        found = self.store.find_job(call.repository, int(call.parts["job"]))
        if found is None:
            raise GithubError(404, "Not Found")
        return found

    def runs(self, call: Call) -> Reply:
        wanted = call.query
        rows = []
        for run in reversed(call.repository.runs):
            last = run.last
            if wanted.get("status") and wanted["status"] not in {last.status, last.conclusion}:
                continue
            if wanted.get("branch") and wanted["branch"] != run.branch:
                continue
            if wanted.get("event") and wanted["event"] != run.event:
                continue
            if wanted.get("head_sha") and wanted["head_sha"] != run.sha:
                continue
            rows.append(run)
        page = paged(rows, call.query)
        return 200, {"total_count": len(rows), "workflow_runs": [self.shapes.run(call.repository, r) for r in page]}, {}

    def run(self, call: Call) -> Reply:
        return 200, self.shapes.run(call.repository, self.run_of(call)), {}

    def attempt_of(self, call: Call) -> tuple[Run, Attempt]:
        run = self.run_of(call)
        number = int(call.parts.get("attempt") or run.last.number)
        found = next((a for a in run.attempts if a.number == number), None)
        if found is None:
            raise GithubError(404, "Not Found")
        return run, found

    def attempt(self, call: Call) -> Reply:
        run, attempt = self.attempt_of(call)
        return 200, self.shapes.run(call.repository, run, attempt), {}

    def jobs(self, call: Call) -> Reply:
        run, attempt = self.attempt_of(call)
        attempts = run.attempts if call.query.get("filter") == "all" else [attempt]
        rows = [self.shapes.job(call.repository, run, a, j) for a in attempts for j in a.jobs]
        return 200, {"total_count": len(rows), "jobs": paged(rows, call.query)}, {}

    def job(self, call: Call) -> Reply:
        run, attempt, job = self.job_of(call)
        return 200, self.shapes.job(call.repository, run, attempt, job), {}

    def job_logs(self, call: Call) -> Reply:
        """302 to a short-lived address that needs no token, as with GitHub's blob store."""
        _, _, job = self.job_of(call)
        if job.status != "completed":
            raise GithubError(404, "Not Found")
        address = f"{self.shapes.api}/job-logs/{call.repository.name}/{job.id}?sig={self._signature(job.id)}"
        return 302, None, {"Location": address}

    def _signature(self, job_id: int) -> str:
        return hmac.new(self.token.encode(), str(job_id).encode(), "sha256").hexdigest()[:32]

    def _signed_log(self, path: str, request: web.Request) -> web.Response:
        owner, name, number = path.removeprefix("job-logs/").split("/")
        repository = self.store.repositories.get(f"{owner}/{name}")
        found = self.store.find_job(repository, int(number)) if repository and number.isdigit() else None
        given = request.query.get("sig", "")
        if repository is None or found is None or not hmac.compare_digest(given, self._signature(int(number))):
            raise GithubError(403, "Signature did not match")
        return web.Response(text=job_log(repository, found[0], found[2]), content_type="text/plain")

    def rerun(self, call: Call) -> Reply:
        return self._rerun(call, only_failed=False)

    def rerun_failed(self, call: Call) -> Reply:
        return self._rerun(call, only_failed=True)

    def _rerun(self, call: Call, *, only_failed: bool) -> Reply:
        run = self.run_of(call)
        if run.last.status != "completed":
            raise GithubError(403, "This workflow is already running")
        if self.clock() - run.created_at > MONTH:
            raise GithubError(403, "Unable to retry this workflow run because it was created over a month ago")
        if only_failed and run.last.conclusion == "success":
            raise GithubError(403, "This workflow run cannot be retried")
        self.store.rerun(run, only_failed=only_failed)
        return 201, {}, {}

    def cancel(self, call: Call) -> Reply:
        run, now = self.run_of(call), self.clock()
        if run.last.status == "completed":
            raise GithubError(409, "Cannot cancel a workflow run that is completed.")
        for job in run.last.jobs:
            if job.status != "completed":
                job.status, job.conclusion, job.completed_at = "completed", "cancelled", now
        run.last.status, run.last.conclusion, run.last.updated_at = "completed", "cancelled", now
        return 202, {}, {}

    def workflows(self, call: Call) -> Reply:
        return 200, {"total_count": 1, "workflows": [self.shapes.workflow(call.repository)]}, {}

    def workflow_runs(self, call: Call) -> Reply:
        """The runs of the one workflow, which has a number and a file name."""
        workflow = self.shapes.workflow(call.repository)
        if call.parts["workflow"] not in {str(workflow["id"]), workflow["path"].rpartition("/")[2]}:
            raise GithubError(404, "Not Found")
        return self.runs(call)

    def dispatch(self, call: Call) -> Reply:
        """Starts the workflow from outside; what its file does not declare is refused."""
        workflow, repository = self.shapes.workflow(call.repository), call.repository
        if call.parts["workflow"] not in {str(workflow["id"]), workflow["path"].rpartition("/")[2]}:
            raise GithubError(404, "Not Found")
        ref, inputs = str(call.body.get("ref", "")), dict(call.body.get("inputs") or {})
        commit = repository.commit(ref)
        if commit is None or (ref != "main" and ref not in repository.branches):
            raise GithubError(422, f"No ref found for: {ref}")
        declared = declared_inputs(commit.files.get(workflow["path"], ""))
        if declared is None:
            raise GithubError(422, "Workflow does not have 'workflow_dispatch' trigger")
        if unknown := sorted(inputs.keys() - declared):
            raise GithubError(422, f"Unexpected inputs provided: {unknown}")
        run = self.store.start(repository, commit.sha, str(inputs.get("codehealer") or "CI"))
        run.event, run.inputs = "workflow_dispatch", {k: str(v) for k, v in inputs.items()}
        if not call.body.get("return_run_details"):
            return 204, None, {}
        shown = self.shapes.run(repository, run)
        return 200, {"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]}, {}

    def check_run(self, call: Call) -> Reply:
        run, _, job = self.job_of(call)
        return 200, self.shapes.check_run(call.repository, run, job), {}

    def annotations(self, call: Call) -> Reply:
        run, _, job = self.job_of(call)
        return 200, self.shapes.annotations(call.repository, run, job), {}

    def commits(self, call: Call) -> Reply:
        rows = [self.shapes.commit(call.repository, c, with_files=False) for c in reversed(call.repository.commits)]
        return 200, paged(rows, call.query), {}

    def commit(self, call: Call) -> Reply:
        found = call.repository.commit(call.parts["ref"])
        if found is None:
            raise GithubError(422, f"No commit found for SHA: {call.parts['ref']}")
        return 200, self.shapes.commit(call.repository, found, with_files=True), {}

    def compare(self, call: Call) -> Reply:
        repository = call.repository
        base, head = repository.commit(call.parts["base"]), repository.commit(call.parts["head"])
        if base is None or head is None:
            raise GithubError(404, "Not Found")
        first, last = repository.commits.index(base), repository.commits.index(head)
        between = repository.commits[first + 1 : last + 1]
        status = "identical" if first == last else "ahead" if first < last else "behind"
        url, page = self.shapes.repository_url(repository), f"{self.shapes.html}/{repository.name}"
        span = f"{call.parts['base']}...{call.parts['head']}"
        shown = self.shapes.commit(repository, base, with_files=False)
        return (
            200,
            {
                "url": f"{url}/compare/{span}",
                "html_url": f"{page}/compare/{span}",
                "permalink_url": f"{page}/compare/{span}",
                "diff_url": f"{page}/compare/{span}.diff",
                "patch_url": f"{page}/compare/{span}.patch",
                "base_commit": shown,
                "merge_base_commit": shown,
                "status": status,
                "ahead_by": max(last - first, 0),
                "behind_by": max(first - last, 0),
                "total_commits": len(between),
                "commits": [self.shapes.commit(repository, c, with_files=False) for c in between],
                "files": self.shapes.diff(repository, base, head),
            },
            {},
        )

    def content(self, call: Call) -> Reply:
        commit = call.repository.commit(call.query.get("ref") or "main")
        if commit is None or call.parts["path"] not in commit.files:
            raise GithubError(404, "Not Found")
        return 200, self.shapes.content(call.repository, commit, call.parts["path"]), {}

    def put_content(self, call: Call) -> Reply:
        """A commit on main that writes one file; the push starts the workflow."""
        path, body = call.parts["path"], call.body
        head = call.repository.head
        if not isinstance(body.get("message"), str) or not isinstance(body.get("content"), str):
            raise GithubError(422, 'Invalid request. "message" and "content" weren\'t supplied.')
        if body.get("branch", "main") != "main":
            raise GithubError(404, f"Branch {body['branch']} not found")
        existed = path in head.files
        if existed and body.get("sha") != blob_sha(head.files[path]):
            raise GithubError(409, f"{path} does not match {body.get('sha')}")
        try:
            text = base64.b64decode(body["content"], validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise GithubError(422, "content is not valid Base64") from None
        made = self.store.commit(call.repository, body["message"], {path: text})
        self.store.start(call.repository, made.sha, body["message"])
        simple = self.shapes.commit(call.repository, made, with_files=False)
        git = {
            **{k: v for k, v in simple.items() if k in {"sha", "node_id", "html_url", "parents"}},
            **simple["commit"],
        }
        reply = {"content": self.shapes.content(call.repository, made, path), "commit": git}
        return (200 if existed else 201), reply, {}

    def _page(self, path: str, *, pressed: bool = False) -> web.Response:
        """A plain page for the addresses that people click on; a pull request's has buttons."""
        if pull := re.match(r"([^/]+/[^/]+)/pull/(\d+)(/merge|/close)?\Z", path):
            repository = self.store.repositories.get(pull[1])
            if repository and (not pull[3] or pressed):
                return merge_page(self, repository, int(pull[2]), (pull[3] or "").strip("/"))
            return web.Response(text=f"{path}\n", status=404)
        found = re.match(r"([^/]+/[^/]+)/actions/runs/(\d+)", path)
        repository = self.store.repositories.get(found[1]) if found else None
        run = self.store.find_run(repository, int(found[2])) if repository and found else None
        if run is None:
            return web.Response(text=f"{path}\n")
        lines = [f"{run.repository} run {run.id}: {run.title}", f"commit {run.sha} on {run.branch}"]
        for attempt in run.attempts:
            lines.append(
                f"attempt {attempt.number} of {rfc3339(attempt.created_at)}: {attempt.conclusion or attempt.status}"
            )
            lines += [f"  {job.name}: {job.conclusion or job.status}" for job in attempt.jobs]
        return web.Response(text="\n".join(lines) + "\n")


def declared_inputs(text: str) -> set[str] | None:
    """The inputs of `on.workflow_dispatch`; None where the workflow cannot be dispatched."""
    body = yaml.safe_load(text) or {}
    events = body.get("on", body.get(True)) or {}
    if "workflow_dispatch" not in events:
        return None
    return set((events["workflow_dispatch"] or {}).get("inputs") or {})


Handler = Callable[[Any, Call], Reply]
RUN = r"actions/runs/(?P<run>\d+)"
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = [
    (method, re.compile(pattern + r"\Z"), handler)
    for method, pattern, handler in (
        ("GET", r"", GithubApi.repo),
        ("GET", r"actions/workflows", GithubApi.workflows),
        ("GET", r"actions/workflows/(?P<workflow>[^/]+)/runs", GithubApi.workflow_runs),
        ("POST", r"actions/workflows/(?P<workflow>[^/]+)/dispatches", GithubApi.dispatch),
        ("GET", r"actions/runs", GithubApi.runs),
        ("GET", RUN, GithubApi.run),
        ("GET", RUN + r"/attempts/(?P<attempt>\d+)", GithubApi.attempt),
        ("GET", RUN + r"/attempts/(?P<attempt>\d+)/jobs", GithubApi.jobs),
        ("GET", RUN + r"/jobs", GithubApi.jobs),
        ("GET", r"actions/jobs/(?P<job>\d+)", GithubApi.job),
        ("GET", r"actions/jobs/(?P<job>\d+)/logs", GithubApi.job_logs),
        ("POST", RUN + r"/rerun", GithubApi.rerun),
        ("POST", RUN + r"/rerun-failed-jobs", GithubApi.rerun_failed),
        ("POST", RUN + r"/cancel", GithubApi.cancel),
        ("GET", r"check-runs/(?P<job>\d+)", GithubApi.check_run),
        ("GET", r"check-runs/(?P<job>\d+)/annotations", GithubApi.annotations),
        ("GET", r"commits", GithubApi.commits),
        ("GET", r"commits/(?P<ref>[^/]+)", GithubApi.commit),
        ("GET", r"compare/(?P<base>[^/]+?)\.\.\.(?P<head>[^/]+)", GithubApi.compare),
        ("GET", r"contents/(?P<path>.+)", GithubApi.content),
        ("PUT", r"contents/(?P<path>.+)", GithubApi.put_content),
        *GIT_ROUTES,
        *PULL_ROUTES,
        *SECRET_ROUTES,
        *HOOK_ROUTES,
    )
]

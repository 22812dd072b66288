"""Repositories, commits and workflow runs: the state behind the GitHub API, and the pipeline that moves it."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.world.clockwork import Timings
from bot.sandbox.world.cluster_seed import commit_sha
from bot.sandbox.world.services import SERVICES, Service

Json = dict[str, Any]
DAY = 86400.0
MANIFEST = "deploy/kustomization.yaml"
MAX_RUNS = 200
REGISTRY_TOKEN = "REGISTRY_TOKEN"  # noqa: S105  the name of a secret


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit with all files of the repository at that point; `at` in Unix seconds."""

    sha: str
    message: str
    author: str
    at: float
    files: dict[str, str]
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a job fails: in which step, with which lines before GitHub's closing error, and the annotation's place.

    `note` is what a problem matcher found there, "" where none looks at that tool's output.
    """

    step: str
    lines: tuple[str, ...]
    exit_code: int = 1
    path: str = ".github"
    line: int = 1
    note: str = ""


@dataclass
class Job:
    """One job of one attempt. Times in Unix seconds, None before they happen."""

    id: int
    name: str
    status: str = "queued"
    conclusion: str | None = None
    started_at: float | None = None
    completed_at: float | None = None
    failure: Failure | None = None


@dataclass
class Attempt:
    number: int
    created_at: float
    jobs: list[Job]
    status: str = "queued"
    conclusion: str | None = None
    updated_at: float = 0.0


@dataclass
class Run:
    """One workflow run with all its attempts, the newest last."""

    id: int
    repository: str
    number: int
    sha: str
    title: str
    created_at: float
    attempts: list[Attempt]
    branch: str = "main"
    event: str = "push"
    announced: bool = True
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]


@dataclass
class StoredSecret:
    """A secret of Actions; keys are (environment or "", name). Its value is read by jobs alone."""

    value: str
    created_at: float
    updated_at: float


@dataclass
class Pull:
    """A pull request. `base_sha` is main as it was when the head was made; `merged` is the merge's sha."""

    number: int
    title: str
    body: str
    branch: str
    base_sha: str
    created_at: float
    state: str = "open"
    merged: str = ""
    closed_at: float | None = None


@dataclass
class Repository:
    """`commits` are main's, oldest first; `loose` are all others by sha, `branches` name some of them.

    `trees` are those that the API made, by sha: path → text.
    """

    id: int
    service: Service
    commits: list[Commit]
    loose: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    trees: dict[str, dict[str, str]] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    secrets: dict[tuple[str, str], "StoredSecret"] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    published: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.service.repository

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, ref: str) -> Commit | None:
        """By full or abbreviated sha, or by the branch's name."""
        ref = ref.removeprefix("heads/")
        if ref in {"main", "HEAD"}:
            return self.head
        ref = self.branches.get(ref, ref)
        known = [*self.loose.values(), *self.commits]
        return next((c for c in reversed(known) if len(ref) >= 7 and c.sha.startswith(ref)), None)


FailureOf = Callable[[Repository, Run, int, str], Failure | None]
"""(repository, run, attempt number, job name) to the failure that a CI cause brings about, or None."""

JOBS = ("publish-chart", "lint", "test", "image")
STEPS = {
    "publish-chart": ("Set up job", "Checkout", "Package chart", "Publish chart", "Complete job"),
    "lint": ("Set up job", "Checkout", "Install dependencies", "Lint", "Complete job"),
    "test": ("Set up job", "Checkout", "Install dependencies", "Run tests", "Complete job"),
    "image": ("Set up job", "Checkout", "Set up Buildx", "Build and push image", "Complete job"),
}


@dataclass
class GithubStore:
    """All repositories by full name; `causes` are what is wrong with the pipelines.

    `marked` is the run that a scenario is about; `hanging` names the job of a run that never ends by itself; `on_job`
    hear of each job that ended.
    """

    clock: Callable[[], float]
    timings: Timings
    repositories: dict[str, Repository] = field(default_factory=dict)
    causes: dict[str, FailureOf] = field(default_factory=dict)
    marked: dict[str, int] = field(default_factory=dict)
    registry_tokens: dict[str, str] = field(default_factory=dict)
    org_secrets: dict[str, StoredSecret] = field(default_factory=dict)
    hanging: dict[int, str] = field(default_factory=dict)
    on_job: list[Callable[[Run, Job], None]] = field(default_factory=list)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(9_352_357_011))

    def __post_init__(self) -> None:
        for index, service in enumerate(SERVICES):
            self._seed(index, service)

    def _seed(self, index: int, service: Service) -> None:
        now = self.clock()
        repository = Repository(810_000 + index, service, [])
        self.repositories[service.repository] = repository
        repository.secrets["", REGISTRY_TOKEN] = StoredSecret("", now - 200 * DAY, now - 200 * DAY)
        for version, days in ((service.previous, 40.0), (service.version, 4.0)):
            sha = commit_sha(service.name, version)
            files = {**first_files(service), MANIFEST: manifest(service, version)}
            parent = repository.commits[-1].sha if repository.commits else ""
            message = f"Release {service.name} {version}"
            repository.commits.append(Commit(sha, message, "kim", now - days * DAY, files, parent))
            run = self.start(repository, sha, message, at=now - days * DAY)
            run.announced = True
            run.last.status, run.last.conclusion = "completed", "success"
            run.last.updated_at = now - days * DAY + 240
            for number, job in enumerate(run.last.jobs):
                job.status, job.conclusion = "completed", "success"
                job.started_at = now - days * DAY + 10 + number
                job.completed_at = job.started_at + 200
            repository.published.add(sha)

    def commit(
        self,
        repository: Repository,
        message: str,
        changed: dict[str, str],
        *,
        sha: str = "",
        gone: frozenset[str] = frozenset(),
    ) -> Commit:
        """Adds a commit on main that writes these files and deletes those in `gone`."""
        files = {path: text for path, text in {**repository.head.files, **changed}.items() if path not in gone}
        text = f"{repository.name}/{len(repository.commits)}/{message}/{sorted(changed.items())}"
        sha = sha or hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        made = Commit(sha, message, "kim", self.clock(), files, repository.head.sha)
        repository.commits.append(made)
        return made

    def start(self, repository: Repository, sha: str, title: str, *, at: float | None = None) -> Run:
        """Starts the workflow for a commit, as a push does."""
        at = self.clock() if at is None else at
        jobs = [Job(next(self.ids), name) for name in JOBS]
        run = Run(next(self.ids), repository.name, len(repository.runs) + 1, sha, title, at, [Attempt(1, at, jobs)])
        run.last.updated_at, run.announced = at, False
        repository.runs.append(run)
        del repository.runs[:-MAX_RUNS]
        return run

    def find_run(self, repository: Repository, run_id: int) -> Run | None:
        return next((r for r in repository.runs if r.id == run_id), None)

    def find_job(self, repository: Repository, job_id: int) -> tuple[Run, Attempt, Job] | None:
        for run in repository.runs:
            for attempt in run.attempts:
                for job in attempt.jobs:
                    if job.id == job_id:
                        return run, attempt, job
        return None

    def rerun(self, run: Run, *, only_failed: bool) -> Attempt:
        """A new attempt; with `only_failed` the jobs that succeeded are taken over as they are."""
        now = self.clock()
        jobs = []
        for old in run.last.jobs:
            if only_failed and old.conclusion == "success":
                kept = Job(next(self.ids), old.name, "completed", "success", old.started_at, old.completed_at)
                jobs.append(kept)
            else:
                jobs.append(Job(next(self.ids), old.name))
        attempt = Attempt(run.last.number + 1, now, jobs, updated_at=now)
        run.attempts.append(attempt)
        run.announced = False
        return attempt

    def step(self) -> list[Run]:
        """Moves every open run a step further; the runs that have just been completed."""
        finished = []
        for repository in self.repositories.values():
            for run in repository.runs:
                if run.last.status != "completed":
                    self._step_run(repository, run)
                if run.last.status == "completed" and not run.announced:
                    run.announced = True
                    finished.append(run)
        return finished

    def _step_run(self, repository: Repository, run: Run) -> None:
        now, attempt = self.clock(), run.last
        if now < attempt.created_at + self.timings.of("job_queue"):
            return
        attempt.status = "in_progress"
        for job in attempt.jobs:
            if job.status == "queued":
                job.status, job.started_at = "in_progress", now
                attempt.updated_at = now
            elif job.name == self.hanging.get(run.id):
                continue
            elif job.status == "in_progress" and now >= (job.started_at or now) + self.timings.of("job_run"):
                self._finish_job(repository, run, job, now)
        if all(j.status == "completed" for j in attempt.jobs):
            attempt.status, attempt.updated_at = "completed", now
            bad = any(j.conclusion == "failure" for j in attempt.jobs)
            attempt.conclusion = "failure" if bad else "success"

    def _finish_job(self, repository: Repository, run: Run, job: Job, now: float) -> None:
        job.status, job.completed_at = "completed", now
        found = (cause(repository, run, run.last.number, job.name) for cause in self.causes.values())
        job.failure = next((f for f in found if f is not None), None)
        if job.name == "publish-chart" and job.failure is None and run.event == "push":
            if run.sha in repository.published:
                job.failure = already_published(repository.service, run.sha)
            repository.published.add(run.sha)
        job.conclusion = "failure" if job.failure else "success"
        for hear in self.on_job:
            hear(run, job)


def already_published(service: Service, sha: str) -> Failure:
    """A chart version may be pushed once: running the publishing job again for the same commit is refused."""
    version = f"0.1.0-{sha[:7]}"
    return Failure(
        "Publish chart",
        (
            f"Pushing {service.name}-{version}.tgz to oci://registry.acme.example/charts",
            (
                f"Error: PUT registry.acme.example/charts/{service.name}/manifests/{version}: 409 Conflict: "
                "tag is immutable and already exists"
            ),
        ),
    )


def manifest(service: Service, version: str) -> str:
    return (
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"namespace: {service.namespace}\nimages:\n"
        f"  - name: registry.acme.example/acme/{service.name}\n    newTag: {version}\n"
    )


def manifest_version(text: str) -> str:
    """The version that a manifest names, empty when it names none."""
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if "newTag:" in line), "")


def first_files(service: Service) -> dict[str, str]:
    """The few files of a repository that scenarios change and people read; catalog's team has a switch in theirs."""
    own = "      pricing: {type: choice, options: [primary, standby], default: primary}\n"
    return {
        "README.md": f"# {service.name}\n\nOne of the services of the Acme shop.\n",
        "Dockerfile": "FROM registry.acme.example/base/runtime:24.04\nCOPY . /app\nRUN /app/build.sh\n",
        "pip.conf": "[global]\nindex-url = https://packages.acme.example/simple\n",
        "src/totals.txt": "rounding = half-even\n",
        ".github/workflows/ci.yml": "name: CI\nrun-name: ${{ inputs.codehealer }}\n"
        "on:\n  push: {branches: [main]}\n  workflow_dispatch:\n    inputs:\n"
        "      no-cache: {type: boolean, default: false}\n      codehealer: {type: string, default: ''}\n"
        f"{own if service.name == 'catalog' else ''}"
        "jobs: {publish-chart: {}, lint: {}, test: {}, image: {}}\n",
    }

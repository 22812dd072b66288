"""Job logs as GitHub serves them: a stamp on every line, groups, the failing step, the closing error."""

import random
from collections.abc import Iterator

from bot.sandbox.world.clockwork import rfc3339_micro
from bot.sandbox.world.github_store import STEPS, Job, Repository, Run

PACKAGES = (
    "anyio",
    "attrs",
    "certifi",
    "click",
    "httpx",
    "idna",
    "jinja2",
    "orjson",
    "pydantic",
    "rich",
    "sniffio",
    "yarl",
)


def job_log(repository: Repository, run: Run, job: Job) -> str:
    """The whole log of a job as plain text, some 150 to 300 lines."""
    rng = random.Random(job.id)
    lines = list(_lines(rng, repository, run, job))
    start = job.started_at or 0.0
    step = max((job.completed_at or start) - start, 0.001) / len(lines)
    return "\n".join(f"{rfc3339_micro(start + i * step)} {line}" for i, line in enumerate(lines)) + "\n"


def _lines(rng: random.Random, repository: Repository, run: Run, job: Job) -> Iterator[str]:
    yield "Current runner version: '2.329.0'"
    yield "##[group]Runner Image Provisioner"
    yield "Hosted Compute Agent"
    yield "Version: 20260212.462"
    yield "##[endgroup]"
    yield "##[group]Operating System"
    yield from ("Ubuntu", "24.04.4", "LTS", "##[endgroup]")
    yield "##[group]GITHUB_TOKEN Permissions"
    yield from ("Contents: read", "Metadata: read", "Packages: write", "##[endgroup]")
    yield "Secret source: Actions"
    yield "Prepare workflow directory"
    yield "Prepare all required actions"
    yield f"Complete job name: {job.name}"
    for name in STEPS[job.name][1:-1]:
        yield from _step(rng, repository, run, name)
        if job.failure is not None and job.failure.step == name:
            yield from job.failure.lines
            yield f"##[error]Process completed with exit code {job.failure.exit_code}."
            break
    yield "Post job cleanup."
    yield "[command]/usr/bin/git version"
    yield "git version 2.52.0"
    yield "[command]/usr/bin/git config --local --unset-all http.https://github.com/.extraheader"
    yield "Cleaning up orphan processes"


def _step(rng: random.Random, repository: Repository, run: Run, name: str) -> Iterator[str]:
    if name == "Checkout":
        yield "##[group]Run actions/checkout@v5"
        yield "with:"
        yield f"  repository: {repository.name}"
        yield "  fetch-depth: 1"
        yield "##[endgroup]"
        yield f"Syncing repository: {repository.name}"
        for percent in range(0, 101, 4):
            yield f"remote: Counting objects: {percent:3d}% ({percent * 4}/400)"
        yield f"HEAD is now at {run.sha[:7]} {run.title}"
        return
    yield f"##[group]Run make {name.lower().replace(' ', '-')}"
    yield f"make {name.lower().replace(' ', '-')}"
    yield "shell: /usr/bin/bash -e {0}"
    yield "env:"
    yield "  CI: true"
    yield "##[endgroup]"
    for index in range(60):
        package, version = rng.choice(PACKAGES), f"{rng.randint(0, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 9)}"
        if name == "Install dependencies":
            yield f"Downloading {package}-{version}-py3-none-any.whl ({rng.randint(12, 900)} kB)"
        elif name == "Run tests":
            yield f"tests/test_{package}.py::test_case_{index:02d} PASSED [{index:3d}%]"
        else:
            yield f"#{index} {rng.choice(('CACHED', 'DONE 0.1s', 'DONE 0.4s'))} [{name.lower()}] {package}"

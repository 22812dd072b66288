"""What is asked of GitHub: runs, their jobs and logs, commits. `read` and `write` are the seam for everything else.

Logs are read by httpx from the address that GitHub redirects to, so that 100 MB of log never lie in memory.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from knowledge.errors import NotFound, Refused, Unavailable
from remediation.github_auth import SOCKET_DEADLINE_S, AppKey, SignIn
from remediation.github_calls import GitHubCalls, at, at_owner, commit_id
from remediation.ports import Json

BASE_URL = "https://api.github.com"
LOG_DEADLINE_S = 45.0
MAX_LOG_BYTES = 200_000_000
MAX_JOBS = 200
MAX_ANNOTATIONS = 50
RUNS_BEFORE = 10
RUNS_AFTER = 30
MAX_COMPARED = 50


@dataclass
class GitHubHost:
    """Implements `ports.CodeHost`. `http` is used for logs only and must not follow redirects with our token."""

    token: str = field(repr=False)
    http: httpx.AsyncClient
    base_url: str = BASE_URL
    app: AppKey | None = None
    # Owner in lower case → who we are on another host, where that owner's repositories are.
    others: Mapping[str, SignIn] = field(default_factory=dict)
    _calls: GitHubCalls = field(init=False)

    def __post_init__(self) -> None:
        self._calls = GitHubCalls(SignIn(self.base_url, self.token, self.app, self.others))

    async def read(self, repository: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return await self._calls.read(repository, f"{at(repository)}{path}", query)

    async def write(
        self, method: str, repository: str, path: str, body: Mapping[str, Any] | None = None, *, needs: str
    ) -> Any:
        return await self._calls.write(method, repository, f"{at(repository)}{path}", body, needs=needs)

    async def read_organization(self, repository: str, path: str) -> Any:
        return await self._calls.read(repository, f"{at_owner(repository)}{path}")

    async def write_organization(self, repository: str, path: str, body: Mapping[str, Any], *, needs: str) -> Any:
        return await self._calls.write("PUT", repository, f"{at_owner(repository)}{path}", body, needs=needs)

    async def read_app(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return await self._calls.read(self._app(), f"/app{path}", query)

    async def write_app(self, path: str, *, needs: str) -> Any:
        return await self._calls.write("POST", self._app(), f"/app{path}", needs=needs)

    def _app(self) -> str:
        """Whom the App's own requests are for: nobody's repository."""
        if self.app is None:
            raise Refused("This needs a GitHub App: set GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY.")
        return ""

    async def run(self, repository: str, run_id: int) -> Json:
        found: Json = await self.read(repository, f"/actions/runs/{int(run_id)}")
        return found

    async def jobs(self, repository: str, run_id: int, attempt: int | None = None) -> list[Json]:
        where = f"/actions/runs/{int(run_id)}"
        path = f"{where}/attempts/{int(attempt)}/jobs" if attempt else f"{where}/jobs"
        found: list[Json] = []
        for page in range(1, MAX_JOBS // 100 + 1):
            body = await self.read(repository, path, {"per_page": 100, "page": page})
            found.extend(body.get("jobs") or [])
            if len(found) >= int(body.get("total_count") or 0):
                break
        return found[:MAX_JOBS]

    async def job_log(self, repository: str, job_id: int, *, limit_bytes: int = 2_000_000) -> tuple[str, int]:
        headers = await self._calls.call(
            repository, lambda r: r.requestBlobAndCheck("GET", f"{at(repository)}/actions/jobs/{int(job_id)}/logs")[0]
        )
        location = str(headers.get("location", ""))
        if not location.startswith(("https://", "http://")):
            raise Unavailable("GitHub gave no address for the job's log. Try again.")
        try:
            async with asyncio.timeout(LOG_DEADLINE_S):
                return await self._tail(location, limit_bytes)
        except (TimeoutError, httpx.HTTPError) as error:
            raise Unavailable(f"The job's log could not be read ({type(error).__name__}).") from error

    async def annotations(self, repository: str, check_run_id: int) -> list[Json]:
        path = f"/check-runs/{int(check_run_id)}/annotations"
        found: list[Json] = await self.read(repository, path, {"per_page": MAX_ANNOTATIONS})
        return found[:MAX_ANNOTATIONS]

    async def last_success(self, repository: str, run: Json) -> Json | None:
        number = _number(run)
        return next((one for one in await self._successes(repository, run) if _number(one) < number), None)

    async def succeeded_since(self, repository: str, run: Json) -> bool:
        if not run.get("head_branch") or not run.get("event"):
            return False
        found = await self._successes(repository, run)
        return any(_number(one) > _number(run) and _origin(one) == _origin(run) for one in found)

    async def _successes(self, repository: str, run: Json) -> list[Json]:
        """The newest runs of its workflow that succeeded, newest first."""
        # With its event: a pull request of a fork may come from a branch of the same name.
        alike = {"branch": run.get("head_branch"), "event": run.get("event")}
        return await self._runs(repository, run, RUNS_BEFORE, status="success", **alike)

    async def later_run(self, repository: str, run: Json) -> Json | None:
        release = run.get("event") == "release"
        of = {"event": "release"} if release else {"branch": run.get("head_branch")}
        found = await self._runs(repository, run, RUNS_AFTER, **of)
        return next((one for one in found if _number(one) > _number(run) and _takes_the_place(one, run)), None)

    async def _runs(self, repository: str, run: Json, most: int, **of: object) -> list[Json]:
        """The newest runs of its workflow, newest first; `of` are GitHub's filters, left out where empty."""
        path = f"/actions/workflows/{int(run['workflow_id'])}/runs"
        filters = {name: str(value) for name, value in of.items() if value}
        body = await self.read(repository, path, {"per_page": most, "exclude_pull_requests": "true", **filters})
        return list(body.get("workflow_runs") or [])

    async def compare(self, repository: str, base: str, head: str) -> Json:
        span = f"{commit_id(base)}...{commit_id(head)}"
        found: Json = await self.read(repository, f"/compare/{span}", {"per_page": MAX_COMPARED})
        return found

    async def _tail(self, url: str, limit_bytes: int) -> tuple[str, int]:
        """The last bytes of a log of any size, holding no more than twice as many."""
        kept: deque[bytes] = deque()
        held = total = 0
        # The address is signed and short-lived and belongs to a storage host: it gets no token of ours.
        async with self.http.stream("GET", url, follow_redirects=False, timeout=SOCKET_DEADLINE_S) as reply:
            if reply.status_code != 200:
                raise NotFound(f"The job's log is not there any more ({reply.status_code}).")
            async for chunk in reply.aiter_bytes():
                kept.append(chunk)
                held, total = held + len(chunk), total + len(chunk)
                while held - len(kept[0]) >= limit_bytes:
                    held -= len(kept.popleft())
                if total > MAX_LOG_BYTES:
                    break
        text = b"".join(kept)[-limit_bytes:].decode("utf-8", "replace")
        return text, max(0, total - limit_bytes)

    async def rerun(self, repository: str, run_id: int, *, only_failed: bool) -> None:
        verb = "rerun-failed-jobs" if only_failed else "rerun"
        await self.write("POST", repository, f"/actions/runs/{int(run_id)}/{verb}", needs="actions: write")

    async def cancel(self, repository: str, run_id: int) -> None:
        await self.write("POST", repository, f"/actions/runs/{int(run_id)}/cancel", needs="actions: write")

    async def granted(self) -> Mapping[str, str] | None:
        """An App's permissions by GitHub's names ("actions": "write"); None for a token, which does not tell."""
        if not self.app:
            return None
        found: Json = await self._calls.read("", "/app")
        return {str(name): str(level) for name, level in (found.get("permissions") or {}).items()}

    async def login(self) -> str:
        found: Json = await self._calls.read("", "/app" if self.app else "/user")
        return str(found.get("slug" if self.app else "login", ""))

    async def aclose(self) -> None:
        self._calls.close()
        await self.http.aclose()


def _number(run: Json) -> int:
    return int(run.get("run_number") or 0)


def _origin(run: Json) -> Any:
    """Its repository: a fork's branch may have the name of one of ours."""
    return (run.get("head_repository") or {}).get("id")


def _takes_the_place(later: Json, run: Json) -> bool:
    """Whether a later run is for the same thing, whoever started it: a push, a person, the clock.

    A pull request builds what is not merged, and a fork's branch may have the same name.
    """
    events = [str(one.get("event") or "") for one in (later, run)]
    # Each release has a branch of its own here: its tag.
    branches = ["" if events[1] == "release" else one.get("head_branch") for one in (later, run)]
    alike = events[0] == events[1] or not any(event.startswith("pull_request") for event in events)
    same_place = _origin(later) == _origin(run) and branches[0] == branches[1]
    return alike and same_place and later.get("conclusion") != "skipped"

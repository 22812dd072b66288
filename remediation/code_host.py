"""GitHub through PyGithub, which blocks: each call runs in a thread of our own pool and has a deadline.

Requests go by path through the library's requester and come back as plain JSON, because its objects fetch themselves
again when a field is read. Logs are read by httpx from the address that GitHub redirects to, so that 100 MB of log
never lie in memory.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import stamina

from knowledge.errors import CodeHealerError, Conflict, NotFound, Refused, Unavailable
from remediation.ports import Json

BASE_URL = "https://api.github.com"
DEADLINE_S = 15.0
SOCKET_DEADLINE_S = 10
ATTEMPTS = 3
THREADS = 6
LOG_DEADLINE_S = 45.0
MAX_LOG_BYTES = 200_000_000
MAX_JOBS = 200
MAX_ANNOTATIONS = 50
RUNS_BEFORE = 10
MAX_COMPARED = 50
_SHA = re.compile(r"[0-9a-f]{7,64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")


@dataclass
class GitHubHost:
    """Implements `ports.CodeHost`. `http` is used for logs only and must not follow redirects with our token."""

    token: str
    http: httpx.AsyncClient
    base_url: str = BASE_URL
    _requester: Any = None
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "github"))

    async def run(self, repository: str, run_id: int) -> Json:
        found: Json = await self._read(f"{_repo(repository)}/actions/runs/{int(run_id)}")
        return found

    async def jobs(self, repository: str, run_id: int, attempt: int | None = None) -> list[Json]:
        where = f"{_repo(repository)}/actions/runs/{int(run_id)}"
        path = f"{where}/attempts/{int(attempt)}/jobs" if attempt else f"{where}/jobs"
        found: list[Json] = []
        for page in range(1, MAX_JOBS // 100 + 1):
            body = await self._read(path, {"per_page": 100, "page": page})
            found.extend(body.get("jobs") or [])
            if len(found) >= int(body.get("total_count") or 0):
                break
        return found[:MAX_JOBS]

    async def job_log(self, repository: str, job_id: int, *, limit_bytes: int = 2_000_000) -> tuple[str, int]:
        headers = await self._call(
            lambda r: r.requestBlobAndCheck("GET", f"{_repo(repository)}/actions/jobs/{int(job_id)}/logs")[0]
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
        path = f"{_repo(repository)}/check-runs/{int(check_run_id)}/annotations"
        found: list[Json] = await self._read(path, {"per_page": MAX_ANNOTATIONS})
        return found[:MAX_ANNOTATIONS]

    async def last_success(self, repository: str, run: Json) -> Json | None:
        path = f"{_repo(repository)}/actions/workflows/{int(run['workflow_id'])}/runs"
        query = {"status": "success", "per_page": RUNS_BEFORE, "exclude_pull_requests": "true"}
        if branch := str(run.get("head_branch") or ""):
            query["branch"] = branch
        body = await self._read(path, query)
        number = int(run.get("run_number") or 0)
        earlier = (one for one in body.get("workflow_runs") or [] if int(one.get("run_number") or 0) < number)
        return next(earlier, None)

    async def compare(self, repository: str, base: str, head: str) -> Json:
        span = f"{_commit(base)}...{_commit(head)}"
        found: Json = await self._read(f"{_repo(repository)}/compare/{span}", {"per_page": MAX_COMPARED})
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

    async def rerun_failed_jobs(self, repository: str, run_id: int) -> None:
        path = f"{_repo(repository)}/actions/runs/{int(run_id)}/rerun-failed-jobs"
        # A body is not needed; PyGithub sends none.
        await self._call(lambda r: r.requestJsonAndCheck("POST", path), write=True)

    async def login(self) -> str:
        found: Json = await self._read("/user")
        return str(found.get("login", ""))

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self.http.aclose()

    async def _read(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=ATTEMPTS, wait_initial=0.2, wait_max=2.0, timeout=3 * DEADLINE_S
        ):
            with attempt:
                return await self._call(lambda r: r.requestJsonAndCheck("GET", path, parameters)[1])
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _call(self, ask: Callable[[Any], Any], *, write: bool = False) -> Any:
        """Runs one blocking request in a thread. The socket's own deadline ends the thread soon after ours."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await loop.run_in_executor(self._threads, self._ask, ask, write)
        except TimeoutError as error:
            text = f"GitHub did not answer within {DEADLINE_S:.0f} s. Check the network and GITHUB_BASE_URL."
            raise Unavailable(text, maybe_done=write) from error

    def _ask(self, ask: Callable[[Any], Any], write: bool) -> Any:
        import requests  # noqa: PLC0415  at first use, as it comes with PyGithub and costs start-up time
        from github import GithubException  # noqa: PLC0415

        try:
            return ask(self._connected())
        except GithubException as error:
            raise github_error(error, write=write) from error
        except requests.exceptions.ConnectTimeout as error:
            raise Unavailable("GitHub cannot be reached. Check the network and GITHUB_BASE_URL.") from error
        except (requests.RequestException, OSError) as error:
            raise Unavailable(f"GitHub did not answer ({type(error).__name__}).", maybe_done=write) from error

    def _connected(self) -> Any:
        if self._requester is None:
            from github import Auth, Github  # noqa: PLC0415  at first use, for start-up time

            self._requester = Github(
                auth=Auth.Token(self.token),
                base_url=self.base_url.rstrip("/"),
                timeout=SOCKET_DEADLINE_S,
                user_agent="codehealer",
                per_page=100,
                retry=None,  # reads are tried again by us; a write never is
                seconds_between_requests=None,
                seconds_between_writes=None,
            ).requester
        return self._requester


def github_error(error: Any, *, write: bool) -> CodeHealerError:
    """PyGithub's exception as one of ours, with the next step."""
    status = int(error.status or 0)
    data = error.data if isinstance(error.data, dict) else {}
    message = str(data.get("message") or error.message or "")[:300]
    headers = {k.lower(): v for k, v in (error.headers or {}).items()}
    limited = status == 429 or (status == 403 and ("rate limit" in message.lower() or "retry-after" in headers))
    if limited:
        wait = str(headers.get("retry-after", ""))
        text = "GitHub's rate limit is used up; it is tried again later."
        return Unavailable(text, retry_after_s=float(wait) if wait.isdigit() else 60.0)
    if status == 401:
        return Refused("GitHub does not accept the token (401). Renew GITHUB_TOKEN.")
    if status == 404:
        return NotFound(
            "GitHub has no such run, commit or repository, or the token may not see it. Check GITHUB_TOKEN's access."
        )
    if status == 409:
        return Conflict(f"GitHub: {message}. Look again before deciding.")
    if status == 403:
        return Refused(f"GitHub forbids it: {message}. The token needs actions: write on the repository.")
    if status >= 500 or status == 0:
        return Unavailable(f"GitHub answered {status}; it is usually passing.", maybe_done=write)
    return Refused(f"GitHub refused it ({status}): {message}.")


def _commit(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise Refused(f"'{sha[:80]}' is no commit's id.")
    return sha


def _repo(repository: str) -> str:
    if not _REPOSITORY.fullmatch(repository):
        raise Refused(f"'{repository}' is no owner/name of a repository. Check policy.yaml.")
    return f"/repos/{repository}"

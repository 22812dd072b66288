"""GitHub through PyGithub, which blocks: each call runs in a thread of our own pool and has a deadline.

Requests go by path through the library's requester and come back as plain JSON, because its objects fetch themselves
again when a field is read. What is asked is in code_host.py and the files of github/.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import stamina

from knowledge.errors import CodeHealerError, Conflict, NotFound, Refused, Unavailable
from remediation.github_auth import SignIn
from remediation.writes import noted

DEADLINE_S = 15.0
ATTEMPTS = 3
THREADS = 6
_SHA = re.compile(r"[0-9a-f]{7,64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")


@dataclass
class GitHubCalls:
    """Reads are tried again; a write never is. `repository` says whose the thing is, which an App needs to know."""

    sign_in: SignIn
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "github"))

    async def read(self, repository: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`, which begins with "/"."""
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=ATTEMPTS, wait_initial=0.2, wait_max=2.0, timeout=3 * DEADLINE_S
        ):
            with attempt:
                return await self.call(
                    repository, lambda r: r.requestJsonAndCheck("GET", path, dict(query) if query else None)[1]
                )
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def write(
        self, method: str, repository: str, path: str, body: Mapping[str, Any] | None = None, *, needs: str
    ) -> Any:
        """The reply's JSON, None where it has none. `needs` is the permission to name when GitHub forbids it."""
        sent = None if body is None else dict(body)
        with noted("GitHub", f"{method} {path}"):
            return await self.call(
                repository, lambda r: r.requestJsonAndCheck(method, path, input=sent)[1], write=True, needs=needs
            )

    async def call(self, repository: str, ask: Callable[[Any], Any], *, write: bool = False, needs: str = "") -> Any:
        """Runs one blocking request in a thread. The socket's own deadline ends the thread soon after ours."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await loop.run_in_executor(self._threads, self._ask, repository, ask, write, needs)
        except TimeoutError as error:
            text = f"GitHub did not answer within {DEADLINE_S:.0f} s. Check the network and GITHUB_BASE_URL."
            raise Unavailable(text, maybe_done=write) from error

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, repository: str, ask: Callable[[Any], Any], write: bool, needs: str) -> Any:
        import requests  # noqa: PLC0415  at first use, as it comes with PyGithub and costs start-up time
        from github import GithubException  # noqa: PLC0415

        sent = False
        try:
            requester = self.sign_in.requester(repository)
            sent = write
            return ask(requester)
        except GithubException as error:
            if error.status == 401:
                self.sign_in.forget(repository)
            raise github_error(error, write=sent, needs=needs, renew=self.sign_in.words) from error
        except requests.exceptions.ConnectTimeout as error:
            raise Unavailable("GitHub cannot be reached. Check the network and GITHUB_BASE_URL.") from error
        except (requests.RequestException, OSError) as error:
            raise Unavailable(f"GitHub did not answer ({type(error).__name__}).", maybe_done=sent) from error


def github_error(error: Any, *, write: bool, needs: str = "", renew: str = "GITHUB_TOKEN") -> CodeHealerError:
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
        return Refused(f"GitHub does not accept the token (401). Renew {renew}.")
    if status == 404:
        may = f" It needs {needs}." if needs else ""
        return NotFound(
            f"GitHub has no such run, commit or repository, or the token may not see it. Check {renew}'s access.{may}"
        )
    if status == 409:
        return Conflict(f"GitHub: {message}. Look again before deciding.")
    if status == 403:
        # GitHub names the permission itself for Apps and fine-grained tokens.
        named = str(headers.get("x-accepted-github-permissions") or "").replace("=", ": ") or needs or "actions: write"
        return Refused(f"GitHub forbids it: {message}. {renew} needs {named} on the repository.")
    if status >= 500 or status == 0:
        return Unavailable(f"GitHub answered {status}; it is usually passing.", maybe_done=write)
    return Refused(f"GitHub refused it ({status}): {_reasons(message, data)}.")


def _reasons(message: str, data: Mapping[str, Any]) -> str:
    """Of a 422 the errors say more than the message."""
    errors = data.get("errors") if isinstance(data.get("errors"), list) else []
    said = [str(e.get("message") or "") if isinstance(e, dict) else str(e) for e in errors or []]
    return "; ".join([message, *(one for one in said if one)])[:500]


def commit_id(sha: str) -> str:
    if not _SHA.fullmatch(sha):
        raise Refused(f"'{sha[:80]}' is no commit's id.")
    return sha


def at(repository: str) -> str:
    """The path of a repository; Refused for what is no owner/name."""
    if not _REPOSITORY.fullmatch(repository):
        raise Refused(f"'{repository}' is no owner/name of a repository. Check policy.yaml.")
    return f"/repos/{repository}"


def at_owner(repository: str) -> str:
    """The path of the organisation that a repository belongs to."""
    return f"/orgs/{at(repository).split('/')[2]}"

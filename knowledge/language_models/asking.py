"""One question over HTTP: what is tried again, what is given up, and no reply without a limit on time and size."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import stamina

from knowledge.errors import Refused, Unavailable
from knowledge.language_models.reply import UnreadableReply

LARGEST_REPLY = 2 * 1024 * 1024
LONGEST_WAIT_S = 8.0
POLL_S = 1.0
_RETRY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_ASIDE = frozenset({401, 402, 403, 404, 410})
_WORDS = {
    400: "(a field was refused)",
    401: "({key} is not valid)",
    402: "(credits are spent)",
    403: "(not entitled to this model)",
    404: "(unknown model)",
    410: "(the model has reached its end of life)",
    422: "(a field was refused)",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class TimedOut(Unavailable):
    """No reply in time. Not tried again: the next one to ask has better use for the time that is left."""


class SetAside(Refused):
    """This model will not answer for a while, whatever it is asked."""


class FieldRefused(Refused):
    """A field of the request is not liked; `said` is the service's untrusted explanation."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


@dataclass(frozen=True, slots=True)
class Line:
    """Where to ask, and how patiently: after `timeout_s` an attempt ends, and none begins.

    `status_url` is asked after a 202, with the request's id appended; "" where there is none.
    """

    url: str
    headers: Mapping[str, str]
    key_setting: str
    timeout_s: float
    attempts: int
    status_url: str = ""


async def ask(client: httpx.AsyncClient, line: Line, body: Mapping[str, Any]) -> Answered:
    """The reply with status 200.

    Raises:
        Unavailable: no reply, or a passing fault, after the last attempt.
        SetAside, FieldRefused, Refused: asking again would not help.
        UnreadableReply: it is too large.
    """
    async for attempt in stamina.retry_context(
        on=_pause, attempts=line.attempts, timeout=line.timeout_s, wait_initial=0.2, wait_max=LONGEST_WAIT_S
    ):
        with attempt:
            return _checked(line, await _attempted(client, line, body))
    raise Unavailable("no attempt was made")


async def _attempted(client: httpx.AsyncClient, line: Line, body: Mapping[str, Any]) -> Answered:
    """One attempt, with the asking after what was only accepted."""
    try:
        async with asyncio.timeout(line.timeout_s):
            reply = await _exchange(client, line, "POST", line.url, body)
            while reply.status == 202 and line.status_url:
                await asyncio.sleep(POLL_S)
                reply = await _exchange(client, line, "GET", _status_url(line, reply), None)
            return reply
    except TimeoutError:
        raise _timed_out(line) from None


def _timed_out(line: Line) -> TimedOut:
    return TimedOut(f"no answer in {line.timeout_s:g} s", maybe_done=True)


@asynccontextmanager
async def answering(model: str, deadline_s: float) -> AsyncIterator[None]:
    """What is asked of `model` in here has to be answered within `deadline_s`.

    Raises Unavailable and Refused whose messages begin with the model's name.
    """
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except TimeoutError:
        raise Unavailable(f"{model}: no answer in {deadline_s:g} s") from None
    except Unavailable as error:
        raise Unavailable(f"{model}: {error}", retry_after_s=error.retry_after_s) from None
    except (Refused, UnreadableReply) as error:
        raise Refused(f"{model}: {error}") from None


async def _exchange(
    client: httpx.AsyncClient, line: Line, method: str, url: str, body: Mapping[str, Any] | None
) -> Answered:
    content = bytearray()
    try:
        async with client.stream(
            method, url, json=body, headers=dict(line.headers), timeout=line.timeout_s
        ) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > LARGEST_REPLY:
                    raise UnreadableReply("the reply is too large")
            return Answered(response.status_code, response.headers, bytes(content))
    except httpx.TimeoutException:
        raise _timed_out(line) from None
    except httpx.HTTPError as error:
        raise Unavailable(f"connection failed ({type(error).__name__})", maybe_done=True) from None


def _checked(line: Line, reply: Answered) -> Answered:
    if reply.status == 200:
        return reply
    words = _WORDS.get(reply.status, "").format(key=line.key_setting)
    message = f"HTTP {reply.status} {words}".strip()
    if reply.status in _RETRY:
        raise Unavailable(message, retry_after_s=_retry_after(reply.headers))
    if reply.status in _ASIDE:
        raise SetAside(message)
    if reply.status in {400, 422}:
        raise FieldRefused(message, reply.content[:4000].decode("utf-8", "replace"))
    raise Refused(message)


def _status_url(line: Line, reply: Answered) -> str:
    """On the same host as the question: the key goes nowhere else, whatever the reply says."""
    request_id = reply.headers.get("nvcf-reqid", "")
    if not _REQUEST_ID.fullmatch(request_id):
        raise Unavailable("HTTP 202 without a request to ask after")
    return line.status_url + request_id


def _pause(error: Exception) -> bool | float:
    """Whether to try again, and after how many seconds where the server says so; not when that is too long to wait."""
    if not isinstance(error, Unavailable) or isinstance(error, TimedOut):
        return False
    if error.retry_after_s is None:
        return True
    return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else False


def _retry_after(headers: Mapping[str, str]) -> float | None:
    raw = headers.get("retry-after", "")
    return float(raw) if raw.isdecimal() and len(raw) < 9 else None

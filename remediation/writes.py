"""The writes that a fix sends, each with what became of it, for the audit log.

Each client notes its own; who wants to know of them hears them. Bodies are not noted: new values of Secrets are there.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from knowledge.errors import CodeHealerError
from knowledge.model import Write
from knowledge.redaction import redact

DONE, NO_ANSWER, UNKNOWN = "done", "no answer in time", "nobody can tell: it broke off"
_heard: ContextVar[list[Write] | None] = ContextVar("writes", default=None)


@contextmanager
def heard() -> Iterator[list[Write]]:
    """What is noted inside, in this task, in order."""
    writes: list[Write] = []
    token = _heard.set(writes)
    try:
        yield writes
    finally:
        _heard.reset(token)


@contextmanager
def noted(system: str, request: str) -> Iterator[None]:
    """Around one write; `request` names it without anything secret."""
    result = UNKNOWN
    try:
        yield
        result = DONE
    except CodeHealerError as error:
        result = redact(str(error))
        raise
    except asyncio.CancelledError:
        result = NO_ANSWER
        raise
    finally:
        writes = _heard.get()
        if writes is not None:
            writes.append(Write(system, request, result))

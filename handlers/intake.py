"""Pure: a webhook's bytes in, alerts out. The web server and the command line come in through here."""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from handlers.sources import SOURCES, Headers, fields, mapped
from handlers.sources.fields import MAX_DEPTH, Json, clean, surely_clean
from handlers.sources.verify import BadSignature
from knowledge.errors import BadInput, NotFound
from knowledge.fingerprint import parse_time
from knowledge.model import Alert
from knowledge.streams import CorrelationResult, correlate
from remediation.policy_file import WebhookMapping

__all__ = [
    "MAX_ALERTS",
    "MAX_BYTES",
    "BadSignature",
    "Intake",
    "UnknownSource",
    "alert_json",
    "correlate_posts",
    "parse_object",
    "read_webhook",
]

# GitHub's limit is 25 MB, real bodies stay far below one.
MAX_BYTES = 2_000_000
MAX_ALERTS = 1_000
GENERIC, DEFAULT_MAPPING = "generic", "default"
# A string that never ends reaches to the end of the body: one pass, whatever is sent.
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_MAX_DIGITS = 300
_MAX_SECONDS = 1e11


class UnknownSource(NotFound):
    """No source of that name: answer 404."""


@dataclass(frozen=True, slots=True)
class Intake:
    """One accepted delivery. `body` is the parsed and cleaned JSON, not yet redacted.

    `truncated` counts the alerts that the sender left out of it, and those beyond our own limit. `delivery_id` is the
    sender's, None where it has none.
    """

    source: str
    event: str
    delivery_id: str | None
    alerts: tuple[Alert, ...]
    truncated: int
    body: Json


def read_webhook(
    source: str,
    headers: Headers,
    body: bytes,
    *,
    secrets: Sequence[str] | None,
    mappings: Mapping[str, WebhookMapping] | None = None,
    now: float | None = None,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
) -> Intake:
    """Verify and read one delivery.

    Args:
        source: a name of the table, or generic/NAME for a mapping.
        mappings: the policy's, by name.
        now: seconds since 1970, for signatures that are dated; None: the clock.
        secrets: all that are valid now; with an empty sequence everything is refused, with None nothing is checked.

    Raises:
        UnknownSource: there is no such source (404).
        BadSignature: not signed with one of the secrets (401).
        BadInput: not a JSON object that the source can read; one sentence says which field (400).
    """
    name, slash, mapping_name = source.partition("/")
    entry = SOURCES.get(name)
    if entry is None:
        raise UnknownSource(f"There is no source {source[:40]!r}; known are {', '.join(SOURCES)}.")
    mapping = (mappings or {}).get(mapping_name or DEFAULT_MAPPING) if name == GENERIC else None
    if slash and (mapping is None or not mapping_name):
        raise UnknownSource(f"There is no mapping {mapping_name[:40]!r} under webhooks in the policy.")
    if len(body) > max_bytes:
        raise BadInput(f"The body has {len(body)} bytes; at most {max_bytes} are read.")
    if secrets is not None:
        entry.verify(body, headers, secrets, time.time() if now is None else now)
    value = parse_object(entry.document(headers, body), max_depth)
    alerts = mapped.parse(mapping_name or DEFAULT_MAPPING, mapping, value) if mapping else entry.parse(value, headers)
    return Intake(
        source=name,
        event=entry.event_name(headers, value),
        delivery_id=entry.delivery_id(headers, value),
        alerts=alerts[:MAX_ALERTS],
        truncated=_truncated(value) + max(0, len(alerts) - MAX_ALERTS),
        body=value,
    )


def parse_object(body: bytes, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """A JSON object out of bytes, its texts free of control characters. BadInput for anything else."""
    try:
        value = orjson.loads(body)
        if not surely_clean(body, max_depth):
            value = clean(value, max_depth)
    except orjson.JSONDecodeError:
        value = clean(_parse_slowly(body, max_depth), max_depth)
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.")
    return value


def _parse_slowly(body: bytes, max_depth: int) -> Any:
    """What orjson refuses: huge numbers are read, everything else gets its reason. The depth is counted beforehand,
    because the parser of the standard library recurses."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"The body is not UTF-8 (byte {error.start}).") from None
    depth = 0
    for token in _TOKENS.finditer(body):
        first = token[0][:1]
        depth += 1 if first in b"[{" else -1 if first in b"]}" else 0
        if depth > max_depth:
            raise BadInput(f"The JSON is nested too deeply: at most {max_depth} levels are read.")
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadInput(f"The body is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None


def _integer(digits: str) -> int | str:
    # Python refuses to convert thousands of digits; as text they do no harm.
    return int(digits) if len(digits) <= _MAX_DIGITS else digits[:_MAX_DIGITS]


def _no_constant(word: str) -> Any:
    raise BadInput(f"The body is not JSON: {word} is no JSON value.")


def _truncated(value: Json) -> int:
    count = value.get("truncatedAlerts")
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0


def correlate_posts(posts: Iterable[Mapping[str, Any]]) -> CorrelationResult:
    """The incidents of posts `{"seq", "at", "body", "source"?}`; `at` is in seconds, or a time as text.

    Raises:
        BadInput: a post names no known source, or has a body that the source cannot read.
    """
    occurrences: list[tuple[datetime, Alert]] = []
    for position, post in enumerate(posts, start=1):
        source, body = post.get("source") or "alertmanager", post.get("body")
        if not isinstance(source, str) or source not in SOURCES or not isinstance(body, dict):
            raise BadInput(f"Post {position}: `source` must be one of {', '.join(SOURCES)} and `body` an object.")
        alerts = SOURCES[source].parse(clean(body), fields.labels(post.get("headers")))
        at = post.get("at")
        # Small numbers are seconds since the stream began, which parse_time takes for "not set".
        seconds = isinstance(at, int | float) and 0 <= at < _MAX_SECONDS
        received = datetime.fromtimestamp(float(at or 0), UTC) if seconds else parse_time(at)
        start = datetime.fromtimestamp(0, UTC)
        occurrences += [(received or alert.started_at or start, alert) for alert in alerts[:MAX_ALERTS]]
    return correlate(occurrences)


def alert_json(alert: Alert) -> dict[str, Any]:
    """An alert as `codehealer normalize` prints it."""
    return {
        "status": alert.status.value,
        "actionable": alert.actionable,
        "severity": alert.severity,
        "title": alert.title,
        "namespace": alert.namespace,
        "workload": alert.workload,
        "owner": alert.owner,
        "service": alert.service,
        "environment": alert.environment,
        "fingerprint": alert.fingerprint,
        "identity": alert.identity,
        "target": dict(alert.target),
        "repository": alert.repository,
        "branch": alert.branch,
        "commit": alert.commit,
        "run_id": alert.run_id,
        "labels": dict(alert.labels),
    }

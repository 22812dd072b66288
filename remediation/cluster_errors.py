"""A cluster's answer as one of our errors, with the next step: pure."""

import json
from collections.abc import Mapping
from typing import Any

from knowledge.errors import CodeHealerError, Conflict, NotFound, Refused, Unavailable


def error_of(cluster: str, request: str, response: Any, data: bytes) -> CodeHealerError:
    """The server's answer as one of ours, with the next step."""
    message = _message(data)
    write, status = not request.startswith("GET "), int(response.status)
    if status == 401:
        return Refused(f"Cluster {cluster} does not accept our token (401). Renew it in the kubeconfig.")
    if status == 403:
        return Refused(f"Cluster {cluster} forbids it: {message}. Grant it in the codehealer Role: {granting(request)}")
    if status == 404:
        return NotFound(f"Not found in cluster {cluster}: {message}. It may be gone by now.")
    # A failed `test` of a JSON patch is a 422 with this sentence; other 422s are refusals of what was sent.
    untrue = status == 422 and request.startswith("PATCH ") and "due to an error in our request" in message
    if status == 409 or untrue:
        return Conflict(f"It changed meanwhile in cluster {cluster}: {message}. Look again before deciding.")
    if status == 410:
        return Unavailable(f"Cluster {cluster} has forgotten that version of the list.")
    if status == 429 or status >= 500:
        text = f"Cluster {cluster} answered {status}: {message}. It is usually passing."
        return Unavailable(text, maybe_done=write and status != 429, retry_after_s=_retry_after(response.headers))
    return Refused(f"Cluster {cluster} refused {request} ({status}): {message}.")


_VERBS = {"GET": "get", "PATCH": "patch", "DELETE": "delete", "POST": "create"}


def granting(request: str) -> str:
    """The line of a Role's `rules` that allows a request, given as "METHOD path"."""
    method, _, path = request.partition(" ")
    parts = path.strip("/").split("/")
    group, rest = (parts[1], parts[3:]) if parts[0] == "apis" else ("", parts[2:])
    if rest[:1] == ["namespaces"]:
        rest = rest[2:]
    verb = "list" if method == "GET" and len(rest) == 1 else _VERBS.get(method, "get")
    resource = "/".join([rest[0], *rest[2:]]) if rest else "*"
    return f"{{apiGroups: [{json.dumps(group)}], resources: [{resource}], verbs: [{verb}]}}"


def _message(data: bytes) -> str:
    try:
        body = json.loads(data)
    except ValueError:
        return data[:200].decode("utf-8", "replace")
    return str(body.get("message", ""))[:500].rstrip(".") if isinstance(body, dict) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdigit() else None

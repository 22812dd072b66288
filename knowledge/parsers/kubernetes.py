"""Kubernetes: describe, events, object lists as tables, status as JSON or YAML, container logs with their errors."""

import re
from collections.abc import Mapping

from knowledge.parsers.entities import find_entities, merged
from knowledge.parsers.fallback import exit_code_in, telling_lines
from knowledge.parsers.objects import at, object_in, texts, walk
from knowledge.parsers.parsed import Parsed

_DESCRIBE = re.compile(
    r"^(?:Name|Namespace|Controlled By|Service Account|Restart Count|Node|Status|Events|Containers):", re.MULTILINE
)
_EVENT_TABLE = re.compile(r"^\s*LAST SEEN\s+TYPE\s+REASON|^\s*Type\s+Reason\s+Age\s+From\s+Message", re.MULTILINE)
_POD_TABLE = re.compile(r"^(?:NAMESPACE\s+)?NAME\s+READY\s+(?:STATUS|UP-TO-DATE)", re.MULTILINE)
_POD_ROW = re.compile(
    r"^(?:([a-z0-9-]+)\s+)?([a-z0-9][a-z0-9.-]*)\s+\d+/\d+\s+"
    r"((?:Init:)?(?:CrashLoopBackOff|ImagePullBackOff|ErrImagePull|OOMKilled|Error|Evicted|Pending|CreateContainer\w+|Failed|Unknown))\b",
    re.MULTILINE,
)
_EVENT_LINE = re.compile(
    r"(?:^|\s)(?:Warning|Normal)\s+(?:Failed\w*|BackOff|Unhealthy|Evicted|Killing|Pulled|Scheduled)\b"
)
_OBJECT = re.compile(
    r"\"?(?:containerStatuses|involvedObject|involved_object|lastState|restartCount|restart_count)\"?\s*:"
)
_KUBECTL = re.compile(r"Error from server \(\w+\)|\bkubectl\b.*\bfailed\b|kubelet\b.*(?:Failed|Back-off|Unhealthy)")
_REASON = re.compile(r"(?:Reason|\"reason\"|reason):\s+\"?([A-Z][A-Za-z]+)\"?")
_CODE = re.compile(r"(?:Exit Code|\"exitCode\"|exitCode|exit_code\"?):\s+(\d+)")
_CALM = frozenset({"Completed", "Started", "Created", "Pulled", "Scheduled"})
_HINTS = frozenset(
    {"pod_status", "events", "rollout", "pod_describe", "deployment_describe", "node_describe", "job_describe"}
)


def parse_kubernetes(text: str, hint: str) -> Parsed | None:
    """Recognised by what kubectl or the API prints; a log that only mentions a pod is not claimed."""
    head = text[:400_000]
    described = len({match.split(":")[0] for match in _DESCRIBE.findall(head)}) >= 3
    if not (
        described
        or _EVENT_TABLE.search(head)
        or _POD_TABLE.search(head)
        or _EVENT_LINE.search(head)
        or _OBJECT.search(head)
        or _KUBECTL.search(head)
        or (hint in _HINTS and text.strip())
    ):
        return None
    lines = telling_lines(text)
    entities = find_entities([line for _, line in lines] + (head.split("\n")[:40] if described else []))
    if reasons := tuple(dict.fromkeys(r for r in _REASON.findall(head) if r not in _CALM))[:8]:
        entities["reason"] = reasons
    entities = merged(entities, _of_rows(head), _of_objects(text) if _OBJECT.search(head) else {})
    codes = [int(code) for code in _CODE.findall(head) if int(code)]
    return Parsed(
        format="kubernetes",
        tool="kubernetes",
        step=entities.get("reason", ("",))[0],
        exit_code=codes[-1] if codes else exit_code_in(head),
        error_lines=lines,
        entities=entities,
    )


def _of_rows(head: str) -> Mapping[str, tuple[str, ...]]:
    """The failing pods of `kubectl get pods`, with what their column STATUS says."""
    if not _POD_TABLE.search(head):
        return {}
    rows = [row for row in _POD_ROW.findall(head) if row[1] != "NAME"][:8]
    found = {"pod": [r[1] for r in rows], "reason": [r[2] for r in rows], "namespace": [r[0] for r in rows if r[0]]}
    return {name: tuple(dict.fromkeys(values)) for name, values in found.items() if values}


def _of_objects(text: str) -> Mapping[str, tuple[str, ...]]:
    """Names, images and reasons of pods and events in JSON."""
    found: dict[str, list[str]] = {}

    def note(entity: str, *values: str) -> None:
        found.setdefault(entity, []).extend(values)

    for node in walk(object_in(text)):
        kind = node.get("kind")
        if kind in {"Pod", "Deployment", "Node", "Job"} and isinstance(node.get("metadata"), Mapping):
            note(str(kind).lower(), *texts(node["metadata"], "name"))
            note("namespace", *texts(node["metadata"], "namespace"))
        elif kind in {"Pod", "Deployment", "Node", "Job"} and "name" in node:  # an event's involvedObject
            note(str(kind).lower(), *texts(node, "name"))
            note("namespace", *texts(node, "namespace"))
        if "restartCount" in node or "containerID" in node:
            broken = (
                at(node, "state", "waiting") or at(node, "state", "terminated") or at(node, "lastState", "terminated")
            )
            if isinstance(broken, Mapping) and not set(texts(broken, "reason")) & _CALM:
                note("container", *texts(node, "name"))
                note("image", *texts(node, "image"))
    return {name: tuple(dict.fromkeys(values))[:8] for name, values in found.items() if values}

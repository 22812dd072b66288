"""Kubernetes: describe, events, object lists as tables, status as JSON or YAML, container logs with their errors."""

import re

from knowledge.parsers.entities import find_entities
from knowledge.parsers.fallback import exit_code_in, telling_lines
from knowledge.parsers.parsed import Parsed

_DESCRIBE = re.compile(
    r"^(?:Name|Namespace|Controlled By|Service Account|Restart Count|Node|Status|Events|Containers):", re.MULTILINE
)
_EVENT_TABLE = re.compile(r"^\s*LAST SEEN\s+TYPE\s+REASON|^\s*Type\s+Reason\s+Age\s+From\s+Message", re.MULTILINE)
_POD_TABLE = re.compile(r"^NAME\s+READY\s+(?:STATUS|UP-TO-DATE)", re.MULTILINE)
_EVENT_LINE = re.compile(
    r"(?:^|\s)(?:Warning|Normal)\s+(?:Failed\w*|BackOff|Unhealthy|Evicted|Killing|Pulled|Scheduled)\b"
)
_OBJECT = re.compile(
    r"\"?(?:containerStatuses|involvedObject|involved_object|lastState|restartCount|restart_count)\"?\s*:"
)
_KUBECTL = re.compile(r"Error from server \(\w+\)|\bkubectl\b.*\bfailed\b|kubelet\b.*(?:Failed|Back-off|Unhealthy)")
_REASON = re.compile(r"(?:Reason|\"reason\"|reason):\s+\"?([A-Z][A-Za-z]+)\"?")
_CODE = re.compile(r"(?:Exit Code|\"exitCode\"|exitCode|exit_code\"?):\s+(\d+)")
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
    if reasons := tuple(dict.fromkeys(r for r in _REASON.findall(head) if r not in {"Completed", "Started"}))[:8]:
        entities["reason"] = reasons
    codes = [int(code) for code in _CODE.findall(head) if int(code)]
    return Parsed(
        format="kubernetes",
        tool="kubernetes",
        step=entities.get("reason", ("",))[0],
        exit_code=codes[-1] if codes else exit_code_in(head),
        error_lines=lines,
        entities=entities,
    )

"""Argo CD: `argocd app get`, an Application's status as JSON or YAML, and the controller's messages."""

import re
from collections.abc import Mapping

from knowledge.parsers.entities import find_entities, merged
from knowledge.parsers.fallback import telling_lines
from knowledge.parsers.objects import object_in, objects_at, texts, texts_at, walk
from knowledge.parsers.parsed import Parsed

_APP_GET = re.compile(r"^(?:Sync Status|Health Status|Sync Policy|Operation):\s", re.MULTILINE)
_OBJECT = re.compile(r"kind\"?: ?\"?Application\b|operationState|argoproj\.io/v1alpha1")
_MESSAGE = re.compile(
    r"\b(?:ComparisonError|SyncError|SyncFailed|Failed sync attempt|PostSyncHookError|InvalidSpecError)\b"
)
_NAME = re.compile(r"^Name:\s+(?:[\w-]+/)?([\w.-]+)|application=\"?([\w.-]+)|application '([\w.-]+)'", re.MULTILINE)
_PHASE = re.compile(r"^Phase:[ \t]+(\w+)|\"phase\":\s?\"(\w+)\"", re.MULTILINE)
_HEALTH = re.compile(r"Health Status:\s+(\w+)|\"health\":\s?\{[^}]{0,200}\"status\":\s?\"(\w+)\"")
_SYNC = re.compile(r"Sync Status:\s+(\w+)(?: (?:from|to) (\S+)(?: \((\w+)\))?)?")
_REVISION = re.compile(r"^Sync Revision:\s+(\S+)", re.MULTILINE)
_CONDITION = re.compile(
    r"\b((?:Comparison|Sync|InvalidSpec|Unknown|SharedResource|OrphanedResource|Excluded|RepeatedResource)"
    r"(?:Error|Warning|ResourceWarning))\b"
)
# `argocd app get`: group, kind, namespace, name, status, health, hook, message; a first column may be empty.
_ROW = re.compile(
    r"^(?:[\w.-]+)? +([A-Z]\w+) +([a-z0-9-]+) +([\w.:-]+) +(OutOfSync|SyncFailed|Unknown|Failed|Error|Synced) *"
    r"(Degraded|Missing|Progressing|Healthy|Suspended)? *((?:Pre|Post)?Sync(?:Fail)?|Skip)?(?: +(.+))?$",
    re.MULTILINE,
)


def parse_argocd(text: str, hint: str) -> Parsed | None:
    head = text[:400_000]
    shaped = len(_APP_GET.findall(head)) >= 2 or (
        _OBJECT.search(head) and "syncPolicy" in head + "operationState" in head
    )
    if not (shaped or hint.startswith("argocd") or _MESSAGE.search(head)):
        return None
    lines = telling_lines(text)
    entities = find_entities(line for _, line in lines)
    for name, expression in (("application", _NAME), ("phase", _PHASE), ("health", _HEALTH)):
        if (match := expression.search(head)) and (value := next((g for g in match.groups() if g), "")):
            entities[name] = (value,)
    if sync := _SYNC.search(head):
        entities["sync"] = (sync.group(1),)
        if revision := sync.group(3) or sync.group(2):
            entities["revision"] = (revision,)
    if synced := _REVISION.search(head):
        entities.setdefault("revision", (synced.group(1),))
    own = {"condition": tuple(dict.fromkeys(_CONDITION.findall(head)))[:8]} if _CONDITION.search(head) else {}
    return Parsed(
        format="argocd",
        tool="helm" if "helm template" in head else "kustomize" if "kustomize build" in head else "argocd",
        step=entities.get("phase", ("",))[0],
        error_lines=lines,
        entities=merged(entities, own, _of_rows(head), _of_objects(text) if _OBJECT.search(head) else {}),
    )


def _of_rows(head: str) -> Mapping[str, tuple[str, ...]]:
    """Resources and hooks that failed or are not well, as Kind/namespace/name."""
    bad = [row for row in _ROW.findall(head) if row[3] not in {"Synced"} or row[4] in {"Degraded", "Missing"}]
    resources = tuple(f"{kind}/{namespace}/{name}" for kind, namespace, name, *_ in bad)[:8]
    hooks = tuple(f"{row[0]}/{row[2]}" for row in bad if row[5] and row[5] != "Sync")[:8]
    return {key: value for key, value in (("failing_resource", resources), ("hook", hooks)) if value}


def _of_objects(text: str) -> Mapping[str, tuple[str, ...]]:
    """The same from an Application in JSON: conditions, the operation's resources and hooks, its revision."""
    found: dict[str, list[str]] = {}
    application = next((node for node in walk(object_in(text)) if node.get("kind") == "Application"), {})
    found["application"] = texts_at(application, "metadata", "name")
    for condition in objects_at(application, "status", "conditions"):
        found.setdefault("condition", []).extend(texts(condition, "type"))
    result = ("status", "operationState", "syncResult")
    found["revision"] = texts_at(application, *result, "revision") or texts_at(
        application, "status", "sync", "revision"
    )
    for resource in objects_at(application, *result, "resources"):
        failed = resource.get("status") == "SyncFailed" or resource.get("hookPhase") in {"Failed", "Error"}
        if failed:
            name = f"{resource.get('kind', '')}/{resource.get('namespace', '')}/{resource.get('name', '')}"
            found.setdefault("failing_resource", []).append(name)
            if resource.get("hookType"):
                found.setdefault("hook", []).append(f"{resource.get('kind', '')}/{resource.get('name', '')}")
    return {name: tuple(dict.fromkeys(values))[:8] for name, values in found.items() if values}

"""Argo CD: `argocd app get`, an Application's status as JSON or YAML, and the controller's messages."""

import re

from knowledge.parsers.entities import find_entities
from knowledge.parsers.fallback import telling_lines
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
    return Parsed(
        format="argocd",
        tool="helm" if "helm template" in head else "kustomize" if "kustomize build" in head else "argocd",
        step=entities.get("phase", ("",))[0],
        error_lines=lines,
        entities=entities,
    )

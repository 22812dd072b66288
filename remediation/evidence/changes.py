"""What changed since the last healthy state, from two versions of a thing: pure.

A text's first line sums it up for a card's thread; the lines below it are the details. The values of a workload's
variables are never named: they may be secrets. Of a repository's diff, redaction takes what looks like one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from remediation.ports import Json

MAX_NAMED = 12
MAX_COMMITS = 10
MAX_FILES = 20
MAX_PATCH_CHARS = 2_000  # of all files together
MAX_DIFFERENCES = 20
RECENT = timedelta(days=1)
_VALUE_CHARS = 120
# Parts of a container that explain a failure when they change, beside image and environment.
_PARTS = ("command", "args", "resources", "readinessProbe", "livenessProbe", "startupProbe", "ports", "securityContext")


# --- two pod templates ------------------------------------------------------------------------------------------------


def template_changes(old: Json, new: Json) -> list[str]:
    """What two pod templates differ in, most telling first: images, references, variables' names, other parts."""
    before, after = _containers(old), _containers(new)
    found: list[str] = []
    for name in _ordered(before, after):
        one, other = before.get(name), after.get(name)
        label = "" if len(after) == 1 and len(before) == 1 else f" of {name}"
        if one is None or other is None:
            found.append(f"container {name} {'added' if one is None else 'removed'}")
            continue
        if one.get("image") != other.get("image"):
            found.append(f"image{label} {image_change(str(one.get('image')), str(other.get('image')))}")
        found += [f"{change}{label}" for change in _names(_variables(one), _variables(other), "variable")]
        found += [f"{part}{label} changed" for part in _PARTS if one.get(part) != other.get(part)]
    return [*found[:1], *_references(old, new), *found[1:], *_rest(old, new)][:MAX_NAMED]


def image_change(old: str, new: str) -> str:
    """ "2.14.1 → 2.14.2" where only the tag or digest differs, else both names in full."""
    (one, old_version), (other, new_version) = _split_image(old), _split_image(new)
    if one == other and old_version and new_version:
        return f"{old_version} → {new_version}"
    return f"{old} → {new}"


def _split_image(image: str) -> tuple[str, str]:
    """(name, tag or shortened digest)."""
    name, _, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        head, tag = name, ""
    return head, f"{tag}@{digest[:19]}".strip("@") if digest else tag


def _containers(template: Json) -> dict[str, Json]:
    spec = template.get("spec") or {}
    rows = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    return {str(row.get("name", "")): row for row in rows}


def _variables(container: Json) -> dict[str, Any]:
    return {str(row.get("name", "")): row for row in container.get("env") or []}


def _ordered(*groups: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group))


def _names(old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> Iterator[str]:
    for name in _ordered(old, new):
        if name not in old:
            yield f"{what} {name} added"
        elif name not in new:
            yield f"{what} {name} removed"
        elif old[name] != new[name]:
            yield f"{what} {name} changed"


def _references(old: Json, new: Json) -> list[str]:
    """ConfigMaps, Secrets and claims that are referred to: one that takes another's place is named with it."""
    found: list[str] = []
    for kind in ("ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount"):
        gone = sorted(_referred(old, kind) - _referred(new, kind))
        come = sorted(_referred(new, kind) - _referred(old, kind))
        pairs = min(len(gone), len(come))
        found += [f"{kind} {one} → {other}" for one, other in zip(gone, come, strict=False)]
        found += [f"{kind} {name} no longer used" for name in gone[pairs:]]
        found += [f"{kind} {name} newly used" for name in come[pairs:]]
    return found


# Where a pod template names other objects: (key, name's key) by kind.
_REFERENCE_KEYS: dict[tuple[str, str], str] = {
    ("configMapRef", "name"): "ConfigMap", ("configMapKeyRef", "name"): "ConfigMap", ("configMap", "name"): "ConfigMap",
    ("secretRef", "name"): "Secret", ("secretKeyRef", "name"): "Secret", ("secret", "secretName"): "Secret",
    ("secret", "name"): "Secret", ("imagePullSecrets", "name"): "Secret",
    ("persistentVolumeClaim", "claimName"): "PersistentVolumeClaim",
}  # fmt: skip


def _referred(template: Json, kind: str) -> set[str]:
    spec = template.get("spec") or {}
    names = {str(spec["serviceAccountName"])} if kind == "ServiceAccount" and spec.get("serviceAccountName") else set()
    stack: list[tuple[str, Any]] = [("", spec)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, list):
            stack += [(key, item) for item in value]
        elif isinstance(value, dict):
            for (holder, name_key), of in _REFERENCE_KEYS.items():
                if key == holder and of == kind and value.get(name_key):
                    names.add(str(value[name_key]))
            stack += list(value.items())
    return names


def _rest(old: Json, new: Json) -> Iterator[str]:
    """Checksums of configuration that charts put into annotations, and what else of the pod is set otherwise."""
    notes = [(template.get("metadata") or {}).get("annotations") or {} for template in (old, new)]
    for name in _ordered(*notes):
        telling = any(word in name.lower() for word in ("checksum", "hash", "config", "secret"))
        if telling and notes[0].get(name) != notes[1].get(name):
            yield f"annotation {name} changed"
    specs = [template.get("spec") or {} for template in (old, new)]
    for key in ("nodeSelector", "affinity", "tolerations", "volumes", "hostNetwork", "securityContext", "dnsPolicy"):
        if specs[0].get(key) != specs[1].get(key):
            yield f"{key} changed"


# --- two revisions of a workload --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a workload; `served` tells that it is known to have been healthy."""

    number: int
    template: Json
    created_at: datetime | None = None
    cause: str = ""
    served: bool = False


def rollout_change(current: Revision, older: Sequence[Revision], failing_since: datetime) -> str:
    """The change from the last healthy revision (`older` has the newest first); "" where there is only one revision."""
    if not older:
        return ""
    healthy = healthy_of(older)
    parts = template_changes(healthy.template, current.template) or ["the same template"]
    when = before(current.created_at, failing_since)
    known = "" if healthy.served else " (not known to have been healthy)"
    back = healthy.created_at is not None and current.created_at is not None and current.created_at < healthy.created_at
    if is_old(current.created_at, failing_since):
        lines = [f"nothing was rolled out: revision {current.number} is from {when}", "  what it changed then:"]
    else:
        lines = [f"{', '.join(parts[:3])}{_more(parts, 3)}; revision {healthy.number} → {current.number}, {when}"]
    lines += [f"  {part}" for part in parts]
    lines.append(f"  last healthy: revision {healthy.number}{known}, {stamp(healthy.created_at)}")
    lines.append(
        f"  now: revision {current.number}, {stamp(current.created_at)}{f'; {current.cause}' if current.cause else ''}"
    )
    if back:
        lines.append("  the present revision is the older one: it was rolled back to")
    return "\n".join(lines)


def healthy_of(older: Sequence[Revision]) -> Revision:
    """The newest that is known to have served, else the newest; there must be one."""
    return next((one for one in older if one.served), older[0])


def is_old(changed_at: datetime | None, failing_since: datetime) -> bool:
    """Whether a change is too long ago to be what made something fail that ran since."""
    return changed_at is not None and failing_since - changed_at > RECENT


def before(changed_at: datetime | None, failing_since: datetime) -> str:
    if changed_at is None:
        return "at an unknown time"
    seconds = (failing_since - changed_at).total_seconds()
    return f"{span(seconds)} before the failure" if seconds >= 0 else f"{span(-seconds)} after the first alert"


def span(seconds: float) -> str:
    """A duration in its largest fitting unit: "40 s", "12 min", "5 h", "4 days"."""
    for size, unit in ((172_800, "days"), (7_200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'days': 86_400, 'h': 3_600, 'min': 60}[unit]:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def stamp(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC") if at else "time unknown"


def _more(found: Sequence[Any], shown: int) -> str:
    return f" and {len(found) - shown} more" if len(found) > shown else ""


# --- two commits ------------------------------------------------------------------------------------------------------


def commits_change(comparison: Json, *, newest: bool = True) -> str:
    """GitHub's comparison of two commits: how many, whose, which files. "" where they are the same.

    `newest` names the newest commit's subject in the first line.
    """
    commits = [row for row in comparison.get("commits") or [] if isinstance(row, dict)]
    files = [row for row in comparison.get("files") or [] if isinstance(row, dict)]
    total = int(comparison.get("total_commits") or len(commits))
    if not total and not files:
        return ""
    last = f', newest "{subject(_message(commits[-1]))}"' if commits and newest else ""
    touched = ", ".join(str(row.get("filename", "")) for row in files[:3])
    head = f"{total} commit{'' if total == 1 else 's'}{last}"
    lines = [f"{head}; {touched}{_more(files, 3)}" if files else head]
    lines += [_commit_line(row) for row in reversed(commits[-MAX_COMMITS:])]
    if total > MAX_COMMITS:
        lines.append(f"  ... {total - MAX_COMMITS} earlier ones")
    lines += [_file_line(row) for row in files[:MAX_FILES]]
    if len(files) > MAX_FILES:
        lines.append(f"  ... {len(files) - MAX_FILES} more files")
    return "\n".join([*lines, *_patches(files)])


def _patches(files: Sequence[Json]) -> Iterator[str]:
    """The small diffs, in full: a version, a limit or a flag that was changed says more than its file's name."""
    left = MAX_PATCH_CHARS
    for row in files[:MAX_FILES]:
        patch = str(row.get("patch") or "")
        if patch and len(patch) <= left:
            left -= len(patch)
            yield f"  --- {row.get('filename', '')}"
            yield from (f"  {line[:_VALUE_CHARS]}" for line in patch.splitlines() if line[:1] in {"+", "-", "@"})


def _file_line(row: Json) -> str:
    how = f"+{row.get('additions', 0)} -{row.get('deletions', 0)}"
    return f"  {row.get('status', 'changed')} {row.get('filename', '')} {how}"


def _commit_line(row: Json) -> str:
    commit = row.get("commit") or {}
    who = (commit.get("author") or {}).get("name") or (row.get("author") or {}).get("login") or "somebody"
    return f"  {str(row.get('sha', ''))[:10]} {who}: {subject(_message(row))}"


def _message(row: Json) -> str:
    return str((row.get("commit") or {}).get("message") or "")


def subject(message: str) -> str:
    """A commit message's first line, at most 100 characters."""
    line = " ".join(message.strip().partition("\n")[0].split())
    return line if len(line) <= 100 else f"{line[:99]}…"


# --- a live object and the wanted one ---------------------------------------------------------------------------------

# Filled in by servers and controllers: differences there are no drift.
_NOISE = frozenset({"status", "managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"})


def differences(live: Any, wanted: Any, *, names_only: bool) -> list[str]:
    """Where an object in the cluster differs from its manifest, as "path: live → wanted".

    With `names_only` no value is named: for Secrets and ConfigMaps. A variable's value is never named.
    """
    found: list[str] = []
    for path, one, other in _differ(live, wanted, ""):
        hidden = names_only or ".env[" in path
        found.append(path if hidden else f"{path}: {_shown(one)} → {_shown(other)}")
        if len(found) == MAX_DIFFERENCES:
            break
    return found


_ABSENT = object()


def _differ(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in _ordered(one, other):
            if key not in _NOISE:
                yield from _differ(one.get(key, _ABSENT), other.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif isinstance(one, list) and isinstance(other, list) and _named(one) and _named(other):
        before, after = ({str(row["name"]): row for row in rows} for rows in (one, other))
        for name in _ordered(before, after):
            yield from _differ(before.get(name, _ABSENT), after.get(name, _ABSENT), f"{path}[{name}]")
    elif one != other:
        yield path or "everything", one, other


def _named(rows: Iterable[Any]) -> bool:
    return all(isinstance(row, dict) and "name" in row for row in rows)


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= _VALUE_CHARS else f"{text[:_VALUE_CHARS]}…"

"""Status objects, selectors and validation: what the API server says when it refuses, as pure functions."""

import re
from typing import Any

Json = dict[str, Any]
USER = "system:serviceaccount:codehealer:codehealer"
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")


class ApiError(Exception):
    """A refusal with the Status object that the client receives."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def qualified(group: str, plural: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    details = {"name": name, "kind": plural, **({"group": group} if group else {})}
    return ApiError(404, "NotFound", f'{qualified(group, plural)} "{name}" not found', details)


def forbidden(verb: str, group: str, plural: str, namespace: str, name: str) -> ApiError:
    named = f' "{name}"' if name else ""
    where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
    text = (
        f'{qualified(group, plural)}{named} is forbidden: User "{USER}" cannot {verb} resource "{plural}" '
        f'in API group "{group}"{where}'
    )
    return ApiError(403, "Forbidden", text, {"name": name, "kind": plural})


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    text = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return ApiError(409, "Conflict", text, {"name": name, "group": group, "kind": plural})


def already_exists(group: str, plural: str, name: str) -> ApiError:
    text = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", text, {"name": name, "kind": plural})


def invalid(kind: str, name: str, causes: list[tuple[str, str, str]], group: str = "") -> ApiError:
    """`causes` are (reason, field, message) rows."""
    shown = ", ".join(f"{field}: {message}" for _, field, message in causes)
    whole = f"{kind}.{group}" if group else kind
    details = {
        "name": name,
        "kind": kind,
        **({"group": group} if group else {}),
        "causes": [{"reason": r, "field": f, "message": m} for r, f, m in causes],
    }
    return ApiError(422, "Invalid", f'{whole} "{name}" is invalid: {shown}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


# --- selectors -------------------------------------------------------------------------------------------------------

FIELDS = {
    "pods": {
        "metadata.name",
        "metadata.namespace",
        "status.phase",
        "spec.nodeName",
        "status.podIP",
        "spec.restartPolicy",
    },
    "events": {
        "metadata.name",
        "metadata.namespace",
        "type",
        "reason",
        "source",
        "reportingComponent",
        *(f"involvedObject.{k}" for k in ("kind", "name", "namespace", "uid", "apiVersion", "fieldPath")),
    },
}
TERM = re.compile(r"\s*([^\s=!,()]+)\s*(==|=|!=)\s*([^,]*?)\s*\Z")
SET_TERM = re.compile(r"\s*([^\s=!,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*\Z")


def matches_labels(body: Json, selector: str) -> bool:
    """Whether the labels satisfy a selector: equality, in, notin, presence and absence. ApiError 400 on nonsense."""
    labels = body["metadata"].get("labels") or {}
    for part in filter(None, re.split(r",(?![^(]*\))", selector)):
        equal, member = TERM.match(part), SET_TERM.match(part)
        bare = part.strip()
        if equal:
            key, sign, value = equal.groups()
            if (labels.get(key) == value) != (sign != "!="):
                return False
        elif member:
            key, word, values = member.groups()
            listed = {v.strip() for v in values.split(",")}
            if (labels.get(key) in listed) != (word == "in"):
                return False
        elif re.fullmatch(r"!?[\w./-]+", bare):
            if (bare.lstrip("!") in labels) == bare.startswith("!"):
                return False
        else:
            raise bad_request(f"unable to parse requirement: found '{bare}'")
    return True


def matches_fields(plural: str, body: Json, selector: str) -> bool:
    """Whether the fields satisfy a selector; only those that the real API server indexes. ApiError 400 otherwise."""
    for part in filter(None, selector.split(",")):
        term = TERM.match(part)
        if not term:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
        key, sign, value = term.groups()
        if key not in FIELDS.get(plural, {"metadata.name", "metadata.namespace"}):
            raise bad_request(f"field label not supported: {key}")
        node: Any = body
        for name in key.split("."):
            node = node.get(name, "") if isinstance(node, dict) else ""
        if key == "source":
            node = body.get("source", {}).get("component", "")
        if (str(node) == value) != (sign != "!="):
            return False
    return True


# --- decoding --------------------------------------------------------------------------------------------------------

FREE_MAPS = {
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "data",
    "stringData",
    "binaryData",
    "limits",
    "requests",
    "hard",
    "used",
    "capacity",
    "allocatable",
}


def typed(value: Any, path: str = "", *, free: bool = False) -> tuple[Any, list[str]]:
    """The value as a typed decoder keeps it, and the paths of unknown fields, which it drops.

    No field of the Kubernetes API has an underscore in its name, so a name with one comes from a client's own spelling
    (env_from for envFrom). Nulls are dropped too: a typed object knows no difference between null and absent.
    """
    unknown: list[str] = []
    if isinstance(value, list):
        rows = [typed(item, f"{path}[{i}]") for i, item in enumerate(value)]
        return [item for item, _ in rows], [name for _, names in rows for name in names]
    if not isinstance(value, dict):
        return value, unknown
    kept: Json = {}
    for key, inner in value.items():
        here = f"{path}.{key}" if path else key
        if "_" in key and not free:
            unknown.append(here)
            continue
        clean, found = typed(inner, here, free=key in FREE_MAPS)
        unknown += found
        if clean is not None:
            kept[key] = clean
    return kept, unknown


# --- validation ------------------------------------------------------------------------------------------------------


def check(plural: str, group: str, kind: str, before: Json | None, after: Json) -> None:
    """ApiError 400 or 422 when the API server would refuse the new object."""
    name = after["metadata"].get("name", "")
    if not isinstance(name, str) or not NAME.match(name) or len(name) > 253:
        raise invalid(
            kind,
            str(name),
            [
                (
                    "FieldValueInvalid",
                    "metadata.name",
                    f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case letters',
                )
            ],
            group,
        )
    if before is not None and after["metadata"].get("name") != before["metadata"]["name"]:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL")
    problems = CHECKS[plural](before, after) if plural in CHECKS else []
    if problems:
        raise invalid(kind, name, problems, group)


def check_containers(spec: Any, field: str) -> list[tuple[str, str, str]]:
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list) or not containers:
        return [("FieldValueRequired", f"{field}.containers", "Required value")]
    problems: list[tuple[str, str, str]] = []
    names: set[str] = set()
    for index, container in enumerate(containers):
        here = f"{field}.containers[{index}]"
        if not container.get("name"):
            problems.append(("FieldValueRequired", f"{here}.name", "Required value"))
        if not container.get("image"):
            problems.append(("FieldValueRequired", f"{here}.image", "Required value"))
        if container.get("name") in names:
            problems.append(("FieldValueDuplicate", f"{here}.name", f'Duplicate value: "{container["name"]}"'))
        names.add(container.get("name", ""))
        for kind in ("limits", "requests"):
            for key, value in ((container.get("resources") or {}).get(kind) or {}).items():
                if not re.fullmatch(r"\d+(\.\d+)?(m|[kKMGTPE]i?)?", str(value)):
                    raise bad_request(
                        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                    )
                if kind == "limits":
                    problems.extend(_request_over_limit(container, key, here))
    return problems


def _request_over_limit(container: Json, key: str, here: str) -> list[tuple[str, str, str]]:
    asked = (container["resources"].get("requests") or {}).get(key)
    limit = container["resources"]["limits"][key]
    if asked is None or _amount(str(asked)) <= _amount(str(limit)):
        return []
    text = f'Invalid value: "{asked}": must be less than or equal to {key} limit of {limit}'
    return [("FieldValueInvalid", f"{here}.resources.requests", text)]


def _amount(text: str) -> float:
    number, suffix = re.fullmatch(r"([\d.]+)(\D*)", text).groups()  # type: ignore[union-attr]
    powers = {
        "m": 1e-3,
        "": 1,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
        "T": 1e12,
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
    }
    return float(number) * powers.get(suffix, 1)


def check_deployment(before: Json | None, after: Json) -> list[tuple[str, str, str]]:
    spec = after.get("spec")
    if not isinstance(spec, dict):
        return [("FieldValueRequired", "spec", "Required value")]
    replicas = spec.get("replicas", 1)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request(
            'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal '
            f"{type(replicas).__name__} into Go struct field DeploymentSpec.spec.replicas of type int32"
        )
    problems: list[tuple[str, str, str]] = []
    if replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        problems.append(("FieldValueInvalid", "spec.replicas", text))
    template = spec.get("template") or {}
    problems += check_containers(template.get("spec"), "spec.template.spec")
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not wanted:
        problems.append(("FieldValueRequired", "spec.selector", "Required value"))
    elif any(labels.get(k) != v for k, v in wanted.items()):
        text = f"Invalid value: {labels}: `selector` does not match template `labels`"
        problems.append(("FieldValueInvalid", "spec.template.metadata.labels", text))
    if before is not None and before["spec"].get("selector") != spec.get("selector"):
        problems.append(
            ("FieldValueInvalid", "spec.selector", f"Invalid value: {spec.get('selector')}: field is immutable")
        )
    return problems


def check_pod(before: Json | None, after: Json) -> list[tuple[str, str, str]]:
    problems = check_containers(after.get("spec"), "spec")
    if before is None or problems:
        return problems

    def frozen(body: Json) -> Json:
        spec = dict(body["spec"])
        spec["containers"] = [{**c, "image": ""} for c in spec["containers"]]
        return {k: v for k, v in spec.items() if k not in {"tolerations", "activeDeadlineSeconds"}}

    if frozen(before) != frozen(after):
        text = (
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions "
            "to existing tolerations),`spec.terminationGracePeriodSeconds` "
            "(allow it to be set to 1 if it was previously negative)"
        )
        return [("FieldValueForbidden", "spec", text)]
    return []


def check_job(before: Json | None, after: Json) -> list[tuple[str, str, str]]:
    if before is not None and before["spec"].get("template") != after.get("spec", {}).get("template"):
        return [("FieldValueInvalid", "spec.template", "Invalid value: field is immutable")]
    return check_containers((after.get("spec") or {}).get("template", {}).get("spec"), "spec.template.spec")


CHECKS = {"deployments": check_deployment, "pods": check_pod, "jobs": check_job}

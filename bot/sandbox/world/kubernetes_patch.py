"""The four patch types of the Kubernetes API as pure functions over JSON values."""

import copy
from typing import Any

Json = dict[str, Any]

# Lists that a strategic merge joins by a key instead of replacing (patchMergeKey in the API description).
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}


class PatchError(Exception):
    """The patch cannot be applied; `status` is the HTTP status the API server answers."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Any, field: str = "") -> Any:
    """Kubernetes' own merge: lists of known fields are joined by their key; `$patch: delete|replace` is obeyed."""
    if isinstance(patch, dict):
        return _merge_objects(target if isinstance(target, dict) else {}, patch)
    if isinstance(patch, list) and field in MERGE_KEYS:
        return _merge_lists(target if isinstance(target, list) else [], patch, MERGE_KEYS[field])
    return copy.deepcopy(patch)


def _merge_objects(target: Json, patch: Json) -> Json:
    if patch.get("$patch") == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    result = dict(target)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic_merge(result.get(key), value, key)
    return result


def _merge_lists(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = list(target)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {item!r} does not contain declared merge key: {key}", 400)
        place = next((i for i, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif place is None:
            result.append(_merge_objects({}, item))
        else:
            result[place] = _merge_objects(result[place], item)
    return result


def json_patch(target: Json, operations: Any) -> Json:
    """RFC 6902. PatchError 422 where a path is absent or a test fails, 400 where the document is no patch."""
    if not isinstance(operations, list):
        raise PatchError(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch", 400
        )
    result: Any = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise PatchError("error decoding patch: an operation needs op and path", 400)
        _apply_operation(result, operation)
    patched: Json = result
    return patched


def _apply_operation(document: Any, operation: Json) -> None:
    kind, path = operation["op"], operation["path"]
    if kind in {"move", "copy"}:
        value = copy.deepcopy(_read(document, operation.get("from", "")))
        if kind == "move":
            _write(document, {"op": "remove", "path": operation["from"]})
        _write(document, {"op": "add", "path": path, "value": value})
    elif kind == "test":
        if _read(document, path) != operation.get("value"):
            raise PatchError("the server rejected our request due to an error in our request: testing value failed")
    elif kind in {"add", "replace", "remove"}:
        _write(document, operation)
    else:
        raise PatchError(f"Unexpected kind: {kind}", 400)


def _pointer(path: str) -> list[str]:
    if not path.startswith("/"):
        raise PatchError(f"invalid path {path!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]


def _read(document: Any, path: str) -> Any:
    node = document
    for part in _pointer(path):
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise PatchError(f"the path {path!r} does not exist") from None
    return node


def _write(document: Any, operation: Json) -> None:
    path, kind = operation["path"], operation["op"]
    *parents, last = _pointer(path)
    parent = (
        _read(document, "/" + "/".join(p.replace("~", "~0").replace("/", "~1") for p in parents))
        if parents
        else document
    )
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last) if last.isdigit() else -1
        if not 0 <= index <= len(parent) - (kind != "add"):
            raise PatchError(f"the path {path!r} does not exist")
        if kind == "add":
            parent.insert(index, operation.get("value"))
        elif kind == "replace":
            parent[index] = operation.get("value")
        else:
            del parent[index]
    elif isinstance(parent, dict):
        if kind != "add" and last not in parent:
            raise PatchError(f"the path {path!r} does not exist")
        if kind == "remove":
            del parent[last]
        else:
            parent[last] = operation.get("value")
    else:
        raise PatchError(f"the path {path!r} does not exist")

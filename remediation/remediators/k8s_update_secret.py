"""Gives a key of a Secret its new value from the policy's source, and restarts the workloads that read it.

The value is never in a snapshot, an outcome, a log line or an error. Several writes make one action: each leaves the
execution's mark, and running again goes on behind the last one.
"""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

import asyncio
import base64
import binascii
import hmac
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from knowledge.errors import Refused, Unavailable
from knowledge.model import Action, Outcome, Risk, Target, Verification
from remediation import kube, rotation
from remediation.context import WORKLOADS, Context
from remediation.ports import Clients, Json
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    check,
    judged,
    parameters_as,
)
from remediation.remediators._workload import cluster_of, fetch, mark_of, marked, rollout_check, snapshot_of
from remediation.remediators.k8s_restart_rollout import annotated, replaced, restarting
from remediation.secret_sources import SecretSource, new_value

PATCH_ATTEMPTS = 3
PATCH_PAUSE_S = 0.5


class Workload(Parameters):
    kind: str
    name: str


class UpdateSecret(Parameters):
    """The Secret by name, key and uid; `users` are the workloads to be restarted.

    `source` is only words for people: the source itself is looked up in the policy when it is used, and must be the one
    of `source_digest`.
    """

    secret: str
    key: str
    uid: str
    source: str
    source_digest: str
    users: list[Workload]


def _propose(context: Context) -> Action | NotOffered:
    if not context.secrets:
        return NotOffered("policy.yaml names no source of a new value for any of its secrets")
    if not any(map(kube.is_failing, context.pods)):
        return NotOffered("no pod is failing now")
    target, reasons = context.target, []
    for one in context.secrets:
        shown = f"{one.configured.name}/{one.configured.key}"
        if one.problem:
            reasons.append(f"{shown}: {one.problem}")
        elif (target.kind, target.name) not in one.users:
            reasons.append(f"{shown}: {target.name} does not read it")
        else:
            parameters = {
                "secret": one.configured.name,
                "key": one.configured.key,
                "uid": one.uid,
                "source": one.configured.source.words,
                "source_digest": one.configured.source.digest,
                "users": [{"kind": kind, "name": name} for kind, name in one.users],
            }
            return Action(NAME, target, parameters)
    return NotOffered("; ".join(reasons))


def _preview(action: Action, context: Context) -> Preview:
    wanted = parameters_as(UpdateSecret, action)
    users = ", ".join(f"{one.kind} {one.name}" for one in wanted.users)
    sentence = (
        f"Give key {wanted.key} of Secret {wanted.secret} the value that {wanted.source} has, "
        f"and restart what reads it: {users}. This cannot be undone: the value before is not kept."
    )
    diff = f"- {wanted.secret}/{wanted.key}: (not shown)\n+ {wanted.secret}/{wanted.key}: (not shown)"
    return Preview(sentence, diff, f"1 Secret and all pods of {users}")


def _source(action: Action, wanted: UpdateSecret, clients: Clients) -> SecretSource:
    """Refused where the policy names another source by now, or none."""
    sources = clients.secret_sources
    source = sources.source_of(action.target, wanted.secret, wanted.key) if sources else None
    if source is None or source.digest != wanted.source_digest:
        raise Refused(f"The policy no longer takes {wanted.secret}/{wanted.key} from {wanted.source}. Diagnose again.")
    return source


async def _beforehand(action: Action, wanted: UpdateSecret, clients: Clients) -> SecretStr | None:
    """What it has. None for a command, which may make a new value each time: it is run for the write alone."""
    source = _source(action, wanted, clients)
    return await new_value(source) if source.steady else None


async def _preflight(action: Action, clients: Clients) -> Preflight:
    """Compares the source's value with the cluster's, and keeps neither."""
    wanted, target = parameters_as(UpdateSecret, action), action.target
    secret = await _secret(action, wanted, clients)
    if kube.uid_of(secret) != wanted.uid:
        return Preflight(False, {}, f"Secret {wanted.secret} is another one by now; nothing was done.")
    value = await _beforehand(action, wanted, clients)
    if value is not None and _same(secret, wanted.key, value):
        return Preflight(False, {}, _already(wanted))
    state = await fetch(action, clients)
    users = [await _user(target, one, wanted, clients) for one in wanted.users]
    snapshot = {
        **snapshot_of(state),
        "secret_uid": wanted.uid,
        "secret_version": secret["metadata"]["resourceVersion"],
        "secret_annotated": bool(kube.annotations(secret)),
        "users": users,
    }
    return Preflight(True, snapshot, "")


def _already(wanted: UpdateSecret) -> str:
    return f"Secret {wanted.secret} has the value of {wanted.source} already; nothing was done."


async def _secret(action: Action, wanted: UpdateSecret, clients: Clients) -> Json:
    target = action.target
    return await cluster_of(clients).get(target.cluster, "Secret", target.namespace, wanted.secret)


def _same(secret: Json, key: str, value: SecretStr) -> bool:
    """In constant time, though both sides are ours: it costs nothing."""
    try:
        present = base64.b64decode((secret.get("data") or {}).get(key, ""), validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(present, value.get_secret_value().encode())


async def _user(target: Target, one: Workload, wanted: UpdateSecret, clients: Clients) -> dict[str, Any]:
    """A workload that will be restarted. Refused where that has become impossible or needless."""
    body = await cluster_of(clients).get(target.cluster, one.kind, target.namespace, one.name)
    if not rotation.reads(kube.template_of(body), wanted.secret, wanted.key):
        raise Refused(f"{one.kind} {one.name} does not read Secret {wanted.secret} any more. Diagnose again.")
    hindrance = kube.rollout_hindrance(body, failing=False)
    if hindrance:
        raise Refused(f"{one.kind} {one.name} could not be restarted: {hindrance}. Nothing was done.")
    return {"kind": one.kind, "name": one.name, "uid": kube.uid_of(body), **annotated(body)}


def _writing(
    snapshot: Mapping[str, Any], wanted: UpdateSecret, encoded: str, execution_id: int
) -> list[Json]:  # fmt: skip
    """`encoded` is the value in base64."""
    key = wanted.key.replace("~", "~0").replace("/", "~1")
    return [
        {"op": "test", "path": "/metadata/uid", "value": snapshot["secret_uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": snapshot["secret_version"]},
        {"op": "replace", "path": f"/data/{key}", "value": encoded},
        *marked(bool(snapshot["secret_annotated"]), execution_id),
    ]


def _encoded(value: SecretStr) -> str:
    return base64.b64encode(value.get_secret_value().encode()).decode()


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    wanted, target = parameters_as(UpdateSecret, action), action.target
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    value = await _beforehand(action, wanted, clients)
    # What is there already does for a command: the cluster is asked whether it would take a write, not which.
    present = (await _secret(action, wanted, clients)).get("data") or {}
    operations = _writing(ready.snapshot, wanted, _encoded(value) if value else present.get(wanted.key, ""), 0)
    cluster = cluster_of(clients)
    await cluster.patch(target.cluster, "Secret", target.namespace, wanted.secret, operations, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would accept a new value in Secret {wanted.secret}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    wanted = parameters_as(UpdateSecret, action)
    secret = await _secret(action, wanted, clients)
    if mark_of(secret) != str(execution_id):
        value = await new_value(_source(action, wanted, clients))
        if _same(secret, wanted.key, value):
            raise Refused(_already(wanted))
        await _write(action, wanted, snapshot, execution_id, clients, value)
    left: list[str] = []
    for user in snapshot["users"]:
        why = await _restart(action.target, user, execution_id, clients)
        if why:
            left.append(f"{user['kind']} {user['name']} could not be restarted: {why}")
    return _done(wanted, left)


def _done(wanted: UpdateSecret, left: list[str]) -> Outcome:
    written = f"Secret {wanted.secret} has its new value"
    mark = {"secret": wanted.secret}
    if left:
        return Outcome(False, True, f"{written}, but {'; '.join(left)}. Restart it by hand.", mark)
    return Outcome(True, True, f"{written} and what reads it is restarting.", mark)


async def _write(  # noqa: PLR0917  what is written, and where
    action: Action,
    wanted: UpdateSecret,
    snapshot: Mapping[str, Any],
    execution_id: int,
    clients: Clients,
    value: SecretStr,
) -> None:
    """Puts the new value in. After a lost answer the mark tells whether it is there."""
    target = action.target
    operations = _writing(snapshot, wanted, _encoded(value), execution_id)
    try:
        await cluster_of(clients).patch(target.cluster, "Secret", target.namespace, wanted.secret, operations)
    except Unavailable as error:
        if not error.maybe_done or mark_of(await _secret(action, wanted, clients)) != str(execution_id):
            raise


async def _restart(target: Target, user: Mapping[str, Any], execution_id: int, clients: Clients) -> str:
    """Restarts one workload once; why it could not, in words.

    Tried again on passing faults: the mark tells whether an attempt took effect, and the uid that it is still the same.
    """
    cluster, why = cluster_of(clients), ""
    test = {"op": "test", "path": "/metadata/uid", "value": user["uid"]}
    for attempt in range(PATCH_ATTEMPTS):
        if attempt:
            await asyncio.sleep(PATCH_PAUSE_S * attempt)
        try:
            found = await cluster.get(target.cluster, user["kind"], target.namespace, user["name"])
            if mark_of(found) == str(execution_id):
                return ""
            there = annotated(found)
            operations = [test, *restarting(there), *marked(there["annotated"], execution_id)]
            await cluster.patch(target.cluster, user["kind"], target.namespace, user["name"], operations)
        except Unavailable as error:
            why = str(error)
        except Refused as error:
            return str(error)
        else:
            return ""
    return why


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    wanted, target = parameters_as(UpdateSecret, action), action.target
    try:
        secret = await _secret(action, wanted, clients)
        if kube.uid_of(secret) != snapshot["secret_uid"]:
            return None
        if mark_of(secret) != str(execution_id):
            same = secret["metadata"]["resourceVersion"] == snapshot["secret_version"]
            return Outcome(False, False, f"Secret {wanted.secret} was not changed.") if same else None
        left = []
        for user in snapshot["users"]:
            found = await cluster_of(clients).get(target.cluster, user["kind"], target.namespace, user["name"])
            if mark_of(found) != str(execution_id):
                left.append(f"{user['kind']} {user['name']} was not restarted")
    except Unavailable:
        return None
    return _done(wanted, left)


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    """The target's state, the other workloads, and the Secret without what is in it."""
    secret, target = await _secret(action, parameters_as(UpdateSecret, action), clients), action.target
    others = [
        await cluster_of(clients).get(target.cluster, user["kind"], target.namespace, user["name"])
        for user in snapshot["users"]
        if (user["kind"], user["name"]) != (target.kind, target.name)
    ]
    return {**await fetch(action, clients), "secret": {"metadata": secret["metadata"]}, "others": others}


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    secret = state.get("secret") or {}
    ours = kube.uid_of(secret) == snapshot["secret_uid"] and bool(mark_of(secret))
    written = check("secret", "as written", "as written" if ours else "another one", ours, otherwise="not_verified")
    others = [rollout_check(body) for body in state.get("others", [])]
    return judged(
        [written, *replaced(snapshot, state).checks, *others],
        "The new value is in place and every pod is a new one and ready.",
    )


NAME = "k8s_update_secret"
REMEDIATOR = Remediator(
    name=NAME,
    title="Rotate the credential",
    risk=Risk.HIGH,
    expected_seconds=180,
    settle_seconds=15,
    deadline_seconds=900,
    parameters=UpdateSecret,
    permissions=(
        "secrets: get, patch",
        "deployments, statefulsets, daemonsets: get, list, patch",
        "replicasets, controllerrevisions, pods: list",
    ),
    target_kinds=frozenset(WORKLOADS),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=_look,
    verify=_verify,
    resumes=True,
    replaces_pods=True,
)

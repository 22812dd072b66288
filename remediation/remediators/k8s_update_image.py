"""Puts one container's image back to one that ran here before, where the image alone is what changed since."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from knowledge.errors import Conflict, NotFound
from knowledge.model import Action, Outcome, Risk, Verification
from remediation import kube, revisions
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
from remediation.remediators._workload import (
    cluster_of,
    fetch,
    health_checks,
    look,
    marked,
    patch,
    put_back,
    settled_by_mark,
    snapshot_of,
    unchanged,
    undone_by_value,
    workload_of,
)


class UpdateImage(Parameters):
    """One container from the image `was` to `image`, which ran in the kept revision with this name and uid."""

    container: str
    was: str
    image: str
    ran_in: str
    ran_in_uid: str
    revision: Annotated[int, Field(ge=1)]


def _propose(context: Context) -> Action | NotOffered:
    workload = context.workload
    if workload is None:
        return NotOffered("the workload could not be looked at")
    hindrance = kube.rollout_hindrance(workload)
    if hindrance:
        return NotOffered(hindrance)
    older = kube.last_healthy(workload, context.replica_sets)
    if older is None:
        return NotOffered("there is no earlier, different revision that is known to have run")
    return _to(context, workload, older)


def _to(context: Context, workload: Json, older: Json) -> Action | NotOffered:
    present, goal = kube.template_of(workload), kube.template_of(older)
    changed = [
        (str(one["name"]), str(one.get("image", "")), str(other.get("image", "")))
        for one, other in zip(kube.containers(present), kube.containers(goal), strict=False)
        if one.get("name") == other.get("name") and one.get("image") != other.get("image")
    ]
    if len(changed) != 1:
        return NotOffered(f"{len(changed)} images differ from those of revision {kube.revision_of(older)}")
    name, was, image = changed[0]
    if not kube.same_template({"spec": {"template": with_image(goal, name, was)}}, workload):
        return NotOffered(f"more than the image differs from revision {kube.revision_of(older)}")
    parameters = {
        "container": name,
        "was": was,
        "image": image,
        "ran_in": kube.name_of(older),
        "ran_in_uid": kube.uid_of(older),
        "revision": kube.revision_of(older),
    }
    return Action(NAME, context.target, parameters)


def with_image(template: Json, container: str, image: str) -> Json:
    """A copy of the template in which that container has that image."""
    found: Json = copy.deepcopy(template)
    for one in kube.containers(found):
        if one.get("name") == container:
            one["image"] = image
    return found


def _preview(action: Action, context: Context) -> Preview:
    target, wanted = action.target, parameters_as(UpdateImage, action)
    sentence = (
        f"Set the image of container {wanted.container} of {target.kind} {target.name} back to {wanted.image}, "
        f"which ran in revision {wanted.revision}; nothing else differs from it."
    )
    diff = f"- image: {wanted.was}\n+ image: {wanted.image}"
    return Preview(sentence, diff, f"all {len(context.pods)} pods, one after the other")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(UpdateImage, action)
    state = await fetch(action, clients)
    workload = state["workload"]
    hindrance = kube.rollout_hindrance(workload)
    if hindrance:
        return Preflight(False, {}, f"Nothing was done: {hindrance}.")
    template = kube.template_of(workload)
    place = kube.container_place(template, wanted.container)
    now = str(kube.containers(template)[place].get("image", "")) if place is not None else "gone"
    if now != wanted.was:
        return Preflight(False, {}, f"The image of {wanted.container} is {now} by now; nothing was done.")
    try:
        ran = await _ran(action, wanted, clients)
    except (Conflict, NotFound) as error:
        return Preflight(False, {}, str(error))
    if not ran:
        return Preflight(False, {}, f"Revision {wanted.revision} did not run {wanted.image}; nothing was done.")
    return Preflight(True, {**snapshot_of(state), "place": place, **wanted.model_dump()}, "")


async def _ran(action: Action, wanted: UpdateImage, clients: Clients) -> bool:
    """Whether the kept revision is the very one that was proposed, and has that image."""
    target = action.target
    kind = revisions.kind_of(target)
    found = await cluster_of(clients).get(target.cluster, kind, target.namespace, wanted.ran_in)
    if kube.uid_of(found) != wanted.ran_in_uid:
        raise Conflict(f"{kind} {wanted.ran_in} is another one by now. Diagnose again.")
    template = kube.template_of(revisions.alike([found], ())[0])
    return any((c.get("name"), c.get("image")) == (wanted.container, wanted.image) for c in kube.containers(template))


def _operations(snapshot: Mapping[str, Any], was: str, image: str) -> Sequence[Json]:
    here = f"/spec/template/spec/containers/{snapshot['place']}"
    return [
        {"op": "test", "path": f"{here}/name", "value": snapshot["container"]},
        {"op": "test", "path": f"{here}/image", "value": was},
        {"op": "replace", "path": f"{here}/image", "value": image},
    ]


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    found = ready.snapshot
    operations = [*unchanged(found), *_operations(found, found["was"], found["image"])]
    await patch(action, operations, clients, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would accept the image {found['image']}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    change = _operations(snapshot, snapshot["was"], snapshot["image"])
    await patch(action, [*unchanged(snapshot), *change, *marked(bool(snapshot["annotated"]), execution_id)], clients)
    return _done(snapshot)


def _done(snapshot: Mapping[str, Any]) -> Outcome:
    detail = f"The image of {snapshot['container']} is {snapshot['image']} again."
    return Outcome(True, True, detail, {"image": snapshot["image"]})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    nothing = "The image was not changed."
    return await settled_by_mark(action, snapshot, execution_id, clients, done=_done(snapshot), nothing=nothing)


def _image_now(snapshot: Mapping[str, Any], workload: Json) -> str:
    images = {c["name"]: str(c.get("image", "")) for c in kube.containers(kube.template_of(workload))}
    return images.get(snapshot["container"], "gone")


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    now = _image_now(snapshot, state.get("workload") or {})
    ours = check("image", str(snapshot["image"]), now, now == snapshot["image"], otherwise="not_verified")
    return judged([ours, *health_checks(snapshot, state)], f"All pods run {now} and are ready.")


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    change = _operations(snapshot, snapshot["image"], snapshot["was"])
    return await put_back(action, snapshot, change, clients, done=_back(snapshot))


def _back(snapshot: Mapping[str, Any]) -> Outcome:
    return Outcome(True, True, f"The image is {snapshot['was']} again.", {"image": snapshot["was"]})


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    found = await workload_of(action.target, clients)
    now, was, ours = _image_now(snapshot, found), snapshot["was"], snapshot["image"]
    still = f"The image is still {ours}."
    return undone_by_value(found, snapshot, now, was=was, ours=ours, done=_back(snapshot), still=still)


NAME = "k8s_update_image"
REMEDIATOR = Remediator(
    name=NAME,
    title="Go back to the image that ran before",
    risk=Risk.MEDIUM,
    expected_seconds=120,
    settle_seconds=15,
    deadline_seconds=900,
    parameters=UpdateImage,
    permissions=(
        "deployments, statefulsets, daemonsets: get, patch",
        "replicasets, controllerrevisions: get, list",
        "pods: list",
    ),
    target_kinds=frozenset(WORKLOADS),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look,
    verify=_verify,
    undo=_undo,
    undone=_undone,
    undo_text="puts back the image that is set now",
    changes_spec=True,
    replaces_pods=True,
)

"""The controller loop: scheduler, kubelet, ReplicaSet, Deployment and Job controllers in one pass.

One call of `reconcile` looks at the store and takes each object one step further. What a pod does once it runs is
decided by the causes alone (causes.py); time only says when the next step may happen.
"""

from typing import Any

from bot.sandbox.world.admission import count_quotas, refusal
from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.cluster import Cluster, Container
from bot.sandbox.world.objects import (
    REVISION,
    image_of,
    is_ready,
    owner_uid,
    quantity_cpu,
    replica_set,
)
from bot.sandbox.world.objects import (
    pod as new_pod,
)

Json = dict[str, Any]


def reconcile(cluster: Cluster) -> None:
    """One pass over everything."""
    for deployment in cluster.store.all("deployments"):
        reconcile_deployment(cluster, deployment)
    for body in cluster.store.all("replicasets"):
        reconcile_replica_set(cluster, body)
    for job in cluster.store.all("jobs"):
        reconcile_job(cluster, job)
    for pod in cluster.store.all("pods"):
        step_pod(cluster, pod)
    for deployment in cluster.store.all("deployments"):
        write_deployment_status(cluster, deployment)
    count_quotas(cluster)


# --- Deployments -----------------------------------------------------------------------------------------------------


def replica_sets(cluster: Cluster, deployment: Json) -> list[Json]:
    return sorted(cluster.store.owned("replicasets", deployment["metadata"]["uid"]), key=revision_of)


def revision_of(body: Json) -> int:
    return int((body["metadata"].get("annotations") or {}).get(REVISION, "0"))


def live_pods(cluster: Cluster, owner: Json) -> list[Json]:
    found = cluster.store.owned("pods", owner["metadata"]["uid"])
    return [p for p in found if not p["metadata"].get("deletionTimestamp")]


def reconcile_deployment(cluster: Cluster, deployment: Json) -> None:
    """Makes or finds the ReplicaSet of the present template, then moves replicas as a rolling update does."""
    sets = replica_sets(cluster, deployment)
    name = f"{deployment['metadata']['name']}-{cluster.template_hash(deployment)}"
    current = next((r for r in sets if r["metadata"]["name"] == name), None)
    highest = max((revision_of(r) for r in sets), default=0)
    if current is None:
        current = cluster.store.create("replicasets", replica_set(deployment, highest + 1, 0))
        highest += 1
    elif revision_of(current) < highest:
        highest += 1
        annotations = {**current["metadata"]["annotations"], REVISION: str(highest)}
        current = cluster.store.update(
            "replicasets", {**current, "metadata": {**current["metadata"], "annotations": annotations}}
        )
    meta = deployment["metadata"]
    if (meta.get("annotations") or {}).get(REVISION) != str(highest):
        annotations = {**(meta.get("annotations") or {}), REVISION: str(highest)}
        cluster.store.update("deployments", {**deployment, "metadata": {**meta, "annotations": annotations}})
    old = [r for r in sets if r["metadata"]["name"] != name]
    if not deployment["spec"].get("paused"):
        roll(cluster, deployment, current, old)


def share(value: Any, replicas: int, *, up: bool) -> int:
    """maxSurge or maxUnavailable as a number of pods; percentages round up for surge and down for unavailability."""
    if isinstance(value, str) and value.endswith("%"):
        exact = int(value[:-1]) * replicas / 100
        return int(-(-exact // 1)) if up else int(exact)
    return int(value)


def roll(cluster: Cluster, deployment: Json, current: Json, old: list[Json]) -> None:
    """One step of a rolling update, by the rules of the Deployment controller."""
    wanted = deployment["spec"].get("replicas", 1)
    if not any(r["spec"]["replicas"] for r in old):
        set_replicas(cluster, deployment, current, wanted)
        return
    limits = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = share(limits.get("maxSurge", "25%"), wanted, up=True)
    unavailable = share(limits.get("maxUnavailable", "25%"), wanted, up=False)
    if not surge and not unavailable:
        unavailable = 1
    total = current["spec"]["replicas"] + sum(r["spec"]["replicas"] for r in old)
    room = max(wanted + surge - total, 0)
    grown = min(current["spec"]["replicas"] + room, wanted)
    current = set_replicas(cluster, deployment, current, grown)
    total = grown + sum(r["spec"]["replicas"] for r in old)
    ready_new = sum(map(is_ready, live_pods(cluster, current)))
    removable = total - (wanted - unavailable) - (grown - ready_new)
    removable = shrink(cluster, deployment, old, removable, only_unready=True)
    ready = ready_new + sum(is_ready(p) for r in old for p in live_pods(cluster, r))
    shrink(cluster, deployment, old, min(removable, ready - (wanted - unavailable)), only_unready=False)


def shrink(cluster: Cluster, deployment: Json, old: list[Json], removable: int, *, only_unready: bool) -> int:
    """Takes up to `removable` pods off the old ReplicaSets, oldest first; how many may still be taken off."""
    for index, body in enumerate(old):
        if removable <= 0:
            break
        count = body["spec"]["replicas"]
        if only_unready:
            count -= sum(map(is_ready, live_pods(cluster, body)))
        taken = max(min(count, removable), 0)
        if taken:
            old[index] = set_replicas(cluster, deployment, body, body["spec"]["replicas"] - taken)
            removable -= taken
    return removable


def set_replicas(cluster: Cluster, deployment: Json, body: Json, replicas: int) -> Json:
    before = body["spec"]["replicas"]
    if before == replicas:
        return body
    word = "up" if replicas > before else "down"
    text = f"Scaled {word} replica set {body['metadata']['name']} from {before} to {replicas}"
    cluster.event(deployment, "Normal", "ScalingReplicaSet", text, "deployment-controller")
    annotations = {
        **body["metadata"]["annotations"],
        "deployment.kubernetes.io/desired-replicas": str(deployment["spec"].get("replicas", 1)),
    }
    changed = {
        **body,
        "metadata": {**body["metadata"], "annotations": annotations},
        "spec": {**body["spec"], "replicas": replicas},
    }
    return cluster.store.update("replicasets", changed)


def write_deployment_status(cluster: Cluster, deployment: Json) -> None:
    sets = replica_sets(cluster, deployment)
    name = f"{deployment['metadata']['name']}-{cluster.template_hash(deployment)}"
    pods = [(r["metadata"]["name"], p) for r in sets for p in live_pods(cluster, r)]
    wanted = deployment["spec"].get("replicas", 1)
    ready = sum(is_ready(p) for _, p in pods)
    updated = sum(1 for owner, _ in pods if owner == name)
    updated_ready = sum(1 for owner, p in pods if owner == name and is_ready(p))
    if name not in {r["metadata"]["name"] for r in sets}:
        return  # the template changed since the last pass: the next one observes it
    counts = (len(pods), updated, ready, wanted, deployment["metadata"]["generation"])
    now = cluster.clock()
    uid = deployment["metadata"]["uid"]
    if cluster.progress.get(uid, ((), 0.0))[0] != counts:
        cluster.progress[uid] = (counts, now)
    stalled = now - cluster.progress[uid][1] > cluster.timings.of("progress_deadline")
    complete = updated_ready >= wanted and len(pods) == wanted
    was = deployment.get("status") or {}
    known = {c["type"]: c for c in was.get("conditions", [])}
    limits = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    enough = ready >= wanted - share(limits.get("maxUnavailable", "25%"), wanted, up=False)
    conditions = [
        condition(
            known,
            now,
            "Available",
            enough,
            reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            message=f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        ),
        progressing(known, now, name, complete=complete, stalled=stalled),
    ]
    status: Json = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(wanted, len(pods)) - ready,
        "conditions": conditions,
    }
    cluster.store.set_status("deployments", deployment, {k: v for k, v in status.items() if v != 0 or k == "replicas"})


def progressing(known: dict[str, Json], now: float, name: str, *, complete: bool, stalled: bool) -> Json:
    """The Progressing condition. Once complete it stays so: a pod that fails later is not a stuck rollout."""
    before = known.get("Progressing", {})
    done = before.get("reason") == "NewReplicaSetAvailable" and f'"{name}"' in before.get("message", "")
    if complete or done:
        text = f'ReplicaSet "{name}" has successfully progressed.'
        return condition(known, now, "Progressing", True, reason="NewReplicaSetAvailable", message=text)
    if stalled:
        text = f'ReplicaSet "{name}" has timed out progressing.'
        return condition(known, now, "Progressing", False, reason="ProgressDeadlineExceeded", message=text)
    text = f'ReplicaSet "{name}" is progressing.'
    return condition(known, now, "Progressing", True, reason="ReplicaSetUpdated", message=text)


def condition(known: dict[str, Json], now: float, kind: str, value: bool, *, reason: str, message: str) -> Json:
    """A condition that keeps its transition time while its value stays."""
    status = "True" if value else "False"
    before = known.get(kind, {})
    if (before.get("status"), before.get("reason"), before.get("message")) == (status, reason, message):
        return before
    moved = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": rfc3339(now),
        "lastTransitionTime": moved or rfc3339(now),
    }


# --- ReplicaSets -----------------------------------------------------------------------------------------------------


def reconcile_replica_set(cluster: Cluster, body: Json) -> None:
    """Makes missing pods, marks surplus ones for deletion (unready and young first), writes the counts."""
    owner = owner_uid(body)
    if owner and not any(d["metadata"]["uid"] == owner for d in cluster.store.all("deployments")):
        for pod in live_pods(cluster, body):
            mark_deleted(cluster, pod)
        cluster.store.delete("replicasets", body["metadata"]["namespace"], body["metadata"]["name"])
        return
    pods = live_pods(cluster, body)
    missing = body["spec"]["replicas"] - len(pods)
    for _ in range(missing):
        if not create_pod(cluster, body):
            break
    if missing < 0:
        ranked = sorted(pods, key=lambda p: (is_ready(p), -cluster.container(p).order))
        for pod in ranked[:-missing]:
            mark_deleted(cluster, pod)
            text = f"Deleted pod: {pod['metadata']['name']}"
            cluster.event(body, "Normal", "SuccessfulDelete", text, "replicaset-controller")
    pods = live_pods(cluster, body)
    ready = sum(map(is_ready, pods))
    status = {
        "replicas": len(pods),
        "fullyLabeledReplicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": body["metadata"]["generation"],
    }
    cluster.store.set_status("replicasets", body, status)


def create_pod(cluster: Cluster, owner: Json) -> bool:
    """False when the namespace's limits refuse another pod (an event says so)."""
    body = new_pod(owner, cluster.rng)
    why = refusal(cluster, body)
    if why:
        text = f'Error creating: pods "{body["metadata"]["generateName"]}" is forbidden: {why}'
        limited_event(cluster, owner, "FailedCreate", text, "replicaset-controller")
        return False
    made = cluster.store.create("pods", body)
    cluster.container(made).order = cluster.store.version
    text = f"Created pod: {made['metadata']['name']}"
    component = "job-controller" if owner["kind"] == "Job" else "replicaset-controller"
    cluster.event(owner, "Normal", "SuccessfulCreate", text, component)
    return True


def limited_event(cluster: Cluster, about: Json, reason: str, text: str, component: str) -> None:
    """A warning at most once a probe period, so that a loop of many passes a second reads like a real one."""
    key = f"{about['metadata']['uid']}/{reason}"
    run = cluster.containers.setdefault(key, Container())
    if cluster.clock() >= run.next_event:
        run.next_event = cluster.clock() + cluster.timings.of("probe_event")
        cluster.event(about, "Warning", reason, text, component)


def mark_deleted(cluster: Cluster, pod: Json, *, grace: float | None = None) -> Json:
    """Starts the graceful end of a pod; it disappears when its containers have stopped."""
    if pod["metadata"].get("deletionTimestamp"):
        return pod
    now = cluster.clock()
    cluster.container(pod).gone_at = now + (cluster.timings.of("terminate") if grace is None else grace)
    meta = {
        **pod["metadata"],
        "deletionTimestamp": rfc3339(now + 30),
        "deletionGracePeriodSeconds": pod["spec"].get("terminationGracePeriodSeconds", 30),
    }
    marked = cluster.store.update("pods", {**pod, "metadata": meta})
    if pod["status"].get("containerStatuses"):
        text = f"Stopping container {pod['spec']['containers'][0]['name']}"
        cluster.event(pod, "Normal", "Killing", text, "kubelet")
    return marked


# --- Jobs ------------------------------------------------------------------------------------------------------------


def reconcile_job(cluster: Cluster, job: Json) -> None:
    """Runs the Job's pod, again after a failure up to the back-off limit; Complete and Failed are final."""
    status = job.get("status") or {}
    if any(c["status"] == "True" for c in status.get("conditions", [])):
        return
    pods = live_pods(cluster, job)
    phases = [p["status"].get("phase") for p in pods]
    failed, succeeded = phases.count("Failed"), phases.count("Succeeded")
    limit = job["spec"].get("backoffLimit", 6)
    now, conditions = cluster.clock(), []
    if succeeded:
        conditions = [
            condition(
                {},
                now,
                "Complete",
                True,
                reason="CompletionsReached",
                message="Reached expected number of succeeded pods",
            )
        ]
        cluster.event(job, "Normal", "Completed", "Job completed", "job-controller")
    elif failed > limit:
        text = "Job has reached the specified backoff limit"
        conditions = [condition({}, now, "Failed", True, reason="BackoffLimitExceeded", message=text)]
        cluster.event(job, "Warning", "BackoffLimitExceeded", text, "job-controller")
    elif failed == len(pods):
        create_pod(cluster, job)
    active = len(pods) - failed - succeeded
    counts = {"active": active, "failed": failed, "succeeded": succeeded}
    fresh: Json = {k: v for k, v in counts.items() if v}
    fresh["startTime"] = status.get("startTime") or rfc3339(now)
    if conditions:
        fresh["conditions"] = conditions
    cluster.store.set_status("jobs", job, fresh)


def is_job_pod(pod: Json) -> bool:
    return any(o["kind"] == "Job" for o in pod["metadata"].get("ownerReferences", []))


# --- Scheduler and kubelet -------------------------------------------------------------------------------------------


def step_pod(cluster: Cluster, pod: Json) -> None:
    """Takes one pod a step further and writes its status."""
    run, now = cluster.container(pod), cluster.clock()
    if pod["metadata"].get("deletionTimestamp"):
        if now >= run.gone_at:
            cluster.store.delete("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
            cluster.containers.pop(pod["metadata"]["uid"], None)
        return
    STEPS[run.stage](cluster, pod, run, now)
    current = cluster.store.get("pods", pod["metadata"]["namespace"], pod["metadata"]["name"])
    if current is not None:
        cluster.store.set_status("pods", current, pod_status(current, run))


def step_pending(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    if now < run.since + cluster.timings.of("schedule"):
        return
    node, why = choose_node(cluster, pod)
    if node is None:
        limited_event(cluster, pod, "FailedScheduling", why, "default-scheduler")
        run.waiting = ("Unschedulable", why)
        return
    assigned = cluster.store.update("pods", {**pod, "spec": {**pod["spec"], "nodeName": node}})
    meta = pod["metadata"]
    text = f"Successfully assigned {meta['namespace']}/{meta['name']} to {node}"
    cluster.event(assigned, "Normal", "Scheduled", text, "default-scheduler")
    run.stage, run.since, run.waiting = "creating", now, ("ContainerCreating", "")


def choose_node(cluster: Cluster, pod: Json) -> tuple[str | None, str]:
    """(node name, "") or (None, the scheduler's sentence)."""
    need = sum(
        quantity_cpu(c.get("resources", {}).get("requests", {}).get("cpu", "0")) for c in pod["spec"]["containers"]
    )
    used: dict[str, int] = {}
    for other in cluster.store.all("pods"):
        node = other["spec"].get("nodeName")
        if node and other["status"].get("phase") == "Running":
            used[node] = used.get(node, 0) + sum(
                quantity_cpu(c.get("resources", {}).get("requests", {}).get("cpu", "0"))
                for c in other["spec"]["containers"]
            )
    reasons: dict[str, int] = {}
    fits: list[tuple[int, str]] = []
    nodes = list(cluster.store.all("nodes"))
    for node in nodes:
        name, labels = node["metadata"]["name"], node["metadata"]["labels"]
        wanted = pod["spec"].get("nodeSelector") or {}
        free = quantity_cpu(node["status"]["allocatable"]["cpu"]) - used.get(name, 0)
        if node["spec"].get("unschedulable"):
            reason = "node(s) were unschedulable"
        elif any(labels.get(k) != v for k, v in wanted.items()):
            reason = "node(s) didn't match Pod's node affinity/selector"
        elif free < need:
            reason = "Insufficient cpu"
        else:
            fits.append((-free, name))
            continue
        reasons[reason] = reasons.get(reason, 0) + 1
    if fits:
        return min(fits)[1], ""
    parts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    tail = "preemption: 0/{n} nodes are available: {n} Preemption is not helpful for scheduling."
    return None, f"0/{len(nodes)} nodes are available: {parts}. " + tail.format(n=len(nodes))


def step_creating(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    problem = cluster.blocked(pod)
    image = image_of(pod)
    if problem:
        reason, message, event = problem
        if reason == "ErrImagePull":
            if now >= run.next_event:
                cluster.event(pod, "Normal", "Pulling", f'Pulling image "{image}"', "kubelet")
                cluster.event(pod, "Warning", event, f'Failed to pull image "{image}": {message}', "kubelet")
                cluster.event(pod, "Warning", "Failed", "Error: ErrImagePull", "kubelet")
                run.next_event = now + cluster.timings.of("probe_event") * 2
            elif now >= run.next_event - cluster.timings.of("probe_event"):
                reason, message = "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {message}'
                if run.waiting[0] != reason:
                    cluster.event(pod, "Normal", "BackOff", f'Back-off pulling image "{image}"', "kubelet")
                    cluster.event(pod, "Warning", "Failed", "Error: ImagePullBackOff", "kubelet")
            else:
                reason, message = run.waiting
        else:
            limited_event(cluster, pod, "Failed", f"Error: {message}", "kubelet")
        run.stage, run.waiting = "blocked", (reason, message)
        return
    run.stage = "creating"
    if now < run.since + cluster.timings.of("start"):
        return
    cluster.event(pod, "Normal", "Pulled", f'Container image "{image}" already present on machine', "kubelet")
    start_container(cluster, pod, run, now)


def start_container(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    name = pod["spec"]["containers"][0]["name"]
    cluster.event(pod, "Normal", "Created", f"Created container: {name}", "kubelet")
    cluster.event(pod, "Normal", "Started", f"Started container {name}", "kubelet")
    run.stage, run.since, run.started_at, run.ready = "running", now, now, False


def step_running(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    symptom = cluster.symptom(pod)
    if is_job_pod(pod):
        if now >= run.started_at + cluster.timings.of("crash_after"):
            finish_container(cluster, pod, run, now)
        return
    if symptom is not None and symptom.effect in {"crash", "oom"}:
        if now >= run.started_at + cluster.timings.of("crash_after"):
            end_container(cluster, pod, run, now)
        return
    if symptom is not None and symptom.effect == "unready":
        run.ready = False
        if now >= run.next_event and now >= run.started_at + cluster.timings.of("ready"):
            run.next_event = now + cluster.timings.of("probe_event")
            message = symptom.probe_message.format_map(cluster.log_fields_of(pod))
            cluster.event(pod, "Warning", "Unhealthy", message, "kubelet")
        return
    if now >= run.started_at + cluster.timings.of("ready"):
        run.ready = True


def finish_container(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    """The container of a Job's pod ended: with its symptom's exit code or with 0; it is not started again."""
    symptom = cluster.symptom(pod)
    run.exit_code = symptom.exit_code if symptom else 0
    run.last = {
        "exitCode": run.exit_code,
        "reason": symptom.reason if symptom else "Completed",
        "startedAt": rfc3339(run.started_at),
        "finishedAt": rfc3339(now),
        "containerID": container_id(pod, run.restarts),
    }
    run.last_started, run.last_ended, run.last_symptom = run.started_at, now, symptom
    run.stage, run.ready = "finished", False


def end_container(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    """The container ended by its symptom: remember the end and back off."""
    symptom = cluster.symptom(pod)
    if symptom is None:
        return
    name = pod["spec"]["containers"][0]["name"]
    run.last = {
        "exitCode": symptom.exit_code,
        "reason": symptom.reason,
        "startedAt": rfc3339(run.started_at),
        "finishedAt": rfc3339(now),
        "containerID": container_id(pod, run.restarts),
    }
    run.last_started, run.last_ended, run.last_symptom = run.started_at, now, symptom
    run.restarts += 1
    run.ready = False
    if symptom.effect == "oom":
        node = cluster.store.get("nodes", "", pod["spec"].get("nodeName", ""))
        if node is not None:
            text = f"Memory cgroup out of memory: Killed process {2000 + run.restarts} ({name})"
            cluster.event(node, "Warning", "OOMKilling", text, "kernel-monitor")
    full = f"{pod['metadata']['name']}_{pod['metadata']['namespace']}({pod['metadata']['uid']})"
    delay = cluster.timings.backoff_after(run.restarts)
    shown = ("10s", "20s", "40s", "1m20s", "2m40s", "5m0s")[min(run.restarts, 6) - 1]
    run.waiting = ("CrashLoopBackOff", f"back-off {shown} restarting failed container={name} pod={full}")
    run.stage, run.until = "backoff", now + delay
    cluster.event(pod, "Warning", "BackOff", f"Back-off restarting failed container {name} in pod {full}", "kubelet")


def step_backoff(cluster: Cluster, pod: Json, run: Container, now: float) -> None:
    if now >= run.until:
        start_container(cluster, pod, run, now)


def step_finished(_cluster: Cluster, _pod: Json, _run: Container, _now: float) -> None:
    """Nothing more happens to a pod of a Job that has ended."""


STEPS = {
    "pending": step_pending,
    "creating": step_creating,
    "blocked": step_creating,
    "running": step_running,
    "backoff": step_backoff,
    "finished": step_finished,
}


def container_id(pod: Json, number: int) -> str:
    uid: str = pod["metadata"]["uid"]
    return "containerd://" + (uid.replace("-", "") * 2)[:60] + f"{number:04x}"


def pod_status(pod: Json, run: Container) -> Json:
    """The status that the kubelet (or, before that, the scheduler) writes for what it remembers."""
    was = pod.get("status") or {}
    known = {c["type"]: c for c in was.get("conditions", [])}
    scheduled = bool(pod["spec"].get("nodeName"))
    name = pod["spec"]["containers"][0]["name"]

    def mark(kind: str, value: bool, reason: str = "", message: str = "") -> Json:
        status = "True" if value else "False"
        before = known.get(kind, {})
        moved = before.get("lastTransitionTime") if before.get("status") == status else None
        extra = {k: v for k, v in (("reason", reason), ("message", message)) if v}
        stamp = moved or rfc3339(max(run.since, run.started_at))
        return {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": stamp, **extra}

    if not scheduled:
        return {
            "phase": "Pending",
            "qosClass": "Burstable",
            "conditions": [mark("PodScheduled", False, "Unschedulable", run.waiting[1])],
        }
    not_ready = f"containers with unready status: [{name}]"
    reason, message = ("", "") if run.ready else ("ContainersNotReady", not_ready)
    conditions = [
        mark("PodScheduled", True),
        mark("Initialized", True),
        mark("ContainersReady", run.ready, reason, message),
        mark("Ready", run.ready, reason, message),
    ]
    phase = "Running" if run.started_at else "Pending"
    if run.stage == "finished":
        phase = "Succeeded" if run.exit_code == 0 else "Failed"
    digest = pod["metadata"]["uid"].replace("-", "")
    status: Json = {
        "phase": phase,
        "qosClass": "Burstable",
        "conditions": conditions,
        "hostIP": "192.168.10." + pod["spec"]["nodeName"][-1],
        "podIP": f"10.42.{int(digest[:2], 16) % 4}.{int(digest[2:4], 16)}",
        "startTime": was.get("startTime") or rfc3339(run.since),
        "containerStatuses": [container_status(pod, run, name)],
    }
    return status


def container_status(pod: Json, run: Container, name: str) -> Json:
    state: Json
    if run.stage == "running":
        state = {"running": {"startedAt": rfc3339(run.started_at)}}
    elif run.stage == "finished":
        state = {"terminated": run.last}
    else:
        state = {"waiting": {"reason": run.waiting[0], **({"message": run.waiting[1]} if run.waiting[1] else {})}}
    return {
        "name": name,
        "image": image_of(pod),
        "imageID": "" if not run.started_at else image_of(pod).rpartition(":")[0] + "@sha256:" + "0f" * 32,
        "ready": run.ready,
        "started": run.stage == "running",
        "restartCount": run.restarts,
        "state": state,
        "lastState": {"terminated": run.last} if run.last and run.stage != "finished" else {},
        **({"containerID": container_id(pod, run.restarts)} if run.started_at else {}),
    }

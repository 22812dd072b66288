"""The cluster: its store, its events, its kubelet's memory of each pod, and the questions other parts ask."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from bot.sandbox.world.causes import Cause, Surroundings, Symptom
from bot.sandbox.world.clockwork import Timings, rfc3339
from bot.sandbox.world.kubernetes_store import Store
from bot.sandbox.world.objects import image_of, is_ready, quantity_mib, template_hash
from bot.sandbox.world.podlogs import write_log
from bot.sandbox.world.services import BY_NAME, SERVICES, Service

Json = dict[str, Any]
Stage = Literal["pending", "creating", "blocked", "running", "backoff", "finished"]
MAX_EVENTS = 600
NAME_LABEL = "app.kubernetes.io/name"


@dataclass
class Container:
    """What the kubelet remembers of one pod's container. Times are Unix seconds."""

    stage: Stage = "pending"
    order: int = 0
    since: float = 0.0
    started_at: float = 0.0
    restarts: int = 0
    ready: bool = False
    waiting: tuple[str, str] = ("ContainerCreating", "")
    last: Json | None = None
    last_started: float = 0.0
    last_ended: float = 0.0
    last_symptom: Symptom | None = None
    until: float = 0.0
    next_event: float = 0.0
    gone_at: float = 0.0
    exit_code: int = 0


@dataclass
class Cluster:
    """All state of the cluster. `images` are those that the registry has; `demand` is each service's memory in MiB;
    `passwords` are those that the services' databases take now."""

    clock: Callable[[], float]
    timings: Timings
    rng: random.Random
    store: Store = field(init=False)
    containers: dict[str, Container] = field(default_factory=dict)
    causes: list[Cause] = field(default_factory=list)
    images: set[str] = field(default_factory=set)
    demand: dict[str, int] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)
    progress: dict[str, tuple[tuple[int, ...], float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store(self.clock)

    def container(self, pod: Json) -> Container:
        uid = pod["metadata"]["uid"]
        if uid not in self.containers:
            self.containers[uid] = Container(since=self.clock())
        return self.containers[uid]

    def template_hash(self, deployment: Json) -> str:
        """Of the present template; it changes with the generation only, and is asked for on every pass."""
        meta = deployment["metadata"]
        key = (meta["uid"], meta["generation"])
        if key not in self.hashes:
            self.hashes[key] = template_hash(deployment["spec"]["template"])
        return self.hashes[key]

    def deployment(self, service: str) -> Json:
        """The live Deployment of a service. KeyError when somebody deleted it."""
        found = self.store.get("deployments", BY_NAME[service].namespace, service)
        if found is None:
            raise KeyError(service)
        return found

    def pods(self, service: str) -> list[Json]:
        """The service's pods that are not being deleted, oldest first."""
        found = [
            p
            for p in self.store.all("pods", BY_NAME[service].namespace)
            if p["metadata"]["labels"].get("app") == service and not p["metadata"].get("deletionTimestamp")
        ]
        return sorted(found, key=lambda p: self.container(p).order)

    def surroundings(self, service: str) -> Surroundings:
        running = [p for p in self.pods(service) if self.container(p).stage in {"running", "backoff"}]
        return Surroundings(running, self.store.get)

    def symptom(self, pod: Json, around: Surroundings | None = None) -> Symptom | None:
        """What is wrong with a pod that runs, if anything: memory first, then the causes in order of their coming."""
        service = BY_NAME.get(pod["metadata"]["labels"].get(NAME_LABEL, ""))
        if service is None:
            return None
        limit = quantity_mib(pod["spec"]["containers"][0].get("resources", {}).get("limits", {}).get("memory", "1Ti"))
        if self.demand.get(service.name, 0) > limit:
            return OUT_OF_MEMORY
        around = around or self.surroundings(service.name)
        found = (c.symptom_of(around, pod) for c in self.causes if c.service == service.name)
        return next((s for s in found if s is not None), None)

    def blocked(self, pod: Json) -> tuple[str, str, str] | None:
        """(waiting reason, message, event reason) when the container cannot be made: absent image or configuration."""
        image = image_of(pod)
        if image not in self.images:
            text = (
                f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
            )
            return "ErrImagePull", f"rpc error: code = NotFound desc = {text}", "Failed"
        namespace = pod["metadata"]["namespace"]
        for container in pod["spec"]["containers"]:
            for source in container.get("envFrom", []):
                for ref, plural in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                    name = source.get(ref, {}).get("name")
                    if name and self.store.get(plural, namespace, name) is None:
                        return "CreateContainerConfigError", f'{plural[:-1]} "{name}" not found', "Failed"
        return None

    def event(
        self, about: Json, kind: str, reason: str, message: str, component: str, *, at: float | None = None
    ) -> None:
        """Writes a core/v1 Event, or counts a repeat of the same one up."""
        now = self.clock() if at is None else at
        meta = about["metadata"]
        namespace = meta.get("namespace", "default")
        for old in self.store.all("events", namespace):
            same = old["involvedObject"].get("uid") == meta["uid"] and old["reason"] == reason
            if same and old["message"] == message:
                self.store.update("events", {**old, "count": old["count"] + 1, "lastTimestamp": rfc3339(now)})
                return
        reference = {
            "kind": about["kind"],
            "namespace": namespace,
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        }
        if about["kind"] == "Pod":
            reference["fieldPath"] = f"spec.containers{{{about['spec']['containers'][0]['name']}}}"
        self.store.create(
            "events",
            {
                "metadata": {"name": f"{meta['name']}.{self.rng.getrandbits(64):016x}", "namespace": namespace},
                "involvedObject": reference,
                "reason": reason,
                "message": message,
                "type": kind,
                "count": 1,
                "firstTimestamp": rfc3339(now),
                "lastTimestamp": rfc3339(now),
                "eventTime": None,
                "source": {"component": component},
                "reportingComponent": component,
                "reportingInstance": about.get("spec", {}).get("nodeName", "") if component == "kubelet" else "",
            },
        )
        if len(self.store.objects["events"]) > MAX_EVENTS:
            oldest = next(iter(self.store.objects["events"]))
            self.store.delete("events", *oldest)

    def log(self, pod: Json, *, previous: bool) -> list[tuple[float, str]]:
        """(Unix seconds, line) pairs of the running or the previous container. LookupError when there is none."""
        run = self.container(pod)
        service = BY_NAME.get(pod["metadata"]["labels"].get(NAME_LABEL, ""), SERVICES[0])
        ended = run.stage in {"backoff", "finished"}
        if previous and (run.last is None or run.stage == "finished"):
            raise LookupError("previous terminated container not found")
        if not previous and run.stage in {"pending", "creating", "blocked"}:
            raise LookupError("waiting to start")
        past = previous or ended
        symptom = run.last_symptom if past else self.symptom(pod)
        fatal = symptom is not None and symptom.effect in {"crash", "oom"}
        started, stopped = (run.last_started, run.last_ended) if past else (run.started_at, self.clock())
        number = run.restarts - 1 if past else run.restarts
        decisive = symptom.decisive if symptom and (past or not fatal) else ()
        return write_log(
            language=service.language,
            seed=f"{pod['metadata']['uid']}/{number}",
            fields={**self.log_fields(service, pod)},
            decisive=decisive,
            started_at=started,
            ended_at=stopped,
            at_end=fatal and past,
            length=70 if fatal else 160,
        )

    def log_fields(self, service: Service, pod: Json) -> dict[str, str]:
        """What the placeholders of a telling line stand for."""
        fields: dict[str, str] = {}
        for cause in self.causes:
            if cause.service == service.name:
                fields.update(cause.fields)
        version = image_of(pod).rpartition(":")[2]
        address = pod.get("status", {}).get("podIP", "10.42.0.9")
        return {**fields, "service": service.name, "version": version, "pod": pod["metadata"]["name"], "ip": address}

    def log_fields_of(self, pod: Json) -> dict[str, str]:
        """The same for any pod."""
        return self.log_fields(BY_NAME[pod["metadata"]["labels"][NAME_LABEL]], pod)

    def status(self, service: str) -> tuple[str, str]:
        """(healthy, degraded or broken; why) of a service, by looking at its present state alone."""
        try:
            live = self.deployment(service)
        except KeyError:
            return "broken", "the Deployment is gone"
        wanted = live["spec"].get("replicas", 1)
        pods = self.pods(service)
        ready = sum(map(is_ready, pods))
        current = live["spec"]["template"]["spec"]["containers"][0]["image"]
        reasons = [self.trouble(p) for p in pods]
        why = next((r for r in reasons if r), "")
        if wanted and not ready:
            return "broken", why or "no pod is ready"
        updated = sum(1 for p in pods if image_of(p) == current and is_ready(p))
        observed = live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
        failed = self.failed_job(service)
        if failed:
            return "degraded", f"the Job {failed} failed"
        if ready < wanted or updated < wanted or len(pods) != wanted or why or not observed:
            return "degraded", why or f"{updated} of {wanted} pods are up to date and ready"
        return "healthy", ""

    def failed_job(self, service: str) -> str:
        """The name of a Job of the service that has given up, empty when there is none."""
        for job in self.store.all("jobs", BY_NAME[service].namespace):
            mine = job["metadata"].get("labels", {}).get(NAME_LABEL) == service
            conditions = (job.get("status") or {}).get("conditions", [])
            if mine and any(c["type"] == "Failed" and c["status"] == "True" for c in conditions):
                name: str = job["metadata"]["name"]
                return name
        return ""

    def trouble(self, pod: Json) -> str:
        """One word for what a pod suffers from, empty when it is well."""
        run = self.container(pod)
        if run.stage == "blocked":
            return run.waiting[0]
        if run.stage == "backoff":
            return "OOMKilled" if run.last_symptom and run.last_symptom.effect == "oom" else "CrashLoopBackOff"
        if run.stage == "pending" and self.clock() - run.since > self.timings.of("schedule") * 2:
            return "Unschedulable"
        symptom = self.symptom(pod) if run.stage == "running" else None
        return (
            {"crash": "CrashLoopBackOff", "oom": "OOMKilled", "unready": "Unready", "slow": "Slow"}[symptom.effect]
            if symptom
            else ""
        )


OUT_OF_MEMORY = Symptom(
    "oom",
    (
        "heap usage at 97 percent of the container's limit, forcing collection",
        "building the in-memory index of {service}: rows loaded so far exceed the estimate",
    ),
    exit_code=137,
    reason="OOMKilled",
)

"""What the API server asks of a new pod before it lets it in: the namespace's quotas and limit ranges."""

from collections.abc import Iterable
from typing import Any

from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.objects import quantity_mib

Json = dict[str, Any]
MEMORY = {"limits.memory": "limits", "requests.memory": "requests"}


def refusal(cluster: Cluster, pod: Json) -> str:
    """The API server's sentence when the pod may not be made, "" when it may."""
    namespace = pod["metadata"]["namespace"]
    running = [p for p in cluster.store.all("pods", namespace) if p["status"].get("phase") in {"Pending", "Running"}]
    for body in cluster.store.all("limitranges", namespace):
        for item in body["spec"]["limits"]:
            most, asked = item.get("max", {}).get("memory"), memory(pod, "limits")
            if most and item["type"] == "Container" and asked > quantity_mib(most):
                return f"maximum memory usage per Container is {most}, but limit is {asked}Mi"
    for quota in cluster.store.all("resourcequotas", namespace):
        hard, name = quota["spec"]["hard"], quota["metadata"]["name"]
        if "pods" in hard and len(running) >= int(hard["pods"]):
            counts = f"used: pods={len(running)}, limited: pods={hard['pods']}"
            return f"exceeded quota: {name}, requested: pods=1, {counts}"
        for key, kind in MEMORY.items():
            if key not in hard:
                continue
            used, asked = total(running, kind), memory(pod, kind)
            if used + asked > quantity_mib(hard[key]):
                rest = f"used: {key}={used}Mi, limited: {key}={hard[key]}"
                return f"exceeded quota: {name}, requested: {key}={asked}Mi, {rest}"
    return ""


def memory(pod: Json, kind: str) -> int:
    """Mebibytes of all containers; `kind` is limits or requests."""
    sizes = [c.get("resources", {}).get(kind, {}).get("memory", "0") for c in pod["spec"]["containers"]]
    return sum(map(quantity_mib, sizes))


def total(pods: Iterable[Json], kind: str) -> int:
    return sum(memory(pod, kind) for pod in pods)


def count_quotas(cluster: Cluster) -> None:
    """Writes how much of each memory quota is used, as the quota controller does."""
    for quota in cluster.store.all("resourcequotas"):
        hard = quota["spec"]["hard"]
        if not set(MEMORY) & set(hard):
            continue
        pods = list(cluster.store.all("pods", quota["metadata"]["namespace"]))
        used = {key: f"{total(pods, kind)}Mi" for key, kind in MEMORY.items() if key in hard}
        cluster.store.set_status("resourcequotas", quota, {"hard": hard, "used": used})

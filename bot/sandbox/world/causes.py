"""What is wrong: a cause is a pure function from a pod and its surroundings to a symptom.

Nothing here knows the time: a cause stops to show only when an API call has changed what it looks at (the image,
the pod, the number of replicas, the memory limit, a ConfigMap).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from bot.sandbox.world.objects import image_of

Json = dict[str, Any]
Effect = Literal["crash", "oom", "unready", "slow"]
COLD_WEIGHT = 0.5  # a pod with a cold cache carries half of what a warm one does while the service is saturated


@dataclass(frozen=True, slots=True)
class Symptom:
    """How a pod misbehaves. `decisive` are the telling log lines; `{…}` fields come from pod and cause."""

    effect: Effect
    decisive: tuple[str, ...]
    exit_code: int = 1
    probe_message: str = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    reason: str = "Error"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a cause may look at besides the pod: the service's running pods (oldest first) and its other objects."""

    pods: Sequence[Json]
    find: Callable[[str, str, str], Json | None]


SymptomOf = Callable[[Surroundings, Json], Symptom | None]


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with one service since a scenario began."""

    scenario: str
    service: str
    symptom_of: SymptomOf
    fields: dict[str, str] = field(default_factory=dict)


def on_image(image: str, symptom: Symptom) -> SymptomOf:
    """Every pod of this image; another image is free of it."""
    return lambda _, pod: symptom if image_of(pod) == image else None


def on_pod(uid: str, symptom: Symptom) -> SymptomOf:
    """What one pod holds in memory or in its own volume: gone with the pod, not with a container restart."""
    return lambda _, pod: symptom if pod["metadata"]["uid"] == uid else None


def on_every_pod(symptom: Symptom, while_true: Callable[[Surroundings], bool]) -> SymptomOf:
    """Every pod of the service for as long as the surroundings are so."""
    return lambda around, _: symptom if while_true(around) else None


def on_pods(uids: frozenset[str], symptom: Symptom) -> SymptomOf:
    """What each of these pods took in when it started; whatever takes their place is free of it."""
    return lambda _, pod: symptom if pod["metadata"]["uid"] in uids else None


def first_of(*parts: SymptomOf) -> SymptomOf:
    def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
        return next((s for s in (part(around, pod) for part in parts) if s is not None), None)

    return symptom_of


def overloaded(load: float, warm: frozenset[str], saturated: Symptom, slow: Symptom) -> SymptomOf:
    """More work than the pods can carry, in units of one warm pod.

    Pods that came later have cold caches, so replacing a pod lowers the capacity and adding pods raises it.
    As many pods as are missing fail their readiness probe, oldest first; the others answer slowly.
    """

    def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
        uids = [p["metadata"]["uid"] for p in around.pods]
        missing = load - sum(1.0 if uid in warm else COLD_WEIGHT for uid in uids)
        if missing <= 0:
            return None
        return saturated if pod["metadata"]["uid"] in uids[: ceil(missing)] else slow

    return symptom_of

"""Containers that are killed for their memory: by growth that a higher limit serves, and by a leak that it does not."""

# ruff: noqa: E501  a line of a log is written as one line

from bot.sandbox.world.causes import Symptom, on_image
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

LEAK = Symptom(
    "oom",
    (
        "heap usage at 97 percent of the container's limit, forcing collection",
        "building the in-memory index of {service}: rows loaded so far exceed the estimate",
        "rows held by finished requests: 918233, none of them released since start ({version})",
    ),
    exit_code=137,
    reason="OOMKilled",
)


def more_memory_needed(state: State, scenario: Scenario) -> None:
    """The working set grew beyond the limit, in every version."""
    limit = state.service(scenario.service).memory_limit
    state.cluster.demand[scenario.service] = int(limit * 1.4)


def leaking_release(state: State, scenario: Scenario) -> None:
    """The new release keeps every row: whatever it is given, it fills."""
    image = state.release(scenario.service, state.next_version(scenario.service))
    state.add_cause(scenario.id, scenario.service, on_image(image, LEAK))


ROLLBACK = (("rollback",),)
MORE = (("set_memory", "1Gi"),)
LESS = (("set_memory", "256Mi"), ("scale", "6"))
TEXT = "A container of {namespace}/{service} was killed for using too much memory."

SCENARIOS = (
    Scenario(
        id="oom-orders",
        title="Orders runs out of memory",
        summary="The working set outgrew the limit in every version: only more memory helps.",
        service="orders",
        kind="oomkilled",
        right_action="k8s_raise_memory",
        group="oom",
        source="alertmanager",
        begin=more_memory_needed,
        proofs=Proofs(MORE, ROLLBACK, LESS, "leak-catalog"),
        alertname="KubeContainerOOMKilled",
        alert_text=TEXT,
    ),
    Scenario(
        id="oom-reports",
        title="Reports needs more memory than it has",
        summary="The same growth in the development environment: more rows a report, whatever the version.",
        service="reports",
        kind="oomkilled",
        right_action="k8s_raise_memory",
        group="oom",
        source="kubernetes",
        begin=more_memory_needed,
        proofs=Proofs(MORE, ROLLBACK, LESS, "leak-catalog"),
    ),
    Scenario(
        id="leak-catalog",
        title="Catalog's new release leaks memory",
        summary="Killed for its memory like a service that has grown, but the release keeps all it reads: more memory is filled too.",
        service="catalog",
        kind="oomkilled",
        right_action="k8s_rollback",
        group="leak",
        source="alertmanager",
        begin=leaking_release,
        proofs=Proofs(ROLLBACK, MORE, (("restart_rollout",), ("rollback",)), "oom-orders"),
        alertname="KubeContainerOOMKilled",
        alert_text=TEXT,
    ),
)

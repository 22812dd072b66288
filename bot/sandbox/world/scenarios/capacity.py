"""Too much work for the pods there are, and a look-alike where more pods do not help."""

# ruff: noqa: E501  a line of a log is written as one line

from collections.abc import Callable
from typing import Any

from bot.sandbox.world.causes import Surroundings, Symptom, overloaded
from bot.sandbox.world.github_store import Job, Run
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

Json = dict[str, Any]

PYTHON_SATURATED = Symptom(
    "unready",
    (
        "{now} WARNING app.pool all 24 workers busy for 41 s, 880 requests waiting; cpu 998m of 1000m, throttled 61 % of periods",
        "{now} ERROR app.http request timed out after 3.0 s in the queue, p99 latency 8.4 s (objective 0.4 s)",
    ),
    probe_message='Readiness probe failed: Get "http://{ip}:8080/readyz": context deadline exceeded '
    "(Client.Timeout exceeded while awaiting headers)",
)
PYTHON_SLOW = Symptom(
    "slow",
    (
        "{now} WARNING app.pool 23 of 24 workers busy, queue 310; cpu 981m of 1000m, p99 latency 3.1 s (objective 0.4 s)",
    ),
)
NODE_SATURATED = Symptom(
    "unready",
    (
        '{{"level":50,"pid":1,"msg":"event loop lag 4120 ms, shedding load","inflight":1900,"cpu":"0.99 of 1 core"}}',
        '{{"level":40,"pid":1,"msg":"too many requests for this many instances","rps":2350,"capacity_rps":1400}}',
    ),
    probe_message='Readiness probe failed: Get "http://{ip}:8080/readyz": context deadline exceeded '
    "(Client.Timeout exceeded while awaiting headers)",
)
NODE_SLOW = Symptom(
    "slow",
    ('{{"level":40,"pid":1,"msg":"event loop lag 890 ms","inflight":1150,"cpu":"0.97 of 1 core","rps":2350}}',),
)
GO_SATURATED = Symptom(
    "unready",
    (
        'time={now} level=warn msg="query queue full" depth=4096 cpu=0.99 throttled=58% p99=9.2s objective=0.5s',
        'time={now} level=error msg="load shed" reason="demand above capacity of present replicas" qps=5200 capacity=3300',
    ),
    probe_message='Readiness probe failed: Get "http://{ip}:8080/readyz": context deadline exceeded '
    "(Client.Timeout exceeded while awaiting headers)",
)
GO_SLOW = Symptom(
    "slow",
    ('time={now} level=warn msg="query queue filling" depth=2210 cpu=0.96 p99=2.7s objective=0.5s qps=5200',),
)
UPSTREAM_SLOW = Symptom(
    "slow",
    (
        "{now} ERROR app.http request timed out after 3.0 s, p99 latency 8.1 s (objective 0.4 s); cpu 90m of 1000m",
        (
            "{now} ERROR app.pricing GET http://pricing.shared:8080/v2/prices failed: 503 Service Unavailable "
            "(upstream connect error, no healthy upstream)"
        ),
        "{now} WARNING app.pool 24 of 24 workers wait for pricing",
    ),
)
UPSTREAM_UNREADY = Symptom(
    "unready",
    (
        "{now} ERROR app.startup price list not loaded: GET http://pricing.shared:8080/v2/prices: 503 no healthy upstream",
        "{now} WARNING app.ready not ready: no price list",
    ),
)


PYTHON_NO_CONNECTIONS = Symptom(
    "crash",
    (
        "{now} ERROR app.database connection to db.shared:5432 failed: FATAL: sorry, too many clients already",
        "{now} CRITICAL app.startup no database connection after 3 attempts, giving up",
    ),
)


def overload(saturated: Symptom, slow: Symptom) -> Callable[[State, Scenario], None]:
    """One pod's worth of work too much for the pods that run now: two more pods carry it."""

    def begin(state: State, scenario: Scenario) -> None:
        warm = frozenset(p["metadata"]["uid"] for p in state.cluster.pods(scenario.service))
        rule = overloaded(len(warm) + 1.0, warm, saturated, slow)
        state.add_cause(scenario.id, scenario.service, rule)

    return begin


def overload_at_the_databases_limit(state: State, scenario: Scenario) -> None:
    """Saturated as by load alone, while the database takes the connections of two pods and of no third."""
    service = state.service(scenario.service)
    warm = frozenset(p["metadata"]["uid"] for p in state.cluster.pods(service.name))
    busy = overloaded(len(warm) + 1.0, warm, PYTHON_SATURATED, PYTHON_SLOW)
    most = len(warm)

    def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
        settings = around.find("configmaps", service.namespace, f"{service.name}-settings") or {"data": {}}
        if len(around.pods) > most and settings["data"].get("DB_POOL_SIZE") != "5":
            return PYTHON_NO_CONNECTIONS
        return busy(around, pod)

    state.add_cause(scenario.id, service.name, symptom_of)


def upstream_down(state: State, scenario: Scenario) -> None:
    """The pricing service at the configured address is down; pods that were up keep an old price list."""
    service = state.service(scenario.service)
    warm = frozenset(p["metadata"]["uid"] for p in state.cluster.pods(service.name))

    def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
        settings = around.find("configmaps", service.namespace, f"{service.name}-settings") or {"data": {}}
        if settings["data"].get("PRICING_URL") != "http://pricing.shared:8080":
            return None
        return UPSTREAM_SLOW if pod["metadata"]["uid"] in warm else UPSTREAM_UNREADY

    def switched(run: Run, job: Job) -> None:
        """The team's workflow writes the standby's address into the settings."""
        if run.inputs.get("pricing") == "standby" and job.name == "image" and job.conclusion == "success":
            live = state.cluster.store.get("configmaps", service.namespace, f"{service.name}-settings")
            if live is not None:
                data = {**live["data"], "PRICING_URL": "http://pricing-standby.shared:8080"}
                state.cluster.store.update("configmaps", {**live, "data": data})

    state.hub.on_job.append(switched)
    state.add_cause(scenario.id, service.name, symptom_of)


SCALE = (("scale", "4"),)
RESTART = (("restart_broken_pod",),)
TOO_LITTLE = (("scale", "3"),)

SCENARIOS = (
    Scenario(
        id="overload-catalog",
        title="Catalog is saturated",
        summary="A campaign brings more requests than two pods can carry; their probes time out.",
        service="catalog",
        kind="performance",
        right_action="k8s_scale",
        group="overload",
        source="alertmanager",
        begin=overload(PYTHON_SATURATED, PYTHON_SLOW),
        proofs=Proofs(SCALE, TOO_LITTLE, RESTART, "upstream-catalog"),
        alertname="HTTPLatencyHigh",
        alert_text="The 99th percentile of {service} in {namespace} is above its objective; CPU is at its limit.",
    ),
    Scenario(
        id="overload-storefront",
        title="The storefront sheds load",
        summary="The same in other words: two instances get more requests a second than they can answer.",
        service="storefront",
        kind="performance",
        right_action="k8s_scale",
        group="overload",
        source="slack",
        begin=overload(NODE_SATURATED, NODE_SLOW),
        proofs=Proofs(SCALE, TOO_LITTLE, RESTART, "upstream-catalog"),
        alertname="HTTPLatencyHigh",
        severity="warning",
        alert_text="The 99th percentile of {service} in {namespace} is above its objective; CPU is at its limit.",
    ),
    Scenario(
        id="overload-search",
        title="Search queries pile up",
        summary="More queries than two pods can carry, noticed by the cluster's own events alone.",
        service="search",
        kind="performance",
        right_action="k8s_scale",
        group="overload",
        source="kubernetes",
        begin=overload(GO_SATURATED, GO_SLOW),
        proofs=Proofs(SCALE, TOO_LITTLE, RESTART, "upstream-catalog"),
    ),
    Scenario(
        id="overload-connections-catalog",
        title="Catalog is saturated, and its database is full",
        summary="More pods look like the cure, but the database takes no more connections: with a third pod all crash.",
        service="catalog",
        kind="performance",
        right_action="escalate",
        group="overload-connections",
        source="alertmanager",
        begin=overload_at_the_databases_limit,
        proofs=Proofs(
            (("patch_configmap", "catalog-settings", "DB_POOL_SIZE", "5"), *SCALE), RESTART, SCALE, "upstream-catalog"
        ),
        alertname="HTTPLatencyHigh",
        alert_text="The 99th percentile of {service} in {namespace} is above its objective; CPU is at its limit.",
        misleads="k8s_scale",
    ),
    Scenario(
        id="upstream-catalog",
        title="Catalog waits for pricing",
        summary="Latency and time-outs as under load, but the CPU is idle: the upstream has no healthy instance.",
        service="catalog",
        kind="upstream_unavailable",
        right_action="workflow_pricing_standby",
        group="upstream",
        source="alertmanager",
        begin=upstream_down,
        proofs=Proofs(
            (("patch_configmap", "catalog-settings", "PRICING_URL", "http://pricing-standby.shared:8080"),),
            SCALE,
            (("restart_all_pods",),),
            "overload-catalog",
        ),
        alertname="HTTPLatencyHigh",
        alert_text="The 99th percentile of {service} in {namespace} is above its objective.",
    ),
)

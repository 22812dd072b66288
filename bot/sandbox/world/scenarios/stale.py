"""Every pod went bad at once without a release: what the processes hold is wrong, and new ones are well."""

from collections.abc import Callable

from bot.sandbox.world.causes import Surroundings, Symptom, first_of, on_image, on_pods
from bot.sandbox.world.objects import Json
from bot.sandbox.world.scenarios.capacity import UPSTREAM_UNREADY
from bot.sandbox.world.scenarios.pods import GO_BLOCKED, JAVA_DEADLOCK, OLD_SCHEMA
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

OLD, NEW = "http://pricing.shared:8080", "http://pricing-v2.shared:8080"


def wedge_all(symptom: Symptom) -> Callable[[State, Scenario], None]:
    """A short failover of the database left all pods waiting for each other's locks."""

    def begin(state: State, scenario: Scenario) -> None:
        service = state.service(scenario.service)
        here = frozenset(p["metadata"]["uid"] for p in state.cluster.pods(service.name))
        older = on_image(service.image(service.previous), OLD_SCHEMA)
        state.add_cause(scenario.id, service.name, first_of(on_pods(here, symptom), older))

    return begin


def address_moved(state: State, scenario: Scenario) -> None:
    """Somebody moved the pricing service and wrote its new address into the settings; no pod has read them since."""
    service = state.service(scenario.service)
    here = frozenset(p["metadata"]["uid"] for p in state.cluster.pods(service.name))
    name = f"{service.name}-settings"
    settings = state.cluster.store.get("configmaps", service.namespace, name)
    if settings is not None:
        state.cluster.store.update("configmaps", {**settings, "data": {**settings["data"], "PRICING_URL": NEW}})
    older = on_image(service.image(service.previous), OLD_SCHEMA)

    def symptom_of(around: Surroundings, pod: Json) -> Symptom | None:
        now = around.find("configmaps", service.namespace, name) or {"data": {}}
        read_old = pod["metadata"]["uid"] in here
        return UPSTREAM_UNREADY if read_old or now["data"].get("PRICING_URL") != NEW else older(around, pod)

    state.add_cause(scenario.id, service.name, symptom_of)


RESTART_ROLLOUT = (("restart_rollout",),)
RESTART_ONE = (("restart_broken_pod",),)
ROLLBACK = (("rollback",),)

SCENARIOS = (
    Scenario(
        id="wedged-all-payments",
        title="Every payments pod is deadlocked",
        summary="A failover of the database left the threads of all pods waiting for each other; no release was made.",
        service="payments-api",
        kind="probe_failure",
        right_action="k8s_restart_rollout",
        group="wedged-all",
        source="alertmanager",
        begin=wedge_all(JAVA_DEADLOCK),
        proofs=Proofs(RESTART_ROLLOUT, RESTART_ONE, ROLLBACK, "release-deadlock-orders"),
        alertname="KubePodNotReady",
        alert_text="Pods of {namespace}/{service} have not been ready for some time.",
    ),
    Scenario(
        id="wedged-all-checkout",
        title="No checkout pod answers any more",
        summary="The same in other words: all goroutines of every pod are blocked since the failover.",
        service="checkout",
        kind="probe_failure",
        right_action="k8s_restart_rollout",
        group="wedged-all",
        source="kubernetes",
        begin=wedge_all(GO_BLOCKED),
        proofs=Proofs(RESTART_ROLLOUT, RESTART_ONE, ROLLBACK, "release-deadlock-orders"),
    ),
    Scenario(
        id="moved-pricing-catalog",
        title="Catalog still calls the old address of pricing",
        summary="The settings have the new address, but every pod read them before that.",
        service="catalog",
        kind="probe_failure",
        right_action="k8s_restart_rollout",
        group="stale-settings",
        source="alertmanager",
        begin=address_moved,
        proofs=Proofs(RESTART_ROLLOUT, RESTART_ONE, ROLLBACK, "upstream-catalog"),
        alertname="KubePodNotReady",
        alert_text="Pods of {namespace}/{service} have not been ready for some time.",
    ),
)

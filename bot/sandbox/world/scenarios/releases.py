"""New releases that do not work: what heals is the revision before."""

# ruff: noqa: E501  a line of a log is written as one line

from collections.abc import Callable

from bot.sandbox.world.causes import Symptom, on_image
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

GO_PANIC = Symptom(
    "crash",
    (
        'time={now} level=info msg="loading feature flags" source=/etc/flags/flags.json',
        "panic: runtime error: invalid memory address or nil pointer dereference",
        "[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x7d1c42]",
        "",
        "goroutine 1 [running]:",
        "acme.example/checkout/internal/flags.(*Set).Rollout(0x0, {{0xa1b2c3, 0xd}})",
        "\t/src/internal/flags/set.go:88 +0x22",
        "acme.example/checkout/internal/flags.Load({{0xc0000b6000, 0x1f}})",
        "\t/src/internal/flags/load.go:41 +0x1d8",
        "main.main()",
        "\t/src/cmd/checkout/main.go:67 +0x3a5",
    ),
    exit_code=2,
)
NODE_THROW = Symptom(
    "crash",
    (
        '{{"level":30,"pid":1,"msg":"settings","database":"postgresql://orders:{password}@db.shared:5432/orders"}}',
        '{{"level":30,"pid":1,"msg":"object store","access_key_id":"{access_key}"}}',
        '{{"level":30,"pid":1,"msg":"reading flag definitions"}}',
        "/app/dist/flags/index.js:57",
        "    const share = definition.rollout.percentage;",
        "                             ^",
        "",
        "TypeError: Cannot read properties of null (reading 'percentage')",
        "    at readDefinition (/app/dist/flags/index.js:57:30)",
        "    at Array.map (<anonymous>)",
        "    at loadFlags (/app/dist/flags/index.js:31:22)",
        "    at bootstrap (/app/dist/main.js:19:9)",
        "    at process.processTicksAndRejections (node:internal/process/task_queues:105:5)",
        "",
        "Node.js v22.14.0",
    ),
)
PROBE_WRONG_PORT = Symptom(
    "unready",
    (
        "INFO app.server listening on 0.0.0.0:9090 (settings.http_port default changed in {version})",
        "WARNING app.server no request received since start",
    ),
    probe_message='Readiness probe failed: Get "http://{ip}:8080/readyz": dial tcp {ip}:8080: connect: connection refused',
)
DEADLOCK_AT_START = Symptom(
    "unready",
    (
        '{{"level":50,"pid":1,"msg":"worker pool deadlocked: 16 of 16 workers wait for lock order-number","version":"{version}"}}',
        '{{"level":40,"pid":1,"msg":"not ready: no free worker since the listener started, request queue 512/512"}}',
    ),
)


def bad_release(symptom: Symptom, **files: str) -> Callable[[State, Scenario], None]:
    """`files`: path → text of what the release's commit changes besides the manifest."""

    def begin(state: State, scenario: Scenario) -> None:
        version = state.next_version(scenario.service)
        image = state.release(scenario.service, version, files=files)
        state.add_cause(scenario.id, scenario.service, on_image(image, symptom), **invented_secrets(state))

    return begin


def invented_secrets(state: State) -> dict[str, str]:
    """Values that look like secrets, made anew each time, so that a log shows whether redaction works."""
    rng = state.cluster.rng
    letters = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
    return {"password": f"{rng.getrandbits(64):016x}", "access_key": "AK" + "IA" + letters}


def absent_image(state: State, scenario: Scenario) -> None:
    """The manifest names a version that was never pushed."""
    state.release(scenario.service, state.next_version(scenario.service) + "-rc", pushed=False)


ADD_COLUMN = "ALTER TABLE flags ADD COLUMN share numeric;\n"
ROLLBACK = (("rollback",),)
RESTART = (("restart_broken_pod",),)
RESTART_ROLLOUT_THEN_BACK = (("restart_rollout",), ("rollback",))

SCENARIOS = (
    Scenario(
        id="release-crash-checkout",
        title="Checkout's new release panics at start",
        summary="A release reads a feature flag that has no rollout rule, and every new pod crash-loops.",
        service="checkout",
        kind="crashloop",
        right_action="k8s_rollback",
        group="release-crash",
        source="alertmanager",
        begin=bad_release(GO_PANIC),
        proofs=Proofs(ROLLBACK, RESTART, RESTART_ROLLOUT_THEN_BACK, "stuck-index-search"),
        alertname="KubePodCrashLooping",
        alert_text="Pods of {namespace}/{service} are restarting again and again.",
    ),
    Scenario(
        id="release-crash-orders",
        title="Orders' new release throws while booting",
        summary="The same flag without a rule, read by another service in another language: the new pods end at once.",
        service="orders",
        kind="crashloop",
        right_action="k8s_rollback",
        group="release-crash",
        source="kubernetes",
        begin=bad_release(NODE_THROW),
        proofs=Proofs(ROLLBACK, RESTART, RESTART_ROLLOUT_THEN_BACK, "stuck-index-search"),
    ),
    Scenario(
        id="release-migrated-storefront",
        title="The storefront's new release throws, and has changed the database",
        summary="Going back heals it, but its migration stays: a person is asked twice.",
        service="storefront",
        kind="crashloop",
        right_action="k8s_rollback",
        group="release-crash",
        source="alertmanager",
        begin=bad_release(NODE_THROW, **{"db/migrations/0047_flag_shares.sql": ADD_COLUMN}),
        proofs=Proofs(ROLLBACK, RESTART, RESTART_ROLLOUT_THEN_BACK, "stuck-index-search"),
        alertname="KubePodCrashLooping",
        alert_text="Pods of {namespace}/{service} are restarting again and again.",
    ),
    Scenario(
        id="release-port-notifications",
        title="Notifications' new release listens on another port",
        summary="The default port changed in the release; the readiness probe still asks the old one.",
        service="notifications",
        kind="probe_failure",
        right_action="k8s_rollback",
        group="release-probe",
        source="alertmanager",
        begin=bad_release(PROBE_WRONG_PORT),
        proofs=Proofs(ROLLBACK, RESTART, RESTART_ROLLOUT_THEN_BACK, "stuck-pod-payments"),
        alertname="KubeDeploymentRolloutStuck",
        severity="warning",
        alert_text="The rollout of {namespace}/{service} does not progress.",
    ),
    Scenario(
        id="release-deadlock-orders",
        title="Orders' new release deadlocks in every pod",
        summary="Reads like one wedged pod, but each pod of the release takes its locks in the wrong order.",
        service="orders",
        kind="probe_failure",
        right_action="k8s_rollback",
        group="release-probe",
        source="kubernetes",
        begin=bad_release(DEADLOCK_AT_START),
        proofs=Proofs(ROLLBACK, RESTART, RESTART_ROLLOUT_THEN_BACK, "stuck-pod-payments"),
    ),
    Scenario(
        id="image-missing-payments",
        title="Payments rolls out an image that was never pushed",
        summary="The manifest names a release candidate that the registry does not have.",
        service="payments-api",
        kind="imagepullbackoff",
        right_action="k8s_rollback",
        group="image-missing",
        source="slack",
        begin=absent_image,
        proofs=Proofs(ROLLBACK, RESTART, (("scale", "5"),), "config-missing-notifications"),
        alertname="KubeContainerWaiting",
        severity="warning",
        alert_text="A container of {namespace}/{service} has been waiting: the image cannot be pulled.",
    ),
    Scenario(
        id="image-missing-reports",
        title="Reports points at a tag that does not exist",
        summary="The same mistake in the development environment, where the bot may act by itself.",
        service="reports",
        kind="imagepullbackoff",
        right_action="k8s_rollback",
        group="image-missing",
        source="kubernetes",
        begin=absent_image,
        proofs=Proofs(ROLLBACK, RESTART, (("scale", "4"),), "config-missing-notifications"),
    ),
)

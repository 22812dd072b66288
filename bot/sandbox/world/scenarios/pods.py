"""One pod that is wedged while its siblings work: a fresh pod heals it, nothing else does."""

# ruff: noqa: E501  a line of a log is written as one line

from collections.abc import Callable

from bot.sandbox.world.causes import Symptom, first_of, on_image, on_pod
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

JAVA_DEADLOCK = Symptom(
    "unready",
    (
        "WARN 1 --- [      watchdog] c.a.p.pool.Watchdog                      : worker pool deadlocked: 40 of 40 workers wait for lock ledger-writer",
        "ERROR 1 --- [      watchdog] c.a.p.web.Readiness                      : not ready: no free worker for 184 s, request queue 512/512",
        '    at c.a.p.ledger.Writer.append(Writer.java:112) - waiting to lock <0x00000007c1a2f8e0> held by "nio-8080-exec-7"',
        '    at c.a.p.ledger.Writer.flush(Writer.java:171) - waiting to lock <0x00000007c1a2f910> held by "nio-8080-exec-22"',
    ),
)
GO_BLOCKED = Symptom(
    "unready",
    (
        'time={now} level=error msg="readiness withdrawn" reason="all 64 goroutines of the request pool blocked" oldest=3m21s',
        'time={now} level=warn msg="mutex contention" lock=cart.store holder=goroutine-8841 waiters=64 note="holder waits for cart.index, held by a waiter"',
    ),
)
CORRUPT_INDEX = Symptom(
    "crash",
    (
        'time={now} level=info msg="opening local index" dir=/var/lib/app/index segments=214',
        'time={now} level=error msg="segment checksum mismatch" segment=/var/lib/app/index/000187.seg want=8f1c22d0 got=00000000',
        "panic: index: corrupt segment 000187, refusing to serve from a damaged volume",
        "",
        "goroutine 1 [running]:",
        "acme.example/search/index.MustOpen(...)",
        "\t/src/index/open.go:73",
        "main.main()",
        "\t/src/cmd/search/main.go:52 +0x29c",
    ),
    exit_code=2,
)
OLD_SCHEMA = Symptom(
    "crash",
    (
        "schema check: the database is at revision 118, this build ({version}) understands up to 116",
        "fatal: refusing to start against a newer schema",
    ),
)


def wedge(symptom: Symptom) -> Callable[[State, Scenario], None]:
    """One pod's state goes bad. The database has moved on meanwhile, so the release before cannot start any more."""

    def begin(state: State, scenario: Scenario) -> None:
        victim = state.cluster.pods(scenario.service)[-1]
        service = state.service(scenario.service)
        older = on_image(service.image(service.previous), OLD_SCHEMA)
        state.add_cause(scenario.id, scenario.service, first_of(on_pod(victim["metadata"]["uid"], symptom), older))

    return begin


RESTART = (("restart_broken_pod",),)
SCALE = (("scale", "5"),)
ROLLBACK = (("rollback",),)

SCENARIOS = (
    Scenario(
        id="stuck-pod-payments",
        title="One payments pod is deadlocked",
        summary="Two request threads hold each other's lock in one pod; its siblings are well.",
        service="payments-api",
        kind="probe_failure",
        right_action="k8s_restart_pod",
        group="stuck-pod",
        source="alertmanager",
        begin=wedge(JAVA_DEADLOCK),
        proofs=Proofs(RESTART, SCALE, ROLLBACK, "release-deadlock-orders"),
        alertname="KubePodNotReady",
        alert_text="A pod of {namespace}/{service} has not been ready for some time.",
    ),
    Scenario(
        id="stuck-pod-checkout",
        title="One checkout pod no longer answers",
        summary="The same deadlock in other words: every goroutine of one pod's request pool is blocked.",
        service="checkout",
        kind="probe_failure",
        right_action="k8s_restart_pod",
        group="stuck-pod",
        source="kubernetes",
        begin=wedge(GO_BLOCKED),
        proofs=Proofs(RESTART, SCALE, ROLLBACK, "release-deadlock-orders"),
    ),
    Scenario(
        id="stuck-index-search",
        title="One search pod crash-loops over a corrupt local index",
        summary="The index lies in the pod's own volume and survives container restarts; a new pod builds a new one.",
        service="search",
        kind="crashloop",
        right_action="k8s_restart_pod",
        group="stuck-pod-volume",
        source="alertmanager",
        begin=wedge(CORRUPT_INDEX),
        proofs=Proofs(RESTART, (("scale", "4"),), ROLLBACK, "release-crash-checkout"),
        alertname="KubePodCrashLooping",
        alert_text="Pods of {namespace}/{service} are restarting again and again.",
    ),
)

"""Argo CD and what it deploys: syncs that fail in passing, a release that only Argo CD knows how to take back."""

# ruff: noqa: E501  a line of a log is written as one line

from collections.abc import Callable

from bot.sandbox.world.argocd_store import Operation
from bot.sandbox.world.causes import Symptom, on_image
from bot.sandbox.world.scenarios.table import Proofs, Scenario, Step
from bot.sandbox.world.state import State

REGISTRY_TIMEOUT = (
    'one or more objects failed to apply, reason: failed to pull manifests: Get "https://registry.acme.example/v2/charts/common/manifests/4.2.0": '
    "dial tcp 10.9.4.20:443: i/o timeout"
)
WEBHOOK_TIMEOUT = (
    'one or more synchronization tasks completed unsuccessfully, reason: Internal error occurred: failed calling webhook "validate.policies.acme.example": '
    'failed to call webhook: Post "https://policies.shared.svc:443/validate?timeout=10s": net/http: TLS handshake timeout'
)
POOL_CRASH = Symptom(
    "crash",
    (
        '{{"level":30,"pid":1,"msg":"opening the points ledger","version":"{version}"}}',
        "/app/dist/ledger/index.js:112",
        "    const rows = page.entries.map(toPoints);",
        "                      ^",
        "",
        "TypeError: Cannot read properties of undefined (reading 'map')",
        "    at openLedger (/app/dist/ledger/index.js:112:23)",
        "    at bootstrap (/app/dist/main.js:24:9)",
        "",
        "Node.js v22.14.0",
    ),
)

RATES_CRASH = Symptom(
    "crash",
    (
        '{{"level":30,"pid":1,"msg":"reading exchange rates","version":"{version}"}}',
        "/app/dist/rates/index.js:64",
        "    return rates[base].ask;",
        "                       ^",
        "",
        "TypeError: Cannot read properties of undefined (reading 'ask')",
        "    at rateOf (/app/dist/rates/index.js:64:11)",
        "    at loadRates (/app/dist/rates/index.js:22:18)",
        "    at bootstrap (/app/dist/main.js:21:9)",
        "",
        "Node.js v22.14.0",
    ),
)


def sync_interrupted(why: str, path: str, text: str, message: str) -> Callable[[State, Scenario], None]:
    """The sync of a new commit met a peer that did not answer; the peer is well again."""

    def begin(state: State, scenario: Scenario) -> None:
        repository, app = state.repository(scenario.service), state.argo.apps[scenario.service]
        commit = state.hub.commit(repository, message, {path: f"{text}  # {len(repository.commits)}\n"})
        state.hub.start(repository, commit.sha, message)
        state.argo.sync(app, commit.sha, (), "deploy-bot")
        first = app.operation

        def refuse(operation: Operation) -> str:
            return why if operation is first else ""

        app.refusals[scenario.id] = refuse

    return begin


def bad_release(symptom: Symptom) -> Callable[[State, Scenario], None]:
    def begin(state: State, scenario: Scenario) -> None:
        image = state.release(scenario.service, state.next_version(scenario.service))
        state.add_cause(scenario.id, scenario.service, on_image(image, symptom))

    return begin


SYNC: tuple[Step, ...] = (("argocd_sync",),)
SYNC_AND_PRUNE: tuple[Step, ...] = (("argocd_sync_and_prune",),)
ARGOCD_ROLLBACK: tuple[Step, ...] = (("argocd_rollback",),)
REVERT: tuple[Step, ...] = (("revert_manifest",),)
RESTART: tuple[Step, ...] = (("restart_broken_pod",),)

SCENARIOS = (
    Scenario(
        id="argocd-registry-checkout",
        title="Argo CD's sync of checkout met a registry that did not answer",
        summary="Pulling a shared chart timed out while checkout was synced; the registry is well again.",
        service="checkout",
        kind="argocd_sync",
        right_action="argocd_sync",
        group="argocd-transient",
        source="argocd",
        begin=sync_interrupted(
            REGISTRY_TIMEOUT, "deploy/limits.yaml", "limits: {cpu: 900m}", "Ask for a little less CPU"
        ),
        proofs=Proofs(SYNC, RESTART, SYNC_AND_PRUNE, "argocd-sync-notifications"),
    ),
    Scenario(
        id="argocd-webhook-search",
        title="Argo CD's sync of search met a webhook that did not answer",
        summary="The same passing fault in other words: an admission webhook's handshake timed out.",
        service="search",
        kind="argocd_sync",
        right_action="argocd_sync",
        group="argocd-transient",
        source="argocd",
        begin=sync_interrupted(WEBHOOK_TIMEOUT, "deploy/labels.yaml", "labels: {tier: web}", "Label the web tier"),
        proofs=Proofs(SYNC, RESTART),
    ),
    Scenario(
        id="argocd-degraded-loyalty",
        title="Argo CD's application loyalty is degraded since its last revision",
        summary="A release throws while it starts. The policy knows loyalty as an application alone.",
        service="loyalty",
        kind="argocd_degraded",
        right_action="argocd_rollback",
        group="argocd-degraded",
        source="argocd",
        begin=bad_release(POOL_CRASH),
        proofs=Proofs(ARGOCD_ROLLBACK, RESTART, (("scale", "6"),), "argocd-registry-checkout"),
    ),
    Scenario(
        id="gitops-crash-pricing",
        title="Pricing's new release ends at start, and Argo CD insists on it",
        summary="Auto-sync with self-heal puts back whatever is changed in the cluster: only a commit helps.",
        service="pricing",
        kind="crashloop",
        right_action="github_revert_pr",
        group="release-crash",
        source="alertmanager",
        begin=bad_release(RATES_CRASH),
        proofs=Proofs(REVERT, (("rollback",),), (("scale", "6"),), "release-crash-orders"),
        alertname="KubePodCrashLooping",
        alert_text="Pods of {namespace}/{service} are restarting again and again.",
    ),
)

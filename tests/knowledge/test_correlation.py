"""What belongs together joins, whatever the order; what does not stays apart."""

import itertools
import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.intake import correlate_posts, read_webhook
from knowledge import fingerprint
from knowledge.correlation import OpenIncident, choose_incident, keys_of, matching_incidents
from knowledge.errors import BadInput
from knowledge.model import Alert
from knowledge.streams import correlate

PAYLOADS = Path(__file__).parent.parent / "payloads"
ALERTS = Path(__file__).parents[2].parent / "shared" / "data" / "alerts"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EXPORTER = {
    "job": "kube-state-metrics",
    "service": "kube-state-metrics",
    "instance": "10.8.1.4:8080",
    "cluster": "eu-1",
}


def alert(name: str, exporter: bool = True, **labels: str) -> Alert:
    labels = {**(EXPORTER if exporter else {}), "alertname": name, **labels}
    print_of = fingerprint.identity(name, marks=[f"{key}={value}" for key, value in labels.items()])
    body = {"alerts": [{"status": "firing", "labels": labels, "fingerprint": print_of[:16]}]}
    return read_webhook("alertmanager", {}, json.dumps(body).encode(), secrets=None).alerts[0]


def payload(name: str) -> Alert:
    return read_webhook(
        name.split("_", maxsplit=1)[0], {}, (PAYLOADS / f"{name}.json").read_bytes(), secrets=None
    ).alerts[0]


def crash_of(pod: str, namespace: str = "store", **labels: str) -> Alert:
    return alert("KubePodCrashLooping", namespace=namespace, pod=pod, reason="CrashLoopBackOff", **labels)


def groups(alerts: Sequence[Alert], apart: timedelta = timedelta(seconds=1)) -> list[int]:
    """Each alert's incident in a stream."""
    result = correlate((NOW + apart * number, one) for number, one in enumerate(alerts))
    return [result.fingerprints[one.fingerprint or one.identity] for one in alerts]


def one_by_one(alerts: Iterable[Alert]) -> list[int]:
    """Each alert's incident when it is decided on arrival, as the database does."""
    held: dict[int, set[str]] = {}
    found = []
    for one in alerts:
        keys = keys_of(one, NOW)
        number = choose_incident(keys, [OpenIncident(id_, frozenset(keys), NOW) for id_, keys in held.items()])
        if number is None:
            number = len(held) + 1
        held.setdefault(number, set()).update(keys.hold)
        found.append(number)
    return found


def together(*alerts: Alert) -> bool:
    """True if they are one incident in every order; False if they are apart in every order."""
    verdicts = {len(set(groups(order))) for order in itertools.permutations(alerts)}
    assert len(verdicts) == 1, "the order decides"
    return verdicts == {1}


NODE = alert("KubeNodeNotReady", node="worker-b", condition="Ready")
ON_NODE = [
    alert("KubePodNotReady", node="worker-b", namespace="store", pod="cart-6b8f9c7d54-w9k2p"),
    alert("KubePodNotReady", node="worker-b", namespace="search", pod="indexer-0"),
    alert("KubeDaemonSetRolloutStuck", node="worker-b", namespace="monitoring", daemonset="node-exporter"),
]
CRASH = crash_of("checkout-7d9f6c5b84-x2kqp", "store")


@pytest.mark.parametrize(
    ("pod", "owner"),
    [
        ("web-66b7c9d5f4-m4znd", "web"),
        ("web-5c9d7f6b8d-7kqpnb", "web"),
        ("my-api-v2-7d9f6c5b84-x2kqp", "my-api-v2"),
        ("pg-0", "pg"),
        ("kafka-broker-12", "kafka-broker"),
        ("nightly-29001230-x2b4c", "nightly"),
        ("train-3-x2b4c", "train"),
        ("node-exporter-x2b4c", "node-exporter"),
        ("bare-pod", "bare-pod"),
        ("redis", "redis"),
        ("", ""),
        ("a" * 5_000, "a" * 5_000),
    ],
)
def test_controller_is_told_by_the_form_of_a_pods_name(pod: str, owner: str) -> None:
    assert fingerprint.owner_of_pod(pod) == owner


def test_static_pod_loses_its_nodes_name() -> None:
    assert fingerprint.owner_of_pod("etcd-control-1", "control-1") == "etcd"


@given(st.text(max_size=80))
def test_any_name_has_an_owner(name: str) -> None:
    assert bool(fingerprint.owner_of_pod(name)) == bool(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-03-02T09:00:00Z", NOW),
        ("2026-03-02T10:00:00.000000000+01:00", NOW),
        (NOW.timestamp(), NOW),
        (NOW.timestamp() * 1000, NOW),
        ("0001-01-01T00:00:00Z", None),
        (0, None),
        ("soon", None),
        (1e300, None),
        (float("inf"), None),
        (True, None),
        (None, None),
    ],
)
def test_times_are_read_in_their_common_forms(value: object, expected: datetime | None) -> None:
    assert fingerprint.parse_time(value) == expected


def test_exporters_own_labels_are_not_the_failing_things() -> None:
    labels = fingerprint.failing_labels(
        {**EXPORTER, "exported_pod": "pg-0", "pod": "kube-state-metrics-7d9f6c5b84-x2kqp"}
    )
    assert labels == {"cluster": "eu-1", "pod": "pg-0"}


def test_pods_of_one_deployment_are_one_incident() -> None:
    other = crash_of("checkout-7d9f6c5b84-9wq4z", "store")
    mismatch = alert("KubeDeploymentReplicasMismatch", namespace="store", deployment="checkout")
    assert together(CRASH, other, mismatch)


@pytest.mark.parametrize(
    "other",
    [
        crash_of("cart-6b8f9c7d54-w9k2p", "store"),
        crash_of("checkout-7d9f6c5b84-x2kqp", "shop"),
        crash_of("checkout-7d9f6c5b84-x2kqp", "store", cluster="us-2"),
    ],
    ids=["another workload", "another namespace", "another cluster"],
)
def test_same_alert_elsewhere_is_another_incident(other: Alert) -> None:
    assert not together(CRASH, other)


def test_failing_node_takes_its_pods() -> None:
    assert together(NODE, *ON_NODE)


def test_two_failing_nodes_are_two_incidents() -> None:
    other_node = alert("KubeNodeNotReady", node="worker-c")
    others = [
        alert("KubePodNotReady", node="worker-c", namespace="store", pod="cart-6b8f9c7d54-q2w4z"),
        alert("KubeDaemonSetRolloutStuck", node="worker-c", namespace="monitoring", daemonset="node-exporter"),
    ]
    for seed in range(20):
        mixed = [NODE, *ON_NODE, other_node, *others]
        random.Random(seed).shuffle(mixed)
        found = list(zip(mixed, groups(mixed), strict=True))
        numbers = {
            node: {number for one, number in found if one.labels["node"] == node} for node in ("worker-b", "worker-c")
        }
        assert [len(those) for those in numbers.values()] == [1, 1]
        assert numbers["worker-b"] != numbers["worker-c"]


def test_unready_pods_on_one_node_are_apart_while_the_node_is_well() -> None:
    assert len(set(groups(ON_NODE[:2]))) == 2


def test_crash_on_a_failing_node_is_its_own_incident() -> None:
    crash = crash_of("leave-6b8f9c7d54-w9k2p", "hr", node="worker-b")
    assert not together(NODE, crash)


def test_quota_takes_what_could_not_be_created_in_its_namespace() -> None:
    quota = alert("KubeQuotaFullyUsed", namespace="ml", resourcequota="gpu", resource="limits.cpu")
    assert together(quota, alert("KubeDeploymentReplicasMismatch", namespace="ml", deployment="train"))
    assert not together(quota, alert("KubeDeploymentReplicasMismatch", namespace="hr", deployment="train"))


def test_crash_beside_a_used_quota_keeps_its_mismatch() -> None:
    quota = alert("KubeQuotaFullyUsed", namespace="store", resourcequota="cpu")
    mismatch = alert("KubeDeploymentReplicasMismatch", namespace="store", deployment="checkout")
    for order in itertools.permutations([quota, CRASH]):
        found = groups([*order, mismatch])
        assert found[order.index(quota)] != found[order.index(CRASH)]


def test_services_that_name_a_failing_dependency_join_it() -> None:
    database = alert("PostgresDown", exporter=False, namespace="pay", service="pay-db", instance="pay-db:9187")
    users = [
        alert("HighErrorRate", exporter=False, namespace="pay", service=name, depends_on="pay-db")
        for name in ("billing", "orders")
    ]
    assert together(database, *users)
    elsewhere = alert("HighErrorRate", exporter=False, namespace="auth", service="login", depends_on="pay-db")
    assert not together(database, elsewhere)


def test_hosts_that_share_a_first_label_are_apart() -> None:
    certificates = [
        alert(
            "SSLCertExpired", exporter=False, namespace="edge", job="blackbox", instance=f"https://www.{name}.example"
        )
        for name in ("a", "b")
    ]
    assert not together(*certificates)


def test_claim_of_a_stateful_set_joins_its_pods() -> None:
    claim = alert("KubePersistentVolumeFillingUp", exporter=False, namespace="data", persistentvolumeclaim="data-pg-0")
    assert together(claim, alert("KubePodNotReady", namespace="data", pod="pg-0"))
    assert not together(claim, alert("KubePodNotReady", namespace="data", pod="kafka-0"))


def test_one_image_that_cannot_be_pulled_is_one_incident() -> None:
    image = "registry.example.org/base:9"
    pulls = [
        alert("KubeContainerWaiting", namespace="a", pod=f"{name}-0", reason="ImagePullBackOff", image=image)
        for name in ("x", "y")
    ]
    assert together(*pulls)
    crash = alert("KubePodCrashLooping", namespace="a", pod="z-0", reason="CrashLoopBackOff", image=image)
    assert not together(pulls[0], crash)


def test_one_crash_seen_by_watch_alertmanager_and_slack_is_one_incident() -> None:
    seen = [
        payload(name)
        for name in (
            "kubernetes_pod_crashloop",
            "kubernetes_event_core",
            "alertmanager_crashloop",
            "slack_alertmanager",
        )
    ]
    assert together(*seen)
    for order in itertools.permutations(seen):
        assert len(set(one_by_one(order))) == 1


def test_messages_about_one_run_are_one_incident() -> None:
    names = ("workflow_run", "workflow_job", "check_run", "deployment_status")
    assert together(*[payload(f"github_{name}_failure") for name in names], payload("slack_github"))


def test_red_build_failed_sync_and_crash_of_one_release_are_one_story() -> None:
    story = ("github_workflow_run_failure", "argocd_degraded", "argocd_sync_failed_short", "kubernetes_pod_crashloop")
    assert together(*[payload(name) for name in story])


def test_pagers_incident_and_its_slack_post_are_one() -> None:
    assert together(payload("pagerduty_triggered"), payload("slack_pagerduty"))


def test_same_workload_much_later_is_a_new_incident() -> None:
    mismatch = alert("KubeDeploymentReplicasMismatch", namespace="store", deployment="checkout")
    assert len(set(groups([CRASH, mismatch], apart=timedelta(hours=5)))) == 2


def test_cluster_that_is_not_named_does_not_bind_two_that_are() -> None:
    there = crash_of("checkout-7d9f6c5b84-x2kqp", "store", cluster="us-2")
    unnamed = payload("kubernetes_pod_crashloop")
    for order in itertools.permutations([CRASH, there, unnamed]):
        found = one_by_one(order)
        assert found[order.index(CRASH)] != found[order.index(there)]


def test_late_node_alert_names_the_incidents_that_it_explains() -> None:
    held = [OpenIncident(number, frozenset(keys_of(one, NOW).hold), NOW) for number, one in enumerate(ON_NODE, start=1)]
    assert matching_incidents(keys_of(NODE, NOW), held) == (1, 2, 3)


SAFE = "bcdfghjklmnpqrstvwxz2456789"


def outages(seed: int) -> list[tuple[str, Alert]]:
    """(incident, alert) of a bad day: few namespaces and nodes, so that unrelated failures share both."""
    rng = random.Random(seed)

    def pod(owner: str) -> str:
        return f"{owner}-{''.join(rng.choices(SAFE, k=10))}-{''.join(rng.choices(SAFE, k=5))}"

    spaces, nodes = ["front", "back"], ["n1", "n2", "n3"]
    found: list[tuple[str, Alert]] = []
    for number in range(10):
        name, space = f"svc{chr(97 + number)}", rng.choice(spaces)
        found += [(name, crash_of(pod(name), space, node=rng.choice(nodes))) for _ in range(3)]
        found.append((name, alert("KubeDeploymentReplicasMismatch", namespace=space, deployment=name)))
    for node in nodes[:2]:
        found.append((node, alert("KubeNodeNotReady", node=node)))
        for number in range(4):
            owner = f"{rng.choice('xyz')}{node}{number}"
            found.append((node, alert("KubePodNotReady", namespace=rng.choice(spaces), pod=pod(owner), node=node)))
        found.append((node, alert("KubeDaemonSetRolloutStuck", namespace="infra", daemonset="logs", node=node)))
    for name in ("ledger", "mailer"):
        waiting = [
            alert("KubeContainerWaiting", namespace="back", pod=pod(name), reason="ImagePullBackOff") for _ in "abc"
        ]
        stuck = alert("KubeDeploymentRolloutStuck", namespace="back", deployment=name)
        found += [(name, one) for one in [*waiting, stuck]]
    found.append(("quota", alert("KubeQuotaExceeded", namespace="front", resourcequota="all", resource="pods")))
    found.append(("quota", alert("KubeDeploymentReplicasMismatch", namespace="front", deployment="batcher")))
    found.append(
        ("certificate", alert("SSLCertExpired", exporter=False, namespace="front", instance="https://a.example"))
    )
    found.append(("autoscaler", alert("KubeHpaMaxedOut", namespace="front", horizontalpodautoscaler="gateway")))
    rng.shuffle(found)
    return found


def scores(truth: Sequence[str], found: Sequence[int]) -> tuple[float, float]:
    """(precision, F1) over all pairs."""
    pairs = [
        (one[0] == other[0], one[1] == other[1])
        for one, other in itertools.combinations(zip(truth, found, strict=True), 2)
    ]
    right, wrong, missed = (pairs.count(kind) for kind in ((True, True), (False, True), (True, False)))
    return right / (right + wrong), 2 * right / (2 * right + wrong + missed)


@pytest.mark.parametrize("seed", range(5))
def test_unrelated_outages_in_few_namespaces_stay_apart(seed: int) -> None:
    day = outages(seed)
    truth, alerts = [name for name, _ in day], [one for _, one in day]
    assert scores(truth, groups(alerts)) == (1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_joining_on_arrival_splits_rather_than_merges(seed: int) -> None:
    # A mismatch is reported later than the pods that cause it: its rule waits longer.
    day = sorted(outages(seed), key=lambda item: "Mismatch" in item[1].title)
    precision, f1 = scores([name for name, _ in day], one_by_one(one for _, one in day))
    assert precision >= 0.99
    assert f1 >= 0.85


CART_THERE = alert("KubePodNotReady", node="worker-c", namespace="store", pod="cart-6b8f9c7d54-q2w4z")
CART_CRASH = crash_of("cart-6b8f9c7d54-w9k2p")


def test_pod_on_another_node_does_not_join_the_failing_nodes_incident() -> None:
    node, here, there = one_by_one([NODE, ON_NODE[0], CART_THERE])
    assert node == here != there


def test_crash_does_not_hide_in_the_incident_of_its_node() -> None:
    node, unready, crash, again = one_by_one([NODE, ON_NODE[0], CART_CRASH, CART_CRASH])
    assert node == unready != crash == again


def test_node_does_not_claim_an_incident_that_a_crash_explains() -> None:
    crash, unready, node = one_by_one([CART_CRASH, ON_NODE[0], NODE])
    assert crash == unready != node


def test_one_daemon_set_on_two_nodes_is_two_failures() -> None:
    there = alert("KubeDaemonSetRolloutStuck", node="worker-c", namespace="monitoring", daemonset="node-exporter")
    assert there.identity != ON_NODE[2].identity
    assert not together(ON_NODE[2], there)


def test_repeat_joins_its_incident_and_changes_nothing() -> None:
    once = groups([NODE, *ON_NODE, CRASH])
    assert groups([NODE, *ON_NODE, CRASH] * 2)[:5] == once


@pytest.mark.parametrize("post", [{}, {"body": []}, {"source": "nagios", "body": {}}, {"body": {"alerts": 3}}])
def test_post_that_cannot_be_read_is_bad_input(post: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        correlate_posts([post])


def stream() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ALERTS / "stream.jsonl").read_text().splitlines()]


def pairwise(found: dict[str, int]) -> tuple[float, float]:
    truth = json.loads((ALERTS / "stream_truth.json").read_text())["fingerprint_to_incident"]
    return scores(list(truth.values()), [found[name] for name in truth])


@pytest.mark.shared
@pytest.mark.skipif(not ALERTS.is_dir(), reason="the sample alerts (shared/data/alerts) are not here")
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("copies", [1, 2])
def test_sample_stream_becomes_its_incidents(seed: int | None, copies: int) -> None:
    posts = [post for post in stream() for _ in range(copies)]
    if seed is not None:
        random.Random(seed).shuffle(posts)
    precision, f1 = pairwise(correlate_posts(posts).fingerprints)
    assert precision >= 0.99
    assert f1 >= 0.97

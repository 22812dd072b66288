"""Names that other teams give, and what is called alike in two places: neither may merge what is apart."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.sources import SOURCES
from knowledge.correlation import keys_of
from knowledge.fingerprint import failing_labels, owner_of_pod
from knowledge.model import Alert
from knowledge.streams import assign

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
METRICS = {"job": "kube-state-metrics", "service": "kps-kube-state-metrics", "instance": "10.8.1.4:8080"}


def alert(name: str, **labels: str) -> Alert:
    (found,) = SOURCES["alertmanager"].parse({"alerts": [{"labels": {"alertname": name, **labels}}]}, {})
    return found


def together(*alerts: Alert) -> bool:
    """True if they are one incident in every order; False if they are apart in every order."""
    verdicts = {
        len(set(assign([(NOW + timedelta(seconds=place), one) for place, one in enumerate(order)])))
        for order in itertools.permutations(alerts)
    }
    assert len(verdicts) == 1, "the order decides"
    return verdicts == {1}


def crash(pod: str = "web-7d9f6c5b84-x2kqp", **labels: str) -> Alert:
    return alert("KubePodCrashLooping", namespace="shop", pod=pod, reason="CrashLoopBackOff", **METRICS, **labels)


def mismatch(**labels: str) -> Alert:
    return alert("KubeDeploymentReplicasMismatch", namespace="shop", deployment="web", **METRICS, **labels)


@pytest.mark.parametrize(
    "label", ["cluster", "cluster_name", "k8s_cluster", "k8s_cluster_name", "env", "environment", "region", "dc"]
)
def test_one_workload_in_two_installations_is_two_incidents(label: str) -> None:
    assert together(crash(**{label: "one"}), mismatch(**{label: "one"}))
    assert not together(crash(**{label: "one"}), mismatch(**{label: "two"}))
    node, other = (alert("KubeNodeNotReady", node="n1", **METRICS, **{label: word}) for word in ("one", "two"))
    assert not together(node, other)


def test_words_for_one_environment_are_one() -> None:
    assert together(crash(env="production"), mismatch(environment="prod"))


def test_regions_within_one_cluster_keep_a_workload_together() -> None:
    assert together(crash(cluster="eu-1", region="emea"), mismatch(cluster="eu-1", region="apac"))


def test_who_does_not_say_where_joins_who_does() -> None:
    assert together(crash(env="prod", region="emea"), mismatch())


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ({"k8s_namespace_name": "shop", "k8s_pod_name": "web-7d9f6c5b84-x2kqp"}, ("shop", "web")),
        ({"k8s_namespace_name": "shop", "k8s_deployment_name": "web"}, ("shop", "web")),
        ({"kubernetes_namespace": "shop", "kubernetes_pod_name": "pg-0"}, ("shop", "pg")),
        ({"kube_namespace": "shop", "kube_stateful_set": "pg"}, ("shop", "pg")),
    ],
)
def test_labels_of_other_conventions_name_the_same_workload(labels: dict[str, str], place: tuple[str, str]) -> None:
    found = alert("HighErrorRate", **labels)
    assert (found.namespace, found.owner) == place


def test_prometheus_own_name_of_a_label_wins() -> None:
    labels = {"namespace": "shop", "kubernetes_namespace": "infra"}
    assert failing_labels(labels) == failing_labels(dict(reversed(labels.items()))) == {"namespace": "shop"}


@pytest.mark.parametrize(
    ("common", "label"),
    [
        ({"cluster": "prod", "namespace": "monitoring"}, "cluster_name"),  # of Elasticsearch, say
        ({"namespace": "obs", "job": "otel", "service": "otel-collector"}, "service_name"),
        ({"namespace": "obs", "pod": "otel-collector-7d9f6c5b84-x2kqp"}, "service_name"),
        ({"namespace": "obs", "exported_pod": "queue-0"}, "pod_name"),
        ({"namespace": "obs", "job": "otel", "pod": "otel-collector-7d9f6c5b84-x2kqp"}, "k8s_pod_name"),
        ({"namespace": "obs", "pod": "collector-0", "k8s_deployment_name": "web"}, "k8s_namespace_name"),
        ({}, "job"),  # of a rule over whole jobs
    ],
)
def test_a_second_name_keeps_failures_apart_that_share_the_first(common: dict[str, str], label: str) -> None:
    here, there = (alert("Red", **common, **{label: f"{word}-exporter"}) for word in ("cart", "quote"))
    assert here.identity != there.identity, "the recovery of one would be that of the other"


def test_what_a_collector_passes_on_is_about_who_sent_it() -> None:
    scraped = {"namespace": "obs", "pod": "collector-7d9f6c5b84-x2kqp", "job": "otel", "instance": "10.0.0.3:8889"}
    sent = {"k8s_namespace_name": "shop", "k8s_deployment_name": "web", "service_name": "checkout"}
    found = alert("HighErrorRate", **scraped, **sent)
    assert (found.namespace, found.owner, found.service) == ("shop", "web", "checkout")


def test_a_proxy_that_tells_of_two_services_is_neither() -> None:
    own = {"namespace": "ingress", "pod": "ingress-nginx-controller-7d9f6c5b84-x2kqp", "service": "ingress-nginx"}
    cart, quote = (
        alert("TooManyErrors", exported_namespace="shop", exported_service=name, **own) for name in ("cart", "quote")
    )
    assert (cart.namespace, cart.workload) == ("shop", "cart")
    assert not together(cart, quote)


def test_batch_jobs_behind_one_pushgateway_are_apart() -> None:
    own = {"namespace": "infra", "job": "pushgateway", "service": "prom-pushgateway"}
    assert not together(*(alert("BackupFailed", exported_job=name, **own) for name in ("orders", "users")))


def test_two_claims_that_one_kubelet_measures_are_apart() -> None:
    own = {"namespace": "data", "job": "kubelet", "service": "kps-kubelet", "instance": "10.0.0.4:10250", "node": "n1"}
    claims = [alert("KubePersistentVolumeFillingUp", persistentvolumeclaim=name, **own) for name in ("a", "b")]
    assert not together(*claims)
    moved = alert("KubePersistentVolumeFillingUp", persistentvolumeclaim="a", **{**own, "node": "n2"})
    assert moved.identity == claims[0].identity


def test_disks_that_one_daemon_set_measures_are_apart() -> None:
    own = {"namespace": "infra", "job": "node-exporter", "service": "kps-prometheus-node-exporter"}
    disks = [
        alert("NodeDiskFull", pod=f"kps-prometheus-node-exporter-{end}", instance=f"10.0.0.{number}:9100", **own)
        for number, end in enumerate(("x2b4c", "9wq4z"))
    ]
    assert not together(*disks)


def test_an_alert_on_logs_joins_the_workload_that_its_app_names() -> None:
    logs = alert("PanicsInLogs", namespace="shop", app="web")
    assert together(logs, mismatch())
    assert not together(logs, alert("PanicsInLogs", namespace="shop", app="cart"))


def test_pods_of_two_deployments_whose_names_end_in_a_date_are_apart() -> None:
    assert owner_of_pod("pay-20260115-7d9f6c5b84-x2kqp") == "pay-20260115"
    assert owner_of_pod("report-29001230-x2b4c") == "report"


def application(name: str, *, synced: str, turned: str, commit: str = "a" * 40) -> Alert:
    status: dict[str, Any] = {
        "health": {"status": "Degraded", "lastTransitionTime": turned},
        "operationState": {"phase": "Succeeded", "finishedAt": synced, "syncResult": {"revision": commit}},
    }
    app = {"metadata": {"name": name}, "spec": {"destination": {"namespace": name}}, "status": status}
    (found,) = SOURCES["argocd"].parse({"trigger": "on-health-degraded", "app": app}, {})
    return found


def test_applications_of_one_repository_that_were_well_for_long_are_apart() -> None:
    old = {"synced": "2026-02-27T09:00:00Z", "turned": "2026-03-02T09:00:00Z"}
    assert not together(application("cart", **old), application("quote", **old))
    # Health that Argo CD does not date, before its version 2.14.
    undated = {"synced": "2026-02-27T09:00:00Z", "turned": ""}
    assert not together(application("cart", **undated), application("quote", **undated))


def test_applications_that_one_commit_broke_are_one_story() -> None:
    fresh = {"synced": "2026-03-02T08:58:00Z", "turned": "2026-03-02T09:00:00Z"}
    assert together(application("cart", **fresh), application("quote", **fresh))


def test_long_names_of_a_place_are_told_apart_by_their_beginning() -> None:
    assert together(crash(region="r" * 900), mismatch(region="r" * 900))
    assert all(len(key) <= 600 for key in keys_of(crash(region="r" * 900), NOW).hold)


# --- Alertmanager's own template for Slack, which names no label -------------------------------------------------


def told(name: str, namespace: str, pods: list[str], *, status: str = "firing") -> tuple[list[Alert], Alert]:
    """One group as Alertmanager sends it to a webhook and, with template/default.tmpl, to Slack."""
    entries = [
        {"status": status, "labels": {"alertname": name, "namespace": namespace, "pod": pod, "severity": "warning"}}
        for pod in pods
    ]
    every = [entry["labels"] for entry in entries]
    common = {key: value for key, value in every[0].items() if all(one[key] == value for one in every)}
    group = {"alertname": name, "namespace": namespace}
    body = {
        "status": status, "alerts": entries, "groupKey": f"{{}}:{group}", "groupLabels": group, "commonLabels": common,
    }  # fmt: skip
    others = " ".join(value for key, value in sorted(common.items()) if key not in group)
    count = f":{len(pods)}" if status == "firing" else ""
    title = f"[{status.upper()}{count}] {name} {namespace} ({others})"
    (post,) = SOURCES["slack"].parse({"ts": "1772442000.1", "attachments": [{"color": "danger", "title": title}]}, {})
    return list(SOURCES["alertmanager"].parse(body, {})), post


WEB = told("KubePodCrashLooping", "shop", ["web-7d9f6c5b84-x2kqp"])
CART = told("KubePodCrashLooping", "shop", ["cart-6b8f9c7d54-w9k2p"])


def test_a_group_and_its_bare_post_in_slack_are_one() -> None:
    assert together(*WEB[0], WEB[1])
    assert together(*WEB[0], told("KubePodCrashLooping", "shop", ["web-7d9f6c5b84-x2kqp"], status="resolved")[1])


def test_bare_posts_about_two_things_are_apart() -> None:
    assert not together(WEB[1], CART[1])
    assert not together(*WEB[0], CART[1])


def test_a_bare_post_about_several_things_draws_none_in() -> None:
    alerts, post = told("KubePodCrashLooping", "shop", ["web-7d9f6c5b84-x2kqp", "cart-6b8f9c7d54-w9k2p"])
    assert len(set(assign([(NOW, one) for one in (*alerts, post)]))) == 3


@pytest.mark.parametrize(
    "hosts",
    [
        [["https://a.example", "https://b.example"]],  # in one group
        [["10.1.11.1:9100"], ["10.11.1.1:9100"]],  # of the same digits
    ],
)
def test_one_rule_about_two_hosts_is_two_incidents(hosts: list[list[str]]) -> None:
    common = {"alertname": "Probe failed", "severity": "critical"}
    alerts = [
        one
        for group in hosts
        for one in SOURCES["alertmanager"].parse(
            {
                "alerts": [{"labels": {**common, "instance": host}} for host in group],
                "groupKey": "{}:{}",
                "groupLabels": {"alertname": "Probe failed"},
                "commonLabels": common | ({"instance": group[0]} if len(group) == 1 else {}),
            },
            {},
        )
    ]
    assert not together(*alerts)


def test_posts_about_two_addresses_of_the_same_digits_are_apart() -> None:
    assert not together(
        *(attached(f"[FIRING:1] Probe failed ({host} critical)") for host in ("10.1.11.1", "10.11.1.1"))
    )


def test_a_rules_name_with_spaces_is_read_whole_from_its_line() -> None:
    text = "Labels:\n - alertname = Slow checkout of orders\n - namespace = shop\n - service = checkout"
    (post,) = SOURCES["slack"].parse(
        {"text": "[FIRING:1] Slow checkout of orders", "attachments": [{"text": text}]}, {}
    )
    hook = alert("Slow checkout of orders", namespace="shop", service="checkout")
    assert (post.title, post.namespace, post.workload) == ("Slow checkout of orders", "shop", "checkout")
    assert together(post, hook)


# --- what other apps post about one failure -------------------------------------------------------


def posted(**message: Any) -> Alert:
    (found,) = SOURCES["slack"].parse({"ts": "1772442000.1", **message}, {})
    return found


def attached(title: str, **attachment: str) -> Alert:
    return posted(attachments=[{"title": title, **attachment}])


def test_a_monitors_states_are_one_alert_and_its_other_groups_are_others() -> None:
    link = "https://app.datadoghq.example/monitors/1"
    states = [attached(f"{word}: CPU is high on host:web-1", title_link=link) for word in ("Triggered", "Recovered")]
    assert together(*states, attached("Re-Triggered: CPU is high on host:web-1", title_link=link))
    assert not together(states[0], attached("Triggered: CPU is high on host:web-2", title_link=link))


def test_what_has_an_address_of_its_own_is_one_whatever_is_said_of_it() -> None:
    address = "https://acme.app.opsgenie.com/alert/detail/"
    opened, closed, other = (
        posted(attachments=[{"color": color, "pretext": words}])
        for color, words in (
            ("#FF0000", f"New alert: <{address}a1|#23: Orders stall> [Datadog]"),
            ("#1AB41A", f"Alert closed: <{address}a1|#23: Orders stall>"),
            ("#FF0000", f"New alert: <{address}a2|#24: Orders stall> [Datadog]"),
        )
    )
    assert together(opened, closed)
    assert not together(opened, other)


def test_a_post_of_flux_is_of_the_object_that_it_names() -> None:
    event = {
        "involvedObject": {"kind": "HelmRelease", "namespace": "shop", "name": "cart"},
        "severity": "error", "reason": "UpgradeFailed", "message": "Helm upgrade failed",
    }  # fmt: skip
    (hook,) = SOURCES["flux"].parse(event, {})
    failed = posted(attachments=[{"color": "danger", "author_name": "helmrelease/cart.shop", "text": "Upgrade failed"}])
    well = posted(attachments=[{"color": "good", "author_name": "helmrelease/cart.shop", "text": "Succeeded"}])
    assert (failed.namespace, failed.owner, failed.identity) == ("shop", "cart", hook.identity)
    assert together(hook, failed, well)


def test_a_pod_whose_name_tells_of_nobody_belongs_to_the_controller_that_its_labels_name() -> None:
    first, second = (
        alert("KubePodCrashLooping", namespace="shop", pod=f"web-blue-10{number}", deployment="web")
        for number in (412, 977)
    )
    assert first.owner == second.owner == "web"
    assert first.identity == second.identity
    of_another = alert("KubePodCrashLooping", namespace="shop", pod="web-blue-10412", deployment="mail")
    assert of_another.identity != first.identity
    told = alert("KubePodCrashLooping", namespace="shop", pod="web-66b7c9d5f4-m4znd", deployment="of-the-scrape")
    assert told.owner == "web", "the name that Kubernetes made tells of its owner"

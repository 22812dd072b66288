"""The chart makes valid objects, unprivileged pods, secrets as files, and refusals that name a value."""

import inspect
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from bot import migrating, program, socket_mode, tracing
from bot.jobs import DurableJobs
from bot.queues.worker import QueuedJobs
from bot.settings import Settings
from remediation.aws import credentials
from tests import chart

KUBERNETES_VERSION = "1.34"
# Of the Prometheus operator: Kubernetes has no schema of it.
ELSEWHERE = {"ServiceMonitor"}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/codehealer", "digest": f"sha256:{'0' * 64}"},
    "autoscaling": {"enabled": True},
    "redis": {"secret": "codehealer-redis"},
    "sqs": {"queueUrl": "https://sqs.eu-west-1.amazonaws.com/1/alerts", "mode": "jobs", "region": "eu-west-1"},
    "settings": {"CODEHEALER_STORM_INCIDENTS": 5},
    "policy": {"text": "version: 1\nmode: observe\n"},
    "caBundle": {"configMap": "authorities"},
    "proxy": {"https": "http://proxy.example:3128", "noProxy": "10.0.0.0/8"},
    "rbac": {
        "namespaces": ["shop", "search"],
        "actions": ["restart", "scale", "rollback", "memory", "image", "secret"],
        "secretNames": {"shop": ["checkout-db"]},
        "fluxNamespaces": ["flux-system"],
    },
    "serviceMonitor": {"enabled": True},
    "extraVolumes": [{"name": "runbooks", "configMap": {"name": "runbooks"}}],
    "extraVolumeMounts": [{"name": "runbooks", "mountPath": "/runbooks", "readOnly": True}],
}


def only(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    (found,) = [body for body in chart.objects(values) if body["kind"] == kind]
    return found


def pod(values: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = only("Deployment", values)["spec"]["template"]["spec"]
    return spec


# Over HTTP, in a cluster that is kept by others: no roles, no account, no NetworkPolicy of the chart's.
PLAIN: dict[str, Any] = {
    "replicas": 20,
    "secret": {"name": "codehealer", "keys": ["SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"]},
    "database": {"secret": "managed", "key": "uri", "port": 6432},
    "rbac": {"create": False},
    "pause": {"configMap": ""},
    "serviceAccount": {"create": False, "name": "theirs"},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"maxUnavailable": "25%"},
    "service": {"type": "LoadBalancer", "port": 443},
    "policy": {"configMap": "ours"},
    "topologySpreadConstraints": [],
}
# Senders come from outside, and what is asked is in the cluster.
OPEN: dict[str, Any] = {
    "service": {"type": "LoadBalancer"},
    "settings": {"PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090"},
    "networkPolicy": {"egressPorts": [443, 6443, 8080]},
}


@pytest.mark.parametrize(
    "values", [{}, EVERYTHING, PLAIN, OPEN], ids=["as shipped", "everything set", "kept by others", "open"]
)
def test_every_object_is_valid_and_the_chart_has_no_findings(values: dict[str, Any]) -> None:
    found = chart.answer(values)["lint"]
    assert found["errors"] == []
    assert [m["error"] for m in found["messages"] if m["severity"] > 1] == []
    made = chart.objects(values)
    for body in made:
        if body["kind"] not in ELSEWHERE:
            kubernetes_validate.validate(body, KUBERNETES_VERSION, strict=True)
    addresses = [(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]) for body in made]
    assert len(set(addresses)) == len(addresses)


def test_the_pod_meets_the_restricted_standard_and_writes_only_into_its_own_empty_folders() -> None:
    spec = pod(EVERYTHING)
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    writable = [mount for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert {mount["mountPath"] for mount in writable} == {"/tmp", "/var/lib/codehealer"}
    assert all("emptyDir" in volumes[mount["name"]] for mount in writable)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def default(of: Any, parameter: str) -> float:
    return float(inspect.signature(of).parameters[parameter].default)


def test_a_pod_that_ends_is_no_longer_sent_to_before_it_stops_and_has_time_to_stop() -> None:
    spec = pod({})
    python, _, code = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    sleep = re.fullmatch(r"import time; time\.sleep\((\d+)\)", code)
    # The image's base needs Python and no more: neither a shell nor `sleep`.
    assert python == "python"
    assert sleep is not None
    slept_s = float(sleep[1])
    assert slept_s >= 5
    jobs_s = max(default(kind, "patience_s") for kind in (DurableJobs, QueuedJobs))
    stops_s = jobs_s + program.LAST_ANSWERS_S + socket_mode.CLOSE_S + tracing.EXPORT_DEADLINE_S
    assert slept_s + stops_s < spec["terminationGracePeriodSeconds"]


def test_a_start_that_waits_for_tables_may_say_so_before_it_is_ended() -> None:
    spec = only("Deployment", {})["spec"]
    probe = spec["template"]["spec"]["containers"][0]["startupProbe"]
    allowed_s = probe["periodSeconds"] * probe["failureThreshold"]
    # The last try begins after a pause, and each of ten replicas may have its turn before it.
    last_s = migrating.LONGEST_PAUSE_S + 10 * migrating.LOCK_TIMEOUT_MS / 1000
    assert allowed_s > migrating.TRIED_FOR_S + last_s
    assert spec["progressDeadlineSeconds"] > allowed_s + spec["minReadySeconds"]


def test_each_variable_is_a_setting_and_secrets_are_files() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    secrets = {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "DATABASE_URL", "REDIS_URL"}
    given = {one["name"]: one["value"] for one in pod(EVERYTHING)["containers"][0]["env"]}
    files = {name.removesuffix("_FILE") for name in given if name.endswith("_FILE") and name != "SSL_CERT_FILE"}
    assert files == secrets
    assert not secrets & given.keys()
    named = {name for name in given if not name.endswith("_FILE")} | files
    assert named - known == {"HTTPS_PROXY", "NO_PROXY"}
    assert given["CODEHEALER_WATCH_NAMESPACES"] == "shop,search"


def test_numbers_and_booleans_of_the_settings_stand_as_they_were_written() -> None:
    # Helm reads every number of a values file as a float.
    values = {"settings": {
        "GITHUB_APP_ID": 1234567, "CODEHEALER_MODEL_TOKENS_PER_MONTH": 30000000, "CODEHEALER_HEARTBEAT_SECONDS": 0.5,
        "CODEHEALER_ACTIONS": False, "CODEHEALER_CHANNEL": "C0123", "CODEHEALER_STORM_INCIDENTS": "5",
        "SLACK_BASE_URL": "http://a.example/?b=1&c=<d>",
    }}  # fmt: skip
    given = {one["name"]: one["value"] for one in pod(values)["containers"][0]["env"]}
    given = {name: given[name] for name in values["settings"]}
    assert given == {
        "GITHUB_APP_ID": "1234567", "CODEHEALER_MODEL_TOKENS_PER_MONTH": "30000000",
        "CODEHEALER_HEARTBEAT_SECONDS": "0.5", "CODEHEALER_ACTIONS": "false", "CODEHEALER_CHANNEL": "C0123",
        "CODEHEALER_STORM_INCIDENTS": "5", "SLACK_BASE_URL": "http://a.example/?b=1&c=<d>",
    }  # fmt: skip


def test_secrets_are_refused_under_settings_and_all_else_is_taken() -> None:
    fields = {field.alias: field.annotation for field in Settings.model_fields.values() if field.alias}
    in_urls = {"DATABASE_URL", "REDIS_URL"}
    secrets = {name for name, kind in fields.items() if kind is SecretStr} | in_urls
    secrets |= {"CODEHEALER_WEBHOOK_TOKEN_GRAFANA", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OPS_TOKEN"}
    refused = chart.answer({"settings": dict.fromkeys(sorted(secrets), "in the clear")})["error"]
    assert {name for name in secrets if name not in refused} == set()
    others = {*(fields.keys() - secrets), *(f"{name}_FILE" for name in secrets)}
    assert "error" not in chart.answer({"settings": dict.fromkeys(sorted(others), "x")})


def test_the_kubeconfig_uses_the_token_that_kubernetes_renews() -> None:
    (held,) = [b for b in chart.objects({}) if b["kind"] == "ConfigMap"]
    config = yaml.safe_load(held["data"]["config"])
    assert config["users"][0]["user"] == {"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}
    assert "sandbox" not in held["data"]["config"]


def test_what_is_installed_by_default_may_change_nothing() -> None:
    verbs = {
        verb for rules in chart.rules({"rbac": {"namespaces": ["shop"]}}).values() for r in rules for verb in r["verbs"]
    }
    assert verbs == {"get", "list", "watch"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"rbac": {"actions": ["delete-everything"]}}, "/rbac/actions/0"),
        ({"settings": {"SLACK_BOT_TOKEN": "in the clear"}}, "SLACK_BOT_TOKEN"),
        ({"replica": 3}, "replica"),
        ({"database": {"secret": ""}}, "/database/secret"),
        ({"proxy": {"https": "http://user:password@proxy:3128"}}, "/proxy/https"),
        ({"policy": {"text": "version: 1", "configMap": "another"}}, "policy.text and policy.configMap exclude"),
        ({"replicas": 11}, "11 replicas: Slack allows an app ten Socket Mode links"),
        ({"autoscaling": {"enabled": True, "maxReplicas": 12}}, "12 replicas: Slack allows"),
        ({"autoscaling": {"enabled": True, "minReplicas": 7}}, "autoscaling.minReplicas is greater"),
        ({"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}, "resources.requests.cpu"),
        ({"rbac": {"namespaces": ["shop"], "actions": ["secret"]}}, "rbac.actions lists secret"),
        ({"rbac": {"actions": ["secret"], "secretNames": {"shop": ["db"]}}}, "shop is not among rbac.namespaces"),
        ({"rbac": {"namespaces": ["shop"], "secretNames": {"shop": ["db"]}}}, "unless rbac.actions lists secret"),
        (
            {"settings": {"GITHUB_APP_ID": "1"}, "secret": {"name": "c", "keys": ["GITHUB_APP_ID"]}},
            "GITHUB_APP_ID is under settings and under secret.keys",
        ),
        ({"secret": {"name": "c", "keys": ["GITHUB_TOKEN"]}}, "secret.keys lacks SLACK_BOT_TOKEN"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    assert named in chart.answer(values)["error"]


def ports_out(values: dict[str, Any]) -> list[int]:
    """The ports that may be reached anywhere, besides DNS."""
    dns, anywhere, *_ = only("NetworkPolicy", values)["spec"]["egress"]
    assert {one["port"] for one in dns["ports"]} == {53}
    assert "to" not in anywhere
    return [one["port"] for one in anywhere["ports"]]


@pytest.mark.parametrize(("proxy", "port"), [("http://proxy.example:3128", 3128), ("https://proxy.example/", 443)])
def test_the_network_policy_lets_out_to_the_database_redis_and_the_proxy(proxy: str, port: int) -> None:
    values = {
        "database": {"secret": "d", "key": "url", "port": 6432}, "redis": {"secret": "r", "port": 6390},
        "proxy": {"https": proxy}, "networkPolicy": {"egressPorts": [6443]},
    }  # fmt: skip
    assert ports_out(values) == [6432, 6390, 6443, port]


def test_the_network_policy_lets_out_to_the_addresses_that_the_settings_name() -> None:
    settings = {
        "ALERTMANAGER_URL": "http://alertmanager.monitoring.svc:9093", "ARGOCD_SERVER": "https://argocd.example:8443/",
        "CODEHEALER_CHANNEL": "C0123", "CODEHEALER_STATUS_PAGES": "A:ci=https://a.example:8444,B:ci=http://b.example",
        "CODEHEALER_STORM_INCIDENTS": 5, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://[fd00::1]:4318",
        "PROMETHEUS_URL": "http://prometheus.monitoring.svc:9090/prometheus", "SLACK_BASE_URL": "https://slack.com/api/",
    }  # fmt: skip
    found = ports_out({"settings": settings, "sqs": {"queueUrl": "http://queue.example:4566/1/alerts"}})
    assert found == [5432, 443, 6443, 4566, 8444, 80, 4318, 9093, 9090, 8443]
    assert ports_out({}) == [5432, 443, 6443]


@pytest.mark.parametrize(
    "values",
    [
        {"sqs": {"queueUrl": "https://sqs.eu-west-1.amazonaws.com/1/alerts"}},
        {"secret": {"name": "codehealer", "keys": ["CODEHEALER_AWS_SECRET"]}},
        {"settings": {"CODEHEALER_AWS_SECRET": "codehealer/prod"}},
    ],
    ids=["a queue", "a secret", "a setting"],
)
def test_credentials_of_pod_identity_can_be_had_and_the_machines_own_cannot(values: dict[str, Any]) -> None:
    *_, last = only("NetworkPolicy", values)["spec"]["egress"]
    cidrs = [peer["ipBlock"]["cidr"] for peer in last["to"]]
    assert {str(ip_network(cidr).network_address) for cidr in cidrs} < credentials._CONTAINER_HOSTS
    assert {ip_network(cidr).num_addresses for cidr in cidrs} == {1}
    assert last["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert 80 not in ports_out(values)
    assert len(only("NetworkPolicy", {})["spec"]["egress"]) == 2


@pytest.mark.parametrize(
    ("service", "named", "peers"),
    [
        ("ClusterIP", [], [{"namespaceSelector": {}}]),
        # Senders from outside are no pods: a rule about pods would shut out those whom the Service is for.
        ("LoadBalancer", [], None),
        ("NodePort", [], None),
        ("LoadBalancer", [{"ipBlock": {"cidr": "192.0.2.0/24"}}], [{"ipBlock": {"cidr": "192.0.2.0/24"}}]),
    ],
)
def test_the_network_policy_lets_in_whom_the_service_is_for(service: str, named: list[Any], peers: Any) -> None:
    values = {"service": {"type": service}, "networkPolicy": {"ingressFrom": named}}
    (ingress,) = only("NetworkPolicy", values)["spec"]["ingress"]
    assert ingress.get("from") == peers
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]


def test_the_plain_manifests_are_the_chart_rendered() -> None:
    assert {path.name: path.read_text() for path in chart.PLAIN.glob("*.yaml")} == chart.plain(), "make manifests"


def test_the_guides_commands_make_all_that_its_values_mount() -> None:
    guide = (Path(__file__).parents[1] / "docs/kubernetes.md").read_text()
    block = re.search(r"^    image: .*\n(?:    .*\n)+", guide, re.MULTILINE)
    assert block is not None
    values = yaml.safe_load(block[0])
    made = {
        name: set(re.findall(r"--from-(?:literal|file)=([^=\s]+)", rest))
        for name, rest in re.findall(r"create (?:secret generic|configmap) (\S+) (.*)", guide)
    }
    made |= {body["metadata"]["name"]: set(body["data"]) for body in chart.objects(values) if "data" in body}
    mounted = [volume.get("secret") or volume.get("configMap") for volume in pod(values)["volumes"]]
    wanted = [(one.get("secretName") or one["name"], one.get("items", [])) for one in mounted if one]
    assert len(wanted) == 4
    assert [(name, item["key"]) for name, items in wanted for item in items if item["key"] not in made[name]] == []
    assert [name for name, _ in wanted if name not in made] == []


def test_the_notes_say_what_pauses_where_no_role_is_made() -> None:
    told = "rbac.create is false: let the bot's account get that ConfigMap"
    notes = [
        chart.answer(values)["files"]["codehealer/templates/NOTES.txt"] for values in ({}, {"rbac": {"create": False}})
    ]
    assert [told in one for one in notes] == [False, True]

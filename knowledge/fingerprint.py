"""Pure: what an alert's names and labels say about the failing thing: its owner, its labels, its identity.

Generated names follow Kubernetes' own rules: hashes and random suffixes use the alphabet of
k8s.io/apimachinery/pkg/util/rand, which has no vowels and no 0, 1 or 3.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

_SAFE = "bcdfghjklmnpqrstvwxz2456789"
# A name longer than 253 characters is no Kubernetes name; matching is bounded by it.
_MAX_NAME = 253
# Deployment pods end in the template's hash and five random characters; hashes of old clusters were numbers.
_DEPLOYMENT_POD = re.compile(rf"^(?P<owner>.+)-(?:[{_SAFE}]{{6,10}}|[0-9]{{7,10}})-[a-z0-9]{{5,6}}$")
# Pods of indexed jobs, and of controllers that number their pods, have the number before the random part.
_INDEXED_POD = re.compile(rf"^(?P<owner>.+)-[0-9]{{1,4}}-(?:[{_SAFE}]{{5}}|[{_SAFE}]{{8,10}})$")
_ORDINAL_POD = re.compile(r"^(?P<owner>.+)-[0-9]{1,4}$")
_RANDOM_POD = re.compile(rf"^(?P<owner>.+)-[{_SAFE}]{{5}}$")
_REPLICA_SET = re.compile(rf"^(?P<owner>.+)-(?:[{_SAFE}]{{6,10}}|[0-9]{{7,10}})$")
# CronJobs name their jobs after the scheduled time: minutes since 1970 today, seconds before 1.21.
_CRON_JOB_RUN = re.compile(r"^(?P<owner>.+)-[0-9]{5,10}$")

# Exporters that speak about other objects: their own job, service, pod … say nothing of what fails. The names are
# Prometheus's convention (`*-exporter`) and those that do not keep to it; releases of Helm put theirs in front.
_EXPORTERS = ("kube-state-metrics", "exporter", "blackbox", "cadvisor", "kubelet", "pushgateway")
_STATE_METRICS, _KUBELET = "kube-state-metrics", "kubelet"
# `up == 0` is about the scraped job itself, whatever it exports.
_ABOUT_THE_SCRAPE = frozenset({"targetdown"})
# Where the scraper's labels collide with the metric's, Prometheus renames the metric's.
_EXPORTED = "exported_"
_SCRAPER: tuple[str, ...] = ("job", "instance", "endpoint", "service")
_SCRAPED = (*_SCRAPER, "pod", "container")
# What OpenTelemetry, Datadog and scrapes by annotation call the labels that Prometheus's own rules have, and the names
# that teams give the cluster.
_NAMED_OTHERWISE: Mapping[str, str] = {
    other: label
    for label, others in {
        "cluster": ("cluster_name", "k8s_cluster", "k8s_cluster_name", "kubernetes_cluster", "kube_cluster_name"),
        "namespace": ("k8s_namespace_name", "kubernetes_namespace", "kube_namespace"),
        "pod": ("k8s_pod_name", "kubernetes_pod_name", "pod_name"),
        "deployment": ("k8s_deployment_name", "kube_deployment"),
        "statefulset": ("k8s_statefulset_name", "kube_stateful_set"),
        "daemonset": ("k8s_daemonset_name", "kube_daemon_set"),
        "job_name": ("k8s_job_name", "kube_job"),
        "cronjob": ("k8s_cronjob_name", "kube_cronjob"),
        "node": ("k8s_node_name", "kubernetes_node", "kube_node"),
        "service": ("service_name",),
        "environment": ("deployment_environment", "deployment_environment_name"),
    }.items()
    for other in others
}
# Scrapes by annotations say with these where they scraped; the others are the metric's.
_OF_A_SCRAPE = "kubernetes_"
# What OpenTelemetry says of who sent a metric; Prometheus then scraped the collector that passed it on.
_TELEMETRY = "k8s_"
_TOLD_SERVICE = "service_name"
_SENDERS = (("k8s_namespace_name", "namespace"), ("k8s_pod_name", "pod"))
# Labels that say where an alert came from or how bad it is, not what fails; they never tell two failures apart.
_NOT_IDENTIFYING = frozenset(
    {
        "alertname", "severity", "prometheus", "prometheus_replica", "replica", "endpoint", "runbook_url", "team",
        "pod", "pod_ip", "pod_uid", "uid", "container_id", "image_id", "value", "grafana_folder", "alertgroup",
        "metrics_path",
        "namespace", "cluster", "deployment", "statefulset", "daemonset", "replicaset", "job_name", "cronjob",
    }
)  # fmt: skip
# With those of one pod, which change while its owner stays; a DaemonSet's pods stay on their nodes.
_OF_A_STAYING_POD = _NOT_IDENTIFYING | {"instance", "job", "service", "container"}
_OF_A_POD = _OF_A_STAYING_POD | {"node"}


def owner_of_pod(pod: str, node: str = "") -> str:
    """Name of the controller that a pod's name tells of; the name itself for a bare pod.

    `web-66b7c9d5f4-m4znd` → `web`, `pg-0` → `pg`, `nightly-29001230-x2b4c` → `nightly`, `proxy-x2b4c` → `proxy`;
    with `node`, a static pod `etcd-node-1` → `etcd`.
    """
    if not pod or len(pod) > _MAX_NAME:
        return pod
    if node and pod.endswith(f"-{node}"):
        return pod.removesuffix(f"-{node}") or pod
    if found := _DEPLOYMENT_POD.match(pod):
        return found["owner"]
    for pattern in (_INDEXED_POD, _ORDINAL_POD, _RANDOM_POD):
        if found := pattern.match(pod):
            return owner_of_job(found["owner"])
    return pod


def owner_of_replica_set(name: str) -> str:
    found = _REPLICA_SET.match(name) if len(name) <= _MAX_NAME else None
    return found["owner"] if found else name


def owner_of_job(name: str) -> str:
    """The CronJob of a job's name (`nightly-29001230` → `nightly`), or the job itself."""
    found = _CRON_JOB_RUN.match(name) if len(name) <= _MAX_NAME else None
    return found["owner"] if found else name


def owner_of_claim(claim: str) -> str:
    """The StatefulSet that a volume claim's name tells of (`data-pg-0` → `pg`), or ""."""
    found = _ORDINAL_POD.match(claim) if len(claim) <= _MAX_NAME else None
    if not found or "-" not in found["owner"]:
        return ""
    return found["owner"].split("-", 1)[1]


def failing_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that speak of what fails, under Prometheus's names.

    `exported_*` are put back; an exporter's own job, service and pod are left out. A second name for one thing that
    says something else stays as it is, since it may be all that tells two failures apart.
    """
    own: dict[str, str] = {}
    scraped: dict[str, str] = {}
    told: dict[str, str] = {}
    exported: dict[str, str] = {}
    others: list[tuple[str, str, str]] = []
    passed_on = any(name in labels and label in labels and labels[name] != labels[label] for name, label in _SENDERS)
    for name, value in labels.items():
        if name.startswith(_EXPORTED):
            exported[name.removeprefix(_EXPORTED)] = value
        elif not (label := _NAMED_OTHERWISE.get(name)):
            own[name] = value
        elif passed_on and name.startswith(_TELEMETRY):
            exported.setdefault(label, value)
        elif name.startswith(_OF_A_SCRAPE):
            scraped.setdefault(label, value)
        else:
            told.setdefault(label, value)
            others.append((name, label, value))
    exported.pop("", None)
    about_others = "namespace" in exported and not _about_the_scrape(labels)
    if about_others:
        # The metric names a namespace that is not the scraped pod's, so all of these are the exporter's.
        own, scraped = _without(_SCRAPED, own), _without(_SCRAPED, scraped)
    kept = {**scraped, **told, **own}
    if not (about_others or _about_the_scrape(labels)) and (exporters := _exporters_own(kept)):
        rest = _without(exporters, kept)
        if not exported and rest.keys() <= _TELLING_NOTHING:
            rest["job"] = kept["job"]  # of a rule over whole jobs nothing else tells them apart
        kept = rest
    kept |= exported
    for name, label, value in others:
        # A service that is told of is not the pod's that was scraped, which stays out of what tells failures apart.
        first = exported.get(label, own.get(label, told[label]))
        if first != value or (name == _TOLD_SERVICE and label in kept):
            kept[name] = value
    return kept


def _without(names: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in names}


def _about_the_scrape(labels: Mapping[str, str]) -> bool:
    return labels.get("alertname", "").lower() in _ABOUT_THE_SCRAPE


def _exporters_own(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the labels that say which exporter measured, and where it runs; none without a job."""
    job, pod = labels.get("job", ""), labels.get("pod", "")
    # A scrape by annotations has one job for everything; the container or the pod tells who answered. Without a job
    # nobody says who measured, and an exporter's pod may be what fails.
    named = (job, labels.get("container", ""), _STATE_METRICS if _STATE_METRICS in pod else "") if job else ()
    exporter = next((name for name in named if name.endswith(_EXPORTERS)), "").rpartition("/")[2]
    if not exporter:
        return ()
    pod = owner_of_pod(pod)
    kubelet_on_an_object = exporter.endswith(_KUBELET) and ("pod" in labels or "persistentvolumeclaim" in labels)
    if exporter.endswith(_STATE_METRICS) or kubelet_on_an_object:
        own = _SCRAPER
    else:  # everybody else's instance is what they were asked about
        own = ("job", "endpoint", *(("service",) if labels.get("service", "").endswith(_EXPORTERS) else ()))
    its_own_pod = pod and (pod == exporter or pod.endswith(f"-{exporter}") or exporter.endswith(f"-{pod}"))
    return (*own, "pod", "container") if its_own_pod else own


_CONTROLLERS = ("deployment", "statefulset", "daemonset")
_WORKLOAD_LABELS = ("pod", *_CONTROLLERS, "job_name", "node", "service")
# What stands for its workload without being one that can be acted upon, and the owner that its name tells of.
_OWNER_LABELS: Mapping[str, Callable[[str], str]] = {
    "horizontalpodautoscaler": str,
    "cronjob": str,
    "replicaset": owner_of_replica_set,
    "workload": str,  # with workload_type, of kubernetes-mixin's recording rules
}
_TELLING_NOTHING = _NOT_IDENTIFYING - {*_WORKLOAD_LABELS, *_OWNER_LABELS}


def workload_of(labels: Mapping[str, str]) -> tuple[str, str, str]:
    """(kind, name as given, owner) out of failing labels; three times "" where they name none."""
    # A claim's node is where it happens to be mounted.
    names = [name for name in _WORKLOAD_LABELS if name != "node" or not labels.get("persistentvolumeclaim")]
    kind = next((name for name in names if labels.get(name)), "")
    name = labels.get(kind, "")
    if kind == "pod":
        owner = owner_of_pod(name, labels.get("node", ""))
        if owner == name:  # a name that no controller of Kubernetes makes; whoever wrote the rule may know more
            owner = next((labels[other] for other in _CONTROLLERS if labels.get(other)), owner)
        return kind, name, owner
    if kind == "job_name":
        return kind, name, owner_of_job(name)
    if kind not in ("", "node", "service"):
        return kind, name, name
    return kind, name, next((owner(labels[told]) for told, owner in _OWNER_LABELS.items() if labels.get(told)), "")


# json.dumps with an option makes an encoder for each call.
_AS_JSON = json.JSONEncoder(ensure_ascii=False)


def identity(title: str, *, cluster: str = "", namespace: str = "", owner: str = "", marks: Iterable[str] = ()) -> str:
    """Digest (32 hex characters) that is equal for repeats of one failure: what happens, where, to whom.

    `marks` tell failures of one title and place apart (mountpoint, volume claim, run …); their order is of no account.
    """
    parts = [squash(title), cluster, namespace, owner, *sorted(marks)]
    return hashlib.sha256(_AS_JSON.encode(parts).encode("utf-8", "replace")).hexdigest()[:32]


def identifying_marks(labels: Mapping[str, str], *, owned: bool) -> list[str]:
    """`name=value` of the labels that tell two alerts of one name and owner apart.

    Where the owner is known, the node and the scraped instance are those of one of its pods and change with each
    restart; without one they are what fails. A claim is where its pod is. A DaemonSet's pods stay on their nodes.
    """
    left_out = _NOT_IDENTIFYING
    if owned or labels.get("persistentvolumeclaim"):
        left_out = _OF_A_STAYING_POD if labels.get("daemonset") else _OF_A_POD
    return [f"{name}={value}" for name, value in labels.items() if name not in left_out and value]


_NO_LETTERS = re.compile(r"[\W_]+")


def squash(title: str) -> str:
    """Lower case, letters and digits only: `Kube Pod-NotReady` and `KubePodNotReady` are one name."""
    lower = title.lower()
    return lower if lower.isalnum() else _NO_LETTERS.sub("", lower)


def normal_severity(word: object) -> str:
    """The sender's word in lower case, "" if there is none."""
    return word.strip().lower()[:40] if isinstance(word, str) else ""


_FAR_PAST = 1971  # Alertmanager's zero time is year 1; epoch 0 means "not set" as well.
_FRACTION = re.compile(r"\.(\d{1,12})")


def parse_time(value: object) -> datetime | None:
    """An aware time out of RFC 3339 text or seconds or milliseconds since 1970; None for absent, zero or unreadable."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        if isinstance(value, int | float):
            seconds = value / 1000 if abs(value) > 1e11 else float(value)
            found = datetime.fromtimestamp(seconds, UTC)
        elif isinstance(value, str) and 8 <= len(value) <= 40:
            # Six digits are what datetime holds; some senders give nine.
            text = _FRACTION.sub(lambda match: "." + match[1][:6].ljust(6, "0"), value.strip(), count=1)
            found = datetime.fromisoformat(text)
        else:
            return None
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        return aware.astimezone(UTC) if aware.year >= _FAR_PAST else None
    except (ValueError, OverflowError, OSError):
        return None

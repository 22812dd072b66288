"""Pure: what an alert's names and labels say about the failing thing: its owner, its labels, its identity.

Generated names follow Kubernetes' own rules: hashes and random suffixes use the alphabet of
k8s.io/apimachinery/pkg/util/rand, which has no vowels and no 0, 1 or 3.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
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

# Exporters that speak about other objects: their own job, service, instance, pod … say nothing of what fails.
_EXPORTERS = frozenset({"kube-state-metrics", "blackbox", "blackbox-exporter"})
_EXPORTER_LABELS = ("job", "service", "instance", "endpoint")
# Where the scraper's labels collide with the metric's, Prometheus renames the metric's.
_EXPORTED = "exported_"
# Labels that say where an alert came from or how bad it is, not what fails; they never tell two failures apart.
_NOT_IDENTIFYING = frozenset(
    {
        "alertname", "severity", "prometheus", "prometheus_replica", "replica", "endpoint", "runbook_url", "team",
        "pod", "pod_ip", "pod_uid", "uid", "container_id", "image_id", "value", "grafana_folder", "alertgroup",
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
    for pattern in (_DEPLOYMENT_POD, _INDEXED_POD, _ORDINAL_POD, _RANDOM_POD):
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
    """The labels that speak of what fails: `exported_*` put back, an exporter's own job, service and pod left out."""
    kept = {name: value for name, value in labels.items() if not name.startswith(_EXPORTED)}
    job = labels.get("job", "")
    if job in _EXPORTERS or job.endswith("kube-state-metrics"):
        # A blackbox probe's instance is what it probed.
        exporters_own = [name for name in _EXPORTER_LABELS if not (name == "instance" and "blackbox" in job)]
        if owner_of_pod(kept.get("pod", "")) == job:
            exporters_own += ["pod", "container"]
        for name in exporters_own:
            kept.pop(name, None)
    for name, value in labels.items():
        if name.startswith(_EXPORTED) and len(name) > len(_EXPORTED):
            kept[name.removeprefix(_EXPORTED)] = value
    return kept


_WORKLOAD_LABELS = ("pod", "deployment", "statefulset", "daemonset", "job_name", "node", "service")


def workload_of(labels: Mapping[str, str]) -> tuple[str, str, str]:
    """(kind, name as given, owner) out of failing labels; three times "" where they name none."""
    kind = next((name for name in _WORKLOAD_LABELS if labels.get(name)), "")
    name = labels.get(kind, "")
    if kind == "pod":
        return kind, name, owner_of_pod(name, labels.get("node", ""))
    if kind == "job_name":
        return kind, name, owner_of_job(name)
    if kind in ("", "node", "service") and labels.get("horizontalpodautoscaler"):
        return kind, name, labels["horizontalpodautoscaler"]
    return kind, name, "" if kind in ("node", "service") else name


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
    restart; without one they are what fails. A DaemonSet's pods stay on their nodes.
    """
    left_out = _NOT_IDENTIFYING
    if owned:
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

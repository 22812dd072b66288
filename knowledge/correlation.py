"""Pure: which open incident an alert belongs to: the same alert, else the same workload, else the same common cause.

An incident holds keys, an alert seeks keys, strongest first; one shared key joins them. Causes are lop-sided on
purpose: two unready pods on one node seek that node's own alert, never each other, because in a small cluster
everything shares a node. What explains itself (a crash, an image that cannot be pulled) is never put down to a node or
a quota. A wrong merge is worse than a split: it hides a failure.

Nothing here reads free text, least of all a model's: keys come from labels, names, ids and links.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from knowledge.fingerprint import failing_labels, owner_of_claim, owner_of_pod, parse_time, squash
from knowledge.model import Alert

# Kind of key → how long after an incident's last alert another may join by it. Specific keys live longer.
WINDOWS: Mapping[str, timedelta] = {
    "fingerprint": timedelta(days=7),
    "choice": timedelta(hours=6),  # a person's word, see knowledge/choices.py
    "run": timedelta(days=1),
    "suite": timedelta(days=1),
    "pager": timedelta(days=7),
    # Alertmanager's group and the page about it; the time is in the key, by slots.
    "group": timedelta(hours=2),
    "paged": timedelta(hours=2),
    # The line by which Alertmanager tells Slack of a group, where no label is named.
    "subject": timedelta(hours=2),
    # A page that names a service and nothing else.
    "service": timedelta(minutes=15),
    "paged-service": timedelta(minutes=15),
    "identity": timedelta(days=1),
    "application": timedelta(hours=6),
    "workload": timedelta(hours=2),
    "node": timedelta(hours=2),
    "node-cause": timedelta(hours=1),  # pods are called unready a quarter of an hour after their node
    "node-effect": timedelta(hours=1),
    "quota": timedelta(hours=2),
    # Short: a namespace may sit at its quota for days, and what fails there later has other reasons.
    "quota-cause": timedelta(minutes=15),
    "quota-effect": timedelta(minutes=15),
    "dependency": timedelta(minutes=15),
    "image": timedelta(hours=1),
    "ships": timedelta(hours=1),
    "runs": timedelta(hours=1),
    "commit": timedelta(hours=6),
}
# Keys that name one thing beyond doubt: nothing else can contradict them.
_CERTAIN = frozenset({"fingerprint", "choice", "run", "suite", "pager"})
# Keys of pages, which may be about several things: they join only where one incident holds them, and a page draws in
# what it is about, never what joins it later.
_AMBIGUOUS = frozenset({"group", "paged", "subject", "service", "paged-service"})
# Alertmanager sends a group to all its receivers at once; a page is told of some seconds later.
PAGE_SLOT_S = 20
# Labels that handlers/sources add: the name of Alertmanager's group at the pager, and whether one thing is in it.
GROUP, GROUP_ALONE, SUBJECT = "codehealer_group", "codehealer_group_alone", "codehealer_subject"
# Marks are held but never sought; they tell what speaks against joining.
_CLUSTER_MARK, _OWN_MARK, _NODE_MARK, _QUOTA_MARK = "in-cluster:", "own-cause:", "node-down:", "quota-used:"
_PLACE_MARK, _SITE_MARK = "place:", "site:"
CAUSE_MARKS = (_NODE_MARK, _QUOTA_MARK)
# What an incident's keys begin with that may speak against joining it.
MARKS = (_CLUSTER_MARK, _OWN_MARK, _NODE_MARK, _QUOTA_MARK, _PLACE_MARK, _SITE_MARK)
# Where nobody names the cluster, other labels tell two installations of one thing apart.
_SITE_LABELS = ("region", "datacenter", "dc", "site")
_ENVIRONMENTS = {"production": "prod", "prd": "prod", "stage": "staging", "stg": "staging", "development": "dev"}
# What one installation's things are called there; commits, runs and images are the same everywhere.
_OF_A_SITE = frozenset(
    {
        "workload", "application", "dependency", "node", "node-cause", "node-effect", "quota", "quota-cause",
        "quota-effect",
    }
)  # fmt: skip
# An application that degrades this long after its last sync was not broken by it: its commit is everybody's in a
# repository of many applications.
_SETTLED = timedelta(hours=1)

_OWN_CAUSE = re.compile(
    r"crashloop|backoff|oomkill|outofmemory|imagepull|errimage|invalidimage|createcontainer|runcontainer|segfault"
    r"|cannotrun|unhealthy|failedmount|probefail"
)
_UNAVAILABLE = re.compile(
    r"notready|unavailable|replicasmismatch|rolloutstuck|misscheduled|notscheduled|targetdown|evicted|nodelost"
    r"|unreachable|podunknown|terminating"
)
_NOT_CREATED = re.compile(r"replicasmismatch|rolloutstuck|failedcreate|progressdeadline|generationmismatch|unavailable")
_IMAGE_PULL = re.compile(r"imagepull|errimage|invalidimage|failedtopull")
# A host called db is none: without a colon there is no IPv6 address.
_ADDRESS = re.compile(r"^[\d.]+$|^\[?[0-9a-fA-F]*:[0-9a-fA-F:.]*\]?$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_NO_WORD = re.compile(r"[\W_]+")
_MAX_KEY = 600


@dataclass(frozen=True, slots=True)
class AlertKeys:
    """What one alert looks for and what it leaves behind.

    `seek`: keys by which it may join an incident, strongest first. `hold`: keys that the incident holds from then on.
    Both are `kind:value` texts for equality; the kinds are WINDOWS' (in `hold` there are marks besides).
    """

    seek: tuple[str, ...]
    hold: tuple[str, ...]
    at: datetime
    cluster: str = ""
    node: str = ""  # the node whose failure would explain the alert
    workload: str = ""
    own_cause: bool = False
    site: tuple[str, ...] = ()  # `name=value` of the installation


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """An open incident as far as joining goes: every key that its alerts hold, and the time of the last one."""

    id: int
    keys: frozenset[str]
    last_alert_at: datetime


def kind_of(key: str) -> str:
    """The kind of a key, one of WINDOWS' or of MARKS'."""
    return key.partition(":")[0]


def subject_key(line: str) -> str:
    """Digest of a group's line in Slack, whatever its punctuation; "" of a rule's bare name: it tells nothing apart."""
    line = line[:300].strip()
    # As words: run together, 10.1.11.1 and 10.11.1.1 were one address.
    words = _NO_WORD.sub(" ", line.lower()).strip()
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:32] if " " in line else ""


def keys_of(alert: Alert, at: datetime | None = None) -> AlertKeys:
    """`at` is when it was received; without it the alert's own start counts."""
    labels = failing_labels(alert.labels)
    found = _Keys(alert.cluster)
    received = at or alert.started_at or datetime.fromtimestamp(0, UTC)
    text = squash(alert.title + labels.get("reason", ""))
    own = bool(_OWN_CAUSE.search(text))
    workload = _workload(alert, labels)
    node = labels.get("node", "")
    # PagerDuty's key is its alerts' group, which comes again about other things; its incident's id does not.
    if alert.fingerprint and not (alert.source == "pagerduty" and labels.get("incident_id")):
        found.both("fingerprint", f"{alert.source}/{alert.fingerprint}")
    _delivery_keys(found, alert, labels)
    about_node = bool(node) and _about_node(alert, labels)
    affected = not own and not about_node and bool(node) and bool(_UNAVAILABLE.search(text))
    if about_node:
        found.both("node", node, scoped=True)
        found.hold("node-cause", node, scoped=True)
        found.mark(_NODE_MARK + node)
    elif affected:
        found.seek("node-cause", node, scoped=True)
        found.hold("node-effect", node, scoped=True)
    found.both("identity", alert.identity)
    _page_keys(found, alert, received)
    if labels.get(SUBJECT):
        found.both("subject", labels[SUBJECT])
    for name in workload:
        found.both("workload", name, scoped=True)
    _dependency_keys(found, alert, labels, own=own)
    _quota_keys(found, alert, labels, text, own=own)
    _release_keys(found, alert, labels, text, received)
    if about_node:
        found.seek("node-effect", node, scoped=True)
    if alert.cluster:
        found.mark(_CLUSTER_MARK + alert.cluster)
    site = _site(alert, labels)
    for one in site:
        found.mark(_SITE_MARK + one)
    if own and workload:
        found.mark(_OWN_MARK + workload[0])
    if alert.source != "pagerduty" and (place := workload[0] if workload else node or alert.repository):
        found.mark(_PLACE_MARK + place)
    return AlertKeys(
        seek=tuple(dict.fromkeys(map(_bounded, found.sought))),
        hold=tuple(dict.fromkeys(map(_bounded, found.held))),
        at=received,
        cluster=alert.cluster,
        node=node if affected else "",
        workload=workload[0] if workload else "",
        own_cause=own,
        site=site,
    )


def _bounded(key: str) -> str:
    """The key, or its beginning and a digest: an index takes 2,700 bytes, and a label is as long as it likes."""
    if len(key) <= _MAX_KEY:
        return key
    return f"{key[:100]}#{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"


class _Keys:
    """Collects keys. A scoped key matches within its cluster, and where one side does not know its cluster."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self.sought: list[str] = []
        self.held: list[str] = []

    def both(self, kind: str, value: str, *, scoped: bool = False) -> None:
        self.seek(kind, value, scoped=scoped)
        self.hold(kind, value, scoped=scoped)

    def seek(self, kind: str, value: str, *, scoped: bool = False) -> None:
        # "?" is held by those who do not know their cluster, "*" by those who do.
        clusters = ["", "?"] if not scoped else [self._cluster, "?"] if self._cluster else ["*", "?"]
        self.sought += [f"{kind}:{value}"] if not scoped else [f"{kind}:{cluster}/{value}" for cluster in clusters]

    def hold(self, kind: str, value: str, *, scoped: bool = False) -> None:
        clusters = [self._cluster, "*"] if self._cluster else ["?"]
        self.held += [f"{kind}:{value}"] if not scoped else [f"{kind}:{cluster}/{value}" for cluster in clusters]

    def mark(self, mark: str) -> None:
        self.held.append(mark)


def _workload(alert: Alert, labels: Mapping[str, str]) -> list[str]:
    """`namespace/controller` of what fails, the alert's own first."""
    namespace = alert.namespace
    found = []
    if namespace and alert.owner and alert.source != "argocd":
        found.append(f"{namespace}/{alert.owner}{_per_node(labels)}")
    claim = labels.get("persistentvolumeclaim", "")
    if namespace and claim and (owner := owner_of_claim(claim)):
        found.append(f"{namespace}/{owner}")
    for resource in alert.labels.get("degraded", "").split() if alert.source == "argocd" else ():
        if resource.count("/") == 2:
            place, kind, name = resource.split("/")
            found.append(f"{place}/{owner_of_pod(name) if kind == 'Pod' else name}")
    if alert.source == "argocd" and alert.labels.get("health_status") == "Degraded" and namespace:
        found.append(f"{namespace}/{alert.owner}")
    return found


def _site(alert: Alert, labels: Mapping[str, str]) -> tuple[str, ...]:
    named = {name: labels.get(name, "")[:100] for name in _SITE_LABELS}
    environment = alert.environment[:100].lower()
    named["environment"] = _ENVIRONMENTS.get(environment, environment)
    return tuple(f"{name}={value}" for name, value in named.items() if value)


def _per_node(labels: Mapping[str, str]) -> str:
    # A DaemonSet's trouble on one node is that node's, or one pod's: on another node it is another failure.
    return f"@{labels['node']}" if labels.get("daemonset") and labels.get("node") else ""


def _about_node(alert: Alert, labels: Mapping[str, str]) -> bool:
    """True if the node itself is what fails: no pod and no controller is named beside it."""
    if alert.source == "kubernetes":
        return labels.get("kind") == "Node"
    others = ("pod", "deployment", "statefulset", "daemonset", "job_name", "persistentvolumeclaim", "service")
    return not alert.owner and not any(labels.get(name) for name in others)


def _page_keys(found: _Keys, alert: Alert, at: datetime) -> None:
    """What a page of PagerDuty and the alerts that it is about have in common: Alertmanager's group, or a service.

    Group and page are sent together, and the same group comes again about other things: they meet within two slots.
    """
    service, slot = squash(alert.service), int(at.timestamp() // PAGE_SLOT_S)
    if alert.source == "pagerduty":
        found.seek("group", f"{alert.fingerprint}@{slot}")
        for near in (slot, slot + 1):
            found.hold("paged", f"{alert.fingerprint}@{near}")
        if service:
            found.seek("service", service)
            found.hold("paged-service", service)
        return
    if group := alert.labels.get(GROUP, ""):
        for near in (slot, slot + 1):
            found.hold("group", f"{group}@{near}")
        if alert.labels.get(GROUP_ALONE):
            found.seek("paged", f"{group}@{slot}")
    for name in {service, squash(alert.owner)} - {""} if alert.namespace else ():
        found.hold("service", name)
        found.seek("paged-service", name)


def _delivery_keys(found: _Keys, alert: Alert, labels: Mapping[str, str]) -> None:
    """What one run of CI, one incident of the pager or one application is called in every message about it."""
    if alert.repository and alert.run_id:
        found.both("run", f"{alert.repository}/{alert.run_id}")
    if alert.repository and labels.get("check_suite_id"):
        found.both("suite", f"{alert.repository}/{labels['check_suite_id']}")
    if labels.get("incident_id"):
        found.both("pager", labels["incident_id"])
    if labels.get("argocd_application"):
        found.both("application", labels["argocd_application"], scoped=True)


def _dependency_keys(found: _Keys, alert: Alert, labels: Mapping[str, str], *, own: bool) -> None:
    """Who declares that it depends on a thing, and what is said of that thing itself, share a key."""
    namespace = alert.namespace
    if not namespace:
        return
    # A label `app` may be the product's, and shared by all its workloads: it counts where nothing else is named.
    called = labels.get("service", "") or ("" if alert.owner else labels.get("app", ""))
    places = {"" if _per_node(labels) else alert.owner, called} - {""}
    named = {f"{namespace}/{name}" for name in places} | {_host(labels.get("instance", ""), namespace)}
    if not own:
        named.add(_host(labels.get("depends_on", ""), namespace))
    for name in sorted(named - {""}):
        found.both("dependency", name, scoped=True)


def _host(value: str, namespace: str) -> str:
    """`namespace/service` of `pay-db:5432` or `pay-db.pay.svc`, `namespace/host` of other hosts, "" for addresses."""
    authority = value.rpartition("://")[2].partition("/")[0]
    host = authority.rpartition(":")[0] if ":" in authority else authority
    host = host.lower()
    if not host or host == "localhost" or _ADDRESS.match(host):
        return ""
    parts = host.split(".")
    if len(parts) > 2 and parts[2] == "svc":
        return f"{parts[1]}/{parts[0]}"
    return f"{namespace}/{host}"


def _quota_keys(found: _Keys, alert: Alert, labels: Mapping[str, str], text: str, *, own: bool) -> None:
    """A used-up quota explains pods that are not created in its namespace, and nothing else."""
    namespace = alert.namespace
    if not namespace:
        return
    if labels.get("resourcequota") or "quota" in text:
        found.both("quota", f"{namespace}/{labels.get('resourcequota', '')}", scoped=True)
        if "almost" not in text:
            found.hold("quota-cause", namespace, scoped=True)
            found.seek("quota-effect", namespace, scoped=True)
            found.mark(_QUOTA_MARK + namespace)
    elif not own and _NOT_CREATED.search(text):
        found.seek("quota-cause", namespace, scoped=True)
        found.hold("quota-effect", namespace, scoped=True)


def _release_keys(found: _Keys, alert: Alert, labels: Mapping[str, str], text: str, at: datetime) -> None:
    """One commit, one image: a red build, a failed sync and a crash of the same release are one story."""
    image = labels.get("image", "")
    if image and alert.source == "argocd":
        found.hold("ships", image)
        found.seek("runs", image)
    elif image:
        found.hold("runs", image)
        found.seek("ships", image)
        if _IMAGE_PULL.search(text):
            found.both("image", image)
    synced = parse_time(labels.get("synced_at")) if alert.source == "argocd" else None
    settled = synced is not None and (alert.started_at or at) - synced > _SETTLED
    if _COMMIT.match(alert.commit) and not settled:
        found.both("commit", alert.commit)


def choose_incident(keys: AlertKeys, open_incidents: Iterable[OpenIncident]) -> int | None:
    """Id of the open incident that the alert belongs to, None for a new one.

    `open_incidents` may be only those that hold one of `keys.seek`, each with those of them and its MARKS. Among
    several that match by one key the oldest (lowest id) wins, so that repeats and replicas choose alike.
    """
    return next(iter(matching_incidents(keys, open_incidents)), None)


def matching_incidents(keys: AlertKeys, open_incidents: Iterable[OpenIncident]) -> tuple[int, ...]:
    """Every open incident that the alert could belong to, best first.

    The first is where it goes; the others turn out to be of the same cause (a node's own alert that came after those of
    its pods), which is worth a link between them.
    """
    incidents = sorted(open_incidents, key=lambda incident: incident.id)
    found: dict[int, None] = {}
    for key in keys.seek:
        window = WINDOWS[kind_of(key)]
        by_key = [
            incident.id
            for incident in incidents
            if abs(keys.at - incident.last_alert_at) <= window
            and key in incident.keys
            and not _contradicts(keys, key, incident.keys)
        ]
        if len(by_key) == 1 or kind_of(key) not in _AMBIGUOUS:
            found.update(dict.fromkeys(by_key))
    return tuple(found)


def held_by_new(keys: AlertKeys, open_incidents: Iterable[OpenIncident]) -> tuple[str, ...]:
    """What an incident holds that an alert opens: a page that may be about several open ones draws nothing in."""
    theirs = set().union(*(incident.keys for incident in open_incidents))
    if any(kind_of(key) in ("group", "service") and key in theirs for key in keys.seek):
        return tuple(key for key in keys.hold if not key.startswith("paged"))
    return keys.hold


def explained(keys: AlertKeys, open_incidents: Iterable[OpenIncident]) -> tuple[int, ...]:
    """The open incidents that an alert of a failing node, or of a used-up quota, explains: it came after theirs."""
    found: dict[int, None] = {}
    for key in keys.seek:
        if kind_of(key) not in ("node-effect", "quota-effect"):
            continue
        for incident in sorted(open_incidents, key=lambda one: one.id):
            near = abs(keys.at - incident.last_alert_at) <= WINDOWS[kind_of(key)]
            if near and key in incident.keys and not _contradicts(keys, key, incident.keys):
                found.setdefault(incident.id)
    return tuple(found)


def _contradicts(keys: AlertKeys, key: str, held: frozenset[str]) -> bool:
    """True if something known of the incident speaks against joining it by `key`."""
    kind = kind_of(key)
    if kind in _CERTAIN:
        return False
    clusters = _marked(held, _CLUSTER_MARK)
    if keys.cluster and clusters and keys.cluster not in clusters:
        return True
    if kind in _OF_A_SITE and not (keys.cluster and keys.cluster in clusters) and _elsewhere(keys.site, held):
        return True
    if kind.startswith("paged"):
        return bool(_marked(held, _PLACE_MARK))
    nodes, explained = _marked(held, _NODE_MARK), _marked(held, _OWN_MARK)
    if keys.node and nodes and keys.node not in nodes:
        return True
    if keys.own_cause and kind in ("identity", "workload", "dependency") and (nodes or _marked(held, _QUOTA_MARK)):
        # A crash is news even where the same workload already suffers from its node.
        return keys.workload not in explained
    return kind in ("node-effect", "quota-effect") and bool(explained or nodes)


def _elsewhere(site: tuple[str, ...], held: frozenset[str]) -> bool:
    """True if something is known to be called otherwise there: another environment, another region."""
    theirs = _marked(held, _SITE_MARK)
    named = {one.partition("=")[0] for one in theirs}
    return any(one.partition("=")[0] in named and one not in theirs for one in site)


def _marked(held: frozenset[str], mark: str) -> set[str]:
    return {key.removeprefix(mark) for key in held if key.startswith(mark)}

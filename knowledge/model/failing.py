"""What is failing: alerts, the incident they belong to, and the evidence for its cause."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from knowledge.model.kinds import FailureKind


class AlertStatus(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Link:
    title: str
    url: str


# What belongs to one row of the services table: the workload, and what deploys it.
FAMILY = ("Deployment", "StatefulSet", "DaemonSet", "Application", "Branch")


@dataclass(frozen=True, slots=True)
class Target:
    """What an action works on. Made by the server from the services table and the live system, never from text.

    `kind` is Deployment, StatefulSet, DaemonSet, Pod, Application (of Argo CD), Branch or WorkflowRun; `cluster` names
    a cluster of the policy ("" for CI); `name` is the object's name, for a WorkflowRun its numeric id with
    `repository` "owner/name".
    """

    kind: str
    name: str
    namespace: str = ""
    cluster: str = ""
    repository: str = ""
    service: str = ""
    environment: str = "prod"

    @property
    def key(self) -> str:
        """Identity of the object, e.g. `sandbox/shop/Deployment/checkout`."""
        return "/".join(
            part for part in (self.cluster or self.repository, self.namespace, self.kind, self.name) if part
        )

    @property
    def family(self) -> str:
        """Identity for leases and the loop breaker: a service's workload, application and branch share it.

        A fix of one changes the others. What stands alone, as a CI run, or has no service, has its own key. Versions
        that run side by side exclude each other by it: a test freezes it, and a change takes the old key as well.
        """
        if not self.service or self.kind not in FAMILY:
            return self.key
        return f"service/{self.service}/{self.environment}/{self.namespace}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One failing or recovering signal, normalised from one source's body. All text fields are untrusted.

    `workload` is the name as the sender gives it (pod, else deployment, statefulset, job_name, node, else ""),
    `owner` our resolved controller name ("" if unknown); `fingerprint` the sender's ("" where it sends none),
    `identity` ours: equal for repeats of one failure, whatever their order.
    `target` holds look-up hints such as {"kind": "Pod", "namespace": ..., "name": ...}; it never is a target itself.
    `actionable` is false for what is informational; `trusted` is false for pasted text and unknown apps' posts, which
    never get an action.
    """

    source: str
    status: AlertStatus
    title: str
    identity: str
    fingerprint: str = ""
    actionable: bool = True
    trusted: bool = True
    severity: str = ""
    summary: str = ""
    namespace: str = ""
    workload: str = ""
    owner: str = ""
    service: str = ""
    environment: str = ""
    cluster: str = ""
    repository: str = ""
    branch: str = ""
    commit: str = ""
    run_id: str = ""
    log: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    target: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    # Where people see it, for alerts that came through Slack: channel id, message ts and the thread's parent ts.
    channel: str = ""
    message_ts: str = ""
    thread_ts: str = ""
    asked_by: str = ""
    baseline: bool = False  # it was found failing when the bot came, by whoever looked
    closed: bool = False  # posted in a channel that not everybody reads: what it says stays there


class IncidentState(StrEnum):
    """States of an incident's life; its moves are in knowledge/lifecycle.py."""

    DETECTED = "detected"
    DIAGNOSING = "diagnosing"
    PROPOSED = "proposed"  # a fix is shown that nobody can click here: observe or suggest mode
    WAITING = "waiting"  # an approval is asked for
    BLOCKED = "blocked"  # policy forbids the fix
    RUNNING = "running"
    VERIFYING = "verifying"
    HEALED = "healed"
    NOT_VERIFIED = "not_verified"
    UNDONE = "undone"
    ESCALATED = "escalated"  # a person's work
    DISMISSED = "dismissed"
    RESOLVED = "resolved"  # by itself or by a person


@dataclass(frozen=True, slots=True)
class Incident:
    """One failure in one place, from its first alert to its lesson. Without a `target` it is only diagnosed."""

    id: int
    identity: str
    title: str
    state: IncidentState
    source: str
    severity: str
    service: str
    environment: str
    namespace: str
    workload: str
    cluster: str
    repository: str
    run_id: str
    channel: str
    thread_ts: str
    trusted: bool
    flagged: bool
    target: Target | None
    kind: FailureKind | None
    alert_count: int
    opened_at: datetime
    last_alert_at: datetime
    resolved_at: datetime | None
    revision: int
    asked_by: str = ""
    commit: str = ""
    assigned_to: str = ""  # who said "I'm on it": a Slack user's id
    by_hand: str = ""  # why nothing runs by itself for this incident; "" where the policy decides
    merged_into: int | None = None  # the incident that its alerts belong to since
    meant_channel: str = ""  # where its card belongs, while that is out of reach and `channel` another
    storm_id: int | None = None  # the storm whose message tells of it, in whose thread its card is

    @property
    def open(self) -> bool:
        return self.state not in CLOSED_STATES


CLOSED_STATES: frozenset[IncidentState] = frozenset(
    {IncidentState.HEALED, IncidentState.DISMISSED, IncidentState.RESOLVED}
)


class EvidenceKind(StrEnum):
    """What a piece of evidence is; free strings of other origin are accepted by the diagnosis as well."""

    ALERT = "alert"
    MESSAGE = "message"
    POD_STATUS = "pod_status"
    EVENTS = "events"
    LOGS = "logs"
    PREVIOUS_LOGS = "previous_logs"
    ROLLOUT = "rollout"
    NODE = "node"
    AUTOSCALER = "autoscaler"
    VOLUMES = "volumes"
    QUOTA = "quota"
    WORKFLOW_RUN = "workflow_run"
    JOB_LOG = "job_log"
    ANNOTATIONS = "annotations"
    ARGOCD = "argocd"
    CHANGES = "changes"
    METRICS = "metrics"
    STATUS_PAGE = "status_page"
    SILENCE = "silence"


# What surrounds a failure rather than being part of it: people and models read it, but its words (a commit's subject,
# a metric's name) say nothing about the cause by themselves. Its first line sums it up.
CONTEXT_KINDS: frozenset[str] = frozenset(
    {EvidenceKind.CHANGES, EvidenceKind.METRICS, EvidenceKind.STATUS_PAGE, EvidenceKind.SILENCE}
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One collected text (redacted, bounded) or the reason why it could not be had (`could_not`, text empty)."""

    kind: str
    source: str
    text: str
    could_not: str = ""
    truncated_chars: int = 0
    link: str = ""

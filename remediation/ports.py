"""What remediation asks of the outside, as the few methods that it calls, and the bundle in which they are handed in.

Every method has a deadline of its own and raises only our errors: NotFound, Conflict, Refused, and Unavailable, whose
`maybe_done` tells whether a write may have taken effect. Objects of the outside are plain JSON dictionaries.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from knowledge.model import Execution, ExecutionState, Outcome, Target
from remediation.secret_sources import SecretSource

Json = dict[str, Any]

FIELD_MANAGER = "codehealer"
EXECUTION_ANNOTATION = "codehealer.dev/execution"


class Cluster(Protocol):
    """One or several Kubernetes clusters. `cluster` is a name of the policy's table; "" is the first one."""

    @property
    def names(self) -> tuple[str, ...]: ...

    async def get(self, cluster: str, kind: str, namespace: str, name: str) -> Json: ...

    async def list(
        self, cluster: str, kind: str, namespace: str, *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> list[Json]:
        """Objects of a kind in a namespace ("" = all), with `kind` and `apiVersion` filled in; bounded to 2,000."""
        ...

    async def logs(
        self, cluster: str, namespace: str, pod: str, container: str, *, previous: bool = False, tail_lines: int = 400
    ) -> tuple[str, int]:
        """The end of a container's log, at most 256 KiB, and how many characters were left out before it."""
        ...

    async def delete_pod(self, cluster: str, namespace: str, name: str, *, uid: str, dry_run: bool = False) -> None:
        """Deletes exactly the pod with this uid. Conflict when another pod has the name by now."""
        ...

    async def patch(
        self,
        cluster: str,
        kind: str,
        namespace: str,
        name: str,
        operations: Sequence[Json],
        *,
        dry_run: bool = False,
    ) -> Json:
        """A JSON patch; its `test` operations are the preconditions. Conflict when one of them fails."""
        ...

    async def version(self, cluster: str) -> str:
        """The server's version, e.g. "v1.33.1"; for `doctor`."""
        ...

    async def rules(self, cluster: str, namespace: str) -> tuple[Json, ...]:
        """What our account may do in a namespace, as the cluster's own authorizers list it; for `doctor`."""
        ...

    def watch_pods(self, cluster: str, namespaces: Sequence[str] = ()) -> AsyncGenerator[Json, None]:
        """Pods and warning events as they change, of all namespaces when none is given; never ends by itself."""
        ...

    def unwatched(self) -> str | None:
        """What of the watches that were begun is not seen, with the reason; None where all is."""
        ...

    async def aclose(self) -> None: ...


class CodeHost(Protocol):
    """GitHub. `repository` is "owner/name"."""

    async def run(self, repository: str, run_id: int) -> Json: ...

    async def jobs(self, repository: str, run_id: int, attempt: int | None = None) -> list[Json]:
        """The jobs of the latest attempt, or of the given one; at most 200."""
        ...

    async def job_log(self, repository: str, job_id: int, *, limit_bytes: int = 2_000_000) -> tuple[str, int]:
        """The log's last `limit_bytes`, and how many characters were left out before them."""
        ...

    async def annotations(self, repository: str, check_run_id: int) -> list[Json]:
        """What was noted on a check run; a job's is its own id. At most 50."""
        ...

    async def last_success(self, repository: str, run: Json) -> Json | None:
        """The workflow's newest successful run before this one, on its `head_branch` unless that is empty.

        Looked for among the last ten that succeeded.
        """
        ...

    async def succeeded_since(self, repository: str, run: Json) -> bool:
        """Whether a later run of its workflow, of its branch, event and origin, was successful."""
        ...

    async def later_run(self, repository: str, run: Json) -> Json | None:
        """The newest run of the same workflow that came after this one, on the same branch (a release has none).

        Runs for pull requests and others are apart, as are forks; one that was skipped does not count.
        """
        ...

    async def compare(self, repository: str, base: str, head: str) -> Json:
        """The commits from one to the other (oldest first, at most 50) and the files that they change."""
        ...

    async def rerun(self, repository: str, run_id: int, *, only_failed: bool) -> None: ...

    async def cancel(self, repository: str, run_id: int) -> None:
        """Asks a run to end; GitHub answers before it has."""
        ...

    async def read(self, repository: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at a path of the repository, such as "/pulls/7"; tried again on passing faults."""
        ...

    async def write(
        self, method: str, repository: str, path: str, body: Mapping[str, Any] | None = None, *, needs: str
    ) -> Any:
        """One request that changes something, never repeated. `needs` is the permission to name when it is missing."""
        ...

    async def read_organization(self, repository: str, path: str) -> Any:
        """As `read`, below the repository's owner, which is an organisation."""
        ...

    async def write_organization(self, repository: str, path: str, body: Mapping[str, Any], *, needs: str) -> Any:
        """A PUT, as `write`, below the repository's owner."""
        ...

    async def read_app(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """As `read`, of the App itself, such as "/hook/deliveries"; Refused where we are no App."""
        ...

    async def write_app(self, path: str, *, needs: str) -> Any:
        """A POST of the App itself, as `write`."""
        ...

    async def granted(self) -> Mapping[str, str] | None:
        """An App's permissions by GitHub's names; None for a token, which does not tell."""
        ...

    async def login(self) -> str:
        """Who we are there, a user or an App; for `doctor`."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ApplicationList:
    """Applications, whole. `away` says of each server that could not be asked why: server → sentence."""

    rows: Sequence[Json]
    away: Mapping[str, str]


class ArgoCd(Protocol):
    async def application(self, name: str) -> Json: ...

    async def applications(self) -> ApplicationList:
        """Every application that the token may see. Raises only where there is one server, and that does not answer."""
        ...

    async def managed_resources(self, name: str) -> list[Json]:
        """Each with its live and wanted state as JSON text; Secrets' values are masked."""
        ...

    async def resource_tree(self, name: str) -> list[Json]: ...

    async def revision(self, name: str, revision: str) -> Json:
        """Author, date and message of a revision."""
        ...

    async def sync(
        self, name: str, *, revision: str = "", prune: bool = False, dry_run: bool = False,
        infos: Mapping[str, str] | None = None,
    ) -> Json:  # fmt: skip
        """Starts a sync and returns the application. `infos` are kept with the operation, so that it is known again.

        "" as revision is what the application tracks. Conflict while another operation is in progress.
        """
        ...

    async def rollback(self, name: str, deployed_id: int, *, dry_run: bool = False) -> Json:
        """Starts a rollback to a row of the application's history. Refused under auto-sync."""
        ...

    async def may(self, action: str, application: Json) -> bool:
        """Whether the token may do this ("get", "sync") to an application as `applications` lists it."""
        ...

    async def aclose(self) -> None: ...


class Pager(Protocol):
    """PagerDuty's Events API v2; one `dedup_key` an incident of ours.

    Its three verbs are all that there are: a second `trigger` of a key adds an event to the open alert, whose summary
    and severity stay those of the first.
    """

    async def trigger(
        self, dedup_key: str, summary: str, *, severity: str = "error", source: str = "codehealer", link: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None: ...  # fmt: skip

    async def acknowledge(self, dedup_key: str) -> None: ...

    async def resolve(self, dedup_key: str) -> None: ...

    async def aclose(self) -> None: ...


class PagerIncidents(Protocol):
    """Incidents that others opened in PagerDuty, by PagerDuty's own id."""

    async def acknowledge(self, incident_id: str, note: str) -> bool:
        """False where nobody has to any more: nothing was changed then."""
        ...

    async def resolve(self, incident_id: str, note: str) -> bool:
        """False where it is resolved already."""
        ...


class Schedules(Protocol):
    """Who is on call in PagerDuty at this moment."""

    async def on_call(self, schedule_id: str) -> Sequence[str]:
        """PagerDuty's ids of the people; nobody where the schedule has a gap."""
        ...


class RepositorySecrets(Protocol):
    """Where the policy in force says that new values of a repository's secrets come from."""

    def source_of(
        self, target: Target, name: str, *, environment: str, organization: bool
    ) -> SecretSource | None:  # fmt: skip
        """None where the target's row of the services table names none for the secret in that place."""
        ...


class Webhooks(Protocol):
    """A POST to an address of the policy's."""

    async def token(self, variable: str) -> str | None:
        """The value of a variable that the policy names, or of the file that it names with _FILE appended; None where
        neither is set. Raises SettingsError for a file that cannot be read."""
        ...

    async def post(self, url: str, body: Mapping[str, Any], *, token: str = "", key: str = "") -> None:
        """`token` goes as bearer, `key` as Idempotency-Key."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a query's answer at one moment. `value` may be NaN or infinite."""

    labels: Mapping[str, str]
    value: float


class Metrics(Protocol):
    """Prometheus, or what answers like it."""

    async def query(self, promql: str, at: datetime) -> list[Sample]:
        """An instant query; at most 20 series."""
        ...

    async def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Silence:
    """Why nobody is told of an alert; all text is people's."""

    id: str
    created_by: str
    comment: str
    ends_at: datetime | None


class Silences(Protocol):
    """Alertmanager, reading only."""

    async def silences_of(self, alertname: str, fingerprint: str) -> list[Silence]:
        """The silences that mute the alert with this fingerprint now; empty where it is not known there."""
        ...

    async def muted(self) -> Mapping[str, Silence]:
        """What is silenced now: by the alert's fingerprint, the silence that lasts longest. One attempt, 2 s."""
        ...

    async def alerts(self) -> list[Json]:
        """All alerts that it has, muted or not, as its API gives them."""
        ...

    async def up_since(self) -> datetime | None:
        """When it was started: what it does not have may merely not have reached it yet."""
        ...

    async def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PageState:
    """What a provider's status page says. `trouble` is its incidents, one a line; "" while all is well."""

    name: str
    description: str
    trouble: str
    link: str


class StatusPages(Protocol):
    """Status pages of providers, each for the symptoms (ci, registry, network) that its failure would cause."""

    def names(self, symptoms: Collection[str]) -> list[str]:
        """The pages that are for one of the symptoms."""
        ...

    async def ask(self, name: str) -> PageState: ...


class SecretSources(Protocol):
    """Where the policy in force says that new values of secrets come from."""

    def source_of(self, target: Target, secret: str, key: str) -> SecretSource | None:
        """None where the target's row of the services table names none for that key."""
        ...


@dataclass(frozen=True, slots=True)
class Clients:
    """What is connected. None: not configured, which a collector or remediator says in words."""

    cluster: Cluster | None = None
    code_host: CodeHost | None = None
    argocd: ArgoCd | None = None
    pager: Pager | None = None
    pager_incidents: PagerIncidents | None = None
    schedules: Schedules | None = None
    metrics: Metrics | None = None
    silences: Silences | None = None
    status_pages: StatusPages | None = None
    secret_sources: SecretSources | None = None
    webhooks: Webhooks | None = None
    repository_secrets: RepositorySecrets | None = None


class ExecutionStore(Protocol):
    """Durable state of executions. Each method is one transaction.

    The fencing token of a lease grows with every acquisition of its key. A write whose token is lower than the one
    stored with the execution must change nothing and say so, so that a worker that outlived its lease writes nothing.
    """

    async def lease_acquire(self, key: str, holder: str, ttl_s: float) -> int | None:
        """The fencing token, or None while somebody else's lease is alive. The holder's own one is taken over."""
        ...

    async def lease_renew(self, key: str, token: int, ttl_s: float) -> bool:
        """False when the lease ended or was taken over."""
        ...

    async def lease_release(self, key: str, token: int) -> None: ...

    async def take_execution(self, execution_id: int, *, fencing_token: int) -> Execution | None:
        """Stores the token when it is not lower than the stored one, and returns the row as it is now; else None."""
        ...

    async def start_execution(self, execution_id: int, *, snapshot: Mapping[str, Any], fencing_token: int) -> bool:
        """queued → started with the snapshot, before the side effect. False: not queued any more, or fenced off."""
        ...

    async def finish_execution(
        self, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
    ) -> bool:
        """queued or started → acted, failed or refused; acted → undone or acted. False when fenced off."""
        ...

    async def begin_undo(self, execution_id: int, *, fencing_token: int) -> bool:
        """True exactly once in the execution's life, stored before the undo is sent."""
        ...

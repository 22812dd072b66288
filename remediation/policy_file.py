"""policy.yaml as pydantic models, and its errors with file, line, field and remedy."""

import datetime as dt
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from knowledge.errors import SettingsError
from knowledge.model import FailureKind
from remediation.policy_routes import OnCall, QuietHours, Route, RouteMatch
from remediation.policy_servers import ArgoCdAddress, GitHubAddress, ServerName, twice
from remediation.policy_times import DAY_MINUTES, DAYS, Day, TimeOfDay, TimeZone
from remediation.policy_workflows import (
    Build,
    RepositorySecret,
    Workflow,
    WorkflowHook,
    WorkflowOnGitHub,
    WorkflowParameter,
)
from remediation.secret_sources import AwsSecret, SecretSource

DEFAULT_POLICY = Path(__file__).with_name("policy_default.yaml")
MAX_BYTES = 1_000_000
# The same in C, eight times as fast, where PyYAML was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Mode = Literal["observe", "suggest", "approve", "automatic"]
Strategy = Literal["slack_first", "vector", "hybrid", "conservative"]
ActionName = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_]{1,60})$")]
KubeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
Repository = Annotated[str, StringConstraints(pattern=r"^$|^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")]
MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.%/-]{0,59}$")]
PromQl = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9_-]{0,30})$")]
Memory = Annotated[str, StringConstraints(pattern=r"^$|^[1-9][0-9]{0,6}(Mi|Gi)$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Approvers(_Part):
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


class Environment(_Part):
    """What one environment allows. Without `actions` nothing runs in it."""

    mode: Mode | None = None
    strategy: Strategy = "conservative"
    strategies: dict[FailureKind, Strategy] = {}  # of single kinds of failure
    min_confidence: Share = 0.95
    approvals: Annotated[int, Field(ge=1, le=5)] = 1
    approvers: Approvers | None = None  # None: those of the whole policy
    no_self_approval: bool = False
    actions: tuple[ActionName, ...] = ()


class Workload(_Part):
    kind: Literal["Deployment", "StatefulSet", "DaemonSet"] = "Deployment"
    name: KubeName


class ServiceSecret(_Part):
    """A key of a Secret in the service's namespace that may be given a new value, and where that comes from."""

    name: KubeName
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]
    source: SecretSource


def _repeated(values: list[tuple[Any, ...]]) -> tuple[Any, ...] | None:
    return next((value for value in values if values.count(value) > 1), None)


class Service(_Part):
    """One service in one environment: the only place from which targets are made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    environment: str = "prod"
    cluster: str = ""
    namespace: KubeName | Literal[""] = ""
    workload: Workload | None = None
    repository: Repository = ""
    argocd_app: str = ""
    manifests: Repository = ""  # where Argo CD's manifests are, when not in `repository`
    builds: Build | None = None
    github_secrets: Annotated[tuple[RepositorySecret, ...], Field(max_length=20)] = ()
    owner: str = ""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    max_memory: Memory = ""  # of one container; "": limits.memory_cap
    secrets: Annotated[tuple[ServiceSecret, ...], Field(max_length=8)] = ()
    mode: Mode | None = None
    min_confidence: Share | None = None
    channel: str = ""
    outside_models: bool | None = None  # None: as the whole policy says
    # What to ask Prometheus when the service fails: a name for people and a query that gives one value a series.
    metrics: Annotated[dict[MetricName, PromQl], Field(max_length=8)] = {}
    # Queries whose answer must be there and nowhere 0 before a fix counts as verified, as in an alert's expression.
    healthy_when: Annotated[tuple[PromQl, ...], Field(max_length=4)] = ()

    @model_validator(mode="after")
    def _findable(self) -> "Service":
        if self.workload is not None and not self.namespace:
            raise ValueError("a workload needs its namespace")
        # GitHub takes no notice of capitals here.
        places = [(s.name.upper(), s.environment.lower(), s.organization) for s in self.github_secrets]
        if again := _repeated(places):
            raise ValueError(f"github_secrets names {again[0]} twice in the same place")
        if key := _repeated([(s.name, s.key) for s in self.secrets]):
            raise ValueError(f"secrets names {key[0]}/{key[1]} twice")
        return self


class Slack(_Part):
    """Whose posts are alerts, by bot or app id; what is made of other apps' posts; which channels get no digest."""

    alert_apps: tuple[str, ...] = ()
    other_apps: Literal["ignore", "diagnose"] = "ignore"
    no_digest: tuple[str, ...] = ()  # channels by id


class ClusterAccess(_Part):
    kubeconfig: str | None = None  # None: KUBECONFIG
    context: str | None = None


FieldPath = Annotated[str, StringConstraints(pattern=r"^[^.\s]{1,100}(\.[^.\s]{1,100}){0,9}$")]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,60}$")]


class WebhookMapping(_Part):
    """Which field of a webhook's body is which of an alert's; a path is written like alert.hosts.0.name."""

    title: FieldPath
    alerts: FieldPath | Literal[""] = ""  # a list in the body: each entry is an alert; other paths begin in the entry
    status: FieldPath | Literal[""] = ""
    resolved: tuple[str, ...] = ("resolved", "recovered", "ok", "closed", "normal", "inactive", "cleared")
    firing: tuple[str, ...] = ()  # any other word is information; without a list every other word fires
    severity: FieldPath | Literal[""] = ""
    informational: tuple[str, ...] = ("info", "informational", "information", "debug", "none", "notice")
    summary: FieldPath | Literal[""] = ""
    fingerprint: FieldPath | Literal[""] = ""
    started_at: FieldPath | Literal[""] = ""
    link: FieldPath | Literal[""] = ""
    # namespace, pod, deployment, statefulset, daemonset, job_name, node, service, cluster, repository, … → path
    labels: Annotated[dict[LabelName, FieldPath], Field(max_length=40)] = {}


class Limits(_Part):
    fixes_per_hour: Annotated[int, Field(ge=0, le=1000)] = 10
    # Of one action: what it adds, what it touches, and the share of the workload's pods that it touches.
    replicas_per_action: Annotated[int, Field(ge=0, le=1000)] = 50
    pods_per_action: Annotated[int, Field(ge=0, le=10_000)] = 100
    percent_per_action: Annotated[int, Field(ge=0, le=100)] = 100
    # After any fix of a target a person is asked about the next one for so long.
    cooldown_minutes: Annotated[int, Field(ge=0, le=10_080)] = 10
    # Over all targets: past either, nothing runs by itself until a person resumes it.
    automatic_fixes_per_hour: Annotated[int, Field(ge=0, le=1000)] = 20
    failures_in_a_row: Annotated[int, Field(ge=1, le=100)] = 3
    approval_minutes: Annotated[int, Field(ge=1, le=10080)] = 30
    # By severity, "*" for every other: how long a request goes unanswered before people hear of it again.
    remind_minutes: dict[Severity, Annotated[int, Field(ge=1, le=10080)]] = {"critical": 5, "*": 10}
    page_minutes: dict[Severity, Annotated[int, Field(ge=1, le=10080)]] = {"critical": 10}
    verification_seconds: dict[ActionName, Annotated[int, Field(ge=10, le=86400)]] = {}
    settle_seconds: dict[ActionName, Annotated[int, Field(ge=0, le=3600)]] = {}
    memory_cap: Memory = ""  # of one container, for services without a max_memory; "": none is raised


class ActionRule(_Part):
    min_confidence: Share = 0.0
    approvers: Approvers | None = None  # None: whoever may approve in the environment


class Forbidden(_Part):
    service: str
    action: ActionName
    hard: bool = False


class TimeWindow(_Part):
    """A part of the week, such as peak hours. One that ends before it begins goes on past midnight of its `days`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    start: TimeOfDay = Field(0, alias="from")
    end: TimeOfDay = Field(DAY_MINUTES, alias="to")
    timezone: TimeZone = "UTC"
    environments: tuple[str, ...] = ()
    hard: bool = False

    @model_validator(mode="after")
    def _has_length(self) -> "TimeWindow":
        if self.start == self.end:
            raise ValueError("'from' and 'to' are the same; leave both out for the whole day")
        return self


class Freeze(_Part):
    start: dt.datetime = Field(alias="from")
    end: dt.datetime = Field(alias="to")
    timezone: TimeZone = "UTC"
    environments: tuple[str, ...] = ()
    hard: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> "Freeze":
        if self.start.tzinfo is None and self.end.tzinfo is None and self.start >= self.end:
            raise ValueError("'from' must be before 'to'")
        return self


class Maintenance(_Part):
    """A stretch of the calendar in which alerts of these open no card. Firing still when it ends, they open one."""

    start: dt.datetime = Field(alias="from")
    end: dt.datetime = Field(alias="to")
    timezone: TimeZone = "UTC"
    services: tuple[str, ...] = ()
    namespaces: tuple[KubeName, ...] = ()
    environments: tuple[str, ...] = ()
    reason: Annotated[str, StringConstraints(max_length=200)] = ""

    @model_validator(mode="after")
    def _says_of_what(self) -> "Maintenance":
        zone = ZoneInfo(self.timezone)
        start, end = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (self.start, self.end))
        if start >= end:
            raise ValueError("'from' must be before 'to'")
        if not (self.services or self.namespaces or self.environments):
            raise ValueError("name the services, namespaces or environments that it is for")
        return self


class Trust(_Part):
    """When the bot proposes to let one fix of one kind for one service run by itself: see remediation/trust.py."""

    proposals: bool = True
    min_bound: Share = 0.75


class DryRun(_Part):
    environments: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Policy(_Part):
    """The whole file. An empty one observes and allows nothing."""

    version: Literal[1] = 1
    mode: Mode = "observe"
    environments: dict[str, Environment] = {}
    actions: dict[ActionName, ActionRule] = {}
    approvers: Approvers = Approvers()
    # Who may widen a mode, resume, and grant trust; where nobody is named, the approvers.
    operators: Approvers = Approvers()
    services: tuple[Service, ...] = ()
    slack: Slack = Slack()
    # By name: "default" reads what is posted to /webhooks/generic, NAME what is posted to /webhooks/generic/NAME.
    webhooks: Annotated[dict[LabelName, WebhookMapping], Field(max_length=50)] = {}
    clusters: dict[str, ClusterAccess] = {}
    argocd_servers: Annotated[dict[ServerName, ArgoCdAddress], Field(max_length=50)] = {}
    github_hosts: Annotated[dict[ServerName, GitHubAddress], Field(max_length=50)] = {}
    limits: Limits = Limits()
    blacklist: tuple[Forbidden, ...] = ()
    protected_namespaces: tuple[str, ...] = ("kube-system", "kube-public", "kube-node-lease")
    freezes: tuple[Freeze, ...] = ()
    time_windows: Annotated[tuple[TimeWindow, ...], Field(max_length=50)] = ()
    maintenance: Annotated[tuple[Maintenance, ...], Field(max_length=200)] = ()
    # Where cards go and whom they mention: the first that fits.
    routes: Annotated[tuple[Route, ...], Field(max_length=200)] = ()
    trust: Trust = Trust()
    outside_models: bool = True
    private_namespaces: tuple[KubeName, ...] = ()
    workflows: Annotated[tuple[Workflow, ...], Field(max_length=50)] = ()
    read_only: bool = False
    dry_run: bool | DryRun = False

    @field_validator("blacklist", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        """Each entry may be written short, as [service, action]."""
        if not isinstance(value, list):
            return value
        return [{"service": v[0], "action": v[1]} if isinstance(v, list) and len(v) == 2 else v for v in value]

    @model_validator(mode="after")
    def _consistent(self) -> "Policy":
        for service in self.services:
            if service.cluster and self.clusters and service.cluster not in self.clusters:
                raise ValueError(f"service '{service.name}' names the cluster '{service.cluster}', which is not listed")
        if again := _repeated([(route.name,) for route in self.routes]):
            raise ValueError(f"two routes are named '{again[0]}'")
        for servers in (self.argocd_servers, self.github_hosts):
            if name := twice(servers):
                raise ValueError(f"two of argocd_servers or github_hosts list '{name}'; list it once")
        names = [workflow.name for workflow in self.workflows]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two workflows are named '{name}'")
        places = [(s.cluster, s.namespace, s.workload.kind, s.workload.name) for s in self.services if s.workload]
        for place in places:
            if places.count(place) > 1:
                # Two rows for one object could give it two environments; neither would ever match alone.
                raise ValueError(f"two services name the same workload {'/'.join(filter(None, place))}")
        return self


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a policy file. `line` is 1-based, 0 where it cannot be told."""

    file: str
    line: int
    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.field + ': ' if self.field else ''}{self.problem}. {self.remedy}"


def check_policy(text: str, *, file: str = "policy.yaml") -> tuple[Policy | None, list[Finding]]:
    """The policy, or None with everything that is wrong."""
    if len(text.encode()) > MAX_BYTES:
        return None, [Finding(file, 0, "", f"larger than {MAX_BYTES:,} bytes", "Split it or remove what is not policy")]
    try:
        root, data = _read(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        return None, [Finding(file, line, "", f"not valid YAML ({getattr(error, 'problem', error)})", "Mend the line")]
    if data is None:
        return Policy(), []
    if not isinstance(data, dict):
        return None, [Finding(file, 1, "", "must be a mapping", "Begin with 'version: 1'")]
    repeated = _repeated_keys(root, file)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        return None, repeated + [_finding(file, root, problem) for problem in error.errors()]
    return (None, repeated) if repeated else (policy, [])


def _read(text: str) -> tuple[yaml.Node | None, Any]:
    """The document's nodes, which know their lines, and its data."""
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def parse_policy(text: str, *, file: str = "policy.yaml") -> Policy:
    """The policy. SettingsError names every file, line, field and remedy."""
    policy, findings = check_policy(text, file=file)
    if policy is None:
        raise SettingsError("\n".join(str(f) for f in findings))
    return policy


def load_policy(path: Path) -> Policy:
    """Reads and parses a policy file. SettingsError when it is absent, unreadable or wrong."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"{path} does not exist. Set CODEHEALER_POLICY to a policy file, or unset it.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}). Check its permissions and that it is UTF-8.") from error
    return parse_policy(text, file=str(path))


def default_policy() -> Policy:
    """The shipped policy: observe mode, nothing configured."""
    return load_policy(DEFAULT_POLICY)


def _finding(file: str, root: Any, problem: Any) -> Finding:
    # Discriminator-like parts of a union ("bool", "DryRun") are no keys of the file and are passed over.
    location = [part for part in problem["loc"] if part not in {"bool", "DryRun", "[key]"}]
    line = line_of(root, location)
    field = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        remedy = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(known)}"
        return Finding(file, line, field, "unknown key", remedy)
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return Finding(file, line, field, f"{message}{shown}", _remedy(problem))


def _remedy(problem: Any) -> str:
    context = problem.get("ctx") or {}
    if "expected" in context:
        return f"Write one of: {context['expected']}"
    if problem["type"] == "missing":
        return "Add it"
    if problem["type"] in {"less_than_equal", "greater_than_equal"}:
        return "Choose a value within the bound"
    return "See docs/policy.md"


_MODELS: dict[str, type[BaseModel]] = {
    "environments": Environment,
    "approvers": Approvers,
    "operators": Approvers,
    "services": Service,
    "workload": Workload,
    "secrets": ServiceSecret,
    "source": SecretSource,
    "aws": AwsSecret,
    "builds": Build,
    "github_secrets": RepositorySecret,
    "workflows": Workflow,
    "github": WorkflowOnGitHub,
    "webhook": WorkflowHook,
    "parameters": WorkflowParameter,
    "slack": Slack,
    "clusters": ClusterAccess,
    "argocd_servers": ArgoCdAddress,
    "github_hosts": GitHubAddress,
    "limits": Limits,
    "actions": ActionRule,
    "blacklist": Forbidden,
    "freezes": Freeze,
    "time_windows": TimeWindow,
    "routes": Route,
    "match": RouteMatch,
    "on_call": OnCall,
    "quiet_hours": QuietHours,
    "trust": Trust,
    "dry_run": DryRun,
}


def _known_keys(location: list[Any]) -> list[str]:
    """The keys that the innermost named part of the file takes."""
    names = [part for part in location[:-1] if part in _MODELS]
    model = _MODELS[names[-1]] if names else Policy
    return [field.alias or name for name, field in model.model_fields.items()]


def line_of(node: Any, location: list[Any]) -> int:
    """The 1-based line of the deepest part of `location` that the file has."""
    line = node.start_mark.line + 1 if node is not None else 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _repeated_keys(root: Any, file: str) -> list[Finding]:
    """YAML lets a later key win silently; in a policy that would hide a limit."""
    found: list[Finding] = []
    stack, seen_nodes = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            stack.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if key.value in keys:
                    line = key.start_mark.line + 1
                    found.append(Finding(file, line, str(key.value), "written twice", "Keep one of the two"))
                keys.add(key.value)
                stack.append(value)
    return found

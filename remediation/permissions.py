"""What the cluster has to allow for what the policy lists, and what of it is missing: pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from remediation.policy_facts import mode_of_row
from remediation.policy_file import Policy, Service
from remediation.ports import Json
from remediation.registry import Remediator

# Where a resource lives; what is not here is GitHub's or Argo CD's.
GROUPS = {
    "pods": "", "pods/log": "", "events": "", "persistentvolumeclaims": "", "limitranges": "", "resourcequotas": "",
    "configmaps": "", "secrets": "", "nodes": "",
    "deployments": "apps", "replicasets": "apps", "statefulsets": "apps", "daemonsets": "apps",
    "controllerrevisions": "apps", "horizontalpodautoscalers": "autoscaling", "jobs": "batch",
    "scaledobjects": "keda.sh", "verticalpodautoscalers": "autoscaling.k8s.io",
}  # fmt: skip
# Of operators that a cluster may not have: without these nothing is missing.
OPTIONAL = frozenset({"scaledobjects", "verticalpodautoscalers"})
# What evidence, planning and the watch read, whatever may be done.
LOOKING = (
    "pods: get, list, watch",
    "events: list, watch",
    "deployments, statefulsets, daemonsets, pods/log: get",
    "replicasets: get, list",
    "controllerrevisions, horizontalpodautoscalers, scaledobjects, verticalpodautoscalers, jobs: list",
    "persistentvolumeclaims, limitranges, resourcequotas: list",
    "configmaps: get",
)

# The shipped chart's roles beside the one for reading: what an operator allows by one word.
ACTION_GROUPS: Mapping[str, tuple[str, ...]] = {
    "restart": ("k8s_restart_pod", "k8s_restart_rollout"),
    "scale": ("k8s_scale",),
    "rollback": ("k8s_rollback",),
    "memory": ("k8s_raise_memory",),
    "image": ("k8s_update_image",),
    "secret": ("k8s_update_secret",),
}


def grants(entries: Iterable[Remediator]) -> dict[str, set[str]]:
    """Resource → verbs: what looking at a target takes, and what the entries state."""
    wanted: dict[str, set[str]] = {}
    for text in (*LOOKING, *(text for entry in entries for text in entry.permissions)):
        names, _, verbs = text.partition(": ")
        for resource in names.split(", "):
            if resource in GROUPS:
                wanted.setdefault(resource, set()).update(verbs.split(", "))
    return wanted


def roles(catalogue: Mapping[str, Remediator]) -> dict[str, dict[str, set[str]]]:
    """Role → resource → verbs: `read` for looking, and for each group of actions what it needs beyond that."""
    reading = grants(())
    found = {"read": reading, "nodes": {"nodes": {"get", "list"}}}
    for group, names in ACTION_GROUPS.items():
        wanted = grants(catalogue[name] for name in names)
        beyond = {resource: verbs - reading.get(resource, set()) for resource, verbs in wanted.items()}
        found[group] = {resource: verbs for resource, verbs in beyond.items() if verbs}
    return found


def places(policy: Policy) -> dict[tuple[str, str], list[Service]]:
    """(cluster, namespace) → the services there that have a workload."""
    found: dict[tuple[str, str], list[Service]] = {}
    for row in policy.services:
        if row.workload:
            found.setdefault((row.cluster, row.namespace), []).append(row)
    return found


def missing(
    rules: Sequence[Json],
    rows: Sequence[Service],
    policy: Policy,
    catalogue: Mapping[str, Remediator],
    *,
    once_approved: bool = False,
) -> list[str]:
    """The lines that a namespace's Role lacks for these services. `rules` is what the cluster says is allowed there.

    A service of which the policy's mode only looks lacks nothing for its actions, unless asked as if `once_approved`.
    """
    acting = [row for row in rows if _acts(policy, row, once_approved=once_approved)]
    listed = {name for row in acting for name in _actions(policy, row.environment)}
    entries = [entry for name, entry in catalogue.items() if name in listed or "*" in listed]
    lines = []
    for resource, verbs in grants(entries).items():
        names = sorted({one.name for row in acting for one in row.secrets}) if resource == "secrets" else [""]
        lacking = [verb for verb in sorted(verbs) if not all(_allows(rules, resource, verb, name) for name in names)]
        if lacking and resource not in OPTIONAL:
            named = f", resourceNames: [{', '.join(names)}]" if names != [""] else ""
            rule = f'apiGroups: ["{GROUPS[resource]}"], resources: [{resource}]{named}, verbs: [{", ".join(lacking)}]'
            lines.append(f"{{{rule}}}")
    return lines


# What evidence reads on GitHub, and an App's permissions by the words of the catalogue.
LOOKING_ON_GITHUB = ("actions: read", "checks: read", "contents: read")
OF_AN_APP = {
    "actions": "actions", "checks": "checks", "contents": "contents", "pull requests": "pull_requests",
    "repository secrets": "secrets", "environments": "environments", "organization secrets": "organization_secrets",
}  # fmt: skip
LEVELS = ("", "read", "write", "admin")


def missing_of_app(
    granted: Mapping[str, str], policy: Policy, catalogue: Mapping[str, Remediator], *, once_approved: bool = False
) -> list[str]:
    """What an App lacks for looking and for what the policy lists, such as "contents: write (github_revert_pr)"."""
    rows = [row for row in policy.services if row.repository]
    acting = [row for row in rows if _acts(policy, row, once_approved=once_approved)]
    wanted: dict[str, list[str]] = {text: [] for text in LOOKING_ON_GITHUB} if rows else {}
    for name, entry in catalogue.items():
        of_it = [row for row in acting if {name, "*"} & {*_actions(policy, row.environment)}]
        for text in entry.permissions if of_it else ():
            if text.partition(": ")[0] in _places_of_secrets(of_it):
                wanted.setdefault(text, []).append(name)
    return [
        f"{text} ({', '.join(names)})" if names else text
        for text, names in wanted.items()
        if LEVELS.index(granted.get(OF_AN_APP[text.partition(": ")[0]], "")) < LEVELS.index(text.partition(": ")[2])
    ]


def applications(policy: Policy, *, once_approved: bool = False) -> tuple[set[str], set[str]]:
    """The applications of Argo CD that the policy names, and those of them that it lets the bot sync."""
    rows = [row for row in policy.services if row.argocd_app]
    syncs = {"argocd_sync", "argocd_rollback", "*"}
    acting = [row for row in rows if _acts(policy, row, once_approved=once_approved)]
    synced = {row.argocd_app for row in acting if syncs & {*_actions(policy, row.environment)}}
    return {row.argocd_app for row in rows}, synced


def _places_of_secrets(rows: Sequence[Service]) -> set[str]:
    """The permissions that matter for these rows: of secrets only those of the places that they are in."""
    secrets = [one for row in rows for one in row.github_secrets]
    kept = {
        "repository secrets": any(not one.environment and not one.organization for one in secrets),
        "environments": any(one.environment for one in secrets),
        "organization secrets": any(one.organization for one in secrets),
    }
    return {word for word in OF_AN_APP if kept.get(word, True)}


def _acts(policy: Policy, row: Service, *, once_approved: bool) -> bool:
    """Whether the file's mode lets anything be carried out for the row; what people set beside it is not known here."""
    return once_approved or mode_of_row(policy, row, row.environment) in {"approve", "automatic"}


def _actions(policy: Policy, environment: str) -> Collection[str]:
    rules = policy.environments.get(environment) or policy.environments.get("prod")
    return rules.actions if rules else ()


def _allows(rules: Sequence[Json], resource: str, verb: str, name: str) -> bool:
    return any(
        _in(rule.get("apiGroups"), GROUPS[resource])
        and _in(rule.get("resources"), resource)
        and _in(rule.get("verbs"), verb)
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in rules
    )


def _in(values: Collection[str] | None, value: str) -> bool:
    return bool(values) and (value in (values or ()) or "*" in (values or ()))

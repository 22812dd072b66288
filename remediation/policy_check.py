"""What a policy file says that is valid and yet surely not meant, such as an action that does not exist. Pure."""

import difflib
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

import yaml

from remediation.approvers import ids
from remediation.policy_file import DryRun, Finding, Policy, line_of

# The keys and indexes that lead to a value of the file.
Place = list[str | int]


def doubts(text: str, policy: Policy, actions: Collection[str], *, file: str) -> list[Finding]:
    """Findings about a file that is valid: names that nothing answers to, and modes that can come to nothing.

    `actions` are ours; the file's own workflows are actions beside them.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found = []
    actions = {*actions, *(workflow.action for workflow in policy.workflows)}
    for location, name in _action_names(policy):
        if name != "*" and name not in actions:
            near = difflib.get_close_matches(name, actions, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else f"Known are {', '.join(sorted(actions))}"
            problem = f"there is no action '{name}'"
            found.append(Finding(file, line_of(root, location), _field(location), problem, remedy))
    for location, problem, remedy in (*_modes(policy), *_services(policy), *_routes(policy), *_places(policy)):
        found.append(Finding(file, line_of(root, location), _field(location), problem, remedy))
    return sorted(found, key=lambda finding: finding.line)


def _field(location: Place) -> str:
    return ".".join(map(str, location))


def _action_names(policy: Policy) -> Iterator[tuple[Place, str]]:
    for name, environment in policy.environments.items():
        for index, action in enumerate(environment.actions):
            yield ["environments", name, "actions", index], action
    for action in policy.actions:
        yield ["actions", action], action
    for key in ("verification_seconds", "settle_seconds"):
        for action in getattr(policy.limits, key):
            yield ["limits", key, action], action
    for index, entry in enumerate(policy.blacklist):
        yield ["blacklist", index], entry.action


def _modes(policy: Policy) -> Iterator[tuple[Place, str, str]]:
    lists = [policy.approvers, *(one.approvers for one in policy.environments.values() if one.approvers)]
    named = any(ids(one) for one in lists)
    modes: list[tuple[Place, str | None]] = [(["mode"], policy.mode)]
    modes += [(["environments", name, "mode"], one.mode) for name, one in policy.environments.items()]
    modes += [(["services", index, "mode"], row.mode) for index, row in enumerate(policy.services)]
    for location, mode in modes:
        if mode in {"approve", "automatic"} and not named:
            yield location, f"mode {mode}, and nobody may approve", "Name people, groups or channels under approvers"
            return


def _services(policy: Policy) -> Iterator[tuple[Place, str, str]]:
    if not policy.services:
        yield ["services"], "no service is listed, so a failure is only diagnosed", "Add a row for each service"
    names = {row.name for row in policy.services}
    for index, row in enumerate(policy.services):
        if policy.environments and row.environment not in policy.environments:
            remedy = f"List it under environments, or write one of: {', '.join(policy.environments)}"
            yield ["services", index, "environment"], f"'{row.environment}' is not listed and counts as prod", remedy
        if not (row.workload or row.repository or row.argocd_app):
            remedy = "Give its workload, repository or argocd_app"
            yield ["services", index], f"nothing can be done about '{row.name}': it names no place", remedy
    for index, entry in enumerate(policy.blacklist):
        if names and entry.service != "*" and entry.service not in names:
            near = difflib.get_close_matches(entry.service, names, n=1)
            remedy = f"Did you mean '{near[0]}'?" if near else "Write a service's name, or *"
            yield ["blacklist", index], f"there is no service '{entry.service}'", remedy


def _places(policy: Policy) -> Iterator[tuple[Place, str, str]]:
    """What a switch names and nothing has: it would switch nothing."""
    services = {row.name for row in policy.services}
    # By what a row counts as too: one of an environment that is not listed counts as prod.
    environments = {*policy.environments, *(row.environment for row in policy.services), "prod"} - {""}
    named: list[tuple[Place, str, tuple[str, ...], set[str]]] = []
    if isinstance(policy.dry_run, DryRun):
        named.append((["dry_run", "environments"], "environment", policy.dry_run.environments, environments))
        named.append((["dry_run", "services"], "service", policy.dry_run.services, services))
    for key in ("freezes", "time_windows"):
        for index, part in enumerate(getattr(policy, key)):
            named.append(([key, index, "environments"], "environment", part.environments, environments))
    for place, what, names, known in named:
        for index, name in enumerate(names):
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                others = f"Known are {', '.join(sorted(known))}" if known else "Add its row to the services"
                remedy = f"Did you mean '{near[0]}'?" if near else others
                yield [*place, index], f"there is no {what} '{name}'", remedy


def _routes(policy: Policy) -> Iterator[tuple[Place, str, str]]:
    names = {row.name for row in policy.services}
    for index, route in enumerate(policy.routes):
        if route.match.anything and index + 1 < len(policy.routes):
            remedy = "Move it to the end, or say under match what it is for"
            yield ["routes", index], f"'{route.name}' fits everything, so no route after it is ever taken", remedy
        for number, pattern in enumerate(route.match.services):
            if names and not any(fnmatchcase(name.lower(), pattern.lower()) for name in names):
                near = difflib.get_close_matches(pattern, names, n=1)
                remedy = f"Did you mean '{near[0]}'?" if near else "Write a service's name, or a pattern of some"
                place: Place = ["routes", index, "match", "services", number]
                yield place, f"there is no service '{pattern}'", remedy

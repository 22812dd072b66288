"""What the shipped roles grant, and what of it was used."""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

from bot.sandbox.world.services import BY_NAME
from remediation.cluster_errors import granting
from remediation.permissions import LEVELS, grants
from remediation.remediators import REMEDIATORS
from tests import chart
from tests.remediation.site import Site

SHIPPED = Path(__file__).parents[2] / "deploy/chart/files/roles.yaml"
ROLES: dict[str, list[dict[str, Any]]] = yaml.safe_load(SHIPPED.read_text())
NAMESPACES = sorted({service.namespace for service in BY_NAME.values()})
# The sandbox's workloads are Deployments; what is asked of them is asked of the other kinds in the same way.
SAME = {"statefulsets": "deployments", "daemonsets": "deployments", "controllerrevisions": "replicasets"}
# A service's named Secrets and who reads them are looked at whatever is proposed for it; refused, they are left out.
TOLERATED = {("secrets", "get"), ("deployments", "list")}
Use = tuple[str, str]


def granted(*groups: str) -> dict[str, list[dict[str, Any]]]:
    """What the cluster grants when the chart was installed with these groups, by namespace."""
    names = {"shop": ["orders-db"]} if "secret" in groups else {}
    asked = {"namespaces": NAMESPACES, "actions": list(groups), "secretNames": names}
    return copy.deepcopy(chart.rules({"rbac": asked}))


def used(site: Site) -> set[Use]:
    """(resource, verb) of every request that was granted."""
    found = set()
    for request in site.world.requests:
        if request["system"] == "k8s" and "/authorization.k8s.io/" not in request["path"]:
            line = granting(f"{request['method']} {request['path'].removeprefix('/k8s')}")
            resource, verb = re.findall(r"(?:resources|verbs): \[(.+?)\]", line)
            use = (SAME.get(resource, resource), "watch" if request["query"].get("watch") else verb)
            assert request["status"] != 403 or use in TOLERATED, f"not granted: {line}"
            found.add(use)
    return found


def uses_of(role: str) -> set[Use]:
    listed = {(resource, verb) for rule in ROLES[role] for resource in rule["resources"] for verb in rule["verbs"]}
    return {(SAME.get(resource, resource), verb) for resource, verb in listed}


def beyond_reading(name: str) -> set[Use]:
    """What an entry states that it needs and the role for reading does not have."""
    needed = {(resource, verb) for resource, verbs in grants([REMEDIATORS[name]]).items() for verb in verbs}
    return {(SAME.get(resource, resource), verb) for resource, verb in needed} - uses_of("read")


# By GitHub's page "Permissions required for GitHub Apps"; the first that fits. GET reads, all else writes.
GITHUB_PERMISSIONS = (
    (r"/actions/secrets/.+", "repository secrets"),
    (r"/actions/.+", "actions"),
    (r"/check-(?:runs|suites)/.+", "checks"),
    (r"/commits/[^/]+/pulls|/pulls(?:/.+)?", "pull requests"),
    (r"/commits/[^/]+/check-(?:runs|suites)", "checks"),
    (r"/(?:git|compare|commits|contents)/.+|/commits", "contents"),
    (r"", "metadata"),
)


def github_permissions(site: Site) -> dict[str, str]:
    """The highest level by permission that the requests took; one that nobody knows of fails."""
    found: dict[str, str] = {}
    for request in site.world.requests:
        path = re.sub(r"^/github/repos/[^/]+/[^/]+", "", request["path"])
        if request["system"] == "github" and "/job-logs/" not in path:
            name = next(name for pattern, name in GITHUB_PERMISSIONS if re.fullmatch(pattern, path))
            level = "read" if request["method"] == "GET" else "write"
            found[name] = max(found.get(name, ""), level, key=LEVELS.index)
    found.pop("metadata", None)  # which every App has
    return found

"""Makes the rules of the chart's roles from the catalogue: `python -m bot.roles > deploy/chart/files/roles.yaml`."""

import sys

from bot.remediators_page import VERBS
from remediation.permissions import GROUPS, roles
from remediation.remediators import REMEDIATORS

HEAD = "# Made from the catalogue by `python -m bot.roles`; a test holds the two together.\n"


def page() -> str:
    """Role → rules as Kubernetes writes them, resources with the same verbs in one rule; the names of Secrets are left
    to the chart's values."""
    lines = []
    for role, wanted in roles(REMEDIATORS).items():
        lines.append(f"{role}:\n")
        merged: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for resource, verbs in wanted.items():
            merged.setdefault((GROUPS[resource], tuple(v for v in VERBS if v in verbs)), []).append(resource)
        for (group, ordered), resources in sorted(merged.items()):
            listed = f"resources: [{', '.join(sorted(resources))}], verbs: [{', '.join(ordered)}]"
            lines.append(f'  - {{apiGroups: ["{group}"], {listed}}}\n')
    return HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())

"""Makes the tables of docs/remediators.md and permissions.md from the catalogue: `python -m bot.remediators_page`."""

from collections.abc import Iterable
from pathlib import Path

from remediation.permissions import ACTION_GROUPS, GROUPS, grants
from remediation.planning import CANDIDATES
from remediation.registry import Remediator
from remediation.remediators import REMEDIATORS

PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("remediators.md", "permissions.md")]
VERBS = ("get", "list", "watch", "patch", "delete")


def filled(text: str) -> str:
    """The page with each marked table made anew: <!-- name --> … <!-- end -->."""
    for name, lines in _tables(list(REMEDIATORS.values())).items():
        if f"<!-- {name} -->" not in text:
            continue
        head, mark, rest = text.partition(f"<!-- {name} -->")
        _, end, tail = rest.partition("<!-- end -->")
        text = head + mark + "\n\n" + "\n".join(lines) + "\n\n" + end + tail
    return text


def _tables(entries: list[Remediator]) -> dict[str, list[str]]:
    return {
        "catalogue": [
            "| action | what it does | risk | takes about | touches | undo |", "|---|---|---|---|---|---|",
            *map(_row, entries),
        ],
        "kinds": [
            "| kind | candidates |", "|---|---|",
            *(f"| {kind} | {', '.join(c.action for c in found)} |" for kind, found in CANDIDATES.items()),
        ],
        "role": role(entries),
        "permissions": [
            "| action | group of the chart | where | permissions |", "|---|---|---|---|",
            *map(_needs, entries),
        ],
    }  # fmt: skip


def _needs(entry: Remediator) -> str:
    group = next((f"`{name}`" for name, names in ACTION_GROUPS.items() if entry.name in names), "–")
    system = {"k8s": "Kubernetes", "argocd": "Argo CD", "github": "GitHub", "docker": "GitHub"}
    where = system.get(entry.name.partition("_")[0], "–")
    return f"| `{entry.name}` | {group} | {where} | {'; '.join(entry.permissions) or '–'} |"


def _row(entry: Remediator) -> str:
    touches = "every pod of it, in turn" if entry.replaces_pods else "see its preview"
    undo = entry.undo_text or "cannot be undone"
    return f"| `{entry.name}` | {entry.title} | {entry.risk} | {entry.expected_seconds} s | {touches} | {undo} |"


def role(entries: Iterable[Remediator]) -> list[str]:
    """The Role with all verbs that looking and the entries need, resources with the same verbs in one line."""
    lines: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for resource, verbs in grants(entries).items():
        lines.setdefault((GROUPS[resource], tuple(v for v in VERBS if v in verbs)), []).append(resource)
    rules = [_rule(group, resources, verbs) for (group, verbs), resources in sorted(lines.items())]
    head = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        "metadata: {name: codehealer, namespace: shop}",
        "rules:",
    ]
    return [f"    {line}" for line in [*head, *rules]]


def _rule(group: str, resources: list[str], verbs: tuple[str, ...]) -> str:
    named = ", resourceNames: [checkout-db]" if resources == ["secrets"] else ""
    listed = f"[{', '.join(sorted(resources))}]{named}, verbs: [{', '.join(verbs)}]"
    return f'  - {{apiGroups: ["{group}"], resources: {listed}}}'


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text("utf-8")), "utf-8")

"""The catalogue and its page say the same, and what an entry states of itself holds together."""

from pathlib import Path

import pytest

from bot.remediators_page import PAGES, filled
from remediation.permissions import missing, places
from remediation.remediators import REMEDIATORS
from tests.remediation.site import Site


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_page_has_exactly_this_catalogue(page: Path) -> None:
    text = page.read_text("utf-8")
    assert filled(text) == text, "python -m bot.remediators_page"


def test_every_entry_says_what_it_needs_and_what_cannot_be_undone() -> None:
    for entry in REMEDIATORS.values():
        assert entry.deadline_seconds > entry.settle_seconds
        assert bool(entry.undo) == bool(entry.undo_text), entry.name
        assert entry.permissions or entry.name == "noop"


async def test_what_the_cluster_does_not_allow_is_named_by_the_line_that_would(site: Site) -> None:
    cluster, rows = site.clients.cluster, places(site.policy)["sandbox", "shop"]
    assert cluster is not None

    async def lacking() -> list[str]:
        return missing(await cluster.rules("sandbox", "shop"), rows, site.policy, REMEDIATORS)

    assert await lacking() == []
    site.world.kubernetes.denied |= {
        ("patch", "deployments", "shop"),
        ("get", "secrets", "*"),
        ("list", "scaledobjects", "*"),
    }
    assert await lacking() == [
        '{apiGroups: ["apps"], resources: [deployments], verbs: [patch]}',
        '{apiGroups: [""], resources: [secrets], resourceNames: [orders-db], verbs: [get]}',
    ]
    site.world.kubernetes.denied.clear()
    one = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["another"], "verbs": ["get", "patch"]}
    others = [rule for rule in await cluster.rules("sandbox", "shop") if rule["resources"] != ["secrets"]]
    assert missing([*others, one], rows, site.policy, REMEDIATORS) == [
        '{apiGroups: [""], resources: [secrets], resourceNames: [orders-db], verbs: [get, patch]}'
    ]

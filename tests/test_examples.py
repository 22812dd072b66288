"""The worked examples of docs/extending.md do what it says, through the same doors as everything else."""

import ast
import re
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

from handlers import sources
from handlers.intake import read_webhook
from handlers.sources import verify
from handlers.sources.verify import BadSignature
from knowledge.errors import BadInput
from knowledge.model import AlertStatus, ExecutionState, FailureKind
from remediation.execution import run
from remediation.registry import NotOffered
from remediation.remediators import REMEDIATORS
from remediation.verification import verify_once
from tests.examples import k8s_resume_rollout, uptime
from tests.remediation.conftest import site  # noqa: F401  the fixture
from tests.remediation.site import MemoryStore, Site, execution, services

ROOT = Path(__file__).parents[1]
MOST_LINES = 60


def lines_of_code(path: Path) -> int:
    return sum(1 for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#"))


async def test_the_remediator_is_proposed_heals_once_and_is_verified(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = k8s_resume_rollout.REMEDIATOR
    monkeypatch.setitem(REMEDIATORS, entry.name, entry)
    context = await site.context(site.incident("checkout"))
    assert isinstance(entry.propose(context), NotOffered)
    live = site.world.kubernetes.cluster.deployment("checkout")
    site.store().update("deployments", {**live, "spec": {**live["spec"], "paused": True}})

    plan = await site.plan(FailureKind.PROBE_FAILURE, site.incident("checkout"))
    assert plan.action is not None, plan.no_action_because
    assert plan.action.name == entry.name
    rehearsal = MemoryStore(execution(plan.action))
    assert (await run(rehearsal.rows[7], services(site, rehearsal, dry_run=True))).ok
    store = MemoryStore(execution(plan.action))
    outcome = await run(store.rows[7], services(site, store))

    assert outcome.ok, outcome.detail
    assert "paused" not in site.world.kubernetes.cluster.deployment("checkout")["spec"]
    row = store.rows[7]
    assert row.state is ExecutionState.ACTED
    assert row.finished_at is not None
    later = row.finished_at + timedelta(minutes=3)

    async def verified() -> bool:
        return (await verify_once(row, site.clients, now=later, signal_firing=False)).verdict == "verified"

    await site.until(verified, "it is verified")
    again = await entry.preflight(plan.action, site.clients)
    assert (again.ok, again.reason) == (False, "It is not paused any more; nothing was done.")


def test_the_source_is_verified_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = sources.Source("uptime", verify.signed_or_token, uptime.parse)
    monkeypatch.setitem(sources.SOURCES, "uptime", entry)  # type: ignore[arg-type]
    signed = {"Authorization": "Bearer s3cret-of-the-service"}
    body = b'{"check": "checkout", "state": "down", "url": "https://shop.example", "error": "timed out"}'
    (alert,) = read_webhook("uptime", signed, body, secrets=("s3cret-of-the-service",)).alerts
    assert (alert.status, alert.service, alert.summary) == (AlertStatus.FIRING, "checkout", "timed out")
    over = read_webhook("uptime", signed, body.replace(b"down", b"up"), secrets=("s3cret-of-the-service",)).alerts
    assert (over[0].status, over[0].identity) == (AlertStatus.RESOLVED, alert.identity)
    with pytest.raises(BadSignature):
        read_webhook("uptime", signed, body, secrets=("another",))
    with pytest.raises(BadInput, match="`check` and `state`"):
        read_webhook("uptime", signed, b'{"check": "checkout"}', secrets=("s3cret-of-the-service",))


@pytest.mark.parametrize("path", sorted((ROOT / "tests/examples").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_they_can_stand_where_the_guide_puts_them(path: Path) -> None:
    # The package with the table imports them, so of that package they can take modules alone.
    tables = ("handlers.sources", "remediation.remediators")
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    taken = [f"{node.module}.{alias.name}" for node in found if node.module in tables for alias in node.names]
    assert taken
    assert [name for name in taken if find_spec(name) is None] == []


def test_the_guide_names_them_and_they_are_short() -> None:
    guide = (ROOT / "docs/extending.md").read_text()
    named = re.findall(r"\((\.\./tests/examples/\w+\.py)\)", guide)
    assert len(named) == 2
    assert all(lines_of_code(ROOT / "docs" / path) < MOST_LINES for path in named)

"""A revert through a pull request: opened once, nothing before its merge, taken back when it is in the way."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from bot.sandbox.world.github_store import MANIFEST
from knowledge.errors import Refused
from knowledge.model import Action, ExecutionState, FailureKind, Plan
from remediation.execution import run, undo
from remediation.remediators import REMEDIATORS
from remediation.reverting import entries_of, reversed_diff
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, execution, services

SCENARIO = "gitops-crash-pricing"


async def planned(site: Site) -> Plan:
    await site.broken(SCENARIO)
    found: Plan = await site.plan(FailureKind.CRASHLOOP, site.incident("pricing"))
    return found


async def action_of(site: Site) -> Action:
    found = await planned(site)
    assert found.action is not None, found.no_action_because
    return found.action


def repository(site: Site) -> Any:
    return site.world.github.store.repositories["acme/pricing"]


def writes(site: Site) -> list[str]:
    """What was sent to change something, such as "POST trees"."""
    rows = [r for r in site.world.requests if r["system"] == "github" and r["method"] != "GET"]
    return [f"{r['method']} {r['path'].split('/pricing/')[-1].removeprefix('git/').partition('/')[0]}" for r in rows]


OPENED = ["POST trees", "POST commits", "POST refs", "POST pulls"]


async def test_where_argocd_puts_everything_back_a_pull_request_is_opened_and_verified_once_merged(site: Site) -> None:
    found = await planned(site)
    assert found.action is not None, found.no_action_because
    assert found.action.name == "github_revert_pr"
    assert found.action.target.key == "acme/pricing/pricing/Branch/main"
    why = dict(found.excluded)
    assert "self-heal" in why["k8s_rollback"]
    assert "auto-sync with self-heal" in why["argocd_rollback"]
    assert "-    newTag: 4.4.1" in found.diff
    assert "+    newTag: 4.4.0" in found.diff
    assert "until a person merges it" in found.preview

    pretended = await run(execution(found.action), services(site, MemoryStore(execution(found.action)), dry_run=True))
    assert (pretended.ok, pretended.changed, writes(site)) == (True, False, [])

    store = MemoryStore(execution(found.action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    assert writes(site) == OPENED
    pull = repository(site).pulls[0]
    assert repository(site).branches[pull.branch]
    assert "newTag: 4.4.1" in repository(site).head.files[MANIFEST]

    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(hours=3)

    async def verdict() -> tuple[str, str]:
        seen = await verify_once(row, site.clients, now=later, signal_firing=False)
        return seen.verdict, seen.detail

    assert await verdict() == ("pending", "pull request: open (needs merged)")
    # A person presses the button on the page that the card links to.
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        page = await browser.get(outcome.mark["url"])
        assert "Merge pull request" in page.text
        assert "It is merged" in (await browser.post(f"{outcome.mark['url']}/merge")).text

    async def verified() -> bool:
        return (await verdict())[0] == "verified"

    await site.until(verified, "it is verified")
    assert site.world.is_well(SCENARIO)
    assert "merged" in str(await undo(row, services(site, store)))


@pytest.mark.parametrize(
    ("fails_at", "after_write"), [("trees", True), ("refs", True), ("pulls", False), ("pulls", True)]
)
async def test_a_crash_between_the_steps_ends_in_one_pull_request(site: Site, fails_at: str, after_write: bool) -> None:
    """An answer is lost at one step and the process dies: what is taken up again uses what is there."""
    action = await action_of(site)
    real: Any = site.clients.code_host

    class Dying:
        """Ends the process at the named step, before or after GitHub took it."""

        done = False

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def write(self, method: str, where: str, path: str, body: Any = None, *, needs: str) -> Any:
            here = not self.done and path.endswith(fails_at)
            self.done = self.done or here
            if here and not after_write:
                raise KeyboardInterrupt
            answer = await real.write(method, where, path, body, needs=needs)
            if here:
                raise KeyboardInterrupt
            return answer

    store = MemoryStore(execution(action))
    clients = replace(site.clients, code_host=Dying())
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store, clients=clients))
    outcome = await run(store.rows[7], services(site, store, clients=clients))
    assert outcome.ok, outcome.detail
    assert len(repository(site).pulls) == 1
    assert len(repository(site).branches) == 1


async def test_what_changed_since_is_not_reverted_and_an_older_pull_request_is_taken_back(site: Site) -> None:
    action = await action_of(site)
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    hub, head = site.world.github.store, repository(site).head
    hub.commit(repository(site), "Tune", {MANIFEST: head.files[MANIFEST] + "# tuned\n"})
    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(minutes=1)
    found = await verify_once(row, site.clients, now=later, signal_firing=False)
    assert found.verdict == "worse", found.detail
    outcome = await undo(row, services(site, store))
    assert outcome is not None
    assert outcome.ok, outcome.detail
    assert repository(site).branches == {}
    assert [p.state for p in repository(site).pulls] == ["closed"]

    second = MemoryStore(execution(action))
    refused = await run(second.rows[7], services(site, second))
    assert second.rows[7].state is ExecutionState.REFUSED
    assert "changed again since" in refused.detail
    closed = await verify_once(row, site.clients, now=later, signal_firing=False)
    assert closed.verdict == "not_verified"


async def test_a_refused_pull_request_says_that_its_branch_is_there(site: Site) -> None:
    action = await action_of(site)
    real: Any = site.clients.code_host

    class Forbidding:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def write(self, method: str, where: str, path: str, body: Any = None, *, needs: str) -> Any:
            if path == "/pulls":
                site.world.faults["github"].update(error_next=1, status=403)
            return await real.write(method, where, path, body, needs=needs)

    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, clients=replace(site.clients, code_host=Forbidding())))
    (branch,) = repository(site).branches
    assert "pull requests: write" in outcome.detail
    assert f"The branch {branch} is there all the same" in outcome.detail


async def test_a_missing_permission_is_named(site: Site) -> None:
    action = await action_of(site)
    ready = await REMEDIATORS["github_revert_pr"].preflight(action, site.clients)
    real: Any = site.clients.code_host

    class Forbidden:
        def __getattr__(self, name: str) -> Any:
            if name == "write":
                site.world.faults["github"].update(error_next=1, status=403)
            return getattr(real, name)

    clients = replace(site.clients, code_host=Forbidden())
    with pytest.raises(Refused, match="needs contents: write and pull requests: write"):
        await REMEDIATORS["github_revert_pr"].execute(action, ready.snapshot, 7, clients)


def test_only_the_folders_files_go_back_and_only_when_nobody_changed_them_since() -> None:
    good = {"deploy/a": ("100644", "a1"), "deploy/gone": ("100755", "g1"), "src/x": ("100644", "x1")}
    bad = {"deploy/a": ("100644", "a2"), "deploy/new": ("100644", "n1"), "src/x": ("100644", "x2")}
    entries = entries_of(good, bad, {**bad, "src/x": ("100644", "x3")}, path="deploy")
    assert [(e["path"], e["mode"], e["sha"]) for e in entries if isinstance(e, dict)] == [
        ("deploy/a", "100644", "a1"),
        ("deploy/gone", "100755", "g1"),
        ("deploy/new", "100644", None),
    ]
    assert "src/x changed again" in entries_of(good, bad, {**bad, "src/x": ("100644", "x3")}, path="")
    assert "nothing below docs" in entries_of(good, bad, bad, path="docs")
    many = {f"deploy/{i}": ("100644", "1") for i in range(60)}
    assert "60 files" in entries_of({}, many, many, path=".")


def test_a_patch_is_shown_the_other_way_round() -> None:
    patch = "@@ -1,3 +1,3 @@\n kind: x\n-tag: 1\n+tag: 2\n end: y"
    shown = reversed_diff([{"filename": "deploy/x.yaml", "patch": patch}, {"filename": "logo.png"}])
    assert shown == "deploy/x.yaml:\n kind: x\n-tag: 2\n+tag: 1\n end: y\nlogo.png:\n(no diff)"


# --- the commit that broke a workflow ---------------------------------------------------------------------------------


async def red(site: Site, scenario: str, service: str) -> Any:
    """The incident of a red run."""
    await site.world.break_(scenario)
    where = site.world.github.store.repositories[f"acme/{service}"]
    await site.until(lambda: where.runs[-1].last.conclusion == "failure", "the run failed")
    return site.incident(
        service, source="github", namespace="", workload="", repository=where.name, run_id=str(where.runs[-1].id)
    )


async def test_the_one_commit_that_made_the_branch_red_is_reverted_and_verified_by_a_green_run(site: Site) -> None:
    found = await site.plan(FailureKind.TEST_FAILURE, await red(site, "ci-test-orders", "orders"))
    assert found.action is not None, found.no_action_because
    assert (found.action.name, found.action.target.key) == ("github_revert_pr", "acme/orders/shop/Branch/main")
    assert "Round halves up" in found.preview
    assert found.diff.splitlines() == ["src/totals.txt:", "-rounding = half-up", "+rounding = half-even"]
    store = MemoryStore(execution(found.action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    orders = site.world.github.store.repositories["acme/orders"]
    assert len(orders.runs) == 3, "nothing ran again, and nothing is merged"
    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(hours=1)

    async def verdict() -> str:
        return (await verify_once(row, site.clients, now=later, signal_firing=None)).verdict

    assert await verdict() == "pending"
    async with httpx.AsyncClient(follow_redirects=True) as browser:
        await browser.post(f"{outcome.mark['url']}/merge")
    await site.until(lambda: orders.runs[-1].last.status == "completed", "the merge was built")
    assert await verdict() == "verified"
    orders.runs[-1].last.conclusion = "failure"
    assert await verdict() == "not_verified"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("two commits", "2 commits lie between"),
        ("another branch", "did not run on the default branch"),
        ("dispatched", "no failed run of a push"),
        ("never green", "was green"),
        ("a revert", "is a revert itself"),
        ("changed since", "changed again since"),
        ("a workflow", "below .github"),
        ("a passing fault", "shows a passing fault"),
    ],
)
async def test_where_it_is_not_plain_which_commit_broke_it_none_is_reverted(
    site: Site, change: str, why: str
) -> None:  # fmt: skip
    hub = site.world.github.store
    orders = hub.repositories["acme/orders"]
    if change == "two commits":
        hub.commit(orders, "Another one", {"src/other.txt": "x\n"})
    incident = await red(site, "ci-test-orders", "orders")
    head, failed, log = orders.commits[-1], orders.runs[-1], ""
    if change == "another branch":
        failed.branch = "feature"
    if change == "dispatched":
        failed.event = "workflow_dispatch"
    if change == "never green":
        for one in orders.runs[:-1]:
            one.last.conclusion = "failure"
    if change == "a revert":
        orders.commits[-1] = replace(head, message='Revert "Round halves even"')
    if change == "changed since":
        hub.commit(orders, "On top", {"src/totals.txt": "rounding = up\n"})
    if change == "a workflow":
        orders.commits[-1] = replace(head, files={**head.files, ".github/workflows/x.yml": "on: push\n"})
    if change == "a passing fault":
        log = "ReadTimeoutError: HTTPSConnectionPool(host='packages.acme.example', port=443): Read timed out."
    found = await site.plan(FailureKind.TEST_FAILURE, incident, job_log=log)
    assert found.action is None
    assert why in dict(found.excluded)["github_revert_pr"]

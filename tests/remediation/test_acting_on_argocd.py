"""Argo CD's sync and rollback over the real client: once, only where it helps, and taken back when worse."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.sandbox.world.scenarios import BY_ID
from knowledge.errors import Conflict, Refused, Unavailable
from knowledge.model import Action, ExecutionState, FailureKind, Plan
from remediation import argocd_state, gitops, sighting
from remediation.context import Context
from remediation.execution import run, undo
from remediation.planning import plan
from remediation.ports import Clients
from remediation.remediators import REMEDIATORS
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, diagnosis, execution, services, site_policy


@dataclass(frozen=True, slots=True)
class Case:
    scenario: str
    verb: str  # the last part of the path that is written to

    @property
    def service(self) -> str:
        return BY_ID[self.scenario].service

    @property
    def kind(self) -> FailureKind:
        return FailureKind(BY_ID[self.scenario].kind)


SYNC = Case("argocd-registry-checkout", "sync")
ROLLBACK = Case("argocd-degraded-loyalty", "rollback")
CASES = [pytest.param(SYNC, id="sync"), pytest.param(ROLLBACK, id="rollback")]


def app(site: Site, case: Case) -> Any:
    return site.world.argocd.store.apps[case.service]


async def planned(site: Site, case: Case) -> Plan:
    """The plan once the failure shows."""
    await site.world.break_(case.scenario)
    if case is SYNC:
        await site.until(lambda: app(site, case).operation.phase == "Failed", "the sync failed")
    else:
        await site.until(lambda: site.service(case.service)["status"] != "healthy", "it shows")
    found: Plan = await site.plan(case.kind, site.incident(case.service, source="argocd"))
    return found


async def action_of(site: Site, case: Case) -> Action:
    found = await planned(site, case)
    assert found.action is not None, found.no_action_because
    return found.action


def writes(site: Site) -> list[str]:
    return [
        r["path"].rsplit("/", 1)[-1] for r in site.world.requests if r["system"] == "argocd" and r["method"] == "POST"
    ]


class FailingAtTheWrite:
    """The real client; the named write meets a fault before or after it took effect."""

    def __init__(self, site: Site, *, after_write: bool) -> None:
        self._site, self._after = site, after_write

    def __getattr__(self, name: str) -> Any:
        if name in {"sync", "rollback"}:
            self._site.world.faults["argocd"].update(error_next=1, status=502, after_write=self._after)
        return getattr(self._site.clients.argocd, name)


@pytest.mark.parametrize("case", CASES)
async def test_it_is_proposed_tried_without_effect_carried_out_once_and_verified(site: Site, case: Case) -> None:
    found = await planned(site, case)
    assert found.action is not None, found.no_action_because
    assert found.action.name == BY_ID[case.scenario].right_action
    assert found.action.target.kind == "Application"
    assert case.service in found.preview
    assert found.diff.startswith("-")
    assert found.undo
    assert not found.twice
    before = (list(app(site, case).history), site.service(case.service)["image"])

    pretended = await run(execution(found.action), services(site, MemoryStore(execution(found.action)), dry_run=True))
    assert (pretended.ok, pretended.changed) == (True, False), pretended.detail
    assert (app(site, case).history, site.service(case.service)["image"]) == before

    store = MemoryStore(execution(found.action))
    store.die_after = "started"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    assert writes(site) == [case.verb] * 2
    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(seconds=30)

    async def verified() -> bool:
        return (await verify_once(row, site.clients, now=later, signal_firing=False)).verdict == "verified"

    await site.until(verified, "it is verified")
    # The clock above is ahead of the world's, whose pods may be on their way still.
    await site.until(lambda: site.world.is_well(case.scenario), "the world is well")


@pytest.mark.parametrize("case", CASES)
async def test_a_lost_answer_is_settled_by_the_application(site: Site, case: Case, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.05)
    action = await action_of(site, case)
    for after_write in (False, True):
        store = MemoryStore(execution(action))
        clients: Any = Clients(argocd=FailingAtTheWrite(site, after_write=after_write))  # type: ignore[arg-type]
        outcome = await run(store.rows[7], services(site, store, clients=clients))
        assert (outcome.ok, outcome.changed) == (after_write, after_write), outcome.detail
    assert writes(site) == [case.verb] * 2
    await site.until(lambda: site.world.is_well(case.scenario), "the second one healed it")


@pytest.mark.parametrize("case", CASES)
async def test_what_stands_in_the_way_is_seen_before_anything_is_sent(site: Site, case: Case) -> None:
    action = await action_of(site, case)
    store, hub = app(site, case), site.world.argocd.store

    async def refusal() -> str:
        memory = MemoryStore(execution(action))
        outcome = await run(memory.rows[7], services(site, memory))
        assert memory.rows[7].state is ExecutionState.REFUSED
        return outcome.detail

    running = replace(store.operation, phase="Running", started_at=datetime.now(UTC).timestamp() + 60)
    store.operation, kept = running, store.operation
    assert "in progress" in await refusal()
    store.operation = kept
    if case is SYNC:
        hub.hub.commit(hub.hub.repositories[f"acme/{case.service}"], "Another commit", {"deploy/x.yaml": "x: 1\n"})
        assert "by now" in await refusal()
    else:
        store.auto_sync = True
        assert "revert the commit in Git" in await refusal()
        store.auto_sync = False
        store.history.append(replace(store.history[-1], id=store.history[-1].id + 1, revision="e" * 40))
        assert "another revision was deployed meanwhile: eeeeeeeeee" in await refusal()
        store.history.pop()
        store.history[0] = replace(store.history[0], revision="f" * 40)
        store.history[:] = store.history[-1:]
        assert "history has no row" in await refusal()
    site.world.argocd.token = "another"
    assert "ARGOCD_TOKEN" in await refusal()
    assert writes(site) == []


class WithValues:
    """The same application, which takes its values from a repository of their own; only that one has changed."""

    def __init__(self, site: Site) -> None:
        self._real: Any = site.clients.argocd

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def application(self, name: str) -> Any:
        found = await self._real.application(name)
        spec, status = dict(found["spec"]), dict(found["status"])
        spec["sources"] = [spec.pop("source"), {"repoURL": "https://github.com/acme/values", "ref": "values"}]
        rows = [dict(row) for row in status.get("history") or []]
        for number, row in enumerate((*rows, status["sync"])):
            row["revisions"] = [row.pop("revision", "") and "a" * 40, f"{number:040d}"]
        return {**found, "spec": spec, "status": {**status, "history": rows}}


@pytest.mark.parametrize("case", CASES)
async def test_an_application_of_several_sources_is_left_to_people(site: Site, case: Case) -> None:
    action = await action_of(site, case)
    ready = await REMEDIATORS[action.name].preflight(action, site.clients)
    assert ready.ok, ready.reason
    clients = replace(site.clients, argocd=WithValues(site))
    only_first = {key: "a" * 40 for key in ("revision", "from_revision") if key in action.parameters}
    stale = replace(action, parameters={**action.parameters, **only_first})
    memory = MemoryStore(execution(stale))
    outcome = await run(memory.rows[7], services(site, memory, clients=clients))
    assert memory.rows[7].state is ExecutionState.REFUSED
    assert "in Argo CD by hand" in outcome.detail
    snapshot = {**ready.snapshot, "deployed_revision": "a" * 40}
    with pytest.raises(Conflict, match="in Argo CD by hand"):
        await REMEDIATORS[action.name].execute(stale, snapshot, 7, clients)
    site.clients = clients
    again = await site.plan(case.kind, site.incident(case.service, source="argocd"))
    assert "in Argo CD by hand" in dict(again.excluded)[action.name]
    assert writes(site) == []


@pytest.mark.parametrize("case", CASES)
async def test_a_conflict_a_refusal_and_silence_are_told_apart(site: Site, case: Case, monkeypatch: Any) -> None:
    action = await action_of(site, case)
    ready = await REMEDIATORS[action.name].preflight(action, site.clients)
    site.world.faults["argocd"].update(error_next=1, status=403)
    assert site.clients.argocd is not None
    with pytest.raises(Refused, match="applications, sync"):
        await site.clients.argocd.sync(case.service)
    site.world.argocd.store.sync(app(site, case), app(site, case).history[-1].revision, (), "kim")
    with pytest.raises(Conflict, match="in progress"):
        await site.clients.argocd.sync(case.service)
    with pytest.raises(Conflict, match="just now"):
        await REMEDIATORS[action.name].execute(action, ready.snapshot, 7, site.clients)
    # Somebody else's operation began: whether ours was before it cannot be told.
    assert await REMEDIATORS[action.name].settled(action, ready.snapshot, 7, site.clients) is None
    monkeypatch.setattr("remediation.argocd.DEADLINE_S", 0.5)
    site.world.faults["argocd"].update(error_next=0, slow_ms=1000)
    with pytest.raises(Unavailable) as caught:
        await site.clients.argocd.rollback(case.service, 0)
    assert caught.value.maybe_done


@pytest.mark.parametrize("case", CASES)
async def test_what_it_made_worse_is_taken_back(site: Site, case: Case) -> None:
    """After a good start, what was synced is degraded: the revision before comes back, once."""
    action = await action_of(site, case)
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    await site.until(lambda: app(site, case).operation.phase == "Succeeded", "the operation ended")
    row = replace(
        store.rows[7], snapshot={**store.rows[7].snapshot, "health": "Healthy", "mark": store.rows[7].outcome.mark}
    )
    client = site.clients.argocd
    assert client is not None
    application = await client.application(case.service)
    application["status"]["health"] = {"status": "Degraded"}
    found = REMEDIATORS[action.name].verify(action, row.snapshot, {"application": application})
    assert found.verdict == "worse", found.detail
    before = row.snapshot["deployed_revision"]
    outcome = await undo(row, services(site, store))
    assert outcome is not None
    assert outcome.ok, outcome.detail
    await site.until(lambda: app(site, case).history[-1].revision == before, "it is back where it was")
    assert await undo(row, services(site, store)) == outcome  # as it is stored: nothing is sent again


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
async def test_an_interrupted_undo_is_settled_by_looking(site: Site, case: Case, sent: bool) -> None:
    action = await action_of(site, case)
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    await site.until(lambda: app(site, case).operation.phase == "Succeeded", "the operation ended")
    before, asked_for = store.rows[7].snapshot["deployed_revision"], len(writes(site))
    if sent:  # the answer was lost with the process
        client = site.clients.argocd
        assert client is not None
        await client.rollback(case.service, store.rows[7].snapshot["deployed_id"])
    assert await store.begin_undo(7, fencing_token=store.rows[7].fencing_token)
    outcome = await undo(store.rows[7], services(site, store))
    assert outcome is not None
    assert outcome.ok, outcome.detail
    assert store.rows[7].state is ExecutionState.UNDONE
    assert len(writes(site)) == asked_for + 1, "it is asked for once, by whoever it was"
    await site.until(lambda: app(site, case).history[-1].revision == before, "it is back where it was")


@pytest.mark.parametrize("case", CASES)
async def test_what_came_between_preflight_and_the_request_stops_it(site: Site, case: Case) -> None:
    action = await action_of(site, case)
    ready = await REMEDIATORS[action.name].preflight(action, site.clients)
    assert ready.ok, ready.reason
    rows = app(site, case).history
    rows.append(replace(rows[-1], id=rows[-1].id + 1, revision="e" * 40))
    with pytest.raises(Conflict, match="just now"):
        await REMEDIATORS[action.name].execute(action, ready.snapshot, 7, site.clients)
    rows.pop()
    app(site, case).auto_sync = True
    site.world.argocd.store.sync(app(site, case), rows[-1].revision, (), "automated")
    with pytest.raises(Conflict, match=r"just now|put the present revision back|refuse"):
        await REMEDIATORS[action.name].execute(action, ready.snapshot, 7, site.clients)
    assert writes(site) == []


@pytest.mark.parametrize(
    ("meanwhile", "why"),
    [
        ("another operation", "left as it is"),
        ("another revision", "left as it is"),
        ("a migration", "db/migrate/1_points.sql"),
    ],
)
async def test_a_sync_is_only_taken_back_where_it_is_ours_and_no_migration_lies_between(
    site: Site, meanwhile: str, why: str
) -> None:
    await site.world.break_(SYNC.scenario)
    hub, argo = site.world.github.store, site.world.argocd.store
    if meanwhile == "a migration":
        hub.commit(hub.repositories["acme/checkout"], "Add points", {"db/migrate/1_points.sql": "ALTER TABLE a;"})
    await site.until(lambda: app(site, SYNC).operation.phase == "Failed", "the sync failed")
    found = await site.plan(SYNC.kind, site.incident("checkout", source="argocd"))
    assert found.action is not None, found.no_action_because
    store = MemoryStore(execution(found.action))
    assert (await run(store.rows[7], services(site, store))).ok
    await site.until(lambda: app(site, SYNC).operation.phase == "Succeeded", "the operation ended")
    rows, synced = app(site, SYNC).history, app(site, SYNC).history[-1].revision
    if meanwhile == "another operation":
        argo.sync(app(site, SYNC), synced, (), "kim")
        await site.until(lambda: app(site, SYNC).operation.phase == "Succeeded", "kim's ended")
        seen = {"application": await site.clients.argocd.application("checkout")}  # type: ignore[union-attr]
        seen["application"]["status"]["health"] = {"status": "Degraded"}
        assert store.rows[7].outcome is not None
        snapshot = {**store.rows[7].snapshot, "health": "Healthy", "mark": store.rows[7].outcome.mark}
        assert REMEDIATORS["argocd_sync"].verify(found.action, snapshot, seen).verdict == "pending"
    elif meanwhile == "another revision":
        rows.append(replace(rows[-1], id=rows[-1].id + 1, revision="e" * 40))
    before = writes(site)
    outcome = await undo(store.rows[7], services(site, store))
    assert outcome is not None
    assert why in outcome.detail
    assert writes(site) == before


@pytest.mark.parametrize("case", CASES)
async def test_a_deployment_since_the_proposal_makes_it_stale(site: Site, case: Case) -> None:
    action = await action_of(site, case)
    seen = sighting.seen_of(await site.context(site.incident(case.service, source="argocd")), action.target)
    assert await sighting.changed(action.target, seen, site.clients) == ""
    rows = app(site, case).history
    rows.append(replace(rows[-1], id=rows[-1].id + 1, revision="e" * 40))
    assert await sighting.changed(action.target, seen, site.clients) == "Argo CD deployed eeeeeeeeee"


async def test_only_a_passing_fault_is_synced_again(site: Site) -> None:
    await site.world.break_("argocd-sync-notifications")
    failed = site.world.argocd.store.apps["notifications"]
    await site.until(lambda: failed.operation.phase == "Failed", "the sync failed")
    found = await site.plan(FailureKind.ARGOCD_SYNC, site.incident("notifications", source="argocd"))
    assert found.action is None
    assert "passing fault" in dict(found.excluded)["argocd_sync"]
    well = await site.plan(FailureKind.ARGOCD_SYNC, site.incident("checkout", source="argocd"))
    assert well.action is None


def application(**changes: Any) -> dict[str, Any]:
    """Degraded a minute after its second revision, which followed one that stood for days."""
    history = [
        {"id": 3, "revision": "aaa", "deployedAt": "2026-11-20T09:00:00Z"},
        {"id": 4, "revision": "bbb", "deployedAt": "2026-11-23T08:58:00Z"},
    ]
    status = {"sync": {"status": "Synced", "revision": "bbb"}, "health": {"status": "Degraded"}, "history": history}
    return {"metadata": {"name": "checkout"}, "spec": {}, "status": {**status, **changes.pop("status", {})}, **changes}


AUTOMATED = {"syncPolicy": {"automated": {"prune": True, "selfHeal": True}}}


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (application(), "argocd_rollback"),
        (application(spec=AUTOMATED), "auto-sync with self-heal is on"),
        (application(spec={"syncPolicy": {"automated": {}}}), "refuse the rollback"),
        (application(spec={"syncPolicy": {"automated": {"enabled": False}}}), "argocd_rollback"),
        (
            application(spec=AUTOMATED, metadata={"labels": {"argocd.argoproj.io/instance": "root"}}),
            "Application root writes its settings",
        ),
        (application(status={"resources": [{"kind": "Application", "name": "child"}]}), "app of apps"),
        (application(status={"operationState": {"phase": "Running"}}), "in progress"),
        (application(spec={"sources": [{"chart": "shop"}, {"ref": "values"}]}), "roll it back in Argo CD by hand"),
        (application(status={"history": application()["status"]["history"][1:]}), "no earlier revision"),
    ],
)  # fmt: skip
def test_what_forbids_a_rollback_is_said_with_what_to_do_instead(found: Any, answer: str) -> None:
    now = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    row = next(s for s in site_policy().services if s.name == "checkout")
    target = gitops.application_target(row)
    seen = Context(target, now, failing_since=now, gitops=gitops.GitOps(target, found))
    proposed = plan(diagnosis(FailureKind.ARGOCD_DEGRADED), target, seen)
    if answer.startswith("argocd_"):
        assert proposed.action is not None, proposed.no_action_because
        assert (proposed.action.name, proposed.action.parameters["id"]) == (answer, 3)
    else:
        assert answer in dict(proposed.excluded)["argocd_rollback"]


def test_a_migration_between_two_revisions_asks_a_person_twice() -> None:
    def told(*files: str) -> gitops.Crossed:
        return gitops.crossed({"total_commits": 2, "files": [{"filename": name} for name in files]})

    assert told("deploy/kustomization.yaml", "docs/migration.md").twice == ""
    assert "No database migration" in told("deploy/kustomization.yaml").words
    assert "db/migrate/20261101_points.rb" in told("src/a.rb", "db/migrate/20261101_points.rb").twice
    assert "cannot be ruled out" in told(*(f"src/{n}" for n in range(300))).twice


def test_the_status_and_the_history_are_read_from_the_application() -> None:
    now = argocd_state.sync_status(application(spec=AUTOMATED, operation={"sync": {}}))
    assert (now.sync, now.health, now.automatic, now.self_heal, now.running) == ("Synced", "Degraded", True, True, True)
    assert [row.id for row in argocd_state.history(application())] == [3, 4]
    assert argocd_state.repository_of("git@github.com:acme/shop.git") == "acme/shop"
    assert argocd_state.repository_of("https://github.com/acme/shop") == "acme/shop"
    assert argocd_state.repository_of("oci://registry.acme.example/charts/shop/x") == ""

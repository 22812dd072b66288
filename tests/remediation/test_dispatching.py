"""Builds without a cache and the team's own workflows: started once, their run found again, judged by its end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from sqlalchemy.exc import OperationalError

from bot.sandbox.world.github_store import Run
from knowledge.errors import BadInput, Refused
from knowledge.model import Action, ExecutionState, FailureKind, Incident, Plan, Target
from remediation import dispatching
from remediation.execution import LEASE_S, Busy, run
from remediation.policy_check import doubts
from remediation.policy_file import check_policy, parse_policy
from remediation.ports import Clients
from remediation.remediators import REMEDIATORS, adopt
from remediation.remediators.workflow import ENTRY, inputs_of
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, execution, services, site_policy

DOCS = Path(__file__).parents[2] / "docs" / "workflows.md"


@dataclass(frozen=True, slots=True)
class Case:
    action: str
    repository: str


CACHE = Case("docker_clear_cache", "acme/storefront")
OWN = Case("workflow_flush_cache", "acme/reports")
CASES = [pytest.param(CACHE, id="build"), pytest.param(OWN, id="workflow")]


def example(number: int = 0) -> str:
    """A block of YAML of the documentation."""
    return DOCS.read_text("utf-8").split("```yaml\n")[1:][number].partition("```")[0]


@pytest.fixture(autouse=True)
def own_workflows() -> Iterator[None]:
    policy, findings = check_policy(example())
    assert policy is not None, findings
    adopt(policy.workflows)
    yield
    adopt(())


def test_a_workflow_that_the_policy_declares_is_an_action_and_any_other_is_told() -> None:
    text = example() + example(1)
    named = [one.problem for one in doubts(text, parse_policy(text), ("noop",), file="p") if "action" in one.problem]
    assert named == []
    text = text.replace("[workflow_flush_cache]", "[workflow_flush_cache, workflow_flush_caches]")
    (found,) = [one for one in doubts(text, parse_policy(text), ("noop",), file="p") if "action" in one.problem]
    assert (found.field, found.problem) == (
        "environments.prod.actions.1",
        "there is no action 'workflow_flush_caches'",
    )
    assert found.remedy == "Did you mean 'workflow_flush_cache'?"


def runs(site: Site, case: Case) -> list[Run]:
    rows: list[Run] = site.world.github.store.repositories[case.repository].runs
    return [one for one in rows if one.event == "workflow_dispatch"]


async def incident_of(site: Site, case: Case) -> tuple[FailureKind, Incident]:
    if case is OWN:
        return FailureKind.PERFORMANCE, site.incident("checkout")
    await site.world.break_("ci-cache-storefront")
    repository = site.world.github.store.repositories[case.repository]
    await site.until(lambda: repository.runs[-1].last.conclusion == "failure", "the build failed")
    number = str(repository.runs[-1].id)
    found = site.incident("storefront", source="github", namespace="", workload="", repository=case.repository)
    return FailureKind.BUILDCACHEERROR, replace(found, run_id=number)


async def planned(site: Site, case: Case) -> Plan:
    found: Plan = await site.plan(*await incident_of(site, case))
    return found


async def action_of(site: Site, case: Case) -> Action:
    found = await planned(site, case)
    assert found.action is not None, found.no_action_because
    return found.action


@pytest.mark.parametrize("case", CASES)
async def test_it_is_proposed_pretended_started_once_after_a_kill_and_verified_by_its_run(
    site: Site, case: Case
) -> None:
    found = await planned(site, case)
    assert found.action is not None, found.no_action_because
    assert found.action.name == case.action
    assert "no-cache=true" in found.preview
    pretended = await run(execution(found.action), services(site, MemoryStore(execution(found.action)), dry_run=True))
    assert (pretended.ok, pretended.changed, runs(site, case)) == (True, False, [])

    store = MemoryStore(execution(found.action))
    store.die_after = "acted"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    somebody_elses(site, case)
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    (ours,) = [one for one in runs(site, case) if one.title == "codehealer-7"]
    assert outcome.mark == {"execution": 7, "run_id": ours.id}
    assert ours.inputs["no-cache"] == "true"
    row = store.rows[7]
    assert row.finished_at is not None
    later = row.finished_at + timedelta(seconds=20)

    async def verified() -> bool:
        signal = None if case is CACHE else False
        return (await verify_once(row, site.clients, now=later, signal_firing=signal)).verdict == "verified"

    await site.until(verified, "its run succeeded")
    ours.last.conclusion = "failure"
    failed = await verify_once(row, site.clients, now=later, signal_firing=False)
    assert failed.verdict == "not_verified"


def somebody_elses(site: Site, case: Case) -> Run:
    """Another person starts the same workflow by hand at the same time."""
    store = site.world.github.store
    repository = store.repositories[case.repository]
    made = store.start(repository, repository.head.sha, "CI")
    made.event = "workflow_dispatch"
    return made


@pytest.mark.parametrize("after_write", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("case", CASES)
async def test_a_lost_answer_is_settled_by_the_runs(
    site: Site, case: Case, after_write: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.05)
    action = await action_of(site, case)
    real: Any = site.clients.code_host

    class FailingAtTheWrite:
        def __getattr__(self, name: str) -> Any:
            if name == "write":
                site.world.faults["github"].update(error_next=1, status=502, after_write=after_write)
            return getattr(real, name)

    store = MemoryStore(execution(action))
    clients = replace(site.clients, code_host=FailingAtTheWrite())
    outcome = await run(store.rows[7], services(site, store, clients=clients))
    assert (outcome.ok, outcome.changed) == (after_write, after_write), outcome.detail
    assert len(runs(site, case)) == int(after_write)


@pytest.mark.parametrize("cut_off", ["its end is not stored", "cancelled"])
async def test_a_run_that_is_cut_off_keeps_its_lease_until_what_it_sent_has_arrived(site: Site, cut_off: str) -> None:
    action = await action_of(site, OWN)
    real: Any = site.clients.code_host
    sent = asyncio.Event()

    class CutOff(MemoryStore):
        cut = cut_off == "cancelled"

        async def finish_execution(self, execution_id: int, **named: Any) -> bool:
            if not self.cut:
                self.cut = True
                raise OperationalError("UPDATE", {}, ConnectionError())
            return await super().finish_execution(execution_id, **named)

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def write(self, *arguments: Any, **named: Any) -> Any:
            answer = await real.write(*arguments, **named)
            if cut_off == "cancelled":
                sent.set()
                await asyncio.Event().wait()
            return answer

    store = CutOff(execution(action))
    clients: Any = replace(site.clients, code_host=Slow())
    first = asyncio.create_task(run(store.rows[7], services(site, store, clients=clients, holder="first")))
    if cut_off == "cancelled":
        await sent.wait()
        first.cancel()
    with pytest.raises((OperationalError, asyncio.CancelledError)):
        await first
    with pytest.raises(Busy):
        await run(store.rows[7], services(site, store, holder="second"))
    store.now += LEASE_S
    outcome = await run(store.rows[7], services(site, store, holder="second"))
    assert outcome.ok, outcome.detail
    assert len(runs(site, OWN)) == 1
    assert store.leases == {}


@pytest.mark.parametrize("case", CASES)
async def test_a_workflow_without_the_input_is_not_started(site: Site, case: Case) -> None:
    action = await action_of(site, case)
    store = site.world.github.store
    repository = store.repositories[case.repository]
    for text, why in (("on: {workflow_dispatch: {}}", "has no input no-cache"), ("on: [push]", "no workflow_dispatch")):
        store.commit(repository, "Change the workflow", {".github/workflows/ci.yml": text})
        memory = MemoryStore(execution(action))
        outcome = await run(memory.rows[7], services(site, memory))
        assert memory.rows[7].state is ExecutionState.REFUSED
        assert why in outcome.detail
    if case is CACHE:
        again = await planned(site, case)
        assert "no workflow_dispatch" in dict(again.excluded)["docker_clear_cache"]
    assert runs(site, case) == []


async def test_without_a_marker_two_new_runs_cannot_be_told_apart(site: Site) -> None:
    action = await action_of(site, CACHE)
    host = site.clients.code_host
    assert host is not None
    before = await dispatching.before(host, CACHE.repository, "ci.yml")
    entry = REMEDIATORS["docker_clear_cache"]
    nothing = await entry.settled(action, before, 7, site.clients)
    assert nothing is not None
    assert not nothing.changed
    somebody_elses(site, CACHE)
    assert await dispatching.find(host, CACHE.repository, "ci.yml", before, 7)
    somebody_elses(site, CACHE)
    assert await entry.settled(action, before, 7, site.clients) is None


async def test_a_build_is_only_offered_where_the_policy_names_one(site: Site) -> None:
    await site.world.break_("ci-docker-notifications")
    repository = site.world.github.store.repositories["acme/notifications"]
    await site.until(lambda: repository.runs[-1].last.conclusion == "failure", "the build failed")
    incident = site.incident(
        "notifications", source="github", namespace="", workload="", repository="acme/notifications",
        run_id=str(repository.runs[-1].id),
    )  # fmt: skip
    found = await site.plan(FailureKind.BUILDCACHEERROR, incident)
    assert "names no build" in dict(found.excluded)["docker_clear_cache"]


# --- workflows of the policy ----------------------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[tuple[dict[str, str], Any]]]]:
    """(its address, what came)"""
    came: list[tuple[dict[str, str], Any]] = []

    async def take(request: web.Request) -> web.Response:
        came.append((dict(request.headers), await request.json()))
        return web.Response(status=502 if len(came) == 1 else 202)

    app = web.Application()
    app.router.add_post("/static-page", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/static-page", came
    await runner.cleanup()


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_webhook_is_sent_with_its_key_and_repeated_only_where_the_receiver_knows_it(
    site: Site, receiver: Any, idempotent: bool, monkeypatch: Any
) -> None:
    url, came = receiver
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.01)
    text = example(2).replace("https://ops.example.com/static-page", url)
    policy, findings = check_policy(text.replace("idempotent: true", f"idempotent: {str(idempotent).lower()}"))
    assert policy is not None, findings
    adopt(policy.workflows)
    (spec,) = policy.workflows
    action = Action(spec.action, site.target("checkout"), {ENTRY: spec.digest})
    unset = MemoryStore(execution(action))
    assert "OPS_TOKEN" in (await run(unset.rows[7], services(site, unset))).detail
    monkeypatch.setenv("OPS_TOKEN", "of-the-receiver")
    store = MemoryStore(execution(action))
    store.die_after = "started"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok  # the receiver answered 502, or it cannot be told whether it was sent at all
    assert len(came) == int(idempotent)
    if idempotent:
        headers, body = came[0]
        assert headers["Authorization"] == "Bearer of-the-receiver"
        assert headers["Idempotency-Key"] == body["execution"] == "codehealer-7"
        assert body["parameters"] == {"service": "checkout"}
        assert body["target"]["environment"] == "prod"
        again = MemoryStore(execution(action))
        assert (await run(again.rows[7], services(site, again))).changed


@pytest.mark.parametrize(
    ("old", "new"), [("ref: main", "ref: other"), ("acme/reports", "acme/search"), ("default: true", "default: false")]
)
async def test_an_entry_that_changed_since_is_not_started(site: Site, old: str, new: str) -> None:
    action = await action_of(site, OWN)
    policy, findings = check_policy(example().replace(old, new))
    assert policy is not None, findings
    adopt(policy.workflows)
    memory = MemoryStore(execution(action))
    outcome = await run(memory.rows[7], services(site, memory))
    assert memory.rows[7].state is ExecutionState.REFUSED
    assert "in the policy has changed since" in outcome.detail
    with pytest.raises(Refused, match="has changed since"):
        await REMEDIATORS[action.name].execute(action, {}, 7, site.clients)
    assert runs(site, OWN) == []


def test_a_person_may_only_choose_what_the_policy_allows() -> None:
    text = """
workflows:
  - name: drain
    title: Drain a zone
    kinds: [network]
    webhook: {url: "https://ops.example.com/drain"}
    parameters:
      zone: {values: [eu, us], default: eu}
      percent: {type: integer, min: 1, max: 50, default: 10}
      ticket: {type: text, pattern: "OPS-[0-9]{1,6}", default: OPS-1}
      where: {from: namespace}
"""
    policy, findings = check_policy(text)
    assert policy is not None, findings
    (spec,) = policy.workflows
    row = site_policy().services[0]
    target = Target("Deployment", row.name, row.namespace, row.cluster, row.repository, row.name, row.environment)

    def inputs(**changed: Any) -> dict[str, str]:
        return inputs_of(spec, Action(spec.action, target, {"zone": "eu", "percent": 10, "ticket": "OPS-1", **changed}))

    assert inputs(zone="us", percent=50) == {"zone": "us", "percent": "50", "ticket": "OPS-1", "where": row.namespace}
    for wrong in (
        {"zone": "asia"},
        {"percent": 51},
        {"percent": "10"},
        {"ticket": "OPS-1; rm"},
        {"where": "kube-system"},
    ):
        with pytest.raises(BadInput):
            inputs(**wrong)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"github": None}, "either 'github' or 'webhook'"),
        ({"kinds": ["healthy"]}, "cannot be for the kind"),
        ({"parameters": {"x": {"type": "integer", "default": 3}}}, "between 'min' and 'max'"),
        ({"parameters": {"x": {"values": ["a"], "default": "b"}}}, "must be one of 'values'"),
        ({"github": None, "webhook": {"url": "http://ops.example.com/x"}}, "must be an https address"),
        ({"github": None, "webhook": {"url": "https://ops.example.com/x"}}, "no run to verify"),
        ({"risk": "none"}, "needs a risk"),
        ({"naem": "x"}, "Did you mean 'name'"),
    ],
)
def test_a_wrong_workflow_is_refused_with_its_line(changed: dict[str, Any], why: str) -> None:
    spec = {**yaml.safe_load(example())["workflows"][0], **changed}
    policy, findings = check_policy(yaml.safe_dump({"version": 1, "workflows": [spec]}))
    assert policy is None
    assert any(why in str(one) and one.line > 1 for one in findings), findings


async def test_what_was_begun_with_a_workflow_that_is_gone_ends_in_words(site: Site) -> None:
    adopt(())
    store = MemoryStore(execution(Action("workflow_flush_cache", site.target("checkout"))))
    outcome = await run(store.rows[7], services(site, store))
    assert (store.rows[7].state, outcome.ok) == (ExecutionState.REFUSED, False)
    assert "any more" in outcome.detail
    begun = replace(store.rows[7], state=ExecutionState.ACTED)
    assert begun.finished_at is not None
    found = await verify_once(begun, Clients(), now=begun.finished_at + timedelta(seconds=1), signal_firing=None)
    assert found.verdict == "not_verified"

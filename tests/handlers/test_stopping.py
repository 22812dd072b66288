"""What stops actions, with and without Slack and database, and what goes on all the same."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bot import pause_file
from bot.jobs import OTHER_ATTEMPTS
from bot.pause_file import paused_by
from bot.reach import AWAY_AFTER_S, SURE_AFTER_S, Reach
from bot.sandbox.server import Sandbox
from handlers import facts, flow, paging, view
from handlers.services import Services
from handlers.taking import ON_IT, hand_over
from knowledge.model import Action, ExecutionState, Outcome, Verification
from knowledge.store import answers, audit, executions, incidents, outbox, switches
from knowledge.store.executions import StoredExecutions
from knowledge.store.under_way import told, under_way
from remediation.execution import NOT_BEGUN_AGAIN
from remediation.pager import PagerDuty
from remediation.policy_file import check_policy
from remediation.ports import Clients
from remediation.remediators import adopt
from remediation.remediators.workflow import ENTRY
from remediation.webhooks import WebhookSender
from tests.handlers.office import carried_out, jobs, rows, sandbox_policy
from tests.rows import TARGET, S, a_plan, an_approval, an_execution, an_incident, decision, diagnosis, plan

# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "pauses"),
    [(None, False), ("", True), ("true\n", True), ("we deploy today", True), ("false", False), (" No\n", False),
     ("\x00\xff", True)],
)  # fmt: skip
def test_a_file_pauses_while_it_is_there_and_does_not_say_no(
    tmp_path: Path, content: str | None, *, pauses: bool
) -> None:
    path = tmp_path / "paused"
    if content is not None:
        path.write_text(content)
    assert bool(paused_by(str(path))) is pauses
    assert paused_by("") == ""


def test_a_file_that_cannot_be_read_pauses(tmp_path: Path) -> None:
    assert "cannot be read" in paused_by(str(tmp_path))


async def test_a_file_that_does_not_answer_pauses_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause_file, "DEADLINE_S", 0.02)
    path = tmp_path / "hangs"
    os.mkfifo(path)  # opening it waits for a writer, as a mount whose server is gone does
    file = pause_file.PauseFile(str(path))
    assert "was not read" in file.word()
    for _ in range(2):
        await file.look()
        assert "does not answer" in file.word()
    assert [one.name for one in threading.enumerate()].count("pause file") == 1
    with path.open("w") as writer:
        path.unlink()
        writer.write("true")
    async with asyncio.timeout(10):
        while file.word():
            await file.look()
    monkeypatch.setattr(pause_file, "STALE_S", -1.0)
    assert "was not read" in file.word(), "what was read long ago does not count"


async def state_of(services: Services, execution: int) -> str:
    found = await rows(services.engine, "SELECT state FROM executions WHERE id = :id", id=execution)
    return str(found[0].state)


async def test_what_is_queued_does_not_start_while_the_file_is_there(services: Services, tmp_path: Path) -> None:
    file = tmp_path / "paused"
    services = replace(services, halted=lambda: paused_by(str(file)))
    async with services.engine.begin() as db:
        execution = await an_execution(db)
    file.touch()
    await carried_out(services, execution)
    assert await state_of(services, execution) == "refused"
    file.unlink()
    async with services.engine.begin() as db:
        other = await an_execution(db, await an_incident(db, state=S.RUNNING, title="Other"))
    await carried_out(services, other)
    assert await state_of(services, other) == "acted"


async def test_a_pause_between_the_last_look_and_the_start_still_holds(services: Services) -> None:
    said = iter(["", "the file"])
    services = replace(services, halted=lambda: next(said, "the file"))
    async with services.engine.begin() as db:
        execution = await an_execution(db)
    await flow.execute(services, execution)
    assert await state_of(services, execution) == "queued"
    assert await jobs(services.engine) == [("execute", {"execution_id": execution})]
    await flow.execute(services, execution)
    assert await state_of(services, execution) == "refused"


async def test_a_pause_says_what_still_runs_and_what_it_stops(services: Services) -> None:
    async with services.engine.begin() as db:
        numbers = [await an_execution(db, await an_incident(db, state=S.RUNNING, title=one)) for one in "abc"]
        await executions.start(db, numbers[1], fencing_token=1, snapshot={})
        verifying = await an_incident(db, state=S.VERIFYING, title="d")
        acted = await an_execution(db, verifying)
        await executions.start(db, acted, fencing_token=1, snapshot={})
        done = Outcome(ok=True, changed=True, detail="Done.")
        await executions.finish(db, acted, state=ExecutionState.ACTED, outcome=done, fencing_token=1)
        approval = await an_approval(db, await an_incident(db, state=S.WAITING, title="e"))
        await db.execute(text("UPDATE approvals SET state = 'scheduled', run_at = now() WHERE id = :id"),
                         {"id": approval})  # fmt: skip
        found = await under_way(db)
    counts = [len(one) for one in (found.running, found.verifying, found.queued, found.scheduled)]
    assert counts == [1, 1, 2, 1]
    lines = told(found)
    assert lines[0].startswith("Still running: noop on ")
    assert lines[0].endswith("undone if it made things worse.")
    assert len(lines) == 5


# --- what was interrupted ---------------------------------------------------------------------------------------------


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[str]]]:
    """(a webhook's address, the keys of what came)"""
    came: list[str] = []

    async def take(request: web.Request) -> web.Response:
        came.append(request.headers["Idempotency-Key"])
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/drain", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/drain", came
    await runner.cleanup()
    adopt(())


HOOK = """
workflows:
  - name: drain
    title: Drain a zone
    kinds: [network]
    webhook: {url: "URL", idempotent: true}
"""


async def queued(services: Services, url: str, hook: str = HOOK) -> int:
    policy, findings = check_policy(hook.replace("URL", url))
    assert policy is not None, findings
    adopt(policy.workflows)
    (spec,) = policy.workflows
    async with services.engine.begin() as db:
        return await an_execution(db, action=Action(spec.action, TARGET, {ENTRY: spec.digest}))


async def interrupted(services: Services, url: str) -> int:
    """A fix that was stored as begun, of a process that was killed before it sent anything; it takes no snapshot."""
    execution = await queued(services, url)
    async with services.engine.begin() as db:
        assert await executions.start(db, execution, fencing_token=1, snapshot={})
    return execution


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("nothing", ""),
        ("pause", "was paused"),
        ("file", "was paused"),
        ("read-only", "policy.yaml: read_only"),
        ("actions off", "CODEHEALER_ACTIONS"),
        ("dry run", "policy.yaml: dry_run"),
        ("mode", "mode is observe"),
        ("its incident has gone on", "went on without"),
        ("a person who took it", f"{ON_IT}."),
        ("a person who took it before it was approved", ""),
        ("what policy started", ""),
        ("what policy started, a person who took it", f"{ON_IT}."),
        ("what policy started, instructions in the evidence", "instructions were found"),
        ("what policy started, nobody in Slack", "Slack cannot be reached"),
        ("what policy started, the breaker", ""),
    ],
)
async def test_what_a_kill_kept_from_happening_is_not_begun_again_where_nothing_may_start(
    services: Services, receiver: tuple[str, list[str]], by: str, why: str
) -> None:
    url, came = receiver
    execution = await interrupted(services, url)
    async with httpx.AsyncClient() as http:
        services = replace(
            services,
            clients=Clients(webhooks=WebhookSender(http)),
            policy=sandbox_policy(read_only=by == "read-only", dry_run=by == "dry run"),
            actions=by != "actions off",
            halted=lambda: "the file" if by == "file" else "",
        )
        async with services.engine.begin() as db:
            taken = await incidents.get(db, 1, lock=True)
            assert taken is not None
            await switches.write(db, switches.PAUSED, by == "pause", by="U0DEV")
            if by == "mode":
                await switches.write(db, switches.MODE + "everything", "observe", by="U0DEV")
            if by == "its incident has gone on":
                await db.execute(text("UPDATE incidents SET state = 'escalated'"))
            if by.startswith("what policy started"):
                await db.execute(text("UPDATE approvals SET automatic = true"))
                await switches.write(db, switches.MODE + "everything", "automatic", by="U0LEAD")
            if by.endswith("a person who took it"):
                assert await hand_over(db, services, taken, why=ON_IT, by="U0DEV", assigned_to="U0DEV")
            if by == "a person who took it before it was approved":
                assert await hand_over(db, services, taken, why=ON_IT, by="U0DEV", assigned_to="U0DEV")
                await audit.record(db, "execution.queued", incident_id=taken.id)
            if by.endswith("instructions in the evidence"):
                await db.execute(text("UPDATE incidents SET flagged = true"))
            if by.endswith("nobody in Slack"):
                await switches.write(db, switches.SLACK_AWAY, "not connected", by="codehealer")
            if by.endswith("the breaker"):
                await switches.write(db, switches.BREAKER, "too many fixes", by="codehealer")
        await carried_out(services, execution)
    if not why:
        assert came == [f"codehealer-{execution}"]
        assert await state_of(services, execution) == "acted"
        return
    assert came == []
    assert await state_of(services, execution) == "refused"
    (found,) = await rows(services.engine, "SELECT outcome ->> 'detail' AS words FROM executions")
    assert found.words.startswith(NOT_BEGUN_AGAIN)
    assert why in found.words
    (incident,) = await rows(services.engine, "SELECT state, by_hand FROM incidents")
    theirs = by.endswith("a person who took it")
    said = ON_IT if theirs else ""
    assert (incident.state, incident.by_hand) == ("escalated", said), "people's word is no sign of somebody at work"
    if by != "its incident has gone on":
        called = [] if theirs else ["page"]
        assert [stage for stage, _ in await jobs(services.engine)] == [*called, "learn"]


class Cut(StoredExecutions):
    """Loses its connection once, when the end is to be stored."""

    cut = False

    async def finish_execution(self, execution_id: int, **named: Any) -> bool:
        if not self.cut:
            self.cut = True
            raise OperationalError("UPDATE", {}, ConnectionError())
        return await super().finish_execution(execution_id, **named)


async def test_what_was_sent_and_has_no_end_yet_is_not_sent_again_before_its_lease_has_ended(
    services: Services, receiver: tuple[str, list[str]]
) -> None:
    url, came = receiver
    execution = await interrupted(services, url)
    async with httpx.AsyncClient() as http:
        services = replace(
            services,
            clients=Clients(webhooks=WebhookSender(http)),
            executions=Cut(services.engine),
        )
        with pytest.raises(OperationalError):
            await flow.execute(services, execution)
        await flow.execute(services, execution)
        assert len(came) == 1, "the same process has a hold on its target no sooner than any other"
        assert await jobs(services.engine) == [("execute", {"execution_id": execution})]
        async with services.engine.begin() as db:
            await db.execute(text("UPDATE leases SET expires_at = now()"))
        await flow.execute(services, execution)
    assert await state_of(services, execution) == "acted"
    assert len(set(came)) == 1, "the receiver knows a repetition by its key"


# --- what nobody foresaw ----------------------------------------------------------------------------------------------


class Broken:
    """Whatever is asked of it fails as a programming error does, with what it was given in its words."""

    async def token(self, *_: str) -> str:
        return ""

    async def fails(self, *_: Any, **__: Any) -> Any:
        raise KeyError("Bearer of-the-receiver")

    post = get = patch = fails


async def fails_for_good(services: Services, run: Callable[[], Awaitable[None]]) -> None:
    """Run a job as often as a job that fails is tried, each time with no lease in its way."""
    for _ in range(OTHER_ATTEMPTS):
        async with services.engine.begin() as db:
            await db.execute(text("UPDATE leases SET expires_at = now()"))
        await run()
    assert not {"execute", "verify"} & {stage for stage, _ in await jobs(services.engine)}, "it ends"


@pytest.mark.parametrize("by", ["a token that no header can carry", "an error in a client"])
async def test_a_fix_that_fails_by_what_nobody_foresaw_ends_and_people_are_called(
    services: Services, receiver: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    url, came = receiver
    monkeypatch.setenv("OPS_TOKEN", "\ufeffof-the-receiver")
    hook = HOOK.replace("idempotent", "token_env: OPS_TOKEN, idempotent")
    execution = await queued(services, url, hook)
    async with httpx.AsyncClient() as http:
        webhooks: Any = WebhookSender(http) if by.startswith("a token") else Broken()
        services = replace(services, clients=Clients(webhooks=webhooks))
        await fails_for_good(services, lambda: carried_out(services, execution))
    assert came == []
    assert await state_of(services, execution) == "failed"
    (found,) = await rows(services.engine, "SELECT outcome FROM executions")
    assert ("token_env" if by.startswith("a token") else "KeyError") in found.outcome["detail"]
    assert "of-the-receiver" not in str(found.outcome)
    (incident,) = await rows(services.engine, "SELECT state FROM incidents")
    assert incident.state == "escalated"
    assert [stage for stage, _ in await jobs(services.engine)] == ["page", "learn"]


async def test_an_undo_that_fails_by_what_nobody_foresaw_ends_and_people_are_called(services: Services) -> None:
    number = await made_worse(services)
    cluster: Any = Broken()
    services = replace(services, clients=Clients(cluster=cluster))
    await fails_for_good(services, lambda: flow.verify(services, number))
    assert await state_of(services, number) == "acted"
    (row,) = await rows(services.engine, "SELECT incidents.state, outcome FROM incidents, executions")
    assert row.state == "not_verified"
    assert "Scaled. It cannot be told whether the undo took effect" in row.outcome["detail"]
    assert "page" in [stage for stage, _ in await jobs(services.engine)]


async def made_worse(services: Services) -> int:
    """A fix after which fewer pods are ready, which has not been undone yet."""
    scaled = Action("k8s_scale", TARGET, {"was": 2, "replicas": 4, "limit": 8}, undo="scales back")
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.VERIFYING)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        number = await an_execution(db, incident, scaled)
        answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        await answers.add_plan(db, incident.id, answer, replace(plan(scaled), undo="scales back"), decision())
        await executions.start(db, number, fencing_token=1, snapshot={"uid": "d", "replicas": 2, "to": 4})
        done = Outcome(ok=True, changed=True, detail="Scaled.")
        await executions.finish(db, number, state=ExecutionState.ACTED, outcome=done, fencing_token=1)
        await executions.add_verification(db, number, Verification("worse", (), "Fewer pods are ready."))
    return number


@pytest.mark.parametrize("by", ["read-only", "actions off"])
async def test_what_made_it_worse_is_not_undone_by_a_bot_that_is_read_only_and_people_are_told(
    services: Services, by: str
) -> None:
    number = await made_worse(services)
    services = replace(services, policy=sandbox_policy(read_only=by == "read-only"), actions=by != "actions off")
    await flow.verify(services, number)
    assert await state_of(services, number) == "acted"
    (row,) = await rows(services.engine, "SELECT state FROM incidents")
    assert row.state == "not_verified"
    (incident,) = await rows(services.engine, "SELECT id FROM incidents")
    assert ("page", {"incident_id": incident.id}) in await jobs(services.engine)
    async with services.engine.connect() as db:
        card = await view.render(db, services, incident.id)
    assert card is not None
    (reply,) = await rows(services.engine, "SELECT payload->>'text' AS words FROM outbox WHERE key LIKE 'verified:%'")
    for words in (card.text, reply.words):
        assert "not undone, because CodeHealer is read-only" in words


# --- without Slack ----------------------------------------------------------------------------------------------------


async def automatic(services: Services) -> int:
    """A fix that policy started, queued."""
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.DIAGNOSING)
        planned = await a_plan(db, incident)
        await flow._start_automatically(db, services, incident, planned)
        await db.execute(text("UPDATE incidents SET state = 'running'"))
    found = await rows(services.engine, "SELECT id FROM executions")
    return int(found[0].id)


class Link:
    """A way to Slack, and a clock."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.now = 0.0

    def says(self) -> str | None:
        return self.problem


async def slack_away(services: Services) -> str:
    async with services.engine.connect() as db:
        return (await switches.around(db, None)).slack_away


async def test_the_leader_tells_all_when_slack_has_been_away_and_when_it_is_back(services: Services) -> None:
    link = Link()
    reach = Reach(lambda: None, link.says, clock=lambda: link.now)
    await reach.tick(services)
    link.problem = "not connected"
    await reach.tick(services)
    link.now += AWAY_AFTER_S - 1
    await reach.tick(services)
    assert await slack_away(services) == "", "links are replaced in less"
    link.now += 1
    await reach.tick(services)
    assert await slack_away(services) == "not connected"
    link.problem = None
    another = Reach(link.says, clock=lambda: link.now)  # another leader, which has sent nothing yet
    await another.tick(services)
    link.now += SURE_AFTER_S - 1
    await another.tick(services)
    assert await slack_away(services) == "not connected"
    link.now += 1
    await another.tick(services)
    assert await slack_away(services) == ""
    told_of = await rows(services.engine, "SELECT payload FROM audit WHERE what = 'switch.slack_away' ORDER BY id")
    assert [row.payload["value"] for row in told_of] == ["not connected", ""]


@pytest.mark.parametrize("by_whom", [automatic, None], ids=["by itself", "approved by people"])
async def test_without_slack_nothing_starts_by_itself_and_what_people_approved_does(
    services: Services, by_whom: Callable[[Services], int] | None
) -> None:
    if by_whom:
        execution = await automatic(services)
        async with services.engine.begin() as db:
            await switches.write(db, switches.MODE + "everything", "automatic", by="U0LEAD")
    else:
        async with services.engine.begin() as db:
            execution = await an_execution(db)
    async with services.engine.begin() as db:
        await switches.write(db, switches.SLACK_AWAY, "not connected", by="codehealer")
    await carried_out(services, execution)
    assert await state_of(services, execution) == ("refused" if by_whom else "acted")
    if by_whom:
        found = await rows(services.engine, "SELECT outcome ->> 'detail' AS why FROM executions")
        assert facts.NOBODY_THERE in found[0].why


async def test_without_slack_and_paused_what_runs_is_verified_and_paged(services: Services, sandbox: Sandbox) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.VERIFYING)
        number = await an_execution(db, incident)
        await executions.start(db, number, fencing_token=1, snapshot={})
        done = Outcome(ok=True, changed=True, detail="Done.")
        await executions.finish(db, number, state=ExecutionState.ACTED, outcome=done, fencing_token=1)
        await executions.add_verification(db, number, Verification("worse", (), "Fewer pods are ready."))
        await switches.write(db, switches.PAUSED, True, by="U0DEV")
        await switches.write(db, switches.SLACK_AWAY, "not connected", by="codehealer")
    async with httpx.AsyncClient() as http:
        pager = PagerDuty(http, sandbox.env["PAGERDUTY_ROUTING_KEY"], sandbox.env["PAGERDUTY_BASE_URL"])
        nobody = AsyncWebClient(token="x", base_url="http://127.0.0.1:1/", timeout=2)
        services = replace(services, clients=Clients(pager=pager), slack=nobody, halted=lambda: "the file")
        await flow.verify(services, number)
        assert ("page", {"incident_id": incident.id}) in await jobs(services.engine)
        await paging.page(services, incident.id)
    (page,) = sandbox.world.pagerduty.alerts.values()
    assert page["status"] == "triggered"
    assert "Fewer pods are ready" in page["payload"]["custom_details"]["why"]

"""What another system says when it refuses a fix may hold anything; it is stored and shown without what it must not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from aiohttp import web

from handlers import view
from handlers.services import Services
from knowledge.model import Action
from knowledge.store import outbox
from remediation.policy_file import check_policy
from remediation.ports import Clients
from remediation.remediators import adopt
from remediation.remediators.workflow import ENTRY
from remediation.webhooks import WebhookSender
from tests.handlers.office import carried_out, rows
from tests.rows import TARGET, S, an_execution, an_incident

SECRET = "gh" + "p_" + "a1B2c3D4e5" * 3 + "F6g7H8"
HOOK = """
workflows:
  - name: drain
    title: Drain a zone
    kinds: [network]
    webhook: {url: "URL"}
"""


@pytest.fixture
async def refusing() -> AsyncIterator[str]:
    """The address of a team's webhook that answers with what it was given."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": f"the token {SECRET} \x1b[31mis\x00 not known"}, status=400)

    app = web.Application()
    app.router.add_post("/drain", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/drain"
    await runner.cleanup()
    adopt(())


async def test_a_refusal_with_a_secret_and_control_characters_ends_the_fix_without_them(
    services: Services, refusing: str
) -> None:
    policy, findings = check_policy(HOOK.replace("URL", refusing))
    assert policy is not None, findings
    adopt(policy.workflows)
    (spec,) = policy.workflows
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.RUNNING)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        execution = await an_execution(db, incident, Action(spec.action, TARGET, {ENTRY: spec.digest}))
    async with httpx.AsyncClient() as http:
        sender = WebhookSender(http)
        await carried_out(replace(services, clients=Clients(webhooks=sender)), execution)
    async with services.engine.connect() as db:
        card = await view.render(db, services, incident.id)
    stored: list[Any] = [card]
    for table in ("executions", "audit", "outbox"):
        stored += await rows(services.engine, f"SELECT to_jsonb(t)::text FROM {table} t")  # noqa: S608
    (kept,) = await rows(services.engine, "SELECT state, outcome ->> 'detail' AS words FROM executions")
    assert (kept.state, "refused the request (400): the token [redacted" in kept.words) == ("failed", True), kept.words
    assert kept.words.endswith("is not known.")
    assert SECRET not in str(stored)

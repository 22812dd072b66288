"""Services made for a test, and what the tests look up in the database and in the workspace."""

from pathlib import Path
from typing import Any, cast

from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import DurableJobs
from bot.sandbox.server import Sandbox
from handlers import flow
from handlers.people import People
from handlers.services import Services
from knowledge.ports import Embedder
from knowledge.store.database import libpq_url
from knowledge.store.executions import StoredExecutions
from remediation.policy import Policy, load_policy
from remediation.ports import Clients

POLICY = Path(__file__).parents[2] / "bot/sandbox/policy.yaml"
TEAM, BOT = "T0SANDBOX", "U0CODEHEALER"
STAGES = (
    "gather_evidence",
    "diagnose",
    "execute",
    "after_execution",
    "verify",
    "learn",
    "page",
    "stand_down",
    "approve",
    "reject",
    "edit",
    "snooze",
    "take",
    "give_back",
    "regroup",
    "postmortem",
    "evidence",
    "open_baseline",
    "link_cards",
    "run_scheduled",
    "acknowledge",
    "read_thread",
    "look_at_channel",
    "index_channel",
    "search_slack",
    "answer_question",
    "decide_offer",
    "heartbeat",
    "answer_command",
    "diagnose_message",
    "remember_fix",
    "suggest_prompts",
)


async def _left(**_: Any) -> None:
    """Stages are only enqueued here: the stories run them."""


def sandbox_policy(**changes: Any) -> Policy:
    """The sandbox's policy with some of its fields changed."""
    return load_policy(POLICY).model_copy(update=changes)


def made_services(engine: AsyncEngine, slack: AsyncWebClient, url: str, **changes: Any) -> Services:
    policy = changes.pop("policy", None) or sandbox_policy()
    values: dict[str, Any] = {
        "engine": engine,
        "jobs": DurableJobs(libpq_url(url), dict.fromkeys(STAGES, _left)),
        "slack": slack,
        "people": People(slack, TEAM, policy),
        "clients": Clients(),
        "policy": policy,
        "answerers": (),
        "embedder": cast(Embedder, None),  # nothing here is embedded
        "executions": StoredExecutions(engine),
        "channel": "C0DEPLOY",
        "bot_user": BOT,
        "holder": "test",
        **changes,
    }
    return Services(**values)


async def rows(engine: AsyncEngine, query: str, **values: Any) -> list[Any]:
    async with engine.connect() as db:
        return list((await db.execute(text(query), values)).all())


async def jobs(engine: AsyncEngine) -> list[tuple[str, dict[str, Any]]]:
    """(stage, arguments) of what was asked for, in order."""
    found = await rows(engine, "SELECT task_name, args FROM procrastinate.procrastinate_jobs ORDER BY id")
    return [(row.task_name, row.args) for row in found]


async def carried_out(services: Services, execution_id: int) -> None:
    """Run an execution, and what follows it where it asked for that."""
    await flow.execute(services, execution_id)
    follows = "DELETE FROM procrastinate.procrastinate_jobs WHERE task_name = 'after_execution' RETURNING id"
    async with services.engine.begin() as db:
        asked = (await db.execute(text(follows))).all()
    if asked:
        await flow.after_execution(services, execution_id)


async def told(engine: AsyncEngine) -> list[tuple[str, str]]:
    """(user, text) of what is to be said privately, in order."""
    query = "SELECT payload->>'user' AS who, payload->>'text' AS words FROM outbox WHERE kind = 'ephemeral' ORDER BY id"
    return [(row.who, row.words) for row in await rows(engine, query)]


def posts(sandbox: Sandbox, channel: str = "C0DEPLOY") -> list[dict[str, Any]]:
    """All of our messages in a channel and its threads, oldest first."""
    stored = sandbox.slack.workspace.channels[channel].messages
    return [stored[ts] for ts in sorted(stored) if stored[ts].get("user") == BOT]

"""What the jobs run: each stage of the story under its name, with the services it is given."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from bot import tracing
from bot.jobs import Stage
from handlers import (
    answering,
    assistant,
    changing,
    commands,
    due,
    flow,
    heartbeat,
    inbox,
    learning,
    missed,
    paging,
    regrouping,
    remembering,
    shortcuts,
    slack_search,
    taking,
    thread_backfill,
    thread_files,
    threads,
)
from handlers.services import Services
from knowledge.store import incidents

# Stage name → function of flow or inbox; the jobs' arguments are passed by name.
STAGES: Mapping[str, Callable[..., Awaitable[object]]] = {
    "gather_evidence": flow.gather_evidence,
    "diagnose": flow.diagnose,
    "execute": flow.execute,
    "after_execution": flow.after_execution,
    "verify": flow.verify,
    "learn": learning.learn,
    "page": paging.page,
    "stand_down": paging.stand_down,
    "approve": inbox.on_approve,
    "reject": inbox.on_reject,
    "edit": changing.edit,
    "snooze": changing.snooze,
    "take": taking.take,
    "give_back": taking.give_back,
    "regroup": regrouping.regroup,
    **{name: thread_files.writer(name) for name in thread_files.KINDS},
    "open_baseline": flow.open_baseline,
    "link_cards": regrouping.link_cards,
    "run_scheduled": due.run_scheduled,
    "acknowledge": paging.acknowledge,
    "read_thread": threads.read_thread,
    "look_at_channel": thread_backfill.look_at_channel,
    "index_channel": thread_backfill.index_channel,
    "search_slack": slack_search.answer,
    answering.STAGE: answering.answer,
    assistant.STAGE: assistant.suggest,
    remembering.STAGE: remembering.decide,
    "heartbeat": heartbeat.relay,
    "answer_command": commands.on_mention,
    shortcuts.DIAGNOSE: shortcuts.take_up,
    "remember_fix": shortcuts.remember,
    "find_missed": missed.find,
    "find_missed_in": missed.find_in,
}


def bound_stages(services: Callable[[], Services]) -> dict[str, Stage]:
    """The stages as jobs run them; the services hold the jobs, so they are there only when one runs."""
    return {name: _bound(stage, services) for name, stage in STAGES.items()}


def _bound(stage: Callable[..., Awaitable[object]], services: Callable[[], Services]) -> Stage:
    async def run(**arguments: Any) -> None:
        await stage(services(), **arguments)

    return run


def told_as_over(learn: Stage, engine: AsyncEngine) -> Stage:
    """The last stage of an incident, and then the span that the others hang on."""

    async def run(**arguments: Any) -> None:
        await learn(**arguments)
        async with engine.connect() as db:
            incident = await incidents.get(db, arguments["incident_id"])
        if incident is not None:
            tracing.incident_span(incident.id, incident.opened_at, incident.state)

    return run

"""/codehealer and the same words in a mention: short private answers from the database."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import operating
from handlers.blocks.card import Card
from handlers.blocks.commands import (
    StatusView,
    help_answer,
    parse_command,
    show_answer,
    show_unknown_answer,
    stats_answer,
    status_answer,
    unknown_answer,
)
from handlers.services import Services
from handlers.view import card_view
from knowledge.model import ApprovalState
from knowledge.store import analytics, approvals, incidents, switches

IN_MENTIONS = ("status", "help")
MOST_INCIDENTS = 50
STATS_DAYS = 30


async def _status(db: AsyncConnection, services: Services, _arguments: tuple[str, ...]) -> Card:
    open_ones = await incidents.listed(db, only_open=True, limit=MOST_INCIDENTS)
    waiting = []
    for incident in open_ones:
        approval = await approvals.latest(db, incident.id)
        if approval and approval.state is ApprovalState.OPEN:
            waiting.append((approval, incident))
    paused = await switches.read(db, switches.PAUSED)
    breaker = await switches.read(db, switches.BREAKER)
    return status_answer(
        StatusView(
            now=services.now(),
            incidents=tuple(open_ones),
            waiting=tuple(waiting),
            mode=services.policy.mode,
            paused_by=paused.set_by if paused and paused.value else "",
            breaker=str(breaker.value) if breaker and breaker.value else "",
            modes=len(await switches.beginning_with(db, switches.MODE)),
            connections=tuple(services.connections()),
        )
    )


async def _show(db: AsyncConnection, services: Services, arguments: tuple[str, ...]) -> Card:
    number = arguments[0] if arguments else ""
    # Longer than any id can be, and int() would take it.
    incident = await incidents.get(db, int(number)) if number.isdecimal() and len(number) < 16 else None
    return show_answer(await card_view(db, services, incident)) if incident else show_unknown_answer(arguments)


async def _stats(db: AsyncConnection, services: Services, arguments: tuple[str, ...]) -> Card:
    number = arguments[0].removesuffix("d") if arguments else ""
    days = int(number) if number.isdecimal() and 0 < len(number) < 4 and int(number) else STATS_DAYS
    now = services.now()
    (found,) = await analytics.figures(db, since=now - timedelta(days=days), until=now)
    return stats_answer(found, days)


async def _help(_db: AsyncConnection, _services: Services, _arguments: tuple[str, ...]) -> Card:
    return help_answer()


ANSWERS: Mapping[str, Callable[[AsyncConnection, Services, tuple[str, ...]], Awaitable[Card]]] = {
    "status": _status,
    "show": _show,
    "stats": _stats,
    "help": _help,
}


async def answer(db: AsyncConnection, services: Services, text: str) -> Card:
    """The answer to what was typed; an unknown word gets a suggestion."""
    command = parse_command(text)
    known = ANSWERS.get(command.name)
    return await known(db, services, command.arguments) if known else unknown_answer(command.name)


async def command(services: Services, text: str, *, user: str, channel: str) -> Card:
    """The answer to a slash command, which may also switch something."""
    typed = parse_command(text)
    if typed.name in operating.ACTS:
        return await operating.act(services, typed.name, typed.arguments, user=user, channel=channel)
    async with services.engine.connect() as db:
        return await answer(db, services, text)

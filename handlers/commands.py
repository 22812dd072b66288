"""/codehealer and the same words in a mention: short private answers from the database."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import operating, postmortems, reading
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
from handlers.reading import Reader, readable
from handlers.services import Services
from handlers.view import card_view
from knowledge.model import ApprovalState
from knowledge.store import analytics, approvals, held, incidents, switches

MOST_INCIDENTS = 50
STATS_DAYS = 30


async def _status(db: AsyncConnection, services: Services, reader: Reader, _arguments: tuple[str, ...]) -> Card:
    every = await incidents.listed(db, only_open=True, limit=MOST_INCIDENTS)
    open_ones = await readable(db, services, every, reader)
    waiting = []
    for incident in open_ones:
        approval = await approvals.latest(db, incident.id)
        if approval and approval.state is ApprovalState.OPEN:
            waiting.append((approval, incident))
    shows = await reading.open_alerts(db, services, reader)
    kept = [one for one in await held.listed(db) if shows(one.alert)]
    known = [one for one in await held.informational(db, since=services.now() - timedelta(days=1)) if shows(one)]
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
            held=tuple(kept),
            informational=tuple(known),
        )
    )


async def _show(db: AsyncConnection, services: Services, reader: Reader, arguments: tuple[str, ...]) -> Card:
    number = arguments[0] if arguments else ""
    # Longer than any id can be, and int() would take it.
    incident = await incidents.get(db, int(number)) if number.isdecimal() and len(number) < 16 else None
    # One that may not be told of here is answered as one that is not there.
    if incident is None or not await readable(db, services, [incident], reader):
        return show_unknown_answer(arguments)
    return show_answer(await card_view(db, services, incident))


async def _stats(db: AsyncConnection, services: Services, _reader: Reader, arguments: tuple[str, ...]) -> Card:
    number = arguments[0].removesuffix("d") if arguments else ""
    days = int(number) if number.isdecimal() and 0 < len(number) < 4 and int(number) else STATS_DAYS
    now = services.now()
    (found,) = await analytics.figures(db, since=now - timedelta(days=days), until=now)
    return stats_answer(found, days)


async def _help(_db: AsyncConnection, _services: Services, _reader: Reader, _arguments: tuple[str, ...]) -> Card:
    return help_answer()


ANSWERS: Mapping[str, Callable[[AsyncConnection, Services, Reader, tuple[str, ...]], Awaitable[Card]]] = {
    "status": _status,
    "show": _show,
    "stats": _stats,
    "help": _help,
}


async def answer(db: AsyncConnection, services: Services, text: str, reader: Reader) -> Card:
    """The answer to what was typed, with what the reader may know; an unknown word gets a suggestion."""
    command = parse_command(text)
    known = ANSWERS.get(command.name)
    return await known(db, services, reader, command.arguments) if known else unknown_answer(command.name)


async def command(services: Services, text: str, reader: Reader, *, user: str) -> Card:
    """The answer to a slash command, which may also switch something."""
    typed = parse_command(text)
    if typed.name == postmortems.STAGE:
        return await postmortems.ask(services, typed.arguments, reader, user=user)
    if typed.name in operating.ACTS:
        return await operating.act(services, typed.name, typed.arguments, user=user, channel=reader.channel)
    async with services.engine.connect() as db:
        return await answer(db, services, text, reader)

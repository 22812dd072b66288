"""/codehealer and the same words in a mention: one table of what can be typed.

A look changes nothing and may be run by a click on a suggestion or on "More". An act is one transaction, with the
answer of a mention in it, so a mention that is handled again does nothing twice.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import acting, cards, operating, replies, thread_files, typed
from handlers.blocks import commands as wording
from handlers.blocks.card_view import Card
from handlers.blocks.limits import validate_blocks
from handlers.looking import LOOKS, Query
from handlers.mentions import Question
from handlers.operating import Asked
from handlers.reading import LOOK_UP_S, Reader, reader_of
from handlers.services import Services
from handlers.typed import Command, parse_command
from knowledge.errors import CodeHealerError, Unavailable
from knowledge.store import outbox
from remediation.approvals import Person

log = structlog.get_logger(__name__)

ACTS = {**operating.ACTS, **acting.ACTS, **{name: thread_files.asked_for(name) for name in thread_files.KINDS}}
DIAGNOSE, PAUSE = "diagnose", "pause"
NO_TELLING_WHO = "Slack did not say who you are just now. Try it again."
FAULTS = (CodeHealerError, SQLAlchemyError, TimeoutError)


async def answer(db: AsyncConnection, services: Services, text: str, reader: Reader) -> Card:
    """What was typed, where it only looks; an unknown word gets a suggestion."""
    return await _looked(db, services, parse_command(text), Query(reader))


async def _looked(db: AsyncConnection, services: Services, command: Command, query: Query) -> Card:
    look = LOOKS.get(command.name)
    if look:
        return await look(db, services, Query(query.reader, command.arguments, query.thread, query.private))
    near = typed.suggestion(command)
    if near is None:
        return wording.unknown_answer(command.name)
    return wording.unknown_answer(command.name, near.line, offered=near.name in LOOKS)


async def command(services: Services, text: str, reader: Reader, *, user: str, key: str = "") -> Card:
    """The private answer to a slash command. `key` names the command, as its trigger does."""
    read = parse_command(text)
    query = Query(reader, read.arguments)
    if read.name not in ACTS and read.name != DIAGNOSE:
        async with services.engine.connect() as db:
            return await _looked(db, services, read, query)
    try:
        person = await _person(services, user, read)
    except Unavailable:
        return wording.said(read.name, NO_TELLING_WHO)
    asked = Asked(person, query, _after_the_name(text))
    if read.name == DIAGNOSE:
        return await acting.diagnose(services, asked, key=key)
    async with services.engine.begin() as db:
        return await ACTS[read.name](db, services, asked)


async def _person(services: Services, user: str, command: Command) -> Person:
    """Whoever typed it. Anybody may pause, so a pause does not wait for Slack to say who that is.

    Raises:
        Unavailable: Slack does not say.
    """
    if command.name != PAUSE:
        return await services.people.look_up(user)
    try:
        async with asyncio.timeout(LOOK_UP_S):
            return await services.people.look_up(user)
    except (TimeoutError, Unavailable):
        return Person(user)


def _after_the_name(text: str) -> str:
    """What follows the first word, with its lines."""
    return [*text.strip().split(maxsplit=1), "", ""][1]


async def private_answer(services: Services, text: str, reader: Reader, *, user: str, key: str = "") -> Card:
    """The same, where what goes wrong is said too; its blocks keep Slack's limits, or are left out."""
    try:
        card = await command(services, text, reader, user=user, key=key)
    except FAULTS as error:
        read = parse_command(text)  # what is no subcommand may be anything, a secret too
        log.warning("command_failed", command=read.name if read.known else "", error=type(error).__name__)
        sentence = replies.sentence_for(error)
        return wording.said("failed", sentence)
    faults = validate_blocks("message", card.blocks)
    if faults:
        log.error("blocks_refused_before_sending", faults=faults[:5])
        return Card(card.text, [])
    return card


async def clicked(services: Services, line: str, reader: Reader) -> Card:
    """What a button of ours runs: only what looks, for the eyes of whoever clicked."""
    read = parse_command(line)
    if read.name not in LOOKS:
        return wording.said("failed", replies.NOT_OURS)
    return await private_answer(services, line, reader, user="")


# --- mentions --------------------------------------------------------------------------------------------------------


async def on_mention(services: Services, question: Mapping[str, Any]) -> None:
    """Answer a mention that is a command, in its thread.

    A crash before the transaction repeats it; after it the answer is in the outbox, and a repeat finds it there.
    """
    asked = Question(**question)
    read = typed.command_in(asked.said, in_thread=bool(asked.thread_ts))
    if read is None:
        return
    reader = await reader_of(services, asked.channel, asked.user)
    query = Query(reader, read.arguments, (asked.channel, asked.thread_ts), private=False)
    if read.name not in ACTS and read.name != DIAGNOSE:
        async with services.engine.connect() as db:
            card = await _looked(db, services, read, query)
        async with services.engine.begin() as db:
            await cards.answer_question(db, asked, card)
        return
    act = ACTS.get(read.name, _look_again)
    person = await _person(services, asked.user, read)
    async with services.engine.begin() as db:
        if not await outbox.known(db, cards.answer_key(asked)):
            await cards.answer_question(db, asked, await act(db, services, Asked(person, query)))


async def _look_again(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    """`diagnose` in a mention is about an incident: with other words after it, it is a question."""
    return await acting.look_again(db, services, asked) or acting.nothing_to_diagnose()

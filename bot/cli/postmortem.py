"""incidents postmortem."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer

from bot.cli.incidents import find
from bot.cli.opening import Number, short_engine, with_url
from bot.cli.printing import JsonOption, Verbs, put, words
from bot.models import make_hosted
from bot.settings import Settings, load_settings
from bot.team_files import read_policy
from handlers.postmortem import draft
from handlers.summarising import marked, summarise
from knowledge.cache import open_cache
from knowledge.errors import Conflict, NotFound, Refused
from knowledge.language_models.free_text import FreeText
from knowledge.store import history
from knowledge.store.history import History
from knowledge.store.model_calls import Ledger


def postmortem(
    number: Number,
    output: Annotated[str, typer.Option("--output", metavar="FILE", help="A new file, instead of the screen.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Draft an incident's postmortem as Markdown; with a model's key, a model's summary comes after it."""
    text, answered_by = asyncio.run(with_url(lambda url: _write(url, number, output, to_screen=not as_json)))
    if as_json:
        put({"incident": number, "markdown": text, "answered_by": answered_by})
    elif output:
        words.print(f"The postmortem of incident {number} is in {output}.", markup=False)


async def _write(url: str, number: int, output: str, *, to_screen: bool) -> tuple[str, str]:
    """The Markdown and who wrote in it. The draft is written before a model is asked, so nothing can lose it."""
    settings, now = load_settings(), datetime.now(UTC)
    async with short_engine(url) as engine:
        async with engine.connect() as db:
            await find(db, number)
            found = await history.of_incident(db, number)
        if found is None:
            raise NotFound(f"Incident {number} was deleted a moment ago.")
        with _sheet(output, to_screen=to_screen) as write:
            text = draft(found, now=now)
            write(text)
            summary, note = await _summary(settings, Ledger(engine, settings.model_limits, settings.prices), found, now)
            if summary is not None:
                write(section := marked(summary))
                text += section
    # Why others wrote nothing, and what is to be known of the one who did, such as that a limit is near.
    if notes := [one for one in (note, summary.note if summary else "") if one]:
        words.print(f"Note: {'; '.join(notes)}.", markup=False)
    return text, summary.name if summary else "built-in"


async def _summary(settings: Settings, ledger: Ledger, found: History, now: datetime) -> tuple[FreeText | None, str]:
    async with httpx.AsyncClient() as http, open_cache(settings.redis_url, settings.cache_seconds) as cache:
        meter = ledger.meter(found.incident.id)
        writers = [replace(one, meter=meter) for one in make_hosted(settings, http, cache)]
        if not writers:
            return None, ""
        return await summarise(found, writers=writers, policy=read_policy(settings), now=now)


@contextmanager
def _sheet(output: str, *, to_screen: bool) -> Iterator[Callable[[str], object]]:
    """Where the Markdown goes. A file that is there is left alone: people may have gone on writing in it."""
    if not output:
        yield sys.stdout.write if to_screen else lambda _: None
        return
    try:
        # Not in a `with`: what goes wrong while the sheet is in use is no fault of opening it.
        stream = Path(output).open("x", encoding="utf-8", buffering=1)  # noqa: SIM115
    except FileExistsError:
        raise Conflict(f"{output} is there already, and is not overwritten. Give another name, or remove it.") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"{output} cannot be written: {why}. Give a file in a folder that you may write to.") from None
    with stream:
        yield stream.write


COMMANDS: Verbs = {"postmortem": postmortem}

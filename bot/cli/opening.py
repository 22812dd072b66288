"""What the commands share that look into the database: opening it for a moment, asking, reading a moment."""

import asyncio
import getpass
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cli.printing import words
from bot.migrating import NewerTables, migrate
from bot.program import database_folder, open_database
from bot.settings import load_settings
from knowledge.errors import BadInput, SettingsError
from knowledge.store.database import open_engine, reason_of

T = TypeVar("T")
Number = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="NUMBER")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
_SPAN = re.compile(r"(\d{1,5})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


FIRST = (
    "There was no database in {folder} until now, so no bot works on it. Run this where the bot is started, as its "
    "user, with its .env or environment."
)


async def with_url(
    work: Callable[[str], Awaitable[T]], *, migrating: bool = False, newer: bool = False, first: bool = False
) -> T:
    """Run `work` with the URL of the configured database, whose tables are this version's.

    An empty database gets its tables. Only with `migrating` are those of an older version brought up: who has a look
    before the upgrade, or beside replicas of the older version, does not upgrade by that. Only with `newer` does it
    work on those of a newer version, which are left as they are. Unless it may well be the `first` thing that happens
    in the embedded database, people are told when it is: the bot that they mean works on another.
    """
    settings = load_settings()
    folder = database_folder(settings)
    if not (settings.database_url or first or (folder / "postgres" / "PG_VERSION").exists()):
        words.print(FIRST.format(folder=folder), markup=False)
    async with open_database(settings) as url:
        try:
            await asyncio.to_thread(migrate, url, only_new=not migrating)
        except NewerTables:
            if not newer:
                raise
        return await work(url)


@asynccontextmanager
async def short_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine without a pool; what PostgreSQL refuses becomes a sentence."""
    engine = open_engine(url, pool_size=0)
    try:
        yield engine
    except DBAPIError as error:
        raise SettingsError(f"The database refuses this: {reason_of(error)}. Check DATABASE_URL.") from None
    finally:
        await engine.dispose()


def in_database(work: Callable[[AsyncConnection], Awaitable[T]], *, migrating: bool = False, newer: bool = False) -> T:
    """Run `work` in one transaction of the configured database; `migrating` and `newer` as above."""

    async def run(url: str) -> T:
        async with short_engine(url) as engine, engine.begin() as db:
            return await work(db)

    return asyncio.run(with_url(run, migrating=migrating, newer=newer))


def who() -> str:
    """The account's name, or its number where it has none, as in many containers: a pause must never fail on that."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; elsewhere --yes must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(f"{question} Nobody can be asked here: give --yes.")
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def moment(option: str, value: str) -> datetime | None:
    """A time as ISO text, or how long ago, such as 30d, 12h, 45m or 2w; None for ""."""
    if not value:
        return None
    if span := _SPAN.fullmatch(value.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{option} {value}: write how long ago, as 30d or 12h, or a time, as 2026-11-23T09:00Z"
        ) from None

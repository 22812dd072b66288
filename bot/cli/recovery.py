"""backup, restore, move."""

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from bot import backup as backups
from bot.cli.printing import JsonOption, Verbs, plain, put
from bot.postgres import hold_bot_lock
from bot.program import database_folder, database_place, open_database
from bot.settings import Settings, load_settings
from knowledge.errors import BadInput, SettingsError
from knowledge.store.database import sqlalchemy_url

FileArgument = Annotated[Path, typer.Argument(metavar="FILE")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace what is in the database.")]


def backup(file: FileArgument, as_json: JsonOption = False) -> None:
    """Write the whole database to a new file, while the bot runs."""
    settings = load_settings()

    async def work() -> tuple[backups.Header, int]:
        async with open_database(settings) as url:
            return await backups.backup(url, file), await backups.incidents(url)

    header, incidents = asyncio.run(work())
    place = database_place(settings)
    if as_json:
        put({"file": str(file), "database": place, "incidents": incidents, **asdict(header)})
    else:
        size = f"{header.bytes / 1e6:,.1f} MB, revision {header.revision}"
        plain.print(
            f"{file}: {place}, {incidents:,} incidents, {size}. It holds what the database holds, so keep it as safe.",
            markup=False,
        )


def restore(file: FileArgument, replace: ReplaceOption = False, as_json: JsonOption = False) -> None:
    """Put a backup into the database; the bot must not run meanwhile."""
    settings = load_settings()
    # Read once more below: what is wrong with it is told before the bot has to be stopped.
    backups.checked(file)

    async def work() -> tuple[backups.Header, int]:
        async with open_database(settings) as url:
            return await backups.restore(url, file, replace=replace), await backups.incidents(url)

    with _alone(settings):
        header, incidents = asyncio.run(work())
    place = database_place(settings)
    if as_json:
        about = {"taken_at": header.taken_at, "revision": header.revision}
        put({"restored": str(file), "database": place, "incidents": incidents, **about})
    else:
        plain.print(f"Restored {place} as of {header.taken_at}: {incidents:,} incidents.", markup=False)


def move(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="postgresql://USER:PASSWORD@HOST/DATABASE")],
    replace: ReplaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy the database to another server, such as from the embedded one to a managed one."""
    settings = load_settings()
    try:
        address = sqlalchemy_url(to)
    except SettingsError:
        raise BadInput("--to: no PostgreSQL URL; it looks like postgresql://user@host:5432/codehealer.") from None
    if address == (settings.database_url and sqlalchemy_url(settings.database_url)):
        raise BadInput("--to is the database that is configured already: name another one.")

    async def work() -> backups.Header:
        with tempfile.TemporaryDirectory(prefix="codehealer-move-") as folder:
            file = Path(folder) / "backup"
            # What a bot did after the backup would be left behind.
            async with open_database(settings) as url, backups.without_bot(url):
                await backups.backup(url, file)
                return await backups.restore(to, file, replace=replace)

    with _alone(settings):
        header = asyncio.run(work())
    if as_json:
        put({"moved": True, "revision": header.revision})
    else:
        plain.print("Moved. Set DATABASE_URL to the new address and start the bot; the old database is as it was.")


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """On an embedded database its lock keeps the bot out; on another one the leader's does."""
    with contextlib.nullcontext() if settings.database_url else hold_bot_lock(database_folder(settings)):
        yield


COMMANDS: Verbs = {"backup": backup, "restore": restore, "move": move}

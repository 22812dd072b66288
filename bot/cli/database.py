"""migrate, search, incidents, audit, pause and resume, dead: what looks into the database."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli.printing import JsonOption, plain, put, words
from bot.jobs import DurableJobs
from bot.migrating import migrate as apply_revisions
from bot.migrating import reason_of
from bot.program import open_database
from bot.settings import load_settings
from knowledge import retrieval
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput, SettingsError
from knowledge.model import FailureKind
from knowledge.store import audit, incidents, switches
from knowledge.store.codec import to_json
from knowledge.store.database import libpq_url, open_engine

T = TypeVar("T")
Number = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="NUMBER")]


async def _with_url(work: Callable[[str], Awaitable[T]]) -> T:
    async with open_database(load_settings(), alone=False) as url:
        await asyncio.to_thread(apply_revisions, url)
        return await work(url)


def _in_database(work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run `work` in one transaction of the configured database."""

    async def run(url: str) -> T:
        engine = open_engine(url, pool_size=1)
        try:
            async with engine.begin() as db:
                return await work(db)
        except DBAPIError as error:
            raise SettingsError(f"The database refuses this: {reason_of(error)}. Check DATABASE_URL.") from None
        finally:
            await engine.dispose()

    return asyncio.run(_with_url(run))


def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="A revision, head or base.")] = "",
    down: Annotated[bool, typer.Option("--down", help="Go back to REV, or by one revision.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the database to this version's tables."""

    async def work() -> list[str]:
        async with open_database(load_settings(), alone=False) as url:
            return await asyncio.to_thread(apply_revisions, url, to=to or ("-1" if down else "head"), down=down)

    applied = asyncio.run(work())
    if as_json:
        put({"applied": applied})
    else:
        plain.print("\n".join(applied) or "Nothing to do.", markup=False)


def search(  # noqa: PLR0917  one option a filter
    query: Annotated[str, typer.Argument(metavar="TEXT", help="A question or an error.")],
    top: Annotated[int, typer.Option(min=1, max=50)] = 5,
    source: str = "",
    service: str = "",
    environment: str = "",
    kind: str = "",
    outcome: str = "",
    channel: Annotated[str, typer.Option(help="Only Slack threads of this channel id, if all may read it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Find past incidents that resemble a text, with what was done and how it ended."""
    if not query.strip():
        raise BadInput("TEXT is empty: give a question or an error to search for.")
    if kind and kind not in list(FailureKind):
        raise BadInput(f"--kind {kind}: not a kind of failure; known are {', '.join(FailureKind)}.")
    wanted = {
        "channel": channel,
        "source": source,
        "service": service,
        "environment": environment,
        "kind": kind,
        "outcome": outcome,
    }

    async def work(db: AsyncConnection) -> list[dict[str, Any]]:
        found = await retrieval.search(
            db, query[:20_000], embedder=LocalEmbedder(), now=datetime.now(UTC), limit=top, filters=wanted
        )
        return [
            {
                "id": one.item.id,
                "kind": one.item.kind,
                "source": one.item.source,
                "score": one.score,
                "cause": one.item.cause,
                "fix": one.item.fix,
                "outcome": one.item.outcome,
                "link": one.item.link,
            }
            for one in found
        ]

    rows = _in_database(work)
    if as_json:
        put(rows)
        return
    if not rows:
        words.print("Nothing that resembles this is remembered yet.")
    for row in rows:
        fix = row["fix"] or "nothing was done"
        plain.print(
            f"{row['score']:.2f}  {row['id']}  {row['kind']}: {row['cause']}\n      {fix} — {row['outcome']}",
            markup=False,
        )


def list_incidents(
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """List incidents, newest first."""
    rows = _in_database(lambda db: incidents.listed(db, only_open=only_open, limit=limit))
    for row in rows:
        if as_json:
            put(to_json(row))
        else:
            where = row.service or row.workload or row.repository
            plain.print(f"{row.id:>6}  {row.state:<12}  {where:<24}  {row.title}", markup=False)


def show_incident(number: Number, as_json: JsonOption = False) -> None:
    """Show one incident."""
    row = _in_database(lambda db: incidents.get(db, number))
    if row is None:
        raise BadInput(f"There is no incident {number}; `codehealer incidents list` shows them.")
    values = to_json(row)
    if as_json:
        put(values)
    else:
        plain.print("\n".join(f"{name}: {value}" for name, value in values.items()), markup=False)


def verify_audit(as_json: JsonOption = False) -> None:
    """Check that the audit log is whole."""
    report = _in_database(audit.verify)
    if as_json:
        put({"sealed": report.sealed, "unsealed": report.unsealed, "broken_at": report.broken_at})
    else:
        state = f"broken at row {report.broken_at}" if report.broken_at else "whole"
        plain.print(f"{report.sealed} sealed rows, {report.unsealed} waiting: {state}")
    raise typer.Exit(1 if report.broken_at else 0)


def _who() -> str:
    """The account's name, or its number where it has none, as in many containers: a pause must never fail on that."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _switch(paused: bool, as_json: bool) -> None:
    async def work(db: AsyncConnection) -> None:
        await switches.write(db, switches.PAUSED, paused, by=_who())
        await audit.record(db, "switch.paused", actor=_who(), value=paused)

    _in_database(work)
    if as_json:
        put({"paused": paused})
    else:
        plain.print("Paused: nothing new is carried out until `codehealer resume`." if paused else "Resumed.")


def pause(as_json: JsonOption = False) -> None:
    """Stop all actions, on every replica; diagnoses go on."""
    _switch(True, as_json)


def resume(as_json: JsonOption = False) -> None:
    """Allow actions again."""
    _switch(False, as_json)


def list_dead(as_json: JsonOption = False) -> None:
    """List the jobs that were given up."""
    rows = asyncio.run(_with_url(lambda url: DurableJobs(libpq_url(url), {}).dead()))
    for row in rows:
        if as_json:
            put({"id": row.id, "stage": row.stage, "attempts": row.attempts, "reason": row.reason, "at": row.at})
        else:
            plain.print(f"{row.id:>6}  {row.stage:<16}  {row.reason}", markup=False)


def retry_dead(number: Number, as_json: JsonOption = False) -> None:
    """Give a dead job its attempts again."""
    asyncio.run(_with_url(lambda url: DurableJobs(libpq_url(url), {}).retry(number)))
    put({"retried": number}) if as_json else plain.print(f"Job {number} will run again.")


GROUPS: tuple[tuple[str, str, dict[str, Callable[..., None]]], ...] = (
    ("incidents", "Past and present incidents.", {"list": list_incidents, "show": show_incident}),
    ("audit", "The append-only log of all that was decided and done.", {"verify": verify_audit}),
    ("dead", "Jobs that were given up.", {"list": list_dead, "retry": retry_dead}),
)


def add_to(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(search)
    app.command()(pause)
    app.command()(resume)
    for name, help_text, commands in GROUPS:
        group = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
        for verb, function in commands.items():
            group.command(verb)(function)
        app.add_typer(group, name=name)

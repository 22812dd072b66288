"""migrate, search, audit, pause and resume, dead: what looks into the database."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli import dead_letters
from bot.cli.opening import in_database, who, with_url
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.migrating import migrate as apply_revisions
from bot.pause_file import paused_by
from bot.program import open_database
from bot.settings import load_settings
from bot.wiring import make_means
from knowledge import retrieval
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput, NotFound, SettingsError
from knowledge.model import FailureKind, Precedent
from knowledge.recall import Recalled, recall
from knowledge.store import audit, switches
from knowledge.store.threads import OPERATOR
from knowledge.store.under_way import UnderWay, told, under_way

# Of what is asked; a longer paste is cut before it is searched for its telling lines.
MOST_CHARS = 1_000_000
FIXES = ("running", "verifying", "queued", "scheduled")


def migrate(
    to: Annotated[str, typer.Option(metavar="REV", help="A revision, head or base.")] = "",
    down: Annotated[bool, typer.Option("--down", help="Go back to REV, or by one revision.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the database to this version's tables."""

    async def work() -> list[str]:
        async with open_database(load_settings()) as url:
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
    confidence: Annotated[float, typer.Option(min=0, max=1, help="Only finds with at least this score.")] = 0.0,
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

    async def work(db: AsyncConnection) -> Recalled:
        async with httpx.AsyncClient() as http:
            means = make_means(load_settings(), http, LocalEmbedder())
            text = retrieval.searched_for(query[:MOST_CHARS])
            return await recall(
                db.engine, text, means=means, now=datetime.now(UTC), limit=top, filters=wanted, asked=OPERATOR
            )

    found = in_database(work)
    if found.note:
        words.print(f"Note: {found.note}.", markup=False)
    rows = [_row(one) for one in found.precedents if one.score >= confidence]
    if as_json:
        put(rows)
        return
    if not rows:
        words.print("Nothing is remembered yet." if found.empty else "Nothing that resembles this is remembered yet.")
    for row in rows:
        fix = row["fix"] or "nothing was done"
        first = f"{row['score']:.2f}  {row['id']}  {row['kind']}: {row['cause']}"
        plain.print(f"{first}\n      {fix} — {row['outcome']} ({row['why']})", markup=False)


def _row(one: Precedent) -> dict[str, Any]:
    """What `search --json` tells of a find."""
    item = one.item
    return {
        "id": item.id,
        "kind": item.kind,
        "source": item.source,
        "score": one.score,
        "cause": item.cause,
        "fix": item.fix,
        "outcome": item.outcome,
        "link": item.link,
        "why": one.why,
    }


def verify_audit(as_json: JsonOption = False) -> None:
    """Check that the audit log is whole."""
    report = in_database(audit.verify)
    if as_json:
        put({"sealed": report.sealed, "unsealed": report.unsealed, "broken_at": report.broken_at})
    else:
        state = f"broken at row {report.broken_at}" if report.broken_at else "whole"
        if report.cut_off:
            state = f"{report.cut_off} rows are missing at the end, from row {report.broken_at}"
        plain.print(f"{report.sealed} sealed rows, {report.unsealed} waiting: {state}")
    raise typer.Exit(1 if report.broken_at else 0)


def _switch(db_paused: bool) -> UnderWay:
    async def work(db: AsyncConnection) -> UnderWay:
        await switches.write(db, switches.PAUSED, db_paused, by=who())
        if not db_paused:
            await switches.write(db, switches.BREAKER, "", by=who())
        await audit.record(db, "switch.paused", actor=who(), value=db_paused)
        return await under_way(db)

    return in_database(work)


def pause(as_json: JsonOption = False) -> None:
    """Stop all actions, on every replica, and say what still runs; diagnoses go on."""
    try:
        found = _switch(True)
    except SettingsError as error:
        file = load_settings().pause_file
        where = f"the file {file}" if file else "the file that CODEHEALER_PAUSE_FILE names"
        raise SettingsError(f"{error} Without the database, {where} pauses each process that sees it.") from None
    if as_json:
        put({"paused": True, **{what: [fix.incident_id for fix in getattr(found, what)] for what in FIXES}})
    else:
        plain.print("\n".join(["Paused: nothing new is carried out until `codehealer resume`.", *told(found)]))


def resume(as_json: JsonOption = False) -> None:
    """Allow actions again; ends what the breaker over all targets stopped too."""
    _switch(False)
    file = paused_by(load_settings().pause_file)
    if as_json:
        put({"paused": bool(file)})
    else:
        plain.print(f"Resumed, but {file} still pauses." if file else "Resumed.", markup=False)


def list_dead(as_json: JsonOption = False) -> None:
    """List the jobs and deliveries that were given up."""
    rows = asyncio.run(with_url(dead_letters.listed))
    if not rows and not as_json:
        words.print("Nothing was given up.")
    for row in rows:
        if as_json:
            put(asdict(row))
        else:
            plain.print(f"{row.id:>6}  {row.stage:<20}  {row.reason}", markup=False)


def retry_dead(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="As `dead list` shows it: 17, d17 or q17.")],
    as_json: JsonOption = False,
) -> None:
    """Give a dead job or delivery its attempts again."""
    kind, identifier = dead_letters.read_number(number)
    try:
        asyncio.run(with_url(lambda url: dead_letters.retry(url, kind, identifier)))
    except NotFound as error:
        raise BadInput(str(error)) from None
    kept = f"{kind}{identifier}" if kind else identifier
    put({"retried": kept}) if as_json else plain.print(f"{number} will be tried again.")


COMMANDS: Verbs = {"migrate": migrate, "search": search, "pause": pause, "resume": resume}
AUDIT: Verbs = {"verify": verify_audit}
DEAD: Verbs = {"list": list_dead, "retry": retry_dead}

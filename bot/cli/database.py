"""migrate, search, audit, pause and resume, dead: what looks into the database."""

import asyncio
import re
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
from bot.models import make_means
from bot.pause_file import paused_by
from bot.pause_map import open_pause_map
from bot.program import database_place, open_database
from bot.settings import Settings, load_settings
from bot.team_files import read_policy
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
        settings = load_settings()
        async with httpx.AsyncClient() as http:
            means = make_means(settings, read_policy(settings), http, LocalEmbedder())
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


def verify_audit(
    known: Annotated[
        str, typer.Option("--known", metavar="HEAD", help="The head that an earlier run said, as 120:9f….")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check that the audit log is whole."""
    expected = _head(known) if known else None
    report = in_database(lambda db: audit.verify(db, known=expected))
    head = f"{report.head.number}:{report.head.chain.hex()}"
    if as_json:
        counts = {"sealed": report.sealed, "unsealed": report.unsealed, "erased": report.erased}
        put({**counts, "broken_at": report.broken_at, "head": None if report.broken_at else head})
    else:
        state = f"broken at row {report.broken_at}" if report.broken_at else "whole"
        if report.cut_off:
            state = f"{report.cut_off} rows are missing at the end, from row {report.broken_at}"
        emptied = f" ({report.erased} emptied)" if report.erased else ""
        plain.print(f"{report.sealed} sealed rows{emptied}, {report.unsealed} waiting: {state}")
        if report.sealed and not report.broken_at:
            plain.print(f"head {head}")
    raise typer.Exit(1 if report.broken_at else 0)


def _head(text: str) -> audit.Head:
    number, _, chain = text.partition(":")
    if not re.fullmatch(r"[1-9]\d{0,17}", number) or not re.fullmatch(r"[0-9a-f]{64}", chain):
        raise BadInput(f"--known {text[:90]}: write it as `audit verify` said it, a number, a colon and 64 digits.")
    return audit.Head(int(number), bytes.fromhex(chain))


def _switch(db_paused: bool) -> UnderWay:
    async def work(db: AsyncConnection) -> UnderWay:
        await switches.write(db, switches.PAUSED, db_paused, by=who())
        if not db_paused:
            await switches.write(db, switches.BREAKER, "", by=who())
        await audit.record(db, "switch.paused", actor=who(), value=db_paused)
        return await under_way(db)

    # Stopping must work whatever the tables are at; each revision is made for the version before it too.
    return in_database(work, migrating=True, newer=True)


def pause(as_json: JsonOption = False) -> None:
    """Stop all actions, on every replica, and say what still runs; diagnoses go on."""
    try:
        found = _switch(True)
    except SettingsError as error:
        settings = load_settings()
        words = f"the file {settings.pause_file or 'that CODEHEALER_PAUSE_FILE names'} pauses each process that sees it"
        if settings.pause_configmap:
            words += f", and the ConfigMap {settings.pause_configmap} all of them"
        raise SettingsError(f"{error} Without the database, {words}.") from None
    if as_json:
        put({"paused": True, **{what: [fix.incident_id for fix in getattr(found, what)] for what in FIXES}})
    else:
        where = database_place(load_settings())
        lines = [f"Paused, in {where}: nothing new is carried out until `codehealer resume`.", *told(found)]
        plain.print("\n".join(lines), markup=False)


def resume(as_json: JsonOption = False) -> None:
    """Allow actions again; ends what the breaker over all targets stopped too."""
    _switch(False)
    settings = load_settings()
    other = paused_by(settings.pause_file) or asyncio.run(_paused_by_map(settings))
    if as_json:
        put({"paused": bool(other)})
    else:
        plain.print(f"Resumed, but {other} still pauses." if other else "Resumed.", markup=False)


async def _paused_by_map(settings: Settings) -> str:
    async with open_pause_map(settings.kubeconfig, settings.pause_configmap) as pause:
        return pause.word()


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

"""stats: how well it goes in a period, and what people thought of the answers."""

import csv
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli.opening import in_database, moment
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.settings import load_settings
from handlers.blocks.commands import older_are_deleted
from handlers.blocks.mrkdwn import duration
from knowledge.errors import BadInput
from knowledge.redaction import redact
from knowledge.store import analytics
from knowledge.store.analytics import FEEDBACK_GROUPS, GROUPS, RATES, Figures
from knowledge.store.codec import to_json

HEADINGS = (
    "environment", "incidents", "open", "by itself", "approved", "by people", "no fault", "fixes that worked", "wrong",
    "came back", "detected in", "resolved in",
)  # fmt: skip


def stats(
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="How far back, as 30d, or from when.")] = "30d",
    until: Annotated[str, typer.Option(metavar="TIME")] = "",
    by: Annotated[str, typer.Option(help=f"{', '.join(GROUPS)}; with --feedback {', '.join(FEEDBACK_GROUPS)}.")] = "",
    feedback: Annotated[bool, typer.Option("--feedback", help="People's thumbs and comments instead.")] = False,
    service: Annotated[str, typer.Option(help="Incidents of this service alone.")] = "",
    environment: Annotated[str, typer.Option(help="Incidents of this environment alone.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="A row a group and one for all, as a spreadsheet reads it.")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """Say how many failures were fixed, by whom, how fast and how often wrongly."""
    if as_csv and (as_json or feedback):
        raise BadInput("--csv gives the figures alone: leave out --json and --feedback.")
    if feedback and (service or environment):
        raise BadInput("--service and --environment are for the figures: leave them out, or --feedback.")
    known = FEEDBACK_GROUPS if feedback else GROUPS
    if by and by not in known:
        raise BadInput(f"--by {by}: not known; write one of {', '.join(known)}.")
    end = moment("--until", until) or datetime.now(UTC)
    begin = moment("--since", since) or end - timedelta(days=30)
    if begin >= end:
        raise BadInput("--since must be before --until.")
    if feedback:
        _show_feedback(in_database(lambda db: _opinions(db, begin, end, by)), as_json)
        return
    only = {"service": service, "environment": environment}
    found = in_database(lambda db: _figures(db, begin, end, by, only))
    kept_days = load_settings().incident_retention_days
    missing = bool(kept_days) and begin < datetime.now(UTC) - timedelta(days=kept_days)
    if as_csv:
        _write_csv(found)
    elif as_json:
        put({**found, "since": found["since"].isoformat(), "until": found["until"].isoformat()})
    else:
        _show_figures(found, "that is kept " if missing else "")
    if missing:
        words.print(older_are_deleted(kept_days))


async def _figures(
    db: AsyncConnection, begin: datetime, end: datetime, by: str, only: Mapping[str, str]
) -> dict[str, Any]:
    while await analytics.settle(db):
        continue  # what the clock has not come to, or on a machine where no bot runs
    (total,) = await analytics.figures(db, since=begin, until=end, **only)
    groups = await analytics.figures(db, since=begin, until=end, by=by, **only) if by else []
    return {
        "since": begin,
        "until": end,
        "empty": not total.incidents,
        "total": _as_data(total),
        "by": by or None,
        "groups": [{by: one.name, **_as_data(one)} for one in groups],
    }


def _as_data(one: Figures) -> dict[str, Any]:
    values: dict[str, Any] = to_json(one)
    del values["name"]
    rates = {name: getattr(one, name) for name in RATES}
    return values | {name: rate if rate is None else round(rate, 4) for name, rate in rates.items()}


def _write_csv(found: dict[str, Any]) -> None:
    """The groups and then all, whose name is empty; an empty period has zeros and empty rates."""
    by = found["by"] or "name"
    rows = [*found["groups"], {by: "", **found["total"]}]
    writer = csv.DictWriter(sys.stdout, [by, *found["total"]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, by: _as_text(str(row[by]))} for row in rows)


def _as_text(cell: str) -> str:
    """A name that a spreadsheet would take for a formula is text to it with an apostrophe before."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t"} else cell


def _show_figures(found: dict[str, Any], which: str) -> None:
    if found["empty"]:
        begin, end = (f"{found[name]:%Y-%m-%d %H:%M}" for name in ("since", "until"))
        words.print(f"No incident {which}opened between {begin} and {end}.")
        return
    by = found["by"]
    rows = [_cells(row, by) for row in (*found["groups"], {by or "": "all", **found["total"]})]
    # Not a table of the terminal's width: piped into a file, it would be squeezed.
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for cells in ((by or "", *HEADINGS[1:]), *rows):
        first, *others = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        plain.print("  ".join((first, *others)).rstrip(), markup=False)


def _cells(row: dict[str, Any], by: str | None) -> list[str]:
    counts = [str(row[name]) for name in ("incidents", "open", "agent_fixed", "assisted", "human", "no_fault")]
    worked = f"{row['verified']} of {row['fixes']}" if row["fixes"] else "no fix"
    times = ["" if row[name] is None else duration(row[name]) for name in ("detect_p50_s", "resolve_p50_s")]
    return [
        str(row[by or ""]) or "none",
        *counts,
        worked,
        str(row["wrong_actions"]),
        str(row["false_resolves"]),
        *times,
    ]


async def _opinions(db: AsyncConnection, begin: datetime, end: datetime, by: str) -> dict[str, Any]:
    (total,) = await analytics.opinions(db, since=begin, until=end)
    groups = await analytics.opinions(db, since=begin, until=end, by=by) if by else []
    said = await analytics.comments(db, since=begin, until=end)
    return {
        "up": total.up,
        "down": total.down,
        "by": by or None,
        "groups": [{by: one.name, "up": one.up, "down": one.down} for one in groups],
        # Redacted when they were stored; once more, for the formats that are known by now.
        "comments": [{**to_json(one), "comment": redact(one.comment)} for one in said],
    }


def _show_feedback(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        put(found)
        return
    if not found["up"] + found["down"]:
        words.print("Nobody gave feedback in this period.")
        return
    plain.print(f"{found['up']} up, {found['down']} down")
    for row in found["groups"]:
        plain.print(f"  {row[found['by']] or 'none':<28} {row['up']:>4} up {row['down']:>4} down", markup=False)
    for one in found["comments"]:
        sign = "+" if one["value"] > 0 else "-"
        plain.print(f"  {sign} incident {one['incident_id']} ({one['kind']}): {_said(one)}", markup=False)


def _said(one: dict[str, Any]) -> str:
    return ": ".join(part for part in (one["reason"].replace("_", " "), one["comment"]) if part)


COMMANDS: Verbs = {"stats": stats}

"""forget, and audit export: personal data, and what the log says."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.cli.incidents import DELETED, find
from bot.cli.opening import YesOption, confirm, in_database, moment, short_engine, who, with_url
from bot.cli.printing import JsonOption, Verbs, plain, put
from knowledge.errors import BadInput, Conflict
from knowledge.lifecycle import UNDER_WAY
from knowledge.store import audit, forgetting, outbox

_FROM_NOW_ON = (
    "Threads that began there before now are not read again. What begins from now on is: to stop that, take the bot "
    "out of the channel or leave it out of CODEHEALER_THREAD_CHANNELS."
)
_USER, _CHANNEL = re.compile(r"[UW][A-Z0-9]{2,20}"), re.compile(r"[CGD][A-Z0-9]{2,20}")


def forget(  # noqa: PLR0917  one option a thing
    user: Annotated[str, typer.Option(metavar="U…", help="A person's Slack id.")] = "",
    channel: Annotated[str, typer.Option(metavar="C…", help="A Slack channel's id.")] = "",
    incident: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="An incident's number.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete what is stored of a person, a channel or an incident; the audit log still verifies."""
    if sum(map(bool, (user, channel, incident))) != 1:
        raise BadInput("Give one of --user U…, --channel C… and --incident N.")
    if user and not _USER.fullmatch(user):
        raise BadInput(f"--user {user[:40]}: no Slack id of a person; a profile's menu has it, as U012ABCDEF.")
    if channel and not _CHANNEL.fullmatch(channel):
        raise BadInput(f"--channel {channel[:40]}: no Slack id of a channel; its details have it, as C012ABCDEF.")
    what = f"person {user}" if user else f"channel {channel}" if channel else f"incident {incident}"
    if not dry_run:
        confirm(f"Forget {what} for good?", yes)
    rows = in_database(_work(user, channel, incident, dry_run=dry_run))
    if as_json:
        put({"dry_run": dry_run, "rows": rows})
        return
    if user:  # their rows stay, under a made-up id
        verb = "would lose their id" if dry_run else "have lost their id"
    else:
        verb = "would go" if dry_run else "are gone"
    lines = [f"{table}: {count} rows {verb}" for table, count in sorted(rows.items())]
    plain.print("\n".join(lines) or "Nothing is stored.")
    if channel and not dry_run:
        plain.print(_FROM_NOW_ON)


def _work(
    user: str, channel: str, incident: int, *, dry_run: bool
) -> Callable[[AsyncConnection], Awaitable[forgetting.Counts]]:
    async def work(db: AsyncConnection) -> forgetting.Counts:
        if user:
            rows = await forgetting.person(db, user, dry_run=dry_run)
        elif channel:
            rows = await forgetting.channel(db, channel, dry_run=dry_run)
        else:
            found = await find(db, incident, lock=True)
            if found.state in UNDER_WAY:
                raise Conflict(f"A fix of incident {incident} is under way. Forget it when that has ended.")
            if found.open and not dry_run:  # else its card would go on asking for what nobody can decide
                await outbox.bid_farewell(db, incident, DELETED.format(incident))
            rows = await forgetting.incident(db, incident, dry_run=dry_run)
        if not dry_run:
            about = {"incident_id": incident} if incident else {}
            await audit.record(
                db, "forgotten", actor=who(), what_kind="person" if user else "channel" if channel else "incident",
                rows=rows, **about,
            )  # fmt: skip
        return rows

    return work


def export_audit(
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="How long ago, as 30d, or a time.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="The same, not included.")] = "",
    incident: Annotated[int, typer.Option(min=0, max=2**63 - 1, metavar="N", help="Of one incident only.")] = 0,
    as_json: JsonOption = False,  # noqa: ARG001  it is JSON in any case
) -> None:
    """Write the sealed audit log as JSON lines, oldest first."""
    wanted = audit.Wanted(moment("--from", since), moment("--to", until), incident or None)

    async def work(url: str) -> None:
        async with short_engine(url) as engine, engine.connect() as db:
            async for row in audit.exported(db, wanted):
                put(row)

    asyncio.run(with_url(work))


COMMANDS: Verbs = {"forget": forget}
AUDIT: Verbs = {"export": export_audit}

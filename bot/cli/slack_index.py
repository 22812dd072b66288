"""index-slack: read the past of the channels that the bot is in."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.migrating import migrate
from bot.program import open_database
from bot.settings import Settings, load_settings
from bot.wiring import open_services
from handlers.thread_backfill import Pace, Page, index_all
from knowledge.errors import BadInput, SettingsError
from knowledge.store.threads import Channel

_DAYS = re.compile(r"(\d{1,4})d")
Told = Callable[[Channel, Page], None]
NOBODY_THERE = (
    "There is no Slack to read: set SLACK_BOT_TOKEN and SLACK_APP_TOKEN (the sandbox's is new at each start)."
)
OFF = "CODEHEALER_THREAD_RETENTION_DAYS is 0, so no thread is remembered; set it to a number of days."


def since_when(text: str, now: datetime) -> datetime | None:
    """A day (2026-05-12) or an age (90d) as a moment in UTC; None for "". BadInput for anything else."""
    if not text:
        return None
    if age := _DAYS.fullmatch(text):
        return now - timedelta(days=int(age[1]))
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        raise BadInput(f"--since {text}: write a day such as 2026-05-12, or an age such as 90d.") from None


def index_slack(
    since: Annotated[str, typer.Option(metavar="D", help="A day (2026-05-12) or an age (90d); without it 90d.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Read past Slack threads of the channels that the bot is in, and remember those that tell of a failure."""
    begin = since_when(since, datetime.now(UTC))
    settings = load_settings()
    if settings.in_sandbox:
        raise SettingsError(NOBODY_THERE)
    if not settings.thread_retention_days:
        raise SettingsError(OFF)
    counts = asyncio.run(_index(settings, begin))
    found = {
        "channels": counts["channels"],
        "added": counts["new"],
        "updated": counts["changed"],
        "unchanged": counts["same"],
        "removed": counts["dropped"],
        "passed_over": counts["not kept"],
    }
    if as_json:
        put(found)
    else:
        plain.print(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in found.items()))


async def _index(settings: Settings, since: datetime | None) -> Counter[str]:
    async with open_database(settings) as url:
        await asyncio.to_thread(migrate, url, only_new=True)
        async with open_services(settings, url) as program:
            with _progress() as told:
                pace = Pace(program.services.threads.pace_s, patient=True)
                return await index_all(program.services, since=since, pace=pace, told=told)


@contextlib.contextmanager
def _progress() -> Iterator[Told]:
    """A bar a channel, by how much of the time is read; on standard error, and only where a person looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[kept]} kept"))
    with Progress(*columns, TimeElapsedColumn(), console=words, disable=not words.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        kept: Counter[str] = Counter()

        def told(channel: Channel, page: Page) -> None:
            if channel.id not in tasks:
                tasks[channel.id] = bars.add_task(f"#{channel.name or channel.id}", total=1.0, kept=0)
            kept[channel.id] += page.threads["new"] + page.threads["changed"] + page.threads["same"]
            bars.update(tasks[channel.id], completed=page.share, kept=kept[channel.id])

        yield told


COMMANDS: Verbs = {"index-slack": index_slack}

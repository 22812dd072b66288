"""run, sandbox."""

import asyncio
import os
import sys
from typing import Annotated

import typer

from bot import STARTED_AT, program
from bot.cli.printing import JsonOption, Verbs
from bot.logs import set_up_logs
from bot.settings import load_settings
from knowledge.errors import CodeHealerError


def run(
    check: Annotated[bool, typer.Option("--check", help="Verify the settings and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the bot; without Slack tokens its sandbox too."""
    settings = load_settings()
    set_up_logs(settings.log_level, settings.log_format)
    asyncio.run(_first_error(program.run(settings, started_at=STARTED_AT, check=check, as_json=as_json)))


async def _first_error(work: object) -> None:
    """A task group wraps what one of its tasks raised; the person wants the sentence inside."""
    try:
        await work  # type: ignore[misc]
    except* CodeHealerError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def sandbox(
    headless: Annotated[
        bool, typer.Option("--headless", help="Print the connection as JSON and nothing else.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the sandbox alone: a Slack, a cluster, GitHub and Argo CD to try. Its first line says how to connect."""
    if not (headless or as_json):
        print("The first line below is what a bot needs; open its url in a browser. Ctrl+C ends it.", file=sys.stderr)
    # Becomes the sandbox: it is a program of its own and shares nothing with the bot.
    os.execv(sys.executable, [sys.executable, "-m", "bot.sandbox", "--port", str(port)])  # noqa: S606


COMMANDS: Verbs = {"run": run, "sandbox": sandbox}

"""``python -m bot.sandbox``: prints one JSON line when it listens, and runs until a signal."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import orjson

from .server import Options, running
from .slack import full_manifest


def _arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument(
        "--bot-port", type=int, default=0, help="where the bot's webhooks will be; 0 chooses a free one"
    )
    parser.add_argument("--state-dir", type=Path, help="where the kubeconfig goes (default: a directory gone at exit)")
    parser.add_argument("--seed", type=int, default=0, help="makes what is left to chance the same each time")
    parser.add_argument(
        "--time-scale", type=float, default=1.0, help="0.1 redelivers and moves the world ten times faster"
    )
    parser.add_argument("--optional-scopes", action="store_true", help="grant the manifest's optional scopes too")
    parser.add_argument(
        "--full-manifest", action="store_true", help="install an app with every scope and event, not the repository's"
    )
    parser.add_argument(
        "--http-mode", action="store_true", help="post Slack's events to the bot's /slack/events, without Socket Mode"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    return parser.parse_args(argv)


async def _standard_input_closes() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


async def run(arguments: argparse.Namespace) -> None:
    """Run the sandbox until SIGTERM, SIGINT or, with --with-parent, the end of standard input."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options = Options(
        host=arguments.host,
        port=arguments.port,
        bot_port=arguments.bot_port,
        state_dir=arguments.state_dir,
        seed=arguments.seed,
        time_scale=arguments.time_scale,
        optional_scopes=arguments.optional_scopes,
        http_mode=arguments.http_mode,
        manifest=full_manifest() if arguments.full_manifest else None,
    )
    async with running(options) as sandbox:
        sys.stdout.write(orjson.dumps(sandbox.greeting).decode() + "\n")
        sys.stdout.flush()
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait(), name="signal")]
        if arguments.with_parent:
            waits.append(asyncio.create_task(_standard_input_closes(), name="parent"))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def main(argv: list[str] | None = None) -> int:
    """Return the exit status: 0 ended by a signal, 1 could not start."""
    arguments = _arguments(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(arguments))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"the sandbox could not start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())

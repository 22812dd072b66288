"""The program in processes of its own that need not import it anew: forked from one that has.

Each start costs milliseconds instead of two seconds of a core, and there are some hundred in the suite. What runs is
the very same `main()`, in its own process, with its own arguments, environment, folder and signals. The start as users
do it is tested beside, in tests/bot/test_start.py.
"""

import asyncio
import importlib
import io
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Self

from bot import cli

CONTEXT = multiprocessing.get_context("forkserver")
BOT, SANDBOX = "bot.__main__", "bot.sandbox.__main__"
CONTEXT.set_forkserver_preload(
    # The last: it keeps what has been read by then as it is.
    ["tests.forked", BOT, SANDBOX, *(f"bot.cli.{one.name}" for one in iter_modules(cli.__path__)), "tests.warm"]
)

# Slower than the slowest machine that has to pass.
GREETING_S = 60.0


def _run(  # noqa: PLR0917  a process takes them by position
    program: str, arguments: Sequence[str], env: Mapping[str, str], folder: str, given: str, out: str, words: str
) -> None:
    """In the child: become `python -m PROGRAM ARGUMENTS`. Reads the file `given`, appends to `out` and to `words`."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for descriptor, path, flags in (
        (0, given, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, words, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    # Fresh objects for the new descriptors, as an interpreter makes them at its start.
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8", newline="\n")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8", newline="\n")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), encoding="utf-8", write_through=True, line_buffering=True
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["codehealer", *arguments]
    main = importlib.import_module(program).main  # loaded in the process that this one is forked from
    try:
        sys.exit(main())
    finally:
        sys.stdout.flush()


class Forked:
    """A started program. `returncode` as of subprocess: None while it runs, negative for the signal that ended it."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str],
        folder: Path,
        out: Path,
        words: Path,
        given: Path = Path(os.devnull),
        program: str = BOT,
    ) -> None:
        self._process = CONTEXT.Process(
            target=_run, args=(program, arguments, dict(env), str(folder), str(given), str(out), str(words))
        )
        self._process.start()

    @classmethod
    async def start(cls, *arguments: str, env: Mapping[str, str], folder: Path, log: Path) -> Self:
        """Without holding up the caller's loop; all output goes to `log`."""
        return await asyncio.to_thread(cls, *arguments, env=env, folder=folder, out=log, words=log)

    @classmethod
    def sandbox(cls, *arguments: str, log: Path) -> tuple[Self, dict[str, Any]]:
        """A sandbox on the caller's settings, and what it says first; it runs beside `log`, where its words go."""
        out = log.with_suffix(".greeting")
        started = cls(*arguments, env=os.environ, folder=log.parent, out=out, words=log, program=SANDBOX)
        deadline = time.monotonic() + GREETING_S
        while not (out.exists() and (said := out.read_text()).endswith("\n")):
            if started.returncode is not None or time.monotonic() > deadline:
                started.kill()
                raise RuntimeError(f"the sandbox did not start: {log.read_text()}")
            time.sleep(0.01)
        return started, json.loads(said)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def join(self, timeout_s: float) -> int | None:
        """Wait for its end; None when it still runs then."""
        self._process.join(timeout_s)
        return self.returncode

    async def wait(self) -> int:
        while (status := self.returncode) is None:  # noqa: ASYNC110  a process that is not our child has no event here
            await asyncio.sleep(0.01)
        return status

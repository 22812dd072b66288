"""A file that stops all actions while it is there: it works without Slack and without the database.

A running bot reads it twice a second, in a thread: on a mount that hangs it would stop everything else as well. What
cannot be read, or does not answer, counts as a pause, since nobody knows what it says; a missing file does not.
"""

import asyncio
import threading
import time
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

# A mounted ConfigMap has the file always, and says in it what it wants.
NOT_PAUSED = frozenset({"false", "no", "off", "0"})
MOST_BYTES = 1000
LOOK_EVERY_S = 0.5
DEADLINE_S = 2.0
# A process that was stopped and goes on does not act on what the file said before.
STALE_S = 10.0


def paused_by(path: str) -> str:
    """Why nothing may start, "" while it may; after DEADLINE_S at the latest. Blocks: for commands, and in threads."""
    return PauseFile(path).read()


class PauseFile:
    """The file at `path`, "" for none, as it was read last."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: threading.Thread | None = None
        self._found = ""
        self._told = ""
        self._read_at = float("-inf")

    def word(self) -> str:
        """Why nothing may start on this machine's word, "" while it may. Never waits."""
        if not self._path:
            return ""
        if time.monotonic() - self._read_at > STALE_S:
            return self._because("was not read for a while")
        return self._told

    async def run(self) -> None:
        """Read until cancelled."""
        while self._path:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Read it once, and log when it says something else than before."""
        found = await asyncio.to_thread(self.read)
        if found != self._told:
            log.warning("pause_file_changed", paused_by=found or "nothing")
        self._told, self._read_at = found, time.monotonic()

    def read(self) -> str:
        """As `paused_by`. While one reading hangs there is no second one, so that threads do not pile up."""
        if not self._path:
            return ""
        if self._reader is None or not self._reader.is_alive():
            # A daemon: one that hangs must not keep the process from ending.
            self._reader = threading.Thread(target=self._read, name="pause file", daemon=True)
            self._reader.start()
        self._reader.join(DEADLINE_S)
        return self._because("does not answer") if self._reader.is_alive() else self._found

    def _read(self) -> None:
        try:
            with Path(self._path).open("rb") as file:
                word = file.read(MOST_BYTES).decode(errors="replace").strip().lower()
        except (FileNotFoundError, NotADirectoryError):
            self._found = ""
        except OSError as error:
            self._found = self._because(f"cannot be read: {error.strerror}")
        else:
            self._found = "" if word in NOT_PAUSED else f"the file {self._path}"

    def _because(self, why: str) -> str:
        return f"the file {self._path} (which {why})"

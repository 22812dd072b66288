"""What statements cost before PostgreSQL sees them."""

import importlib
import pkgutil
from collections.abc import Iterator

from psycopg import _queries
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql

from knowledge import store

# Built for one card or one report each, not for every alert.
_SELDOM = {"shown._WHOLE", "analytics._SETTLE"}


def _statements() -> Iterator[tuple[str, ClauseElement]]:
    for module in pkgutil.iter_modules(store.__path__):
        for name, value in vars(importlib.import_module(f"{store.__name__}.{module.name}")).items():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, ClauseElement):
                    yield f"{module.name}.{name}", one


def test_the_driver_keeps_statements_as_it_has_parsed_them() -> None:
    """psycopg parses a longer one anew at each execution, which costs more than everything else about it."""
    dialect = postgresql.psycopg.dialect()
    large = set()
    for name, statement in _statements():
        compiled = statement.compile(dialect=dialect)
        parameters = len(getattr(compiled, "params", None) or {})
        length = len(str(compiled))
        if length > _queries.MAX_CACHED_STATEMENT_LENGTH or parameters > _queries.MAX_CACHED_STATEMENT_PARAMS:
            large.add(name)
    assert large == _SELDOM

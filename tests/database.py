"""Databases at a revision, through Alembic as the program does it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

ROOT = Path(__file__).parent.parent
# In order: a revision's file begins with its number.
REVISIONS = sorted(path.stem for path in (ROOT / "migrations" / "versions").glob("0*.py"))


def run_migrations(url: str, *, to: str = "head", down: bool = False) -> None:
    """Bring a database to a revision."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if down else command.upgrade)(config, to)
    finally:
        engine.dispose()

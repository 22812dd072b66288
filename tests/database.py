"""Databases at a revision, through Alembic as the program does it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

ROOT = Path(__file__).parent.parent
# The chain of migrations, oldest first; the files are numbered in their order.
REVISIONS = sorted(path.stem for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))


def run_migrations(url: str, *, to: str = "head", down: bool = False) -> None:
    """Bring a database to a revision."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            (command.downgrade if down else command.upgrade)(config, to)
    finally:
        engine.dispose()

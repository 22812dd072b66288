"""Running the migrations, by Alembic."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import migrations


def alter(connection: sa.Connection, to: str, *, down: bool) -> None:
    """Bring the tables to a revision that is known, "head", "base" or "-1"; each one is committed by itself."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, to)

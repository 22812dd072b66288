"""The embedded PostgreSQL: its folders, its locks and the supervisor that keeps it running."""

from bot.postgres.locks import hold_bot_lock
from bot.postgres.places import default_data_dir
from bot.postgres.server import EmbeddedPostgres, libpq_conninfo

__all__ = ["EmbeddedPostgres", "default_data_dir", "hold_bot_lock", "libpq_conninfo"]

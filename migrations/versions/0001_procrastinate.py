"""The durable jobs' tables, in a PostgreSQL schema of their own.

Applies procrastinate 3.10.0's own SQL. A version bump of procrastinate is a new revision, and `EXPECTED` makes sure of
it: the text comes from the installed package, so an unnoticed change would make two kinds of databases.
"""

import hashlib

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001_procrastinate"
down_revision = None
branch_labels = None
depends_on = None

EXPECTED = "c70ec4b400a60ad9592787653aae5ae77ae41bf801d56b5bd2712751a07f2009"

# Triggers run with the caller's search_path, which does not name this schema.
PIN_SEARCH_PATH = """
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'procrastinate'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = procrastinate, pg_temp', routine);
    END LOOP;
END
$$
"""

OURS = (
    # Why a job was given up; procrastinate itself keeps no reasons.
    """
    CREATE TABLE procrastinate.dead_letters (
        job_id bigint PRIMARY KEY REFERENCES procrastinate.procrastinate_jobs (id) ON DELETE CASCADE,
        reason text NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # Fetching asks for every candidate whether its lock is taken; without this it reads all waiting jobs each time.
    """
    CREATE INDEX jobs_waiting_by_lock ON procrastinate.procrastinate_jobs (lock, priority DESC, id)
        WHERE status IN ('todo', 'doing')
    """,
)


def upgrade() -> None:
    text = SchemaManager.get_schema()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != EXPECTED:
        raise RuntimeError(
            f"procrastinate's schema is not that of 3.10.0 (sha256 {digest}); install the locked version, "
            "or write a revision for the new one"
        )
    connection = op.get_bind()
    before = connection.scalar(sa.text("SELECT current_setting('search_path')"))
    op.execute("CREATE SCHEMA procrastinate")
    op.execute("SET LOCAL search_path = procrastinate")
    # The driver's own text interface: colons and per cents in the functions are not parameters.
    connection.exec_driver_sql(text.replace("%", "%%"), ())
    for statement in (PIN_SEARCH_PATH, *OURS):
        connection.exec_driver_sql(statement.replace("%", "%%"), ())
    connection.execute(sa.text("SELECT set_config('search_path', :before, true)"), {"before": before})


def downgrade() -> None:
    op.execute("DROP SCHEMA procrastinate CASCADE")

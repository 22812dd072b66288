"""The tables, as SQLAlchemy sees them; migrations/ makes them and a test holds the two against each other.

Values of knowledge.model that are read back whole are JSONB (`payload`), with columns only for what queries filter on.
"""

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from knowledge.kind_likeness import SENTENCES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", BigInteger, primary_key=True, autoincrement=True)


def _moment(name: str, *, now: bool = False, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None)


def _incident(*, nullable: bool = False, primary_key: bool = False) -> Column[int]:
    return Column(
        "incident_id",
        BigInteger,
        ForeignKey("incidents.id", ondelete="CASCADE"),
        nullable=nullable,
        primary_key=primary_key,
        autoincrement=False,
    )


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=text(f"'{default}'"))


deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("source", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("event", Text, nullable=False, server_default=text("''")),
    _moment("received_at", now=True),
    Column("body", JSONB, nullable=False),
    _text("state", "new"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _text("error"),
    UniqueConstraint("source", "delivery_id"),
    CheckConstraint("state IN ('new', 'done', 'failed')", name="state"),
    Index("ix_deliveries_new", "id", postgresql_where=text("state = 'new'")),
    Index("ix_deliveries_done", "received_at", postgresql_where=text("state = 'done'")),
    Index("ix_deliveries_failed", "received_at", postgresql_where=text("state = 'failed'")),
    Index("ix_deliveries_people", "id", postgresql_where=text("state = 'new' AND event <> 'alerts'")),
)

# Many incidents that open in one channel within a short time, and are told of by one message.
storms = Table(
    "storms",
    metadata,
    _id(),
    Column("channel", Text, nullable=False),
    _moment("began_at", now=True),
    _moment("last_at", now=True),
    Index("ix_storms_channel", "channel", "last_at"),
)

incidents = Table(
    "incidents",
    metadata,
    _id(),
    Column("identity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),
    _text("severity"),
    _text("service"),
    _text("environment"),
    _text("namespace"),
    _text("workload"),
    _text("cluster"),
    _text("repository"),
    _text("run_id"),
    _text("commit"),
    _text("channel"),
    _text("thread_ts"),
    _text("asked_by"),
    Column("trusted", Boolean, nullable=False),
    Column("flagged", Boolean, nullable=False, server_default=text("false")),
    Column("target", JSONB),
    Column("kind", Text),
    Column("alert_count", Integer, nullable=False, server_default=text("1")),
    _moment("opened_at", now=True),
    _moment("last_alert_at", now=True),
    _moment("resolved_at", nullable=True),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    _text("assigned_to"),
    _text("by_hand"),
    _text("meant_channel"),
    Column("merged_into", BigInteger, ForeignKey("incidents.id", ondelete="SET NULL")),
    Column("storm_id", BigInteger, ForeignKey("storms.id", ondelete="SET NULL")),
    Index("ix_incidents_storm_id", "storm_id", postgresql_where=text("storm_id IS NOT NULL")),
    Index("ix_incidents_channel", "channel", "opened_at"),
    Index("ix_incidents_merged_into", "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
    Index("ix_incidents_identity", "identity", "opened_at"),
    Index("ix_incidents_open", "last_alert_at", postgresql_where=text("resolved_at IS NULL")),
    Index("ix_incidents_resolved_at", "resolved_at", postgresql_where=text("resolved_at IS NOT NULL")),
    Index("ix_incidents_service_opened_at", "service", "opened_at"),
)

incident_keys = Table(
    "incident_keys",
    metadata,
    Column("key", Text, primary_key=True),
    _incident(primary_key=True),
    _moment("seen_at", now=True),
    Index("ix_incident_keys_incident_id", "incident_id"),
)

# What an incident has to do with others, and with messages of other apps: `other` is an incident's id, or channel/ts.
incident_links = Table(
    "incident_links",
    metadata,
    _incident(primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("other", Text, primary_key=True),
    _text("link"),
    _text("set_by"),
    _text("click"),
    _moment("at", now=True),
    CheckConstraint("kind IN ('merged', 'took', 'split', 'from', 'like', 'post', 'page')", name="kind"),
)

# What is known of an alert's key beside the rules: what a person decided, or that it failed before we came.
key_choices = Table(
    "key_choices",
    metadata,
    Column("key", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    _text("value"),
    _text("set_by"),
    _moment("set_at", now=True),
    CheckConstraint("verdict IN ('apart', 'together', 'baseline')", name="verdict"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _incident(nullable=True),
    Column("source", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("started", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("seen", Integer, nullable=False, server_default=text("1")),
    _text("channel"),
    _text("message_ts"),
    Column("payload", JSONB, nullable=False),
    _moment("received_at", now=True),
    # Why it opened no card although it fires (a silence, maintenance), and until when as far as is known.
    _text("held"),
    _moment("held_until", nullable=True),
    # When its sender was last asked and had it: what was never seen there may be another sender's.
    _moment("there_at", nullable=True),
    UniqueConstraint("source", "identity", "fingerprint", "started", "status"),
    Index("ix_alerts_incident_id", "incident_id"),
    Index("ix_alerts_message", "channel", "message_ts"),
    Index("ix_alerts_held", "id", postgresql_where=text("held <> ''")),
    Index("ix_alerts_alone_received_at", "received_at", postgresql_where=text("incident_id IS NULL")),
    Index("ix_alerts_alone_identity", "identity", postgresql_where=text("incident_id IS NULL")),
)

evidence = Table(
    "evidence",
    metadata,
    _id(),
    _incident(),
    Column("position", Integer, nullable=False),
    Column("payload", JSONB, nullable=False),
    _moment("collected_at", now=True),
    UniqueConstraint("incident_id", "position"),
)

diagnoses = Table(
    "diagnoses",
    metadata,
    _id(),
    _incident(),
    Column("kind", Text),
    Column("confidence", Float, nullable=False),
    Column("unsure", Boolean, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("precedents", JSONB, nullable=False),
    _moment("created_at", now=True),
    Index("ix_diagnoses_incident_id", "incident_id"),
)

plans = Table(
    "plans",
    metadata,
    _id(),
    _incident(),
    Column("diagnosis_id", BigInteger, ForeignKey("diagnoses.id", ondelete="CASCADE"), nullable=False),
    Column("action", Text),
    Column("digest", Text),
    Column("payload", JSONB, nullable=False),
    _moment("created_at", now=True),
    Index("ix_plans_incident_id", "incident_id"),
    Index("ix_plans_diagnosis_id", "diagnosis_id"),
)

decisions = Table(
    "decisions",
    metadata,
    _id(),
    _incident(),
    Column("plan_id", BigInteger, ForeignKey("plans.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("verdict", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    # What it rested on besides plan and diagnosis, so that another policy can be tried on it.
    Column("facts", JSONB),
    # Whether it would have run by itself in automatic mode, while the mode in force did not let it.
    Column("shadow", Boolean, nullable=False, server_default=text("false")),
    _moment("created_at", now=True),
    Index("ix_decisions_created_at", "created_at"),
    Index("ix_decisions_incident_id", "incident_id"),
)

approvals = Table(
    "approvals",
    metadata,
    _id(),
    _incident(),
    Column("plan_id", BigInteger, ForeignKey("plans.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    _text("state", "open"),
    Column("needed", Integer, nullable=False),
    Column("who", ARRAY(Text), nullable=False),
    _moment("until"),
    Column("automatic", Boolean, nullable=False, server_default=text("false")),
    _text("decided_by"),
    _text("reason"),
    _text("click"),
    _text("requester"),
    _moment("run_at", nullable=True),
    _moment("snoozed_until", nullable=True),
    _text("snoozed_by"),
    _moment("reminded_at", nullable=True),
    _moment("paged_at", nullable=True),
    _moment("created_at", now=True),
    _moment("decided_at", nullable=True),
    CheckConstraint("state IN ('open', 'scheduled', 'approved', 'rejected', 'expired', 'withdrawn')", name="state"),
    Index("ix_approvals_open", "until", postgresql_where=text("state = 'open'")),
    Index("ix_approvals_scheduled", "run_at", postgresql_where=text("state = 'scheduled'")),
    Index("ix_approvals_incident_id", "incident_id"),
)

approval_votes = Table(
    "approval_votes",
    metadata,
    Column("approval_id", BigInteger, ForeignKey("approvals.id", ondelete="CASCADE"), primary_key=True),
    Column("user", Text, primary_key=True),
    _text("click"),
    _moment("at", now=True),
)

# Tokens only ever grow, so a holder whose lease has passed to another can be told by its smaller number.
fencing_tokens = Sequence("fencing_tokens", metadata=metadata)

leases = Table(
    "leases",
    metadata,
    Column("key", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    _moment("expires_at"),
)

executions = Table(
    "executions",
    metadata,
    _id(),
    _incident(),
    # One execution an approval: this constraint is what "acted at most once" rests on.
    Column("approval_id", BigInteger, ForeignKey("approvals.id", ondelete="CASCADE"), nullable=False, unique=True),
    Column("action", JSONB, nullable=False),
    Column("action_name", Text, nullable=False),
    Column("target_key", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("fencing_token", BigInteger, nullable=False, server_default=text("0")),
    Column("snapshot", JSONB, nullable=False, server_default=text("'{}'")),
    Column("outcome", JSONB),
    _moment("created_at", now=True),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    Column("undo_begun", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("state IN ('queued', 'started', 'acted', 'failed', 'refused', 'undone')", name="state"),
    Index("ix_executions_target_key_started_at", "target_key", "started_at"),
    Index("ix_executions_service_started_at", "service", "started_at"),
    Index("ix_executions_incident_id", "incident_id"),
)

verifications = Table(
    "verifications",
    metadata,
    _id(),
    Column("execution_id", BigInteger, ForeignKey("executions.id", ondelete="CASCADE"), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    _moment("at", now=True),
    Index("ix_verifications_execution_id", "execution_id"),
)

cards = Table(
    "cards",
    metadata,
    _incident(primary_key=True),
    Column("channel", Text, nullable=False),
    _text("ts"),
    _text("shown"),
    _moment("posted_at", nullable=True),
    _moment("edited_at", nullable=True),
    # The ts of an earlier card that Slack lets nobody edit, until its thread was told; what this card says of itself.
    _text("before"),
    _text("note"),
    Index("ix_cards_message", "channel", "ts"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    _incident(nullable=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("channel", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("priority", Integer, nullable=False),
    _text("state", "queued"),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _moment("not_before", now=True),
    _moment("created_at", now=True),
    _moment("sent_at", nullable=True),
    _text("ts"),
    _text("error"),
    CheckConstraint("kind IN ('card', 'post', 'edit', 'direct', 'ephemeral', 'reaction')", name="kind"),
    CheckConstraint("state IN ('queued', 'sending', 'sent', 'failed')", name="state"),
    Index("ix_outbox_due", "priority", "id", postgresql_where=text("state IN ('queued', 'sending')")),
    Index("ix_outbox_sent", "sent_at", postgresql_where=text("state = 'sent' AND incident_id IS NULL")),
    Index("ix_outbox_failed", "created_at", postgresql_where=text("state = 'failed' AND incident_id IS NULL")),
    Index("ix_outbox_incident_id", "incident_id", postgresql_where=text("incident_id IS NOT NULL")),
    Index("ix_outbox_calls", "incident_id", postgresql_where=text("kind = 'post' AND key LIKE 'call:%'")),
)

# The channels that the bot is in. Who may read a channel's threads is decided by this row alone, so a channel that
# becomes private, or that the bot leaves, needs no other row to change.
slack_channels = Table(
    "slack_channels",
    metadata,
    Column("channel", Text, primary_key=True),
    _text("name"),
    Column("audience", Text, nullable=False),
    Column("backfill", JSONB, nullable=False, server_default=text("'{}'")),
    _moment("looked_at", now=True),
    CheckConstraint("audience IN ('all', 'members', 'outside')", name="audience"),
)


def words_of(expression: str) -> str:
    """SQL for the words of a text: as they are written, lower case, split at everything but letters and digits.

    Stemming and splitting of camelCase were measured and found worse for logs (docs/retrieval.md).
    """
    return f"to_tsvector('simple', regexp_replace({expression}, '(\\W|_)+', ' ', 'g'))"


def _kind_in_words() -> str:
    """SQL for what a kind means in a person's words: a question shares these with an item, rarely those of its log."""
    cases = " ".join(f"WHEN '{kind}' THEN '{said.replace(chr(39), chr(39) * 2)}'" for kind, said in SENTENCES.items())
    return f"coalesce(CASE kind {cases} END, '')"


_SAID = f"coalesce(kind, '') || ' ' || {_kind_in_words()} || ' ' || cause || ' ' || fix || ' ' || left(excerpt, 20000)"

knowledge_items = Table(
    "knowledge_items",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    _incident(nullable=True),
    Column("kind", Text),
    _text("service"),
    _text("environment"),
    _text("cause"),
    _text("fix"),
    _text("action"),
    _text("outcome"),
    _text("reason"),
    _text("excerpt"),
    _text("link"),
    # Of a Slack thread; without its channel nothing of it is left.
    Column("channel", Text, ForeignKey("slack_channels.channel", ondelete="CASCADE")),
    _moment("occurred_at"),
    _moment("updated_at", now=True),
    # What people said of the item: that it is wrong or old, and which columns they set right (a lesson keeps those).
    _text("status"),
    Column("corrected", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # Of the line that it was imported from: the same line again changes nothing.
    _text("digest"),
    Column(
        "words",
        TSVECTOR,
        Computed(words_of(_SAID), persisted=True),
    ),
    CheckConstraint("status IN ('', 'old', 'wrong')", name="status"),
    # Words that wait to be taken in would be looked through anew for each word of a search.
    Index("ix_knowledge_items_words", "words", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    Index("ix_knowledge_items_kind_action_environment", "kind", "action", "environment"),
    Index("ix_knowledge_items_service", "service"),
    Index("ix_knowledge_items_environment", "environment"),
    Index("ix_knowledge_items_outcome", "outcome"),
    Index("ix_knowledge_items_source", "source"),
    Index("ix_knowledge_items_updated_at", "updated_at"),
    Index("ix_knowledge_items_incident_id", "incident_id", postgresql_where=text("incident_id IS NOT NULL")),
    Index("ix_knowledge_items_threads", "channel", "occurred_at", postgresql_where=text("channel IS NOT NULL")),
)

# Vectors of these lengths have an index; of another length they are searched one by one.
INDEXED_DIMENSIONS = (384, 1024, 2048)


def _nearest(dimension: int) -> Index:
    """An HNSW index over the vectors of one length: a column can hold several, an index only one.

    Failures lie in clumps. With pgvector's 64 candidates at building too few ways lead from one to another, and some
    searches never come to the right one however long they look (docs/retrieval.md).
    """
    return Index(
        f"ix_item_vectors_{dimension}",
        literal_column(f"(vector::halfvec({dimension}))").label("of_one_length"),
        postgresql_using="hnsw",
        postgresql_ops={"of_one_length": "halfvec_cosine_ops"},
        postgresql_with={"ef_construction": 128},
        postgresql_where=text(f"dimension = {dimension}"),
    )


# Beside the items, so that models live side by side and a new vector rewrites neither the item nor its index of words.
item_vectors = Table(
    "item_vectors",
    metadata,
    Column("item_id", Text, ForeignKey("knowledge_items.id", ondelete="CASCADE"), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("dimension", Integer, nullable=False),
    Column("vector", HALFVEC, nullable=False),
    # The item's updated_at when it was embedded: another one there now means that the text has changed since.
    _moment("made_of"),
    CheckConstraint("dimension = vector_dims(vector)", name="dimension"),
    Index("ix_item_vectors_model", "model", "item_id", "made_of"),
    *map(_nearest, INDEXED_DIMENSIONS),
)

# How far each model has come through the items; a model is searched with once it has had them all (`ready_at`).
vector_models = Table(
    "vector_models",
    metadata,
    Column("model", Text, primary_key=True),
    Column("dimension", Integer, nullable=False),
    Column("embedded", Integer, nullable=False, server_default=text("0")),
    Column("waiting", Integer, nullable=False, server_default=text("0")),
    # Of which services it had items; another policy means that others may lack a vector.
    _text("reach"),
    # From this model's cosines to the built-in one's scale, which thresholds are made for; measured on so many items.
    Column("slope", Float, nullable=False, server_default=text("1")),
    Column("shift", Float, nullable=False, server_default=text("0")),
    Column("measured", Integer, nullable=False, server_default=text("0")),
    _moment("ready_at", nullable=True),
    _moment("not_before", nullable=True),
    _text("problem"),
    _moment("looked_at", now=True),
)

feedback = Table(
    "feedback",
    metadata,
    _incident(primary_key=True),
    Column("user", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    _text("comment"),
    _text("reason"),
    # The answer that was judged; NULL where an earlier version kept the vote.
    Column("diagnosis_id", BigInteger, ForeignKey("diagnoses.id", ondelete="SET NULL"), autoincrement=False),
    # False once another answer has taken the place of the one that was judged.
    Column("stands", Boolean, nullable=False, server_default=text("true")),
    _moment("at", now=True),
    CheckConstraint("value IN (-1, 1)", name="value"),
    Index("ix_feedback_diagnosis_id", "diagnosis_id", postgresql_where=text("diagnosis_id IS NOT NULL")),
)

# One row a call of a hosted model; "reserved" until its cost is known, and it counts as reserved until then.
model_calls = Table(
    "model_calls",
    metadata,
    _id(),
    # A deleted incident takes nothing back of what was spent: its calls stay in the month's sum.
    Column("incident_id", BigInteger, ForeignKey("incidents.id", ondelete="SET NULL"), autoincrement=False),
    Column("hop", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False, server_default=text("0")),
    Column("usd", Float, nullable=False),
    Column("ms", Integer, nullable=False, server_default=text("0")),
    _text("outcome", "reserved"),
    _moment("called_at", now=True),
    Index("ix_model_calls_called_at", "called_at"),
    Index("ix_model_calls_incident_id", "incident_id"),
)

# What an incident that ended long ago adds to the figures, so that they need not be counted anew (store/analytics.py).
settled_figures = Table(
    "settled_figures",
    metadata,
    _incident(primary_key=True),
    Column("action", Text, primary_key=True),
    _moment("opened_at"),
    Column("kind", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("ending", Text),
    Column("detect_s", Float),
    Column("resolve_s", Float),
    Column("usd", Float, nullable=False),
    *(
        Column(name, Integer, nullable=False)
        for name in (
            "fixes", "verified", "running", "wrong_actions", "seen_verified", "false_resolves", "approved_fixes",
            "unsafe_approvals", "turned_down",
        )
    ),
    Index("ix_settled_figures_opened_at", "opened_at"),
)  # fmt: skip

# What a person has chosen for their Home and for what the bot sends them; the hours are theirs, `timezone` too.
person_settings = Table(
    "person_settings",
    metadata,
    Column("user", Text, primary_key=True),
    Column("payload", JSONB, nullable=False),
    _moment("changed_at", now=True),
)

# The Homes that somebody has looked at: what was published last, and until when it is kept up to date.
homes = Table(
    "homes",
    metadata,
    Column("user", Text, primary_key=True),
    _moment("opened_at", now=True),
    _text("view_hash"),
    _text("shown"),
    Column("charts", Boolean, nullable=False, server_default=text("true")),
    _moment("tended_at", nullable=True),
    Index("ix_homes_opened_at", "opened_at"),
)

# Append-only: written unchained in the transaction of what it records, numbered and chained by the sealing job.
audit = Table(
    "audit",
    metadata,
    _id(),
    _moment("at", now=True),
    Column("what", Text, nullable=False),
    _text("actor"),
    Column("incident_id", BigInteger),
    Column("payload", JSONB),
    Column("salt", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("number", BigInteger, unique=True),
    Column("chain", LargeBinary),
    # Whether the chain holds the row's time as well: it did not in earlier versions.
    Column("timed", Boolean, nullable=False, server_default=text("false")),
    Index("ix_audit_unsealed", "id", postgresql_where=text("number IS NULL")),
    Index("ix_audit_incident_id", "incident_id"),
)

# The last sealed row, kept apart from the log: rows that are cut off its end are missed here.
audit_head = Table(
    "audit_head",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true"), autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    _moment("sealed_at", now=True),
    CheckConstraint("one", name="one"),
)

switches = Table(
    "switches",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    _text("set_by"),
    _moment("set_at", now=True),
)

# Whether a fix of a kind of failure may run by itself for a service, by what it did there: who said so, and why.
trust = Table(
    "trust",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("action", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("state", Text, nullable=False),
    _text("evidence"),
    _text("set_by"),
    _moment("set_at", now=True),
    CheckConstraint("state IN ('proposed', 'granted', 'withdrawn', 'demoted')", name="state"),
)

# Jobs that are handed out by SQS: what the queue carries is only their number.
queued_jobs = Table(
    "queued_jobs",
    metadata,
    _id(),
    Column("stage", Text, nullable=False),
    Column("lock", Text, nullable=False),
    Column("once", Text),
    Column("arguments", JSONB, nullable=False),
    _text("state", "todo"),
    Column("due_at", DateTime(timezone=True), nullable=False),
    # When it counts as due, among others of its lock and of the queue.
    Column("rank_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("token", BigInteger, nullable=False, server_default=text("0")),
    _moment("leased_until", nullable=True),
    _moment("sent_at", nullable=True),
    _text("reason"),
    _moment("died_at", nullable=True),
    CheckConstraint("state IN ('todo', 'doing', 'dead')", name="state"),
    Index("uq_queued_jobs_once", "once", unique=True, postgresql_where=text("state = 'todo'")),
    Index("ix_queued_jobs_lock", "lock"),
    Index("ix_queued_jobs_due_at", "due_at", postgresql_where=text("state = 'todo'")),
)

# What happens once in each period, however many processes ask: the newest period that was taken.
schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("due_at", DateTime(timezone=True), nullable=False),
    _moment("taken_at", now=True),
)

# What people say has fixed an incident, until one of them confirms that it is to be remembered. `key` is the post's.
fix_offers = Table(
    "fix_offers",
    metadata,
    _id(),
    _incident(),
    Column("key", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("told_by", Text, nullable=False),
    _text("state", "open"),
    _text("decided_by"),
    _moment("told_at", now=True),
    _moment("decided_at", nullable=True),
    CheckConstraint("state IN ('open', 'remembered', 'declined')", name="state"),
    Index("uq_fix_offers_key", "key", unique=True),
    Index("ix_fix_offers_incident_id", "incident_id"),
)

# Where people said that an incident's diagnosis should look, and where not: the newest counts. `key` is the post's.
steers = Table(
    "steers",
    metadata,
    _id(),
    _incident(),
    Column("key", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("set_by", Text, nullable=False),
    _moment("set_at", now=True),
    Index("uq_steers_key", "key", unique=True),
    Index("ix_steers_incident_id", "incident_id"),
)

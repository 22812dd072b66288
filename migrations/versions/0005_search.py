# ruff: noqa: E501  a sentence stays on one line
"""Words as they are written instead of English stems, with finer statistics; indexes for the filters of a search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_search"
down_revision = "0004_vectors"
branch_labels = None
depends_on = None

# What each kind means, as it was when this was written.
KINDS = {
    "imagepullbackoff": "The image cannot be pulled from the registry: no such tag or platform, login refused, or download limit reached.",
    "oomkilled": "Out of memory: the container used more memory than its limit and was killed, or its heap is full.",
    "crashloop": "The container starts, crashes and restarts again and again: an error at startup, a missing setting, or something it needs is not there.",
    "probe_failure": "A health check fails: the readiness, liveness or startup probe gets no good answer, so the pod is not ready or is restarted.",
    "scheduling": "The pod stays pending: no node has room, the right labels, a free port or the volume's zone.",
    "config_error": "Wrong or missing configuration: a secret, config map or key does not exist, or the container may not start with these settings.",
    "credentials": "Credentials refused: the login, token or key is wrong or has expired.",
    "rbac_denied": "Permission denied: the account, role or token is not allowed to do this.",
    "quota_exceeded": "Quota exceeded: the namespace or account has used up what it may use, or must state its requests and limits.",
    "disk_pressure": "The disk is full: no space left on the node or build machine.",
    "storage_volume": "The volume cannot be attached, mounted, bound or written.",
    "network": "Network: names cannot be resolved, the TLS certificate is not trusted or out of date, or connections do not get through.",
    "upstream_unavailable": "A service, database or queue that it depends on is down or does not answer.",
    "performance": "Too slow or overloaded: requests take long, the CPU is throttled, a pool is used up.",
    "argocd_sync": "Argo CD cannot sync the application: the manifests are refused or cannot be rendered.",
    "argocd_degraded": "Argo CD or Helm waits in vain: the application stays degraded, a hook job fails or hangs, or the rollout does not finish.",
    "db_migration": "The database migration failed: schema changes conflict, are half done or do not match what was applied.",
    "buildfailure": "The image build failed: a step of the Dockerfile does not work or a file is not there.",
    "buildcacheerror": "The build cache is broken: a layer or blob cannot be found, read or written.",
    "test_failure": "Tests failed: an assertion is wrong, a test is flaky or takes too long.",
    "dependency_resolution": "Dependencies cannot be resolved: package versions conflict, a lock file or checksum does not match, or an artifact is missing.",
    "compile_lint": "The code does not compile, or the linter or type checker complains.",
    "githubaction_transient": "A passing fault of the build system: the runner was lost, the network or the API limit failed; a rerun may help.",
    "healthy": "Nothing is wrong: it has recovered, or it was a false alarm.",
}
TEXT = "cause || ' ' || fix || ' ' || left(excerpt, 20000)"
FILTERS = ("environment", "outcome", "source")


def upgrade() -> None:
    cases = " ".join(f"WHEN '{kind}' THEN '{said.replace(chr(39), chr(39) * 2)}'" for kind, said in KINDS.items())
    said = f"coalesce(kind, '') || ' ' || coalesce(CASE kind {cases} END, '') || ' ' || {TEXT}"
    _replace_words(f"to_tsvector('simple', regexp_replace({said}, '(\\W|_)+', ' ', 'g'))")
    # How rare a word is comes from here: 3,000 words rather than 1,000.
    op.execute("ALTER TABLE knowledge_items ALTER COLUMN words SET STATISTICS 300")
    for column in FILTERS:
        op.create_index(f"ix_knowledge_items_{column}", "knowledge_items", [column])


def downgrade() -> None:
    for column in FILTERS:
        op.drop_index(f"ix_knowledge_items_{column}", table_name="knowledge_items")
    _replace_words(f"to_tsvector('english', coalesce(kind, '') || ' ' || {TEXT})")


def _replace_words(expression: str) -> None:
    op.drop_index("ix_knowledge_items_words", table_name="knowledge_items", postgresql_using="gin")
    op.drop_column("knowledge_items", "words")
    op.add_column("knowledge_items", sa.Column("words", postgresql.TSVECTOR(), sa.Computed(expression, persisted=True)))
    op.create_index("ix_knowledge_items_words", "knowledge_items", ["words"], postgresql_using="gin")

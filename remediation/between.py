"""What lies between the revision that runs and the one that a rollback would go back to. Pure, but for `looked_at`.

A database does not go back with a deployment: where a migration lies between, or cannot be ruled out, a person is asked
twice. It counts as ruled out when the images are the same, or when the commits between them touch no migration and
nothing in the cluster looks like one.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from remediation import kube
from remediation.evidence.changes import template_changes
from remediation.evidence.kubernetes_history import commit_of
from remediation.ports import Clients, Json

# Names of the tools that change a database's schema, and words that people use for such steps.
_MIGRATION = re.compile(
    r"(?i)(?<![a-z])migrat(?:e|es|ion|ions|or)(?![a-z])|flyway|liquibase|alembic|sqitch|golang-migrate|gh-ost"
    r"|pt-online-schema|(?<![a-z])goose(?![a-z])"
    r"|(?<![a-z])(?:db|database|schema)[-_: /](?:upgrade|update|change|deploy|sync|push)"
    r"|prisma (?:migrate|db)|ecto\.migrate|atlas schema"
)
_MIGRATION_PATH = re.compile(
    r"(?i)(?:^|/)(?:db/)?migrat(?:e|ions?)/|(?:^|/)(?:alembic|flyway|liquibase|sqitch)/|\.sql$|(?:^|/)V\d+(?:[._]\d+)*__"
    r"|(?:^|/)schema\.(?:rb|prisma)$|(?:^|/)changelog[^/]*\.(?:xml|ya?ml)$"
)
_CRD_PATH = re.compile(r"(?i)(?:^|/)crds?/|crd[^/]*\.ya?ml$|customresourcedefinition")
_DOCUMENT = re.compile(r"(?i)\.(?:md|rst|txt|adoc)$")
# GitHub lists no more files of one comparison.
MOST_FILES = 300
# A release's migration usually runs shortly before its pods.
JOB_LEAD = timedelta(hours=1)
MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Between:
    """`changes` of the pod template and `commits` in words; `migrations` are the signs of one.

    `unknown` is why a migration cannot be ruled out, "" where it can; `crds` the files of custom resource definitions.
    """

    changes: tuple[str, ...] = ()
    commits: str = ""
    migrations: tuple[str, ...] = ()
    crds: tuple[str, ...] = ()
    unknown: str = ""

    @property
    def twice(self) -> str:
        """Why a person is asked twice before this is rolled back, "" where once is enough."""
        if self.migrations:
            return f"A database migration lies between, and it is not taken back: {_named(self.migrations)}."
        return f"A database migration between them cannot be ruled out: {self.unknown}." if self.unknown else ""

    @property
    def words(self) -> str:
        """One or two sentences for the preview."""
        parts = [_named(self.changes)] if self.changes else []
        parts += [self.commits] if self.commits else []
        parts += [f"custom resource definitions ({_named(self.crds)}), which stay as they are"] if self.crds else []
        told = f"Between them: {'; '.join(parts)}." if parts else ""
        return " ".join(filter(None, (told, self.twice or ("No database migration." if parts else ""))))


def _named(items: Sequence[str]) -> str:
    more = len(items) - MAX_NAMED
    return ", ".join(items[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


async def looked_at(
    target: Target, workload: Json, replica_sets: Sequence[Json], clients: Clients
) -> Between | None:  # fmt: skip
    """None where there is no revision to go back to. What cannot be had makes a migration not ruled out."""
    goal = kube.last_healthy(workload, replica_sets)
    current = kube.current_replica_set(workload, replica_sets)
    if goal is None or current is None or clients.cluster is None:
        return None
    old, new = kube.template_of(goal), kube.template_of(workload)
    if kube.images(old) == kube.images(new):
        return between(old, new, comparison={}, jobs=(), unknown="")
    comparison, unknown = await _comparison(target, commit_of(old), commit_of(new), clients)
    try:
        jobs = await clients.cluster.list(target.cluster, "Job", target.namespace)
    except CodeHealerError as error:
        return between(old, new, comparison=comparison, jobs=(), unknown=f"the namespace's Jobs: {error}")
    since = kube.created_at(current)
    mine = list(jobs_of(workload, jobs, since - JOB_LEAD)) if since else jobs
    return between(old, new, comparison=comparison, jobs=mine, unknown=unknown)


async def _comparison(target: Target, base: str, head: str, clients: Clients) -> tuple[Json, str]:
    """GitHub's comparison, or why there is none."""
    if not base or not head:
        return {}, "the images name no commits"
    if base == head:
        return {}, ""
    if not target.repository or clients.code_host is None:
        return {}, "the service has no repository that could be asked for the commits"
    try:
        found = await clients.code_host.compare(target.repository, base, head)
    except CodeHealerError as error:
        return {}, f"the commits could not be compared: {str(error).rstrip('.')}"
    if len(found.get("files") or []) >= MOST_FILES:
        return found, f"the commits touch more than {MOST_FILES} files"
    return found, ""


def between(old: Json, new: Json, *, comparison: Json, jobs: Iterable[Json], unknown: str) -> Between:
    """From two pod templates, the commits between their images, and the Jobs that ran with the release."""
    files = [str(row.get("filename", "")) for row in comparison.get("files") or [] if isinstance(row, dict)]
    code = [path for path in files if not _DOCUMENT.search(path)]
    signs = [*_by_containers(old, new), *(f"Job {kube.name_of(job)}" for job in jobs)]
    signs += [path for path in code if _MIGRATION_PATH.search(path)]
    commits = [row for row in comparison.get("commits") or [] if isinstance(row, dict)]
    total = int(comparison.get("total_commits") or len(commits))
    return Between(
        changes=tuple(template_changes(old, new)),
        commits=f"{total} commit{'' if total == 1 else 's'}" if total else "",
        migrations=tuple(dict.fromkeys(signs)),
        crds=tuple(path for path in code if _CRD_PATH.search(path)),
        unknown=unknown,
    )


def _by_containers(old: Json, new: Json) -> Iterator[str]:
    """Containers that migrate when they start, and were started anew with other code or in another way."""
    before = {str(c.get("name")): c for c in _all_containers(old)}
    for container in _all_containers(new):
        parts = [str(container.get("name", "")), _image_name(container)]
        parts += [str(word) for key in ("command", "args") for word in container.get(key) or []]
        if _MIGRATION.search(" ".join(parts)) and _start(before.get(parts[0])) != _start(container):
            yield f"container {parts[0]}, which migrates at its start"


def _all_containers(template: Json) -> list[Json]:
    spec = template.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _image_name(container: Json) -> str:
    """Without registry and tag: an organisation may be called migrations."""
    return str(container.get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[0]


def _start(container: Json | None) -> tuple[object, ...]:
    return tuple((container or {}).get(key) for key in ("image", "command", "args"))


def jobs_of(workload: Json, jobs: Iterable[Json], since: datetime) -> Iterator[Json]:
    """Jobs of the workload's service that look like migrations and were made since then."""
    own = {kube.name_of(workload), *(kube.labels(workload).get(key, "") for key in _SERVICE_LABELS)} - {""}
    for job in jobs:
        texts = [kube.name_of(job), *_words(job)]
        theirs = {kube.labels(job).get(key, "") for key in _SERVICE_LABELS}
        belongs = bool(own & theirs) or any(kube.name_of(job).startswith(name) for name in own)
        made = kube.created_at(job)
        if belongs and _MIGRATION.search(" ".join(texts)) and (made is None or made >= since):
            yield job


_SERVICE_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app")


def _words(job: Json) -> Iterator[str]:
    for container in _all_containers(((job.get("spec") or {}).get("template")) or {}):
        yield from (str(word) for key in ("command", "args") for word in container.get(key) or [])

"""What is known about the Argo CD application of a service, and which targets come with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from remediation import reverting
from remediation.argocd_state import history, last_good, source_of, sync_status
from remediation.policy_file import Service
from remediation.ports import Clients, Json
from remediation.reverting import Revert

# Where tools for migrations keep their steps.
_MIGRATION = re.compile(
    r"(?i)(?:^|/)(?:db/)?migrat(?:e|ions?)/|(?:^|/)(?:alembic|flyway|liquibase|sqitch)/|\.sql$|(?:^|/)V\d+(?:[._]\d+)*__"
)
MOST_FILES = 300


@dataclass(frozen=True, slots=True)
class Crossed:
    """What a rollback from `bad` to `good` takes back in Git, in words; `twice` is why a person is asked twice."""

    words: str
    twice: str = ""


@dataclass(frozen=True, slots=True)
class GitOps:
    """`target` is the application as a target, made of the services table alone; `problem` says why it is not known.

    `revert` is what a pull request would put back below `path`, from revision `bad` to `good`, or why there is none;
    `branch` is then the target of that. It is looked for only where the application syncs by itself.
    """

    target: Target
    application: Json | None = None
    problem: str = ""
    revert: Revert | str = "Argo CD does not sync it by itself"
    branch: Target | None = None
    path: str = ""
    good: str = ""
    bad: str = ""
    crossed: "Crossed | None" = None

    @property
    def targets(self) -> tuple[Target, ...]:
        return (self.target, *((self.branch,) if self.branch else ()))


def application_target(service: Service) -> Target:
    """The service's application. It keeps the row's namespace, so that rules about namespaces reach it."""
    return Target(
        "Application", service.argocd_app, service.namespace, service.cluster, service.repository, service.name,
        service.environment,
    )  # fmt: skip


async def look(service: Service | None, clients: Clients) -> GitOps | None:
    """None for a service without an application."""
    if service is None or not service.argocd_app:
        return None
    target = application_target(service)
    if clients.argocd is None:
        return GitOps(target, problem="Argo CD is not connected: set ARGOCD_SERVER and ARGOCD_TOKEN")
    try:
        application = await clients.argocd.application(service.argocd_app)
    except CodeHealerError as error:
        return GitOps(target, problem=str(error))
    found = GitOps(target, application)
    if sync_status(application).automatic:
        return await _with_revert(found, application, service, clients)
    return replace(found, crossed=await _crossed(application, service, clients))


async def _crossed(application: Json, service: Service, clients: Clients) -> Crossed | None:
    """Which commits a rollback takes back in Git; a database does not go back with them."""
    rows, good = history(application), last_good(application)
    if good is None:
        return None
    mine = (service.repository, service.manifests)
    return await crossed_in(application, mine, clients, good=good.revision, bad=rows[-1].revision)


async def crossed_in(
    application: Json, repositories: Sequence[str], clients: Clients, *, good: str, bad: str
) -> Crossed:  # fmt: skip
    """The same for any two revisions, where the application's source is one of `repositories`."""
    unknown = "A database migration between the two revisions cannot be ruled out"
    repository = source_of(application)[0]
    mine = {one.lower() for one in repositories if one}
    if clients.code_host is None or repository.lower() not in mine:
        return Crossed("What lies between is not known here.", f"{unknown}: their commits are not known here.")
    try:
        compared = await clients.code_host.compare(repository, good, bad)
    except CodeHealerError as error:
        return Crossed("What lies between could not be had.", f"{unknown}: {error}")
    return crossed(compared)


def crossed(compared: Json) -> Crossed:
    """The words for a comparison of GitHub's. Pure."""
    files = [str(f.get("filename") or "") for f in compared.get("files") or []]
    commits = int(compared.get("total_commits") or len(compared.get("commits") or []))
    migrations = [name for name in files if _MIGRATION.search(name)]
    words = f"Between them: {_count(commits, 'commit')}, {_count(len(files), 'file')}."
    if migrations:
        named = ", ".join(migrations[:3])
        return Crossed(words, f"A database migration lies between, and it is not taken back: {named}.")
    if len(files) >= MOST_FILES:
        return Crossed(words, f"A database migration cannot be ruled out: GitHub lists {MOST_FILES} files and no more.")
    return Crossed(f"{words} No database migration.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def _with_revert(found: GitOps, application: Json, service: Service, clients: Clients) -> GitOps:
    """Only in a repository that the services table names: an application could name any."""
    repository, branch, path = source_of(application)
    rows, good = history(application), last_good(application)
    mine = {one.lower() for one in (service.repository, service.manifests) if one}
    if not repository or repository.lower() not in mine:
        named = repository or "no single folder of a Git repository"
        return replace(found, revert=f"its source is {named}, which its row of the services table does not name")
    if good is None:
        return replace(found, revert="no earlier revision is known to have served")
    if clients.code_host is None:
        return replace(found, revert="GitHub is not connected: set GITHUB_TOKEN")
    bad = rows[-1].revision
    try:
        revert = await reverting.look(
            clients.code_host, repository, branch, path=path, good=good.revision, bad=bad
        )  # fmt: skip
    except CodeHealerError as error:
        return replace(found, revert=str(error))
    on = Target("Branch", revert.branch, service.namespace, "", repository, service.name, service.environment)
    return replace(found, revert=revert, branch=on, path=path, good=good.revision, bad=bad)

"""Argo CD's memory: one application a service, its history and its last operation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.world.clockwork import Timings
from bot.sandbox.world.github_store import MANIFEST, GithubStore, manifest_version
from bot.sandbox.world.services import SERVICES, Service

Json = dict[str, Any]
Refusal = Callable[["Operation"], str]
"""The reason why applying fails, empty when it succeeds."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """One row of an application's history."""

    id: int
    revision: str
    at: float


@dataclass
class Operation:
    """A sync or a rollback. `phase` is Running, Succeeded or Failed.

    `infos` come with the request. `stamp` is the start as it is shown: in whole seconds, and never the last one's.
    """

    revision: str
    started_at: float
    options: tuple[str, ...] = ()
    by: str = "automated"
    phase: str = "Running"
    message: str = "waiting for completion"
    finished_at: float | None = None
    announced: bool = False
    infos: tuple[tuple[str, str], ...] = ()
    prune: bool = False
    dry_run: bool = False
    stamp: float = 0.0


@dataclass
class App:
    """`refusals` are what is wrong with applying this application, by scenario.

    `auto_sync` syncs each new commit once; `self_heal` puts back what was changed in the cluster, too.
    """

    service: Service
    history: list[Deployed]
    operation: Operation
    refusals: dict[str, Refusal] = field(default_factory=dict)
    auto_sync: bool = False
    self_heal: bool = False


@dataclass
class ArgoStore:
    """All applications by name.

    `apply` rolls a version of a service out, `live` tells which one runs, `prune` deletes what Git does not have.
    """

    clock: Callable[[], float]
    timings: Timings
    hub: GithubStore
    apply: Callable[[Service, str, str], None]
    live: Callable[[Service], str]
    prune: Callable[[Service], None]
    apps: dict[str, App] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for service in SERVICES:
            commits = self.hub.repositories[service.repository].commits
            history = [Deployed(i, c.sha, c.at + 300) for i, c in enumerate(commits)]
            last = history[-1]
            done = Operation(last.revision, last.at - 20, (), "automated", "Succeeded", SYNCED, last.at, True)
            done.stamp = done.started_at
            self.apps[service.name] = App(
                service, history, done, auto_sync=service.auto_sync, self_heal=service.self_heal
            )

    def version_at(self, service: Service, revision: str) -> str:
        """The version that the manifest names at a commit, empty when there is no such commit."""
        commit = self.hub.repositories[service.repository].commit(revision)
        return manifest_version(commit.files.get(MANIFEST, "")) if commit else ""

    def deployed(self, service: Service, revision: str) -> None:
        """A pipeline's sync that went through at once."""
        app, now = self.apps[service.name], self.clock()
        app.history.append(Deployed(app.history[-1].id + 1, revision, now))
        stamp = later(now, app.operation)
        app.operation = Operation(revision, now, (), "automated", "Succeeded", SYNCED, now, True, stamp=stamp)

    def sync(
        self,
        app: App,
        revision: str,
        options: tuple[str, ...],
        by: str,
        *,
        infos: tuple[tuple[str, str], ...] = (),
        prune: bool = False,
        dry_run: bool = False,
    ) -> None:
        now = self.clock()
        app.operation = Operation(
            revision, now, options, by, infos=infos, prune=prune, dry_run=dry_run, stamp=later(now, app.operation)
        )

    def step(self) -> list[App]:
        """Finishes operations that have run long enough; the applications whose operation has just failed."""
        failed = []
        for app in self.apps.values():
            self._reconcile(app)
            operation, now = app.operation, self.clock()
            if operation.phase == "Running" and now >= operation.started_at + self.timings.of("sync"):
                self._finish(app, operation, now)
            if operation.phase == "Failed" and not operation.announced:
                operation.announced = True
                if not operation.dry_run:
                    failed.append(app)
        return failed

    def _reconcile(self, app: App) -> None:
        """Auto-sync tries each commit once; self-heal syncs again when the cluster runs something else."""
        if not app.auto_sync or app.operation.phase == "Running":
            return
        head = self.hub.repositories[app.service.repository].head.sha
        tried = head in {app.operation.revision, app.history[-1].revision}
        drifted = app.history[-1].revision == head and self.live(app.service) != self.version_at(app.service, head)
        if not tried or (app.self_heal and drifted and app.operation.phase == "Succeeded"):
            self.sync(app, head, (), "automated")

    def _finish(self, app: App, operation: Operation, now: float) -> None:
        operation.finished_at = now
        why = next((text for text in (refuse(operation) for refuse in app.refusals.values()) if text), "")
        if why:
            operation.phase, operation.message = "Failed", why
            return
        operation.phase, operation.message = "Succeeded", SYNCED
        if operation.dry_run:
            return
        if settled(operation):
            app.refusals = {}
        if operation.prune:
            self.prune(app.service)
        same = self.manifests(app.service, operation.revision) == self.manifests(app.service, app.history[-1].revision)
        app.history.append(Deployed(app.history[-1].id + 1, operation.revision, now))
        version = self.version_at(app.service, operation.revision)
        # A commit that leaves the manifests alone changes nothing in the cluster.
        if not (same and operation.by == "automated" and self.live(app.service) == version):
            self.apply(app.service, version, operation.revision)

    def manifests(self, service: Service, revision: str) -> dict[str, str]:
        """What the application deploys, of one commit."""
        commit = self.hub.repositories[service.repository].commit(revision)
        return {p: t for p, t in (commit.files if commit else {}).items() if p.startswith("deploy/")}


def later(now: float, last: Operation) -> float:
    """When an operation is shown to have begun: in life two of them never share a second."""
    return max(float(int(now)), float(int(last.stamp)) + 1)


def settled(operation: Operation) -> bool:
    """Whether the live object was replaced, so that what stood in the way of applying is gone for good."""
    return "Replace=true" in operation.options


SYNCED = "successfully synced (all tasks run)"

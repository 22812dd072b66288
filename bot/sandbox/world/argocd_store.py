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
    """A sync or a rollback. `phase` is Running, Succeeded or Failed."""

    revision: str
    started_at: float
    options: tuple[str, ...] = ()
    by: str = "automated"
    phase: str = "Running"
    message: str = "waiting for completion"
    finished_at: float | None = None
    announced: bool = False


@dataclass
class App:
    """`refusals` are what is wrong with applying this application, by scenario."""

    service: Service
    history: list[Deployed]
    operation: Operation
    refusals: dict[str, Refusal] = field(default_factory=dict)


@dataclass
class ArgoStore:
    """All applications by name; `apply` rolls a version of a service out."""

    clock: Callable[[], float]
    timings: Timings
    hub: GithubStore
    apply: Callable[[Service, str, str], None]
    apps: dict[str, App] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for service in SERVICES:
            commits = self.hub.repositories[service.repository].commits
            history = [Deployed(i, c.sha, c.at + 300) for i, c in enumerate(commits)]
            last = history[-1]
            done = Operation(last.revision, last.at - 20, (), "automated", "Succeeded", SYNCED, last.at, True)
            self.apps[service.name] = App(service, history, done)

    def version_at(self, service: Service, revision: str) -> str:
        """The version that the manifest names at a commit, empty when there is no such commit."""
        commit = self.hub.repositories[service.repository].commit(revision)
        return manifest_version(commit.files.get(MANIFEST, "")) if commit else ""

    def deployed(self, service: Service, revision: str) -> None:
        """A pipeline's sync that went through at once."""
        app, now = self.apps[service.name], self.clock()
        app.history.append(Deployed(app.history[-1].id + 1, revision, now))
        app.operation = Operation(revision, now, (), "automated", "Succeeded", SYNCED, now, True)

    def sync(self, app: App, revision: str, options: tuple[str, ...], by: str) -> None:
        app.operation = Operation(revision, self.clock(), options, by)

    def step(self) -> list[App]:
        """Finishes operations that have run long enough; the applications whose operation has just failed."""
        failed = []
        for app in self.apps.values():
            operation, now = app.operation, self.clock()
            if operation.phase == "Running" and now >= operation.started_at + self.timings.of("sync"):
                self._finish(app, operation, now)
            if operation.phase == "Failed" and not operation.announced:
                operation.announced = True
                failed.append(app)
        return failed

    def _finish(self, app: App, operation: Operation, now: float) -> None:
        operation.finished_at = now
        why = next((text for text in (refuse(operation) for refuse in app.refusals.values()) if text), "")
        if why:
            operation.phase, operation.message = "Failed", why
            return
        operation.phase, operation.message = "Succeeded", SYNCED
        if settled(operation):
            app.refusals = {}
        app.history.append(Deployed(app.history[-1].id + 1, operation.revision, now))
        self.apply(app.service, self.version_at(app.service, operation.revision), operation.revision)


def settled(operation: Operation) -> bool:
    """Whether the live object was replaced, so that what stood in the way of applying is gone for good."""
    return "Replace=true" in operation.options


SYNCED = "successfully synced (all tasks run)"

"""Decides when the world speaks up: looks at the state after each pass and sends what a real system would send."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.world.alerts import (
    Firing,
    Sender,
    alertmanager_attachments,
    alertmanager_body,
    argocd_attachments,
    labels_of,
)
from bot.sandbox.world.argocd_api import health
from bot.sandbox.world.github_shapes import Shapes
from bot.sandbox.world.scenarios.table import Scenario
from bot.sandbox.world.state import State

Json = dict[str, Any]
log = logging.getLogger(__name__)
Post = Callable[..., Awaitable[str]]


def is_well(state: State, scenario: Scenario) -> bool:
    """Whether what this scenario broke is well now, by looking at the world alone."""
    if scenario.source == "github":
        repository = state.repository(scenario.service)
        marked = state.hub.find_run(repository, state.hub.marked.get(scenario.id, 0))
        wanted = "cancelled" if scenario.right_action == "github_cancel_run" else "success"
        return (marked or repository.runs[-1]).last.conclusion == wanted
    if scenario.source == "argocd":
        app, operation = state.argo.apps[scenario.service], state.argo.apps[scenario.service].operation
        synced = operation.phase == "Succeeded" and not operation.dry_run
        if scenario.kind == "argocd_sync":
            synced = synced and app.history[-1].revision == state.repository(scenario.service).head.sha
        return synced and state.cluster.status(scenario.service)[0] == "healthy"
    return state.cluster.status(scenario.service)[0] == "healthy"


def scenario_shows(state: State, scenario: Scenario) -> bool:
    """Argo CD tells of an application's health when it is degraded, not while it progresses."""
    app = state.argo.apps[scenario.service]
    return scenario.kind != "argocd_degraded" or health(state.cluster, app)[0] == "Degraded"


@dataclass
class Announcer:
    """`firing` holds the alerts between a break and their end; `muting` names the silences of an alert's labels;
    `unsynced` are the applications whose failed sync was told of and not yet followed by a good one."""

    sender: Sender
    post: Post
    shapes: Shapes
    muting: Callable[[dict[str, str]], list[str]] = lambda _: []
    firing: list[Firing] = field(default_factory=list)
    unsynced: set[str] = field(default_factory=set)
    _told: set[int] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def broken(self, state: State, scenario: Scenario) -> None:
        """A scenario began; a second break of the same one continues the first alert."""
        known = any(f.scenario.id == scenario.id for f in self.firing)
        if (scenario.source in {"alertmanager", "slack"} or scenario.kind == "argocd_degraded") and not known:
            self.firing.append(Firing(scenario, "", state.cluster.clock()))

    def look(self, state: State) -> None:
        """One pass: completed runs, failed syncs, alerts to send, repeat or resolve."""
        for run in state.hub.step():
            self.sender.github("workflow_run", self.shapes.run_webhook(state.hub.repositories[run.repository], run))
        for run_id in set(state.hub.hanging) - self._told:
            self._tell_of_job(state, run_id)
        for app in state.argo.step():
            rows = argocd_attachments(app.service.name, app.operation.revision, app.operation.message)
            text = f"The sync operation of application {app.service.name} has failed."
            self._say("Argo CD", text, rows)
            self.unsynced.add(app.service.name)
        for name in sorted(self.unsynced):
            operation = state.argo.apps[name].operation
            synced = operation.phase == "Succeeded" and not operation.dry_run
            if synced and state.cluster.status(name)[0] == "healthy":
                self.unsynced.discard(name)
                self._argocd_health(state, name, "Healthy")
        for firing in list(self.firing):
            self._step(state, firing)

    def _tell_of_job(self, state: State, run_id: int) -> None:
        """Of a run that does not end only its failed job is heard."""
        for repository in state.hub.repositories.values():
            run = state.hub.find_run(repository, run_id)
            failed = next((job for job in run.last.jobs if job.failure), None) if run else None
            if run and failed:
                self._told.add(run_id)
                self.sender.github("workflow_job", self.shapes.job_webhook(repository, run, failed))

    def _step(self, state: State, firing: Firing) -> None:
        now, timings = state.cluster.clock(), state.cluster.timings
        well = is_well(state, firing.scenario)
        false_alarm = firing.scenario.kind == "healthy"
        if firing.sent_at is None:
            due = now >= firing.broken_at + timings.of("alert_for")
            shows = scenario_shows(state, firing.scenario)
            if due and (well if false_alarm else not well and shows):
                firing.pod = self._pod(state, firing.scenario)
                self._send(state, firing, now)
            return
        if not well:
            firing.resolve_at = None
            if firing.scenario.source == "alertmanager" and now >= firing.sent_at + timings.of("alert_repeat"):
                self._send(state, firing, now)
            return
        if firing.resolve_at is None:
            firing.resolve_at = now + timings.of("alert_resolve")
        elif now >= firing.resolve_at:
            self.firing.remove(firing)
            if firing.scenario.source == "alertmanager":
                self.sender.alertmanager(alertmanager_body(firing, resolved_at=now))
            elif firing.scenario.source == "argocd":
                self._argocd_health(state, firing.scenario.service, "Healthy")
            else:
                self._say("Alertmanager", "", alertmanager_attachments(firing, resolved=True))

    def _pod(self, state: State, scenario: Scenario) -> str:
        pods = state.cluster.pods(scenario.service)
        bad = [p for p in pods if state.cluster.trouble(p)]
        return next((str(p["metadata"]["name"]) for p in [*bad, *pods]), "")

    def _send(self, state: State, firing: Firing, now: float) -> None:
        firing.sent_at = now
        if self.muting(labels_of(firing)):
            return
        if firing.scenario.source == "alertmanager":
            self.sender.alertmanager(alertmanager_body(firing))
        elif firing.scenario.source == "argocd":
            self._argocd_health(state, firing.scenario.service, "Degraded")
        else:
            self._say("Alertmanager", "", alertmanager_attachments(firing, resolved=False))

    def _argocd_health(self, state: State, name: str, health: str) -> None:
        """Argo CD notifications' templates app-health-degraded and app-deployed."""
        revision = state.argo.apps[name].history[-1].revision
        text = f"Application {name} has degraded." if health == "Degraded" else f"Application {name} is running well."
        self._say("Argo CD", text, argocd_attachments(name, revision, "", health=health))

    def _say(self, app: str, text: str, attachments: list[Json]) -> None:
        task = asyncio.ensure_future(self._post(app, text, attachments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, app: str, text: str, attachments: list[Json]) -> None:
        try:
            await self.post("alerts", app, text, attachments, [])
        except Exception:
            log.exception("the workspace refused a post by %s", app)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

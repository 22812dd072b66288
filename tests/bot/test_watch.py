"""The watch tells of trouble that lasts, once, and again when it comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_asyncio
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import watch as watching
from bot.watch import PASSING_S, Watch, settle_s
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.errors import NotFound, Unavailable
from knowledge.store.accepting import Accepting
from remediation.ports import Cluster, Json
from tests.handlers.office import made_services, rows
from tests.rows import opened

STARTED = "2026-11-23T09:00:00Z"


@dataclass
class Pods:
    """A cluster of pods: what is shown is seen by the watch, what is gone is not there when looked for."""

    there: set[str] = field(default_factory=set)
    away: bool = False
    _seen: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    names: tuple[str, ...] = ("east",)

    def show(self, body: Json) -> None:
        if body["kind"] == "Pod":
            self.there.add(body["metadata"]["name"])
        self._seen.put_nowait(body)

    async def watch_pods(self, _cluster: str, _namespaces: Sequence[str] = ()) -> AsyncIterator[Json]:
        while True:
            yield await self._seen.get()

    async def get(self, _cluster: str, kind: str, _namespace: str, name: str) -> Json:
        if self.away:
            raise Unavailable("the cluster does not answer")
        if name not in self.there:
            raise NotFound(name)
        return {"kind": kind}


def pod(
    name: str = "web-7d9f6c5b84-x2kqp", *, state: Mapping[str, Any] | None = None, ready: bool = True, **more: Any
) -> Json:
    container = {
        "name": "web",
        "ready": ready,
        "restartCount": more.pop("restarts", 0),
        "state": state or {"running": {}},
    }
    if before := more.pop("before", None):
        container["lastState"] = {"terminated": before}
    metadata = {"name": name, "namespace": "shop", "uid": more.pop("uid", "u1")}
    status = {"phase": "Running", "startTime": STARTED, "containerStatuses": [container], **more.pop("status", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n1"}, "status": status, **more}


def waiting(reason: str, **more: Any) -> Json:
    return pod(state={"waiting": {"reason": reason}}, ready=False, **more)


def died(reason: str = "Error", code: int = 1, **more: Any) -> Json:
    return pod(state={"terminated": {"reason": reason, "exitCode": code}}, ready=False, **more)


def leaving(body: Json) -> Json:
    return {**body, "metadata": {**body["metadata"], "deletionTimestamp": STARTED}}


def event(count: int = 1, **more: Any) -> Json:
    about = {"kind": "Pod", "name": "web-1", "namespace": "shop"}
    return {"kind": "Event", "type": "Warning", "reason": "Unhealthy", "count": count, "involvedObject": about, **more}


# --- how long it must last -------------------------------------------------------------------------------------------

UNSCHEDULABLE = {
    "phase": "Pending", "containerStatuses": [],
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "wait_s"),
    [
        (pod(), None),
        (waiting("ContainerCreating"), None),
        (waiting("PodInitializing"), None),
        (pod(ready=False), None),
        (waiting("CrashLoopBackOff", restarts=1), 0.0),
        (waiting("ImagePullBackOff"), 0.0),
        (waiting("ErrImagePull"), PASSING_S["errimagepull"]),
        (waiting("CreateContainerConfigError"), 0.0),
        (died(), PASSING_S["error"]),
        (died(restarts=1), PASSING_S["error"]),
        (died(restarts=2), 0.0),
        (died(code=139), PASSING_S["segfault"]),
        (died("OOMKilled", 137), 0.0),
        (leaving(died(code=143, restarts=2)), None),
        (leaving(died(code=137)), None),
        (died("Completed", 0), None),
        (pod(ready=False, before={"exitCode": 1, "reason": "Error"}), PASSING_S["notready"]),
        (pod(status=UNSCHEDULABLE), PASSING_S["unschedulable"]),
        (event(1), None),
        (event(2), None),
        (event(3), 0.0),
        (event(1, series={"count": 3}), 0.0),
        (event(9, type="Normal"), None),
        ({"kind": "Pod", "metadata": {"name": "web-1"}}, None),
        ({"kind": "Pod", "metadata": {"name": "web-1"}, "status": None}, None),
        ({"kind": "Pod", "metadata": {"name": "web-1"}, "status": {"containerStatuses": None}}, None),
        ({**event(), "count": None}, None),
    ],
)
def test_a_trouble_must_last_as_long_as_its_like_may_pass(body: Json, wait_s: float | None) -> None:
    (alert,) = kubernetes.parse(body, {})
    assert settle_s(alert, body) == wait_s


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The watch's own clock, moved by the test; its look at what is due comes at once."""
    now = [1000.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    monkeypatch.setattr(watching, "time", Clock)
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.005)
    return now


@dataclass
class Scene:
    services: Services
    pods: Pods
    clock: list[float]

    async def told(self) -> list[str]:
        query = "SELECT body->'alerts'->0->>'title' AS title FROM deliveries ORDER BY id"
        return [row.title for row in await rows(self.services.engine, query)]

    async def passes(self, seconds: float) -> None:
        await self.settled()
        self.clock[0] += seconds
        await self.settled()

    async def settled(self) -> None:
        """Everything shown is observed, and what is due was looked at: a marker of its own has come through."""
        marker = f"marker-{len(await self.told())}-{self.clock[0]}-{id(object())}"
        self.pods.show(event(9, reason=marker, involvedObject={"kind": "Node", "name": marker}))
        async with asyncio.timeout(20):
            while marker not in await self.told():  # noqa: ASYNC110  a table has no event
                await asyncio.sleep(0.01)

    async def of_pods(self) -> list[str]:
        await self.settled()
        return [title for title in await self.told() if not title.startswith("marker")]


@pytest_asyncio.fixture
async def scene(database_url: str, clock: list[float]) -> AsyncIterator[Scene]:
    async with opened(database_url) as engine:
        services = made_services(engine, cast(AsyncWebClient, None), database_url)
        pods = Pods()
        async with running(services, pods):
            yield Scene(services, pods, clock)


@contextlib.asynccontextmanager
async def running(services: Services, pods: Pods) -> AsyncIterator[None]:
    task = asyncio.create_task(Watch(services, cast(Cluster, pods), "east", ()).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_is_surely_wrong_is_told_at_once_and_once(scene: Scene) -> None:
    for _ in range(3):
        scene.pods.show(waiting("ImagePullBackOff"))
    assert await scene.of_pods() == ["imagepullbackoff"]
    await scene.passes(3600)
    scene.pods.show(waiting("ImagePullBackOff"))
    assert await scene.of_pods() == ["imagepullbackoff"]


async def test_a_trouble_that_passes_is_not_told(scene: Scene) -> None:
    scene.pods.show(died())
    await scene.passes(PASSING_S["error"] - 1)
    scene.pods.show(pod())
    await scene.passes(3600)
    assert await scene.of_pods() == []


async def test_a_trouble_that_lasts_is_told_with_its_place(scene: Scene) -> None:
    scene.pods.show(died())
    await scene.passes(PASSING_S["error"] - 1)
    assert await scene.of_pods() == []
    await scene.passes(2)
    assert await scene.of_pods() == ["error"]
    query = "SELECT body->'alerts'->0 AS alert FROM deliveries WHERE body->'alerts'->0->>'title' = 'error'"
    (row,) = await rows(scene.services.engine, query)
    told = {name: row.alert[name] for name in ("cluster", "namespace", "owner", "severity")}
    assert told == {"cluster": "east", "namespace": "shop", "owner": "web", "severity": "warning"}


async def test_a_pod_that_is_gone_before_its_time_is_not_told(scene: Scene) -> None:
    scene.pods.show(died())
    await scene.settled()
    scene.pods.there.clear()
    await scene.passes(60)
    assert await scene.of_pods() == []
    scene.pods.show(died(uid="u2"))
    await scene.passes(60)
    assert await scene.of_pods() == ["error"], "another of that name counts by itself"


async def test_a_pod_that_can_not_be_looked_for_is_told(scene: Scene) -> None:
    scene.pods.show(died())
    await scene.settled()
    scene.pods.away = True
    await scene.passes(60)
    assert await scene.of_pods() == ["error"]


async def test_the_same_pod_is_told_again_once_it_had_been_well_for_a_while(scene: Scene) -> None:
    crash = waiting("CrashLoopBackOff", restarts=2, before={"reason": "OOMKilled", "exitCode": 137})
    scene.pods.show(crash)
    assert await scene.of_pods() == ["oomkilled"]
    scene.pods.show(pod(restarts=3))
    await scene.passes(30)
    scene.pods.show(crash)
    assert await scene.of_pods() == ["oomkilled"], "between two crashes a crash loop looks well"
    scene.pods.show(pod(restarts=3))
    await scene.settled()
    await scene.passes(90)
    scene.pods.show(crash)
    assert await scene.of_pods() == ["oomkilled", "oomkilled"]
    starts = await rows(
        scene.services.engine,
        "SELECT DISTINCT body->'alerts'->0->>'started_at' AS at FROM deliveries"
        " WHERE body->'alerts'->0->>'title' = 'oomkilled'",
    )
    assert len(starts) == 2, "a new start, so that what was closed opens again"


async def test_another_trouble_of_the_same_pod_is_told_too(scene: Scene) -> None:
    scene.pods.show(waiting("ImagePullBackOff"))
    await scene.settled()
    scene.pods.show(waiting("CreateContainerConfigError"))
    assert await scene.of_pods() == ["imagepullbackoff", "createcontainerconfigerror"]


async def test_a_second_watch_of_the_same_cluster_tells_nothing_twice(scene: Scene) -> None:
    other = Pods()
    async with running(scene.services, other):
        for pods in (scene.pods, other):
            pods.show(waiting("ImagePullBackOff"))
        other_scene = Scene(scene.services, other, scene.clock)
        await other_scene.settled()
        assert await scene.of_pods() == ["imagepullbackoff"]


async def test_an_object_that_can_not_be_read_does_not_end_the_watch(scene: Scene) -> None:
    for body in ({"kind": "Secret"}, {"kind": "Pod"}, {"kind": "Event", "involvedObject": {}}):
        scene.pods._seen.put_nowait(body)
    scene.pods.show(waiting("ImagePullBackOff"))
    assert await scene.of_pods() == ["imagepullbackoff"]


async def test_while_the_database_is_away_nothing_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, engine_away: AsyncEngine
) -> None:
    away = Pods()
    services = made_services(engine_away, cast(AsyncWebClient, None), "postgresql://nobody@127.0.0.1:9/none")
    watch = Watch(services, cast(Cluster, away), "east", ())
    task = asyncio.create_task(watch.run())
    away.show(waiting("ImagePullBackOff"))
    async with asyncio.timeout(20):
        while not watch._pending:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.01)
    scene.clock[0] += 60
    monkeypatch.setattr(watch, "_services", scene.services)
    async with asyncio.timeout(20):
        while await scene.of_pods() != ["imagepullbackoff"]:  # noqa: ASYNC110  a table has no event
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest_asyncio.fixture
async def engine_away() -> AsyncIterator[AsyncEngine]:
    async with opened("postgresql://nobody@127.0.0.1:9/none") as engine:
        yield engine


class Silent(Accepting):
    """A database that has stopped to answer: what is to be stored finds no end in time."""

    asked = 0

    async def add(self, **_: Any) -> bool:
        self.asked += 1
        raise TimeoutError


async def test_a_database_that_does_not_answer_ends_no_watch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, engine_away: AsyncEngine
) -> None:
    silent = Silent(engine_away)
    with monkeypatch.context() as away:
        away.setattr(scene.services, "accepting", silent)
        scene.pods.show(waiting("ImagePullBackOff"))
        async with asyncio.timeout(60):
            while silent.asked < 2:  # noqa: ASYNC110  it has no event
                await asyncio.sleep(0.01)
    async with asyncio.timeout(60):
        while "imagepullbackoff" not in await scene.told():  # noqa: ASYNC110  a table has no event
            await asyncio.sleep(0.01)

"""The ConfigMap that stops everything: what it says, what cannot be read, and what the chart lets the bot see of it."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from bot import pause_map
from bot.pause_map import STALE_S, PauseMap, open_pause_map
from bot.sandbox.server import Sandbox
from bot.settings import Settings
from knowledge.errors import SettingsError
from remediation.cluster import ClusterAccess, KubernetesCluster
from tests import chart

NAMESPACE, NAME = "codehealer", "codehealer-pause"
PLACE = f"{NAMESPACE}/{NAME}"


@dataclass
class Scene:
    """The pause, its clock, and the cluster that it asks; `roles` are those of the chart."""

    sandbox: Sandbox
    now: float = 100.0

    def says(self, data: Mapping[str, str] | None) -> None:
        store = self.sandbox.world.kubernetes.cluster.store
        store.delete("configmaps", NAMESPACE, NAME)
        if data is not None:
            store.create("configmaps", {"metadata": {"namespace": NAMESPACE, "name": NAME}, "data": dict(data)})


@pytest.fixture
def scene(sandbox: Sandbox) -> Scene:
    sandbox.world.kubernetes.roles = chart.rules({})
    return Scene(sandbox)


@pytest_asyncio.fixture
async def pause(scene: Scene) -> AsyncIterator[PauseMap]:
    cluster = KubernetesCluster({"own": ClusterAccess(Path(scene.sandbox.env["KUBECONFIG"]))})
    yield PauseMap(cluster, PLACE, clock=lambda: scene.now)
    await cluster.aclose()


@pytest.mark.parametrize(
    ("data", "pauses"),
    [(None, False), ({}, False), ({"other": "true"}, False), ({"paused": "true"}, True), ({"paused": ""}, True),
     ({"paused": "we deploy"}, True), ({"paused": " False\n"}, False)],
)  # fmt: skip
async def test_it_pauses_while_its_key_does_not_say_no(
    scene: Scene, pause: PauseMap, data: Mapping[str, str] | None, *, pauses: bool
) -> None:
    assert "not read yet" in pause.word()
    scene.says(data)
    await pause.look()
    assert pause.word() == (f"the ConfigMap {PLACE}" if pauses else "")
    assert bool(pause.lines()) is pauses
    assert pause.trouble() is None, "a pause is no fault"
    scene.says(None)
    await pause.look()
    assert pause.word() == ""


async def test_what_cannot_be_read_for_as_long_as_is_promised_pauses_until_it_can(
    scene: Scene, pause: PauseMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pause.look()
    scene.sandbox.world.kubernetes.denied.add(("get", "configmaps", NAMESPACE))
    scene.now += STALE_S - 0.1
    await pause.look()
    assert pause.word() == ""
    scene.now += 0.1
    assert "cannot be read: " in pause.word()
    assert pause.trouble() == pause.word()
    assert "configmaps" in pause.word()
    scene.sandbox.world.kubernetes.denied.clear()
    monkeypatch.setattr(pause_map, "DEADLINE_S", 0.01)
    scene.sandbox.world.faults["k8s"].update(slow_ms=500)
    await pause.look()
    assert "did not answer within" in pause.word()
    monkeypatch.undo()
    scene.sandbox.world.faults["k8s"].update(slow_ms=0)
    await pause.look()
    assert pause.word() == ""


def test_the_charts_role_is_for_this_one_alone() -> None:
    assert chart.rules({})[NAMESPACE] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get"]}
    ]
    assert NAMESPACE not in chart.rules({"pause": {"configMap": ""}})


@pytest.mark.parametrize(
    ("kubeconfig", "place", "words"),
    [("/x", "codehealer-pause", "Write namespace/name"), ("/x", "a/b/c", "Write namespace/name"),
     ("/x", "../secrets", "Write namespace/name"), ("", PLACE, "set KUBECONFIG")],
)  # fmt: skip
async def test_a_place_that_is_none_is_named(kubeconfig: str, place: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        async with open_pause_map(kubeconfig, place):
            pass


async def test_without_one_nobody_is_asked(sandbox: Sandbox) -> None:
    async with open_pause_map("", "") as none:
        await none.run()
        assert (none.word(), none.lines()) == ("", [])


async def test_doctor_says_whether_it_can_be_read_and_what_it_says(scene: Scene) -> None:
    kubeconfig = scene.sandbox.env["KUBECONFIG"]
    settings = Settings(KUBECONFIG=kubeconfig, CODEHEALER_PAUSE_CONFIGMAP=PLACE)  # type: ignore[call-arg]
    assert (await pause_map.check(settings)).detail == f"the ConfigMap {PLACE} pauses nothing"
    scene.says({"paused": "yes"})
    found = await pause_map.check(settings)
    assert (found.ok, found.detail) == (True, f"the ConfigMap {PLACE}")
    scene.sandbox.world.kubernetes.roles = {}
    found = await pause_map.check(settings)
    assert not found.ok
    assert PLACE in found.remedy
    assert (await pause_map.check(Settings(KUBECONFIG=kubeconfig))).ok  # type: ignore[call-arg]

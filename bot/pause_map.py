"""A ConfigMap that stops all actions while it says so: it works without Slack, the database and a mount.

A mounted one arrives when the kubelet brings it, which may take a minute. So each process asks the API server itself,
and what it cannot learn in time counts as a pause: within five seconds either way, on every replica.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from bot.finding import Finding
from bot.pause_file import NOT_PAUSED
from bot.settings import Settings
from knowledge.errors import CodeHealerError, NotFound, SettingsError
from remediation import kube
from remediation.cluster import ClusterAccess, KubernetesCluster

log = structlog.get_logger(__name__)

KEY = "paused"
# Together no more than what is promised: a look that begins after the change ends before this.
LOOK_EVERY_S, DEADLINE_S = 2.0, 3.0
STALE_S = LOOK_EVERY_S + DEADLINE_S


class PauseMap:
    """The ConfigMap at "namespace/name" of the cluster of KUBECONFIG, "" for none, as it was read last.

    One that is not there, or has no key `paused`, pauses nothing; nor does one that says `false`.
    """

    def __init__(
        self, cluster: KubernetesCluster, place: str, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._cluster = cluster
        self._place = place
        self._clock = clock
        self._told = self._logged = ""
        self._trouble = "was not read yet"
        self._read_at = float("-inf")

    def word(self) -> str:
        """Why nothing may start on its word, "" while it may. Never waits."""
        if not self._place:
            return ""
        if not self.is_known():
            return f"the ConfigMap {self._place} (which {self._trouble})"
        return self._told

    def is_known(self) -> bool:
        """Whether it was read in time."""
        return self._clock() - self._read_at < STALE_S

    def trouble(self) -> str | None:
        """Why it is not known what it says; None where it is."""
        return self.word() if self._place and not self.is_known() else None

    def lines(self) -> list[str]:
        """For people who ask for the status."""
        why = self.word()
        return [f"paused by {why}: nothing is carried out"] if why else []

    async def run(self) -> None:
        """Read until cancelled."""
        while self._place:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Read it once, and log when it says something else than before."""
        if not self._place:
            return
        began = self._clock()
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = await self._read()
        except TimeoutError:
            self._trouble = f"cannot be read: the cluster did not answer within {DEADLINE_S:g} s"
        except CodeHealerError as error:
            self._trouble = f"cannot be read: {str(error).rstrip('.')}"
        else:
            # From when it was asked: what changes while it answers is seen by the next look.
            self._told, self._read_at = found, began
            self._trouble = "was not read for a while"
        if (word := self.word()) != self._logged:
            log.warning("pause_map_changed", paused_by=word or "nothing")
            self._logged = word

    async def _read(self) -> str:
        namespace, _, name = self._place.partition("/")
        try:
            found = await self._cluster.get("", "ConfigMap", namespace, name)
        except NotFound:
            return ""
        said = (found.get("data") or {}).get(KEY)
        free = said is None or said.strip().lower() in NOT_PAUSED
        return "" if free else f"the ConfigMap {self._place}"


@asynccontextmanager
async def open_pause_map(kubeconfig: str, place: str) -> AsyncIterator[PauseMap]:
    """Asked once already. Raises SettingsError."""
    parts = place.split("/")
    if place and (len(parts) != 2 or not all(map(kube.valid_name, parts))):
        raise SettingsError(f"CODEHEALER_PAUSE_CONFIGMAP: {place[:80]} is no place. Write namespace/name.")
    if place and not kubeconfig:
        raise SettingsError("CODEHEALER_PAUSE_CONFIGMAP needs the cluster that it is in: set KUBECONFIG.")
    # Its own client: those of the policy may be of other clusters, and are closed when the policy changes.
    cluster = KubernetesCluster({"own": ClusterAccess(Path(kubeconfig))} if place else {})
    try:
        pause = PauseMap(cluster, place)
        await pause.look()
        yield pause
    finally:
        await cluster.aclose()


async def check(settings: Settings) -> Finding:
    """For doctor: whether it can be read, and what it says."""
    place = settings.pause_configmap
    if not place:
        return Finding("pause", True, "no ConfigMap is asked for", "CODEHEALER_PAUSE_CONFIGMAP may name one.")
    async with open_pause_map(settings.kubeconfig, place) as pause:
        word, known = pause.word(), pause.is_known()
    if not known:
        return Finding("pause", False, word, f"Let the bot's account get this ConfigMap: the chart's Role for {place}.")
    return Finding("pause", True, word or f"the ConfigMap {place} pauses nothing")
